"""Video picture: a decoded frame → pixels, resized pixels or planes, upright, in the colour order of the caller.

For the network, the planes are resized as they were decoded and only the small picture is converted: for 1080p that
costs less than half of converting in full and resizing after, and equals the result of `cv2.resize`.
"""

from __future__ import annotations

import threading
from fractions import Fraction
from functools import cache
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt
from av.video.format import VideoFormat
from av.video.frame import VideoFrame
from av.video.plane import VideoPlane
from av.video.reformatter import Colorspace, Interpolation, VideoReformatter

from pipeline.errors import SourceError
from pipeline.picture.frame import ArrayPicture, ColourOrder, PixelArray
from pipeline.picture.gate.luma import LumaArray
from pipeline.picture.i420 import I420, Matrix
from pipeline.picture.nv12 import BT601, BT709, BT2020, LumaWeights, Nv12, yuv_to_bgr
from pipeline.picture.pixel_aspect import SQUARE
from pipeline.sources.video.orientation import Orientation

# A context of swscale is costly to set up and serves one conversion at a time: one per thread, size and format.
_contexts = threading.local()

_UNTAGGED, _SMPTE170M, _BT2020_CONSTANT = 2, 6, 10  # AVColorSpace
_FULL_RANGE = 2  # AVColorRange
_MATRICES: dict[int, Matrix] = {Colorspace.ITU709: "bt709", Colorspace.ITU601: "bt601"}
# Formats with U and V interleaved, which GPUs decode to → formats with the same samples in separate planes, which
# processors decode to. No value changes, so that all that follows is the same, pixel by pixel.
_PLANAR = {
    "nv12": "yuv420p",
    "nv21": "yuv420p",
    "nv16": "yuv422p",
    "nv24": "yuv444p",
    "nv42": "yuv444p",
    "p010le": "yuv420p10le",
    "p012le": "yuv420p12le",
    "p016le": "yuv420p16le",
}
_LUMA_WEIGHTS: dict[int, LumaWeights] = {
    Colorspace.ITU709: BT709,
    Colorspace.ITU601: BT601,
    Colorspace.FCC: LumaWeights(kr=0.30, kb=0.11),
    Colorspace.SMPTE240M: LumaWeights(kr=0.212, kb=0.087),
    Colorspace.BT2020: BT2020,
}


class VideoPicture:
    """A picture in the decoder's format, converted when it is used; upright, however it was filmed."""

    __slots__ = ("_frame", "_lock", "_orientation", "_pixels", "_planar", "pixel_aspect", "size_wh")

    def __init__(
        self, frame: VideoFrame, *, orientation: Orientation | None = None, stored_pixel_aspect: Fraction = SQUARE
    ) -> None:
        self._frame = frame
        self._lock = threading.Lock()
        self._pixels: PixelArray | None = None
        self._planar: VideoFrame | None = None
        self._orientation = Orientation.of(frame) if orientation is None else orientation
        self.size_wh = self._orientation.apply_wh((frame.width, frame.height))
        self.pixel_aspect = 1 / stored_pixel_aspect if self._orientation.is_transposed else stored_pixel_aspect

    @property
    def decoded(self) -> VideoFrame | None:
        """The frame in separate rows of samples, as it was decoded; None for one with a palette."""
        return None if self._frame.format.has_palette else self._frame

    @property
    def orientation(self) -> Orientation:
        """How the frame is turned to be upright."""
        return self._orientation

    @property
    def stored_pixel_aspect(self) -> Fraction:
        """Width over height of the frame's pixels, before it is turned."""
        return 1 / self.pixel_aspect if self._orientation.is_transposed else self.pixel_aspect

    @property
    def pixels(self) -> PixelArray:
        with self._lock:
            if self._pixels is None:
                self._pixels = self._to_bgr()
                self._pixels.flags.writeable = False
            return self._pixels

    def copy_pixels(self) -> PixelArray:
        with self._lock:
            if self._pixels is not None:
                return self._pixels.copy()
            pixels = self._to_bgr()
        # Frames that are decoded to BGR are not converted: these are the decoder's own pixels.
        return pixels.copy() if self._frame.format.name == "bgr24" else pixels

    def resized(self, size_wh: tuple[int, int], *, colour: ColourOrder) -> PixelArray:
        with self._lock:
            frame = self._in_planes()
        if size_wh == self.size_wh or not _bytes_a_sample(frame.format.name):
            return ArrayPicture(self.pixels).resized(size_wh, colour=colour)
        small = _resized(frame, self._orientation.apply_wh(size_wh))
        return self._orientation.apply(_converted(small, colour, tags_of=self._frame))

    def luma(self, step: int) -> LumaArray | None:
        kind = self._frame.format.name
        num_bytes = 1 if kind in _PLANAR and kind.startswith("nv") else _bytes_a_sample(kind)
        frame = self._frame
        if kind in _PLANAR and not num_bytes:  # whose 16 bits are filled from the top
            with self._lock:
                frame, num_bytes = self._in_planes(), 2
        if not num_bytes:
            return None
        samples = rows_of(frame.planes[0]).view(f"u{num_bytes}")[:, : frame.width]
        rows = samples[:, ::step] if self._orientation.is_transposed else samples[::step]
        if num_bytes == 2:
            rows = (rows >> (frame.format.components[0].bits - 8)).astype(np.uint8)
        return self._orientation.apply(rows)

    def nv12(self) -> Nv12:
        kind = self._frame.format.name
        if kind not in ("yuv420p", "yuvj420p", "nv12"):
            raise SourceError(
                f"the model takes NV12 planes, 8 bits in 4:2:0, got {kind} from this video; "
                "export the model with --pixels packed"
            )
        height, width = self._frame.height, self._frame.width
        planes = [rows_of(plane) for plane in self._frame.planes]  # [rows, bytes of a row with its padding]
        if kind == "nv12":
            y, uv = planes
        else:
            halves = [plane[:, : (width + 1) // 2] for plane in planes[1:]]
            y, uv = planes[0], np.asarray(cv2.merge(halves), np.uint8)  # [H / 2, W / 2, 2]
        if not self._orientation.is_upright:
            pairs = uv.reshape(len(uv), -1)[:, : width + width % 2].reshape(len(uv), -1, 2)
            y, uv = self._orientation.apply(y[:height, :width]), self._orientation.apply(pairs)
        return Nv12(y.reshape(1, len(y), -1), uv.reshape(1, len(uv), -1), self.size_wh, colours_of(self._frame))

    def copy_i420(self) -> I420 | None:
        width, height = self._frame.width, self._frame.height
        with self._lock:
            matrix, is_limited = _MATRICES.get(_matrix(self._frame)), self._frame.color_range != _FULL_RANGE
            frame = self._in_planes()
        if frame.format.name != "yuv420p" or matrix is None or not is_limited or width % 2 or height % 2:
            return None
        copy = I420.empty(self.size_wh, matrix)
        for target, plane in zip(copy.yuv, frame.planes, strict=True):
            target[:] = self._orientation.apply(rows_of(plane)[:, : plane.width])
        return copy

    def _to_bgr(self) -> PixelArray:
        return self._orientation.apply(_converted(self._in_planes(), "bgr", tags_of=self._frame))

    def _in_planes(self) -> VideoFrame:
        """The frame with separate planes: swscale converts interleaved U and V less exactly."""
        kind = self._frame.format.name
        if kind not in _PLANAR:
            return self._frame
        if self._planar is None:
            # With more threads, swscale sometimes leaves a slice unconverted.
            self._planar = self._frame.reformat(format=_PLANAR[kind], threads=1)
        return self._planar


def colours_of(frame: VideoFrame) -> npt.NDArray[np.float32]:
    """The coefficients from a frame's Y, U and V to B, G, R, by its tags; see `yuv_to_bgr`."""
    full_range = frame.color_range == _FULL_RANGE or frame.format.name.startswith("yuvj")
    return yuv_to_bgr(_LUMA_WEIGHTS.get(_matrix(frame), BT601), full_range=full_range)


def _converted(frame: VideoFrame, colour: ColourOrder, *, tags_of: VideoFrame) -> PixelArray:
    """uint8 [H, W, 3]: a view into a new buffer, or into the frame's own if it is in that format already.

    The frame's tags are changed meanwhile: no two threads may convert the same frame at once.
    """
    key = (frame.width, frame.height, frame.format.name, colour)
    contexts: dict[tuple[int, int, str, str], VideoReformatter] = _contexts.__dict__.setdefault("by_key", {})
    if key not in contexts:
        contexts[key] = VideoReformatter()
    converted = contexts[key].reformat(
        frame,
        format=f"{colour}24",
        src_colorspace=_matrix(tags_of),
        src_color_range=tags_of.color_range,
        interpolation=Interpolation.BILINEAR,
        threads=1,
    )
    rows = rows_of(converted.planes[0])  # [H, at least 3 W]
    return rows[:, : 3 * frame.width].reshape(frame.height, frame.width, 3)


def _matrix(frame: VideoFrame) -> int:
    """The colour matrix as swscale numbers it; untagged, HD is BT.709 and the rest BT.601."""
    if frame.colorspace == _UNTAGGED:
        return Colorspace.ITU709 if frame.height >= 720 else Colorspace.ITU601
    return {_SMPTE170M: Colorspace.ITU601, _BT2020_CONSTANT: Colorspace.BT2020}.get(frame.colorspace, frame.colorspace)


def _resized(frame: VideoFrame, size_wh: tuple[int, int]) -> VideoFrame:
    """The frame in another size and the same format; the planes are resized one by one."""
    sample_type: np.dtype[np.integer] = np.dtype(f"u{_bytes_a_sample(frame.format.name)}")
    small = VideoFrame(*size_wh, frame.format.name)
    for source, target in zip(frame.planes, small.planes, strict=True):
        cv2.resize(
            rows_of(source).view(sample_type)[:, : source.width],
            (target.width, target.height),
            dst=rows_of(target).view(sample_type)[:, : target.width],
            interpolation=cv2.INTER_LINEAR,
        )
    return small


@cache
def _bytes_a_sample(format_name: str) -> Literal[0, 1, 2]:
    """1 or 2 for a format with separate planes; 0 for the others."""
    frame_format = VideoFormat(format_name, 16, 16)
    components = frame_format.components
    if frame_format.has_palette or frame_format.is_big_endian or len({c.plane for c in components}) < len(components):
        return 0
    bits = {component.bits for component in components}
    return 1 if bits == {8} else 2 if bits <= set(range(9, 17)) else 0


def rows_of(plane: VideoPlane) -> PixelArray:
    """The bytes of a plane, uint8 [H, bytes of a row with its padding], top row first; a view if they lie that way."""
    rows = np.frombuffer(plane, np.uint8).reshape(plane.height, abs(plane.line_size))  # type: ignore[call-overload]
    return rows if plane.line_size > 0 else np.ascontiguousarray(rows[::-1])
