"""Counting per class: how many of each class a video shows at once, at most and on average.

python examples/counting_per_class.py street.mp4 yolox_nano.onnx
"""

import sys
from collections import Counter

import streamdet

source, model = sys.argv[1:]
most, total, num_frames = Counter(), Counter(), 0
for result in streamdet.detect(source, model=model, score_threshold=0.3):
    counts = result.counts()
    most |= Counter(counts)  # the larger of both
    total.update(counts)
    num_frames += 1

print(f"{num_frames} frames\n{'class':<16}{'at most':>8}{'mean':>8}")
for name, num in most.most_common():
    print(f"{name:<16}{num:>8}{total[name] / num_frames:>8.2f}")
