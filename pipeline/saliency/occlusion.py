"""Occlusion map: a picture with a grey square at each position → how much hiding a pixel costs the target.

Zeiler and Fergus 2014, https://arxiv.org/abs/1311.2901, section 4.2. They classify; for a detector the probability of
the class is the similarity of the target (`Target.similarity`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np

from pipeline.detector.detector import DetectFunction
from pipeline.picture.boxes import FloatArray
from pipeline.picture.frame import ArrayPicture, PixelArray
from pipeline.saliency.masking import similarities
from pipeline.saliency.target import Target

GREY = 127
_PATCHES_ACROSS_OBJECT = 3  # the square's side is this part of the object's shorter one
_MOST_PATCHES_ACROSS = 24  # along the picture's longer side, so that a small object does not take thousands of runs


class Occlusion:
    """The squares that hide a picture: of `side` pixels, `stride` apart, the last ones at its edges.

    side: None: a third of the target's shorter side, and at least a 24th of the picture's longer one.
    Raises ValueError for a side below 1 pixel.
    """

    def __init__(self, pixels: PixelArray, target: Target, *, side: int | None = None) -> None:
        self._pixels = pixels
        height, width = pixels.shape[:2]
        shorter = float((target.box_xyxy[2:] - target.box_xyxy[:2]).min())
        chosen = max(shorter / _PATCHES_ACROSS_OBJECT, max(width, height) / _MOST_PATCHES_ACROSS, 2.0)
        self.side = math.ceil(chosen) if side is None else side
        if self.side < 1:
            raise ValueError(f"the side of the square must be at least 1 pixel, got {self.side}")
        self.stride = max(1, self.side // 2)
        self._lefts = _starts(width, self.side, self.stride)
        self._tops = _starts(height, self.side, self.stride)

    def __len__(self) -> int:
        return len(self._lefts) * len(self._tops)

    @property
    def windows(self) -> Iterator[tuple[slice, slice]]:
        """Rows and columns of each square."""
        for top in self._tops:
            for left in self._lefts:
                yield slice(top, top + self.side), slice(left, left + self.side)

    def pictures(self) -> Iterator[PixelArray]:
        """The picture with each square over it."""
        for window in self.windows:
            hidden = self._pixels.copy()
            hidden[window] = GREY
            yield hidden


def occlusion_map(
    detect: DetectFunction,
    pixels: PixelArray,
    target: Target,
    *,
    side: int | None = None,
    batch: int = 8,
    on_step: Callable[[], None] = lambda: None,
) -> FloatArray:
    """Heat float32 [H, W] of a picture uint8 [H, W, 3] BGR: the mean loss of similarity over the squares on a pixel.

    Positive where hiding harms, negative where it helps. on_step: called after each run. side: see `Occlusion`.
    """
    occlusion = Occlusion(pixels, target, side=side)
    (unchanged,) = detect([ArrayPicture(pixels)])
    before = target.similarity(unchanged)
    losses, counts = np.zeros(pixels.shape[:2]), np.zeros(pixels.shape[:2])  # [H, W]
    hidden = similarities(detect, target, occlusion.pictures(), batch=batch, on_step=on_step)
    for window, similarity in zip(occlusion.windows, hidden, strict=True):
        losses[window] += before - similarity
        counts[window] += 1
    return np.asarray(losses / counts, np.float32)  # a square lies on every pixel


def _starts(length: int, side: int, stride: int) -> list[int]:
    """Where squares begin so that they cover a length, the last one ending with it."""
    last = max(0, length - side)
    return sorted({*range(0, last, stride), last})
