"""Masking: a picture, masks and a detector → the similarity of a target under each mask, in batches."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from pipeline.detector.detector import DetectFunction
from pipeline.picture.boxes import FloatArray
from pipeline.picture.frame import ArrayPicture, PixelArray
from pipeline.saliency.target import Target


def similarities(
    detect: DetectFunction, target: Target, pictures: Iterable[PixelArray], *, batch: int, on_step: Callable[[], None]
) -> Iterator[float]:
    """How much of the target is detected in each picture uint8 [H, W, 3] BGR; `batch` of them exist at once.

    detect: down to low scores; what falls below its threshold counts as gone.
    """
    remaining = iter(pictures)
    while chunk := list(itertools.islice(remaining, batch)):
        for detections in detect([ArrayPicture(pixels) for pixels in chunk]):
            yield target.similarity(detections)
            on_step()


def share_inside_box(heat: FloatArray, target: Target) -> float:
    """The share of the positive heat [H, W] that lies in the target's box, 0..1; 0 of a map without any.

    The energy-based pointing game (Wang et al. 2020, https://arxiv.org/abs/1910.01279, section 4.3).
    """
    height, width = heat.shape
    left, top = np.clip(np.floor(target.box_xyxy[:2]), 0, [width, height]).astype(int)
    right, bottom = np.clip(np.ceil(target.box_xyxy[2:]), 0, [width, height]).astype(int)
    positive = np.maximum(heat, 0).astype(np.float64)
    return float(positive[top:bottom, left:right].sum() / positive.sum()) if positive.any() else 0.0
