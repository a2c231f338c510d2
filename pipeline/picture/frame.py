"""Frames: a picture with its source, number and time → pixels in the size and colour order that is needed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import cv2
import numpy as np
import numpy.typing as npt

PixelArray = npt.NDArray[np.uint8]
"""uint8 [H, W, 3]."""

ColourOrder = Literal["rgb", "bgr"]


class Picture(Protocol):
    """An image that can be had in the size and colour order that somebody needs.

    A decoded video picture is cheaper to convert straight to the size that the network wants
    than to convert in full and resize after; this protocol leaves that choice to the source.
    All methods may be called from several threads.
    """

    @property
    def size_wh(self) -> tuple[int, int]:
        """Width and height in pixels, upright (any rotation applied)."""

    @property
    def pixels(self) -> PixelArray:
        """uint8 [H, W, 3] BGR, read-only, converted at most once."""

    def copy_pixels(self) -> PixelArray:
        """uint8 [H, W, 3] BGR, a new array that the caller may draw on."""

    def resized(self, size_wh: tuple[int, int], *, colour: ColourOrder) -> PixelArray:
        """uint8 [h, w, 3] in that colour order, resized bilinearly; the caller must not write to it."""


class TimedPicture(NamedTuple):
    """What a source hands out: a picture, its media time, and its number where others were left out before it."""

    picture: Picture
    pts_seconds: float
    number: int | None = None  # None: the next one in turn
    image: str | None = None  # the file or address, of a picture that is an image of its own
    captured_at_seconds: float | None = None  # monotonic, where it is known to be older than now


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture of one source, never mutated.

    `index` counts the source's frames from 0; `pts_seconds` is media time; `captured_at_seconds`
    is the monotonic time at which the camera gave it, as far as its stream tells, else that at which the source handed
    it out. `image` is the file or address of a picture that is an
    image of its own; None for one of a video.
    """

    picture: Picture
    source_id: str
    index: int
    pts_seconds: float
    captured_at_seconds: float
    image: str | None = None

    @classmethod
    def from_pixels(
        cls,
        pixels: PixelArray,
        *,
        source_id: str = "",
        index: int = 0,
        pts_seconds: float = 0.0,
        captured_at_seconds: float = 0.0,
        image: str | None = None,
    ) -> Frame:
        """Make a frame of an array uint8 [H, W, 3] BGR, which is kept, not copied.

        Raises ValueError if the array has another dtype or shape, or no pixels.
        """
        return cls(ArrayPicture(pixels), source_id, index, pts_seconds, captured_at_seconds, image)

    @property
    def size_wh(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.picture.size_wh

    @property
    def pixels(self) -> PixelArray:
        """uint8 [H, W, 3] BGR, read-only."""
        return self.picture.pixels


class ArrayPicture:
    """A picture that is already an array uint8 [H, W, 3] BGR on the host."""

    __slots__ = ("_pixels",)

    def __init__(self, pixels: PixelArray) -> None:
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.size == 0:
            raise ValueError(
                f"pixels must be uint8 [H, W, 3] with at least one pixel, got {pixels.dtype} {list(pixels.shape)}"
            )
        view = pixels.view()
        view.flags.writeable = False
        self._pixels = view

    @property
    def size_wh(self) -> tuple[int, int]:
        return self._pixels.shape[1], self._pixels.shape[0]

    @property
    def pixels(self) -> PixelArray:
        return self._pixels

    def copy_pixels(self) -> PixelArray:
        return self._pixels.copy()

    def resized(self, size_wh: tuple[int, int], *, colour: ColourOrder) -> PixelArray:
        pixels = self._pixels
        if size_wh != self.size_wh:
            pixels = np.asarray(cv2.resize(pixels, size_wh, interpolation=cv2.INTER_LINEAR), np.uint8)  # [h, w, 3]
        if colour == "rgb":
            pixels = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), np.uint8)
        return pixels
