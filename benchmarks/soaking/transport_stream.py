"""Transport stream: pictures → MPEG-TS by libav's muxer, and a camera that sends it over TCP."""

from __future__ import annotations

import fractions
import io

import av
from av.container import OutputContainer
from av.video.stream import VideoStream

from benchmarks.soaking.camera import Camera, CameraPicture, Viewer
from benchmarks.soaking.clip import FPS, clip

_TIME_BASE = fractions.Fraction(1, 90_000)
_WRAP = 2**33


class TransportStream:
    """A muxer that has its tables first; a picture is out as soon as it is in.

    It is begun anew where timestamps go back, which libav's muxer refuses.
    """

    _out: io.BytesIO
    _container: OutputContainer
    _stream: VideoStream
    _last_pts: int

    def __init__(self) -> None:
        self._begin()

    def pack(self, picture: CameraPicture) -> bytes:
        """The packets of a picture, and the tables where they are due."""
        pts = max(0, round(picture.seconds * 90_000)) % _WRAP
        if pts <= self._last_pts:
            self._begin()
        packet = av.Packet(picture.h264)
        packet.stream, packet.time_base = self._stream, _TIME_BASE
        packet.pts = packet.dts = self._last_pts = pts
        packet.is_keyframe = picture.is_key
        self._container.mux(packet)
        data = self._out.getvalue()
        self._out.seek(0)
        self._out.truncate()
        return data

    def _begin(self) -> None:
        self._out, self._last_pts = io.BytesIO(), -1
        with av.open(io.BytesIO(b"".join(clip().h264[:FPS])), format="h264") as template:
            self._container = av.open(self._out, "w", format="mpegts", options={"flush_packets": "1"})
            self._stream = self._container.add_stream_from_template(template.streams.video[0])
            self._stream.time_base = _TIME_BASE


class TcpCamera(Camera):
    """MPEG-TS to whoever connects, one muxer for each."""

    scheme = "tcp"

    def serve(self, viewer: Viewer) -> None:
        viewer.packed = TransportStream().pack
        self.add(viewer)
        while viewer.receive():
            pass
