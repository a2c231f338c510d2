"""Crops: a picture and boxes → the part of the picture in each box."""

from __future__ import annotations

import numpy as np

from pipeline.picture.boxes import FloatArray
from pipeline.picture.frame import PixelArray


def crops_of(pixels: PixelArray, boxes_xyxy: FloatArray) -> list[PixelArray]:
    """A new array uint8 [h, w, 3] for each box [N, 4] in pixels of the picture, in their order.

    A pixel that a box touches belongs to it. Boxes are clipped to the picture; one that has no area, or lies outside,
    is the one pixel that is nearest to it, so that there is always one crop a box.
    """
    height, width = pixels.shape[:2]
    limits = np.array([width, height])
    first = np.clip(np.floor(boxes_xyxy[:, :2]), 0, limits - 1).astype(int)  # [N, 2]
    last = np.clip(np.ceil(boxes_xyxy[:, 2:]), first + 1, limits).astype(int)  # [N, 2]
    return [
        pixels[top:bottom, left:right].copy()
        for (left, top), (right, bottom) in zip(first.tolist(), last.tolist(), strict=True)
    ]
