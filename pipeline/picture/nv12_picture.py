"""NV12 pictures: an ordinary image → the planes that a decoded video would have, so that a graph can be shown it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from pipeline.picture.frame import ColourOrder, Picture, PixelArray
from pipeline.picture.nv12 import BT601, Nv12, yuv_to_bgr

_SPARE_BYTES = 24  # behind each row, as decoders leave them, and of a value that would show


@dataclass(frozen=True, slots=True)
class Nv12Picture:
    """A picture that has the planes of BT.601 video of limited range, in rows that are longer than the picture."""

    picture: Picture

    @property
    def size_wh(self) -> tuple[int, int]:
        return self.picture.size_wh

    @property
    def pixels(self) -> PixelArray:
        return self.picture.pixels

    def copy_pixels(self) -> PixelArray:
        return self.picture.copy_pixels()

    def resized(self, size_wh: tuple[int, int], *, colour: ColourOrder) -> PixelArray:
        return self.picture.resized(size_wh, colour=colour)

    def nv12(self) -> Nv12:
        width, height = self.size_wh
        even = np.pad(self.pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        planes = np.asarray(cv2.cvtColor(even, cv2.COLOR_BGR2YUV_I420), np.uint8)  # [1.5 H', W']
        rows, columns = even.shape[:2]
        cb, cr = planes[rows:].reshape(2, rows // 2, columns // 2)
        uv = np.stack([cb, cr], axis=2).reshape(rows // 2, columns)
        spare = ((0, 0), (0, _SPARE_BYTES))
        y, uv = (np.pad(plane, spare, constant_values=255)[None] for plane in (planes[:height], uv))
        return Nv12(y, uv, (width, height), yuv_to_bgr(BT601, full_range=False))
