"""I420: a picture in three planes, which can be drawn on and recorded without ever making BGR of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal, Protocol, runtime_checkable

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.picture.frame import PixelArray
from pipeline.picture.nv12 import BT601, BT709, LumaWeights, yuv_to_bgr

Matrix = Literal["bt601", "bt709"]

_WEIGHTS: dict[Matrix, LumaWeights] = {"bt601": BT601, "bt709": BT709}


@dataclass(frozen=True, slots=True)
class I420:
    """A picture of even sides as Y, Cb and Cr in one buffer, 4:2:0, limited range (luma 16..235, chroma 16..240).

    Raises ValueError for another shape or dtype.
    """

    planes: npt.NDArray[np.uint8]  # [H * 3 / 2, W]
    matrix: Matrix

    def __post_init__(self) -> None:
        rows, width = self.planes.shape
        if self.planes.dtype != np.uint8 or rows % 3 or width % 2 or not self.planes.flags.c_contiguous:
            raise ValueError(
                "planes must be uint8 [H * 3 / 2, W], contiguous, H and W even, got "
                f"{self.planes.dtype} {list(self.planes.shape)}"
            )

    @classmethod
    def empty(cls, size_wh: tuple[int, int], matrix: Matrix) -> I420:
        """One whose bytes are still to be written."""
        return cls(np.empty((size_wh[1] * 3 // 2, size_wh[0]), np.uint8), matrix)

    @property
    def size_wh(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.planes.shape[1], self.planes.shape[0] * 2 // 3

    @property
    def yuv(self) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        """Views: luma [H, W], Cb and Cr [H / 2, W / 2]."""
        width, height = self.size_wh
        cb, cr = self.planes[height:].reshape(2, height // 2, width // 2)
        return self.planes[:height], cb, cr

    def to_bgr(self) -> PixelArray:
        """uint8 [H, W, 3], new. Not for the hot path: whoever needs pixels of each frame asks its picture for them."""
        luma, *chroma = self.yuv
        full = [cv2.resize(plane, self.size_wh, interpolation=cv2.INTER_LINEAR) for plane in chroma]
        return np.asarray(cv2.transform(cv2.merge([luma, *full]), _to_bgr(self.matrix)), np.uint8)


@runtime_checkable
class HasI420(Protocol):
    """A picture that may be had in planes."""

    def copy_i420(self) -> I420 | None:
        """New planes that the caller may draw on; None for a picture that has no such planes."""


def yuv_of(pixels: PixelArray, matrix: Matrix) -> PixelArray:
    """uint8 [H, W, 3] BGR → Y, Cb, Cr in limited range."""
    return np.asarray(cv2.transform(pixels, _from_bgr(matrix)), np.uint8)


@cache
def _to_bgr(matrix: Matrix) -> npt.NDArray[np.float32]:
    return yuv_to_bgr(_WEIGHTS[matrix], full_range=False)


@cache
def _from_bgr(matrix: Matrix) -> npt.NDArray[np.float32]:
    to_bgr = _to_bgr(matrix).astype(np.float64)
    inverse = np.linalg.inv(to_bgr[:, :3])
    return np.hstack([inverse, -inverse @ to_bgr[:, 3:]]).astype(np.float32)
