"""Planes: a picture → its bytes in memory and the form that tells what they mean → the same picture elsewhere.

The form is that of a whole stream, as a rule, so it travels once and not with each picture.
Decoded video stays in the decoder's planes, and goes on to be converted as it would be in the process that decoded it.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from av.video.frame import VideoFrame

from pipeline.json_values import JsonObject
from pipeline.picture.frame import ArrayPicture, Picture
from pipeline.picture.pixel_aspect import SQUARE
from pipeline.sources.video.orientation import UPRIGHT, Orientation
from pipeline.sources.video.picture import VideoPicture, rows_of

Bytes = npt.NDArray[np.uint8]

_I420 = ("yuv420p", "yuvj420p")
_TAGS = ("colorspace", "color_range", "color_primaries", "color_trc")  # of a VideoFrame, which conversions look at


class Form(NamedTuple):
    """What the bytes of a picture mean.

    format: the decoder's, by libav's name; None: BGR, 3 bytes a pixel. size_wh: as decoded. plane_shapes: of each plane
    its rows and the bytes of one. tags: the values of `_TAGS`.
    """

    format: str | None
    size_wh: tuple[int, int]
    plane_shapes: tuple[tuple[int, ...], ...] = ()
    tags: tuple[int, ...] = ()
    orientation: Orientation = UPRIGHT
    pixel_aspect: Fraction = SQUARE  # before it is turned

    @classmethod
    def of_json(cls, content: JsonObject) -> Form:
        """The reverse of `as_json`. Raises ValueError, TypeError or KeyError for what is none."""
        width, height = (int(side) for side in content["wh"])
        if width < 1 or height < 1:
            raise ValueError(f"a picture of {width} × {height}")
        if content["format"] is None:
            return cls(None, (width, height))
        shapes = tuple((int(rows), int(pitch)) for rows, pitch in content["planes"])
        tags = tuple(int(tag) for tag in content["tags"])
        numerator, denominator = (int(part) for part in content["aspect"])
        if len(tags) != len(_TAGS) or min(numerator, denominator) < 1 or any(min(shape) < 1 for shape in shapes):
            raise ValueError(f"{len(tags)} tags, pixels of {numerator}:{denominator}, planes of {shapes}")
        is_transposed, is_mirrored_x, is_mirrored_y = (bool(flag) for flag in content["flags"])
        orientation = Orientation(is_transposed, is_mirrored_x, is_mirrored_y)
        return cls(str(content["format"]), (width, height), shapes, tags, orientation, Fraction(numerator, denominator))

    def as_json(self) -> JsonObject:
        """It in JSON types."""
        return {
            "format": self.format,
            "wh": self.size_wh,
            "planes": self.plane_shapes,
            "tags": self.tags,
            "flags": self.orientation.flags,
            "aspect": self.pixel_aspect.as_integer_ratio(),
        }

    def picture(self, memory: Bytes, *, lend: Callable[[Bytes], None] | None = None) -> Picture:
        """The picture that was written there, copied. Raises ValueError where it does not fit the form.

        lend: takes an array in the memory that lives as long as the picture; then it is not copied, where it can be so.
        """
        width, height = self.size_wh
        if width * height > 8 * len(memory):  # as many as there are with one bit each
            raise ValueError(f"a picture of {width} × {height} does not fit into {len(memory)} bytes")
        if self.format is None:
            return ArrayPicture(memory[: 3 * width * height].reshape(height, width, 3).copy())
        if lend is not None and self._lies_as_i420():
            planes = memory[: 3 * width * height // 2].reshape(3 * height // 2, width)
            frame = VideoFrame.from_numpy_buffer(planes, format=self.format)
            lend(planes)
        else:
            frame = VideoFrame(width, height, self.format)
            _fill(frame, self.plane_shapes, memory)
        for tag, value in zip(_TAGS, self.tags, strict=True):
            setattr(frame, tag, value)
        return VideoPicture(frame, orientation=self.orientation, stored_pixel_aspect=self.pixel_aspect)

    def _lies_as_i420(self) -> bool:
        """Whether PyAV takes the planes as one array; it drops rows unless their number is a multiple of 4."""
        width, height = self.size_wh
        half = (height // 2, width // 2)
        is_even = width % 2 == 0 and height % 4 == 0
        return self.format in _I420 and is_even and self.plane_shapes == ((height, width), half, half)


class Outgoing:
    """A picture as bytes: what it is made of, how much room it takes, and its form."""

    def __init__(self, picture: Picture) -> None:
        frame = picture.decoded if isinstance(picture, VideoPicture) else None
        self._arrays: list[npt.NDArray[np.uint8]]
        if isinstance(picture, VideoPicture) and frame is not None:
            # Without padding, 4:2:0 lies as I420 does, and need not be copied once more.
            is_i420 = frame.format.name in _I420
            self._arrays = [rows_of(plane)[:, : plane.width] if is_i420 else rows_of(plane) for plane in frame.planes]
            self.form = Form(
                frame.format.name,
                (frame.width, frame.height),
                tuple(array.shape for array in self._arrays),
                tuple(int(getattr(frame, tag)) for tag in _TAGS),
                picture.orientation,
                picture.stored_pixel_aspect,
            )
        else:
            pixels = picture.pixels
            self._arrays = [pixels.reshape(len(pixels), -1)]
            self.form = Form(None, picture.size_wh)
        self.num_bytes = sum(array.size for array in self._arrays)

    def write(self, memory: Bytes) -> None:
        """Copy it into memory, which has room for it."""
        begin = 0
        for array in self._arrays:
            memory[begin : begin + array.size].reshape(array.shape)[:] = array
            begin += array.size


def _fill(frame: VideoFrame, shapes: tuple[tuple[int, ...], ...], memory: Bytes) -> None:
    begin = 0
    for plane, (rows, pitch) in zip(frame.planes, shapes, strict=True):
        target, size = rows_of(plane), rows * pitch
        width = min(pitch, target.shape[1])  # of which only padding is left out
        target[:, :width] = memory[begin : begin + size].reshape(rows, pitch)[:, :width]
        begin += size
