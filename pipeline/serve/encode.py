"""View encoder: results → H.264 fragments or JPEGs at view size, for sources whose own packets browsers cannot take."""

from __future__ import annotations

import cv2
from av.codec.context import CodecContext
from av.video.codeccontext import VideoCodecContext

from pipeline.picture.detections import RenderedFrame, Result
from pipeline.picture.frame import PixelArray
from pipeline.picture.i420 import HasI420
from pipeline.serve.remux import Remuxer, Segment
from pipeline.sinks.encoder import TICKS, Encoder

MOST_WH = (1280, 720)  # of a view, in pixels
_JPEG_QUALITY = 80


def view_wh(size_wh: tuple[int, int], most_wh: tuple[int, int] = MOST_WH) -> tuple[int, int]:
    """The size at which a picture is shown: not larger than `most_wh`, of the same shape, with even sides.

    >>> view_wh((1920, 1080)), view_wh((301, 200)), view_wh((1, 4000))
    ((1280, 720), (300, 200), (2, 720))
    """
    scale = min(1.0, *(most / side for most, side in zip(most_wh, size_wh, strict=True)))
    width, height = (max(2, int(side * scale + 1e-6) // 2 * 2) for side in size_wh)
    return width, height


class ViewEncoder:
    """Encodes what is watched, once for all viewers. One thread at a time."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._size_wh: tuple[int, int] | None = None  # of the source's pictures
        self._encoder: Encoder | None = None
        self._context: VideoCodecContext | None = None
        self._remuxer: Remuxer | None = None
        self._last_ticks = -1

    def encode(self, result: Result, pts_seconds: float) -> list[Segment]:
        """The fragments that are complete with this picture. A source that changes its size begins a new stream."""
        frame = result.frame
        if frame.size_wh != self._size_wh:
            self._size_wh, self._encoder = frame.size_wh, None
        item = RenderedFrame(result, _canvas(result))
        if self._encoder is None or self._context is None or self._remuxer is None:
            self._encoder, self._context = self._opened(item)
            self._remuxer = Remuxer("h264", b"")
        ticks = self._last_ticks = max(self._last_ticks + 1, round(pts_seconds * TICKS))
        segments = [
            self._remuxer.put(bytes(packet), (packet.pts or 0) / TICKS, is_keyframe=packet.is_keyframe)
            for packet in self._context.encode(self._encoder.picture(item, ticks))
        ]
        return [segment for segment in segments if segment is not None]

    def _opened(self, item: RenderedFrame) -> tuple[Encoder, VideoCodecContext]:
        encoder = Encoder(self._name)
        encoder.take_shape(item)
        context = CodecContext.create(encoder.codec, "w")
        context.options, context.framerate = encoder.options, encoder.rate
        encoder.set_up(context)
        return encoder, context


def jpeg_of(result: Result, *, is_drawn: bool = False) -> bytes:
    """A picture at view size as JPEG. is_drawn: with its boxes."""
    pixels = result.plot() if is_drawn else result.frame.pixels
    size_wh = view_wh(result.frame.size_wh)
    if size_wh != result.frame.size_wh:
        pixels = cv2.resize(pixels, size_wh, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    is_done, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    assert is_done
    return data.tobytes()


def _canvas(result: Result) -> PixelArray:
    """The picture as the encoder takes it: its own planes where it is not too large, else pixels at view size."""
    picture, size_wh = result.frame.picture, view_wh(result.frame.size_wh)
    if size_wh != result.frame.size_wh:
        return picture.resized(size_wh, colour="bgr")
    planes = picture.copy_i420() if isinstance(picture, HasI420) else None
    return result.frame.pixels if planes is None else planes  # type: ignore[return-value]
