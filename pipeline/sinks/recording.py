"""Recording: rendered frames → a video file that plays everywhere, even after the run was killed."""

from __future__ import annotations

import logging
from fractions import Fraction
from pathlib import Path
from typing import Literal

import av
import cv2
import numpy as np
import numpy.typing as npt
from av.codec.context import CodecContext, ThreadType
from av.container import OutputContainer
from av.error import FFmpegError
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType, VideoFrame
from av.video.reformatter import ColorRange, Colorspace
from av.video.stream import VideoStream

from pipeline.errors import SinkError
from pipeline.picture.detections import RenderedFrame
from pipeline.picture.frame import PixelArray
from pipeline.picture.i420 import I420, Matrix
from pipeline.picture.letterbox import Letterbox
from pipeline.picture.pixel_aspect import SQUARE, pixel_aspect_of
from pipeline.sinks.soundtrack import SoundSource, Soundtrack
from pipeline.sinks.writable import refuse_deleted, refuse_no_path, refuse_unwritable
from pipeline.whole_file import make_parents

logger = logging.getLogger(__name__)

Codec = Literal["libx264", "h264_nvenc", "libvpx-vp9"]
Preset = Literal["ultrafast", "superfast", "veryfast"]

CODECS: tuple[Codec, ...] = ("libx264", "h264_nvenc")

_FORMATS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
_TICKS = 90_000  # a second; exact for 24, 25, 29.97 (3003 ticks), 30, 50 and 60 frames/s
_KEYFRAME_TICKS = _TICKS  # a killed recording loses the frames after the last key frame
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


class Recording:
    """Writes rendered frames as H.264 or VP9, 4:2:0, in the first frame's size.

    A file's frames keep their media times, so that size, duration and a variable rate stay the source's; a live
    source's frames keep the times at which they were captured. An odd width or height is made even by repeating the
    last column or row; pixels that are not square stay so; later frames of another shape are fitted into the first
    one's. Planes are encoded as they are, in the colour matrix of the first frame; pixels become BT.601.

    path: .mp4, .mov (fragmented while written, so that a killed recording plays, and made an ordinary seekable file
    at the end), .mkv, or .webm, which takes VP9 instead and three times as long.
    frames_per_second: declared by the source; a hint for players, which moves no frame.
    preset: of libx264, ultrafast by default; veryfast takes twice as long for half the bytes, and slower ones gain
    nothing more without lookahead.
    sound: of the file whose frames are written; it is closed with the recording. Of a live source it is left out.
    Raises SinkError if it cannot be written there, or for a preset with another codec.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        frames_per_second: float | None = None,
        is_live: bool = False,
        codec: Codec = "libx264",
        preset: Preset | None = None,
        sound: SoundSource | None = None,
    ) -> None:
        refuse_no_path(path, "a recording")
        self._path = Path(path)
        if self._path.suffix.lower() not in _FORMATS:
            raise SinkError(f"{path}: a recording must end in {', '.join(_FORMATS)}, got {self._path.suffix!r}")
        if self._path.suffix.lower() == ".webm" and codec == "libx264":
            codec = "libvpx-vp9"
        elif self._path.suffix.lower() == ".webm":
            raise SinkError(f"{path}: a .webm takes VP9, got output.codec {codec}; leave that out, or end in .mp4")
        if preset is not None and codec != "libx264":
            raise SinkError(f"output.preset needs libx264, got {preset} with {codec}; leave it out")
        refuse_unwritable(self._path, "a recording")
        failure = encoder_failure(codec)
        if failure is not None:
            raise SinkError(f"{path}: cannot be recorded with {codec} on this machine: {failure}; use libx264")
        self._frames_per_second = frames_per_second
        self._is_live = is_live
        self._codec: Codec = codec
        self._options = CODEC_OPTIONS[codec] | ({} if preset is None else {"preset": preset})
        self._sound = sound
        self._soundtrack: Soundtrack | None = None
        self._container: OutputContainer | None = None
        self._stream: VideoStream | None = None
        self._size_wh = (0, 0)  # of the first frame
        self._pixel_aspect = SQUARE  # of the first frame
        self._matrix: Matrix = "bt601"  # of the first frame
        self._began_at_seconds = self._last_seconds = 0.0
        self._last_ticks = -1
        self._last_keyframe_ticks = -_KEYFRAME_TICKS
        self._has_resized = self._is_broken = False

    def write(self, item: RenderedFrame) -> None:
        """Encode a frame. Raises SinkError if it cannot be written; the file stays playable up to there."""
        frame = item.result.frame
        seconds = frame.captured_at_seconds if self._is_live else frame.pts_seconds
        try:
            if self._stream is None or self._container is None:
                self._began_at_seconds = seconds
                self._container, self._stream = self._open(item)
            ticks = max(self._last_ticks + 1, round((seconds - self._began_at_seconds) * _TICKS))
            self._container.mux(self._stream.encode(self._encodable(item, ticks)))
            self._last_ticks, self._last_seconds = ticks, seconds
            if self._soundtrack is not None:
                self._soundtrack.write_until(seconds)
        except (FFmpegError, OSError) as error:
            self._is_broken = True
            raise SinkError(f"{self._path}: cannot be written any further: {_reason(error)}") from error

    def close(self) -> None:
        """Finish the file. May be called more than once. Raises SinkError if the end cannot be written."""
        container, self._container = self._container, None
        try:
            self._finish(container)
        finally:
            if self._sound is not None:
                self._sound.close()

    def _finish(self, container: OutputContainer | None) -> None:
        if container is None or self._stream is None:
            return
        try:
            try:
                container.mux(self._stream.encode(None))
                if self._soundtrack is not None:
                    self._soundtrack.write_until(self._last_seconds + 1 / (self._frames_per_second or _ASSUMED_FPS))
                    self._soundtrack.close()
            finally:
                container.close()
        except (FFmpegError, OSError) as error:
            if not self._is_broken:  # else `write` has raised
                raise SinkError(f"{self._path}: its end cannot be written: {_reason(error)}") from error
        if not self._is_broken:
            refuse_deleted(self._path, "the recording")

    def _open(self, item: RenderedFrame) -> tuple[OutputContainer, VideoStream]:
        self._size_wh = item.size_wh
        self._pixel_aspect = pixel_aspect_of(item.result.frame.picture)
        if isinstance(item.canvas, I420):
            self._matrix = item.canvas.matrix
        file_format = _FORMATS[self._path.suffix.lower()]
        make_parents(self._path)
        container = av.open(str(self._path), "w", format=file_format, options=self._muxer_options(file_format))
        stream = self._add_stream(container)
        if self._sound is not None and not self._is_live:
            try:
                self._soundtrack = Soundtrack(self._sound, container, began_at_seconds=self._began_at_seconds)
            except (FFmpegError, ValueError) as error:
                logger.warning("%s: recorded without its sound: %s", self._path, _reason(error))
        return container, stream

    def _muxer_options(self, file_format: str) -> dict[str, str]:
        # Where the sound pauses, the pictures of half a second wait for it, not those of ten.
        options = {"flush_packets": "1", "max_interleave_delta": "500000"}
        if file_format in ("matroska", "webm"):
            return options
        # Hybrid alone writes its header with the first fragment; with these flags, a file plays from the first second.
        flags = "empty_moov+frag_keyframe+default_base_moof"
        if not self._is_live:  # its index of all frames would grow in memory for ever
            flags = "hybrid_fragmented+" + flags
        return options | {"movflags": flags, "video_track_timescale": str(_TICKS)}

    def _add_stream(self, container: OutputContainer) -> VideoStream:
        width, height = self._size_wh
        even_wh = (width + width % 2, height + height % 2)
        if even_wh != self._size_wh:
            logger.warning("%s: recorded as %d × %d, because video needs even sides", self._path, *even_wh)
        rate = Fraction(self._frames_per_second or _ASSUMED_FPS).limit_denominator(1001)
        stream = container.add_stream(self._codec, rate=rate, options=self._options)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = *even_wh, "yuv420p"
        context = stream.codec_context
        context.time_base = Fraction(1, _TICKS)
        if self._pixel_aspect != SQUARE:
            context.sample_aspect_ratio = self._pixel_aspect
        context.colorspace, context.color_range = _COLOUR_SPACES[self._matrix], _LIMITED
        # Slices: several threads on one frame. Frame threads, libav's choice, would each hold a frame back.
        context.thread_type = ThreadType.SLICE
        if width * height <= _ONE_THREAD_PIXELS:
            context.thread_count = 1
        return stream

    def _encodable(self, item: RenderedFrame, ticks: int) -> VideoFrame:
        """A frame for the encoder, shown at that tick; a key frame where the last one is a second old."""
        planes = self._planes(item)
        # PyAV 18 takes a buffer without copying, but drops rows unless their number is a multiple of 4.
        make_frame = VideoFrame.from_ndarray if len(planes) % 6 else VideoFrame.from_numpy_buffer
        picture = make_frame(planes, format="yuv420p")
        picture.pts, picture.time_base = ticks, Fraction(1, _TICKS)
        picture.colorspace, picture.color_range = _COLOUR_SPACES[self._matrix], _LIMITED
        if ticks - self._last_keyframe_ticks >= _KEYFRAME_TICKS:
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
            logger.warning("%s: frames of another size are fitted into %d × %d", self._path, *self._size_wh)
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
        context.time_base = Fraction(1, _TICKS)
        context.options = CODEC_OPTIONS[codec]
        context.open()
    except (FFmpegError, ValueError) as error:
        return _reason(error)
    return None


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or " ".join(str(error).split())
