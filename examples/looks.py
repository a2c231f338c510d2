"""Looks: one frame of a video, a camera or a picture in every theme, side by side.

python examples/looks.py street.mp4 yolox_nano.onnx
"""

import sys

import cv2

import streamdet

THEMES = ("plain", "colour-blind", "soft", "dark", "high-contrast", "print")

source, model = sys.argv[1:]
result = next(iter(streamdet.detect(source, model=model, score_threshold=0.4, settings={"flow.max_frames": 1})))
pictures = [result.plot(look=streamdet.Look(theme=theme)) for theme in THEMES]
rows = [cv2.hconcat(pictures[first : first + 2]) for first in (0, 2, 4)]
cv2.imwrite("looks.png", cv2.vconcat(rows))
print("written looks.png")
