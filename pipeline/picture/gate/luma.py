"""Luma: a picture → its brightness in a few thousand cells, in which change is cheap to see."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.picture.frame import Picture

LumaArray = npt.NDArray[np.uint8]
"""uint8 [h, w]."""

GRID_WH = (160, 90)
"""The most cells, more or less; a picture that is smaller has a cell for each pixel."""

_LEAST_SIDE = 0.8  # of a cell, as a share of what it would be without rounding
_ROWS_IN_CELL = 3  # of the picture that are averaged; more cost memory bandwidth and see nothing else


@runtime_checkable
class HasLuma(Protocol):
    """A picture whose brightness may be had without its colours."""

    def luma(self, step: int) -> LumaArray | None:
        """Every step-th row, uint8 [about H / step, W], upright, read-only; None for a picture without such a plane."""


def grid_wh(size_wh: tuple[int, int]) -> tuple[int, int]:
    """The cells across and down that a picture has: about square, and at most as many as `GRID_WH` has.

    Where that makes them a whole number of pixels, which is cheaper to average, some more.

    >>> grid_wh((1920, 1080)), grid_wh((1080, 1920)), grid_wh((768, 432)), grid_wh((7, 1))
    ((160, 90), (90, 160), (192, 108), (7, 1))
    """
    width, height = size_wh
    num_across, num_down = GRID_WH if width >= height else GRID_WH[::-1]
    scale = min(1.0, num_across / width, num_down / height)
    side = int(1 / scale)  # of a cell, in pixels
    if width % side == height % side == 0 and side * scale >= _LEAST_SIDE:
        return width // side, height // side
    return max(1, round(width * scale)), max(1, round(height * scale))


def luma_cells(picture: Picture) -> LumaArray:
    """The mean brightness [h, w] of each cell of a picture, of some rows of each: .1 ms for 1080p."""
    cells_wh = grid_wh(picture.size_wh)
    step = max(1, picture.size_wh[1] // (_ROWS_IN_CELL * cells_wh[1]))
    rows = picture.luma(step) if isinstance(picture, HasLuma) else None
    rows = _grey(picture.pixels[::step]) if rows is None else rows
    if rows.shape == cells_wh[::-1]:
        return np.array(rows)  # not a view, which would keep the picture
    return np.asarray(cv2.resize(rows, cells_wh, interpolation=cv2.INTER_AREA), np.uint8)


def _grey(pixels: npt.NDArray[np.uint8]) -> LumaArray:
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY), np.uint8)
