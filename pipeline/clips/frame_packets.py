"""Frame packets: the frames of a source → packets of H.264 in a ring, where its own cannot be cut out."""

from __future__ import annotations

import io

import av
from av.error import FFmpegError
from av.video.stream import VideoStream

from pipeline.clips.ring import PacketRing
from pipeline.errors import SinkError
from pipeline.picture.detections import RenderedFrame, Result
from pipeline.picture.frame import PixelArray
from pipeline.picture.i420 import I420, HasI420
from pipeline.sinks.encoder import TICKS, Encoder, reason_of_libav
from pipeline.sources.packets import CodedStream


class FramePackets:
    """Encodes every frame as it comes, undrawn; a key frame a second. Another size begins another stream.

    name: of the source, in errors. frames_per_second: declared; a hint.
    """

    def __init__(self, ring: PacketRing, *, name: str, frames_per_second: float | None = None) -> None:
        self._ring, self._name, self._frames_per_second = ring, name, frames_per_second
        self._size_wh: tuple[int, int] | None = None
        self._encoder: Encoder | None = None
        self._stream: VideoStream | None = None
        self._last_ticks = -1

    def put(self, item: Result) -> None:
        """Encode a frame into the ring. Raises SinkError if it cannot be encoded."""
        rendered = RenderedFrame(item, _canvas(item))
        try:
            if self._encoder is None or self._stream is None or item.frame.size_wh != self._size_wh:
                self._size_wh = item.frame.size_wh
                self._encoder, self._stream = self._opened(rendered)
            self._last_ticks = max(self._last_ticks + 1, round(item.frame.pts_seconds * TICKS))
            for packet in self._stream.encode(self._encoder.picture(rendered, self._last_ticks)):
                self._ring.take(packet, float((packet.pts or 0) * packet.time_base))
        except (FFmpegError, OSError, ValueError) as error:
            raise SinkError(f"clips of {self._name}: cannot be encoded: {reason_of_libav(error)}") from error

    def _opened(self, item: RenderedFrame) -> tuple[Encoder, VideoStream]:
        """An encoder, and the stream that it writes, in a file in memory that gets none of its packets."""
        encoder = Encoder(f"clips of {self._name}", frames_per_second=self._frames_per_second)
        encoder.take_shape(item)
        container = av.open(io.BytesIO(), "w", format="matroska")
        stream = container.add_stream(encoder.codec, rate=encoder.rate, options=encoder.options)
        assert isinstance(stream, VideoStream)
        encoder.set_up(stream.codec_context)
        container.start_encoding()
        extradata = bytes(stream.codec_context.extradata or b"")
        self._ring.begin(CodedStream("h264", extradata, encoder.even_wh, parameters=stream))
        return encoder, stream


def _canvas(item: Result) -> PixelArray | I420:
    """The picture as the encoder takes it, on planes where it has them."""
    picture = item.frame.picture
    planes = picture.copy_i420() if isinstance(picture, HasI420) else None
    return item.frame.pixels if planes is None else planes
