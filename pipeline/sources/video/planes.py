"""Planes: a picture → its bytes in memory and the form that tells what they mean → the same picture elsewhere.

Decoded video stays in the decoder's planes, and goes on to be converted as it would be in the process that decoded it.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import numpy.typing as npt
from av.video.frame import VideoFrame

from pipeline.json_values import JsonObject
from pipeline.picture.frame import ArrayPicture, Picture
from pipeline.sources.video.orientation import Orientation
from pipeline.sources.video.picture import VideoPicture, rows_of

Bytes = npt.NDArray[np.uint8]

_TAGS = ("colorspace", "color_range", "color_primaries", "color_trc")  # of a VideoFrame, which conversions look at


class Outgoing:
    """A picture as bytes: what it is made of, how much room it takes, and its form."""

    def __init__(self, picture: Picture) -> None:
        frame = picture.decoded if isinstance(picture, VideoPicture) else None
        self._arrays: list[npt.NDArray[np.uint8]]
        if isinstance(picture, VideoPicture) and frame is not None:
            self._arrays = [rows_of(plane) for plane in frame.planes]
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


def incoming(form: JsonObject, memory: Bytes) -> Picture:
    """The picture that was written there, copied. Raises ValueError, TypeError or KeyError for a form that is none."""
    width, height = (int(side) for side in form["wh"])
    if width < 1 or height < 1 or width * height > 8 * len(memory):  # as many as there are with one bit each
        raise ValueError(f"a picture of {width} × {height} does not fit into {len(memory)} bytes")
    if form["format"] is None:
        return ArrayPicture(memory[: 3 * width * height].reshape(height, width, 3).copy())
    return _video_picture(form, (width, height), memory)


def _video_picture(form: JsonObject, size_wh: tuple[int, int], memory: Bytes) -> Picture:
    frame = VideoFrame(*size_wh, str(form["format"]))
    _fill(frame, [(int(rows), int(pitch)) for rows, pitch in form["planes"]], memory)
    for tag, value in zip(_TAGS, form["tags"], strict=True):
        setattr(frame, tag, int(value))
    aspect = Fraction(*(int(part) for part in form["aspect"]))
    return VideoPicture(frame, orientation=Orientation(*map(bool, form["flags"])), stored_pixel_aspect=aspect)


def _fill(frame: VideoFrame, shapes: list[tuple[int, int]], memory: Bytes) -> None:
    begin = 0
    for plane, (rows, pitch) in zip(frame.planes, shapes, strict=True):
        target, size = rows_of(plane), rows * pitch
        width = min(pitch, target.shape[1])  # of which only padding is left out
        target[:, :width] = memory[begin : begin + size].reshape(rows, pitch)[:, :width]
        begin += size
