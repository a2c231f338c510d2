"""Concealing: a picture and boxes → the same picture with what lies in them blurred or pixelated beyond recognition.

What stays of a box are the averages of at most 8 × 8 cells, of at least 4 × 4 pixels each: a blur is those averages
interpolated, so that neither of the two can be reversed from one picture.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from fractions import Fraction
from typing import Literal, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.picture.boxes import FloatArray
from pipeline.picture.frame import ArrayPicture, ColourOrder, Picture, PixelArray
from pipeline.picture.i420 import I420, HasI420
from pipeline.picture.pixel_aspect import pixel_aspect_of

Manner = Literal["blur", "pixelate"]

MOST_CELLS, LEAST_CELL_PX = 8, 4
"""Cells along a side of a box, and pixels along a side of a cell."""

_LEAST_MARGIN_PX = 2.0


class Area(NamedTuple):
    """Pixels to conceal, within a picture; left and top are even, right and bottom outside."""

    left: int
    top: int
    right: int
    bottom: int
    manner: Manner


def areas_around(
    boxes_xyxy: FloatArray, manners: Sequence[Manner], size_wh: tuple[int, int], *, margin: float
) -> list[Area]:
    """The areas of boxes [N, 4], each larger on all sides by a share of the box's; none for one outside the picture."""
    sides = np.tile(boxes_xyxy[:, 2:] - boxes_xyxy[:, :2], 2)  # [N, 4]: width, height, width, height
    grown = boxes_xyxy + np.maximum(sides * margin, _LEAST_MARGIN_PX) * np.array([-1, -1, 1, 1], np.float32)
    corners = np.concatenate([np.floor(grown[:, :2] / 2) * 2, np.ceil(grown[:, 2:] / 2) * 2], axis=1)
    clipped = np.clip(corners, 0, np.array(size_wh * 2)).astype(int).tolist()
    return [
        Area(left, top, right, bottom, manner)
        for (left, top, right, bottom), manner in zip(clipped, manners, strict=True)
        if left < right and top < bottom
    ]


class ConcealedPicture:
    """A picture whose areas can be had in no other way than concealed, in pixels and in planes."""

    def __init__(self, picture: Picture, areas: Sequence[Area]) -> None:
        self._clear = picture
        self._areas = tuple(areas)
        self._lock = threading.Lock()
        self._pixels: PixelArray | None = None

    @property
    def size_wh(self) -> tuple[int, int]:
        return self._clear.size_wh

    @property
    def pixel_aspect(self) -> Fraction:
        """Width of a pixel to its height."""
        return pixel_aspect_of(self._clear)

    @property
    def pixels(self) -> PixelArray:
        with self._lock:
            if self._pixels is None:
                pixels = self._clear.copy_pixels()
                for area in self._areas:
                    _conceal(pixels, area)
                pixels.flags.writeable = False
                self._pixels = pixels
            return self._pixels

    def copy_pixels(self) -> PixelArray:
        return self.pixels.copy()

    def resized(self, size_wh: tuple[int, int], *, colour: ColourOrder) -> PixelArray:
        return ArrayPicture(self.pixels).resized(size_wh, colour=colour)

    def copy_i420(self) -> I420 | None:
        planes = self._clear.copy_i420() if isinstance(self._clear, HasI420) else None
        if planes is None:
            return None
        luma, *chroma = planes.yuv
        for left, top, right, bottom, manner in self._areas:
            _conceal(luma, Area(left, top, right, bottom, manner))
            for plane in chroma:
                half = Area(left // 2, top // 2, (right + 1) // 2, (bottom + 1) // 2, manner)
                _conceal(plane, half, least_cell_px=LEAST_CELL_PX // 2)
        return planes


def _conceal(pixels: npt.NDArray[np.uint8], area: Area, *, least_cell_px: int = LEAST_CELL_PX) -> None:
    """Overwrite an area of uint8 [H, W, 3] or [H, W]."""
    window = pixels[area.top : area.bottom, area.left : area.right]
    height, width = window.shape[:2]
    cells_wh = [min(max(1, side // least_cell_px), MOST_CELLS) for side in (width, height)]
    averages = cv2.resize(np.ascontiguousarray(window), cells_wh, interpolation=cv2.INTER_AREA)
    interpolation = cv2.INTER_NEAREST if area.manner == "pixelate" else cv2.INTER_CUBIC
    window[:] = cv2.resize(averages, (width, height), interpolation=interpolation).reshape(window.shape)
