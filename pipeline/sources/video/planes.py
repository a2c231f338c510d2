"""Planes: a picture → its bytes in memory and the form that tells what they mean → the same picture elsewhere.

Decoded video stays in the decoder's planes, and goes on to be converted as it would be in the process that decoded it.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np
import numpy.typing as npt
from av.video.frame import VideoFrame

from pipeline.json_values import JsonObject
from pipeline.picture.frame import ArrayPicture, Picture
from pipeline.sources.video.orientation import Orientation
from pipeline.sources.video.picture import VideoPicture, rows_of

Bytes = npt.NDArray[np.uint8]

_I420 = ("yuv420p", "yuvj420p")
_TAGS = ("colorspace", "color_range", "color_primaries", "color_trc")  # of a VideoFrame, which conversions look at


class Outgoing:
    """A picture as bytes: what it is made of, how much room it takes, and its form."""

    def __init__(self, picture: Picture) -> None:
        frame = picture.decoded if isinstance(picture, VideoPicture) else None
        self._arrays: list[npt.NDArray[np.uint8]]
        if isinstance(picture, VideoPicture) and frame is not None:
            # Without padding, 4:2:0 lies as I420 does, and need not be copied once more.
            is_i420 = frame.format.name in _I420
            self._arrays = [rows_of(plane)[:, : plane.width] if is_i420 else rows_of(plane) for plane in frame.planes]
            self.form: JsonObject = {
                "format": frame.format.name,
                "wh": (frame.width, frame.height),
                "planes": [array.shape for array in self._arrays],
                "tags": [int(getattr(frame, tag)) for tag in _TAGS],
                "flags": picture.orientation.flags,
                "aspect": picture.stored_pixel_aspect.as_integer_ratio(),
            }
        else:
            pixels = picture.pixels
            self._arrays = [pixels.reshape(len(pixels), -1)]
            self.form = {"format": None, "wh": picture.size_wh}
        self.num_bytes = sum(array.size for array in self._arrays)

    def write(self, memory: Bytes) -> None:
        """Copy it into memory, which has room for it."""
        begin = 0
        for array in self._arrays:
            memory[begin : begin + array.size].reshape(array.shape)[:] = array
            begin += array.size


def incoming(form: JsonObject, memory: Bytes, *, lend: Callable[[Bytes], None] | None = None) -> Picture:
    """The picture that was written there, copied. Raises ValueError, TypeError or KeyError for a form that is none.

    lend: takes an array in the memory that lives as long as the picture; then it is not copied, where it can be so.
    """
    width, height = (int(side) for side in form["wh"])
    if width < 1 or height < 1 or width * height > 8 * len(memory):  # as many as there are with one bit each
        raise ValueError(f"a picture of {width} × {height} does not fit into {len(memory)} bytes")
    if form["format"] is None:
        return ArrayPicture(memory[: 3 * width * height].reshape(height, width, 3).copy())
    return _video_picture(form, (width, height), memory, lend)


def _video_picture(
    form: JsonObject, size_wh: tuple[int, int], memory: Bytes, lend: Callable[[Bytes], None] | None
) -> Picture:
    shapes = [(int(rows), int(pitch)) for rows, pitch in form["planes"]]
    kind = str(form["format"])
    if lend is not None and _lies_as_i420(kind, size_wh, shapes):
        width, height = size_wh
        planes = memory[: 3 * width * height // 2].reshape(3 * height // 2, width)
        frame = VideoFrame.from_numpy_buffer(planes, format=kind)
        lend(planes)
    else:
        frame = VideoFrame(*size_wh, kind)
        _fill(frame, shapes, memory)
    for tag, value in zip(_TAGS, form["tags"], strict=True):
        setattr(frame, tag, int(value))
    aspect = Fraction(*(int(part) for part in form["aspect"]))
    return VideoPicture(frame, orientation=Orientation(*map(bool, form["flags"])), stored_pixel_aspect=aspect)


def _lies_as_i420(kind: str, size_wh: tuple[int, int], shapes: list[tuple[int, int]]) -> bool:
    """Whether PyAV takes the planes as one array; it drops rows unless their number is a multiple of 4."""
    width, height = size_wh
    half = (height // 2, width // 2)
    return kind in _I420 and width % 2 == 0 and height % 4 == 0 and shapes == [(height, width), half, half]


def _fill(frame: VideoFrame, shapes: list[tuple[int, int]], memory: Bytes) -> None:
    begin = 0
    for plane, (rows, pitch) in zip(frame.planes, shapes, strict=True):
        target, size = rows_of(plane), rows * pitch
        width = min(pitch, target.shape[1])  # of which only padding is left out
        target[:, :width] = memory[begin : begin + size].reshape(rows, pitch)[:, :width]
        begin += size
