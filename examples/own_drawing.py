"""Own drawing: a loop over a webcam (0), a video or a camera's address, with a drawing of one's own.

python examples/own_drawing.py street.mp4 yolox_nano.onnx
"""

import sys

import cv2

import streamdet

source, model = sys.argv[1:]
writer = None
for result in streamdet.detect(source, model=model, score_threshold=0.3):
    canvas = result.frame.picture.copy_pixels()  # BGR; result.frame.pixels are read-only
    for left, _, right, bottom in result.detections.boxes_xyxy.round().astype(int).tolist():
        feet = (left + right) // 2, bottom
        axes = (right - left) // 2, (right - left) // 6
        cv2.ellipse(canvas, feet, axes, 0, 0, 360, (0, 200, 255), thickness=2, lineType=cv2.LINE_AA)
    if writer is None:  # in a window instead: cv2.imshow("own drawing", canvas); cv2.waitKey(1)
        writer = cv2.VideoWriter("drawn.mp4", cv2.VideoWriter.fourcc(*"mp4v"), 25, result.frame.size_wh)
    writer.write(canvas)
if writer is not None:
    writer.release()
    print("written drawn.mp4")
