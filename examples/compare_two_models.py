"""Compare two models: the pictures in which they disagree, side by side. (`streamdet compare` measures by numbers.)

python examples/compare_two_models.py photos/ small.onnx large.onnx
"""

import sys
from pathlib import Path

import cv2
import numpy as np

import streamdet

folder, *models = sys.argv[1:]
first, second = (list(streamdet.detect(folder, model=model, score_threshold=0.3)) for model in models)
Path("disagreements").mkdir(exist_ok=True)
num_same = 0
for a, b in zip(first, second, strict=True):
    if a.counts() == b.counts():
        num_same += 1
        continue
    print(f"{a}\n  other: {b}")
    cv2.imwrite(f"disagreements/{a.frame.index}.jpg", np.hstack([a.plot(), b.plot()]))
print(f"{num_same} of {len(first)} pictures show the same to both")
