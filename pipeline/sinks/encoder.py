"""Encoder: rendered frames of whatever size → pictures for an encoder, all in the size of the first.

What a recording and a network stream have in common; the packets and where they go are theirs.
"""

from __future__ import annotations

import logging
from fractions import Fraction
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt
from av.codec.context import CodecContext, ThreadType
from av.error import FFmpegError
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType, VideoFrame
from av.video.reformatter import ColorRange, Colorspace

from pipeline.errors import SinkError
from pipeline.picture.detections import RenderedFrame
from pipeline.picture.frame import PixelArray
from pipeline.picture.i420 import I420, Matrix
from pipeline.picture.letterbox import Letterbox
from pipeline.picture.pixel_aspect import SQUARE, pixel_aspect_of

logger = logging.getLogger(__name__)

Codec = Literal["libx264", "h264_nvenc", "libvpx-vp9"]
Preset = Literal["ultrafast", "superfast", "veryfast"]

CODECS: tuple[Codec, ...] = ("libx264", "h264_nvenc")
TICKS = 90_000  # a second; exact for 24, 25, 29.97 (3003 ticks), 30, 50 and 60 frames/s
TIME_BASE = Fraction(1, TICKS)

_KEYFRAME_TICKS = TICKS  # how far apart key frames are, at which players and viewers can begin
# One thread up to 1080p: there ultrafast takes 4 ms a frame, and more threads only add to its CPU time.
_ONE_THREAD_PIXELS = 1920 * 1088
CODEC_OPTIONS: dict[Codec, dict[str, str]] = {
    "libx264": {"preset": "ultrafast", "tune": "zerolatency", "crf": "26", "forced-idr": "1", "g": "100000"},
    "h264_nvenc": {"preset": "p4", "tune": "ll", "rc": "vbr", "cq": "23", "forced-idr": "1", "g": "100000"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8", "row-mt": "1", "crf": "33", "b": "0", "g": "100000"},
}
_LIMITED = 1  # AVColorRange
_ASSUMED_FPS = 30.0  # a hint for players where the source declares no rate
_COLOUR_SPACES: dict[Matrix, int] = {"bt709": 1, "bt601": 6}  # AVColorSpace: BT.709, SMPTE 170M


class Encoder:
    """Fits rendered frames to one encoder: 4:2:0, in the first frame's size, a key frame a second.

    An odd width or height is made even by repeating the last column or row; pixels that are not square stay so; later
    frames of another shape are fitted into the first one's. Planes are encoded as they are, in the colour matrix of
    the first frame; pixels become BT.601.

    name: of the output, in logs and errors. frames_per_second: declared; a hint, which moves no frame.
    preset: of libx264, ultrafast by default.
    Raises SinkError for a preset with another codec, and for a codec that does not work on this machine.
    """

    def __init__(
        self,
        name: str,
        *,
        frames_per_second: float | None = None,
        codec: Codec = "libx264",
        preset: Preset | None = None,
    ) -> None:
        if preset is not None and codec != "libx264":
            raise SinkError(f"output.preset needs libx264, got {preset} with {codec}; leave it out")
        failure = encoder_failure(codec)
        if failure is not None:
            raise SinkError(f"{name}: cannot be encoded with {codec} on this machine: {failure}; use libx264")
        self.codec: Codec = codec
        self.options = CODEC_OPTIONS[codec] | ({} if preset is None else {"preset": preset})
        self.rate = Fraction(frames_per_second or _ASSUMED_FPS).limit_denominator(1001)
        self._name = name
        self._size_wh = (0, 0)  # of the first frame
        self._pixel_aspect = SQUARE  # of the first frame
        self._matrix: Matrix = "bt601"  # of the first frame
        self._last_keyframe_ticks = -_KEYFRAME_TICKS
        self._has_resized = False

    @property
    def even_wh(self) -> tuple[int, int]:
        """Width and height of what is encoded, in pixels."""
        width, height = self._size_wh
        return width + width % 2, height + height % 2

    def take_shape(self, item: RenderedFrame) -> None:
        """Take the size, the pixel aspect and the colour matrix of the first frame."""
        self._size_wh = item.size_wh
        self._pixel_aspect = pixel_aspect_of(item.result.frame.picture)
        if isinstance(item.canvas, I420):
            self._matrix = item.canvas.matrix
        if self.even_wh != self._size_wh:
            logger.warning("%s: encoded as %d × %d, because video needs even sides", self._name, *self.even_wh)

    def set_up(self, context: VideoCodecContext) -> None:
        """Set an encoder that is not open yet to the shape that was taken."""
        context.width, context.height = self.even_wh
        context.pix_fmt, context.time_base = "yuv420p", TIME_BASE
        if self._pixel_aspect != SQUARE:
            context.sample_aspect_ratio = self._pixel_aspect
        context.colorspace, context.color_range = _COLOUR_SPACES[self._matrix], _LIMITED
        # Slices: several threads on one frame. Frame threads, libav's choice, would each hold a frame back.
        context.thread_type = ThreadType.SLICE
        if self._size_wh[0] * self._size_wh[1] <= _ONE_THREAD_PIXELS:
            context.thread_count = 1

    def picture(self, item: RenderedFrame, ticks: int, *, as_keyframe: bool = False) -> VideoFrame:
        """A frame to encode, shown at that tick; a key frame if asked for, or if the last one is a second old."""
        planes = self._planes(item)
        # PyAV 18 takes a buffer without copying, but drops rows unless their number is a multiple of 4.
        make_frame = VideoFrame.from_ndarray if len(planes) % 6 else VideoFrame.from_numpy_buffer
        picture = make_frame(planes, format="yuv420p")
        picture.pts, picture.time_base = ticks, TIME_BASE
        picture.colorspace, picture.color_range = _COLOUR_SPACES[self._matrix], _LIMITED
        if as_keyframe or ticks - self._last_keyframe_ticks >= _KEYFRAME_TICKS:
            picture.pict_type = PictureType.I
            self._last_keyframe_ticks = ticks
        return picture

    def _planes(self, item: RenderedFrame) -> npt.NDArray[np.uint8]:
        """[H' * 3 / 2, W'] Y, U and V in the recording's size and colour matrix, H' and W' even."""
        canvas = item.canvas
        pixel_aspect = pixel_aspect_of(item.result.frame.picture)
        is_fitting = item.size_wh == self._size_wh and pixel_aspect == self._pixel_aspect
        if isinstance(canvas, I420) and is_fitting and canvas.matrix == self._matrix:
            return canvas.planes
        return self._converted(item.pixels if is_fitting else self._fitted(item.pixels, pixel_aspect))

    def _converted(self, pixels: PixelArray) -> npt.NDArray[np.uint8]:
        """[H' * 3 / 2, W'] Y, U and V of BGR pixels [H, W, 3], the last row and column repeated to even sides."""
        height, width = pixels.shape[:2]
        if width % 2 or height % 2:
            pixels = np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        if self._matrix == "bt601":
            return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2YUV_I420), np.uint8)
        # Rare: a source began with planes, and continued in another size or without them.
        converted = VideoFrame.from_ndarray(pixels, format="bgr24").reformat(
            format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
        )
        return np.asarray(converted.to_ndarray(), np.uint8)

    def _fitted(self, pixels: PixelArray, pixel_aspect: Fraction) -> PixelArray:
        """A picture of another shape → one of the recording's size and pixel aspect, with black bars."""
        if not self._has_resized:
            self._has_resized = True
            logger.warning("%s: frames of another size are fitted into %d × %d", self._name, *self._size_wh)
        height, width = pixels.shape[:2]
        shown_width = max(1, round(width * pixel_aspect / self._pixel_aspect))
        box = Letterbox.fit((shown_width, height), self._size_wh, "letterbox-center")
        fitted = np.zeros((self._size_wh[1], self._size_wh[0], 3), np.uint8)
        fitted[box.content_window] = cv2.resize(pixels, box.content_wh, interpolation=cv2.INTER_AREA)
        return fitted


def encoder_failure(codec: Codec) -> str | None:
    """Why an encoder does not work on this machine, by opening it; None if it works."""
    try:
        context = CodecContext.create(codec, "w")
        assert isinstance(context, VideoCodecContext)
        context.width, context.height, context.pix_fmt = 256, 256, "yuv420p"
        context.time_base = TIME_BASE
        context.options = CODEC_OPTIONS[codec]
        context.open()
    except (FFmpegError, ValueError) as error:
        return reason_of_libav(error)
    return None


def reason_of_libav(error: Exception) -> str:
    """What libav or the system says went wrong, in one line, without the number and the file."""
    return getattr(error, "strerror", None) or " ".join(str(error).split())
