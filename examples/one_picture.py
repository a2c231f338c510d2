"""One picture: what is in it, and the picture with it drawn.

python examples/one_picture.py bus.jpg yolox_nano.onnx
"""

import sys
from pathlib import Path

import streamdet

picture, model = sys.argv[1:]
with streamdet.Detector(model, score_threshold=0.4) as detector:
    result = detector(picture)

print(result)
for box, score, class_id in zip(
    result.detections.boxes_xyxy, result.detections.scores, result.detections.class_ids, strict=True
):
    print(f"{result.class_name(class_id):<16}{score:.2f}  {box.round().tolist()}")
print("written", result.save(Path("annotated") / f"{Path(picture).stem}.png"))
