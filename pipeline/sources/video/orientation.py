"""Orientation: a display matrix → one of eight ways to turn and mirror a decoded picture upright."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from av.sidedata.sidedata import SideDataContainer
from av.video.frame import VideoFrame

from pipeline.picture.frame import PixelArray

_TOLERANCE_DEGREES = 1.0  # as in FFmpeg

_WAYS: dict[tuple[bool, bool, bool], tuple[str, Callable[[PixelArray], cv2.typing.MatLike]]] = {
    (False, False, False): ("upright", lambda pixels: pixels),
    (False, True, False): ("mirrored left to right", lambda pixels: cv2.flip(pixels, 1)),
    (False, False, True): ("mirrored top to bottom", lambda pixels: cv2.flip(pixels, 0)),
    (False, True, True): ("turned by 180°", lambda pixels: cv2.rotate(pixels, cv2.ROTATE_180)),
    (True, False, True): (
        "turned by 90° counter-clockwise",
        lambda pixels: cv2.rotate(pixels, cv2.ROTATE_90_COUNTERCLOCKWISE),
    ),
    (True, True, False): ("turned by 90° clockwise", lambda pixels: cv2.rotate(pixels, cv2.ROTATE_90_CLOCKWISE)),
    (True, False, False): ("turned by 90° clockwise and mirrored left to right", cv2.transpose),
    (True, True, True): (
        "turned by 90° clockwise and mirrored top to bottom",
        lambda pixels: cv2.flip(cv2.transpose(pixels), -1),
    ),
}
"""By the flags of `Orientation`: its name, and the function that applies it."""


@dataclass(frozen=True, slots=True)
class Orientation:
    """The steps that make a picture upright: its rows become columns, then it is mirrored.

    odd_degrees: by how much the display matrix turns beyond the nearest quarter turn, which is left out.
    """

    is_transposed: bool = False
    is_mirrored_x: bool = False  # left and right change places, after the transposition
    is_mirrored_y: bool = False
    odd_degrees: float = 0.0

    @classmethod
    def of(cls, frame: VideoFrame) -> Orientation:
        """That of a frame's display matrix, from its container or its bitstream; upright where there is none."""
        try:
            # Not frame.side_data, which the frame keeps: each would hold the other, and the picture
            # would stay in memory until their cycle is collected, hundreds of pictures later.
            matrix = SideDataContainer(frame)["DISPLAYMATRIX"]  # type: ignore[call-arg]
        except KeyError:
            return UPRIGHT
        except ValueError:  # PyAV before 19 gives no side data of a frame that has some of a kind unknown to it
            quarters = round(frame.rotation / 90) % 4
            return (UPRIGHT, COUNTER_CLOCKWISE, UPSIDE_DOWN, CLOCKWISE)[quarters]
        return cls.from_matrix(np.frombuffer(bytes(matrix), np.int32).tolist())

    @classmethod
    def from_matrix(cls, matrix: list[int]) -> Orientation:
        """Of FFmpeg's display matrix, 9 numbers: x' = m[0] x + m[3] y, y' = m[1] x + m[4] y, x right, y down."""
        a, b, _, c, d, *_ = matrix
        if a * d == b * c:  # it maps the picture to a line or a point
            return UPRIGHT
        degrees = math.degrees(math.atan2(b, a))
        odd_degrees = degrees - 90 * round(degrees / 90)
        if abs(odd_degrees) <= _TOLERANCE_DEGREES:
            odd_degrees = 0.0
        if abs(b) + abs(c) > abs(a) + abs(d):
            return cls(True, c < 0, b < 0, odd_degrees)
        return cls(False, a < 0, d < 0, odd_degrees)

    def __str__(self) -> str:
        return _WAYS[self.flags][0]

    @property
    def is_upright(self) -> bool:
        """Whether a picture stays as it is."""
        return not any(self.flags)

    @property
    def flags(self) -> tuple[bool, bool, bool]:
        """Whether it is transposed, mirrored in x, mirrored in y."""
        return self.is_transposed, self.is_mirrored_x, self.is_mirrored_y

    def apply(self, pixels: PixelArray) -> PixelArray:
        """[H, W] or [H, W, C] as decoded → upright; the same array if it is upright."""
        return np.asarray(_WAYS[self.flags][1](pixels), np.uint8)

    def apply_wh(self, size_wh: tuple[int, int]) -> tuple[int, int]:
        """A size as decoded → upright, and back."""
        return size_wh[::-1] if self.is_transposed else size_wh


UPRIGHT = Orientation()
COUNTER_CLOCKWISE = Orientation(True, False, True)
UPSIDE_DOWN = Orientation(False, True, True)
CLOCKWISE = Orientation(True, True, False)
