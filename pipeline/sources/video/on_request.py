"""Pictures on request: the coded packets of a stream → those of its pictures that somebody looks at, decoded then.

What nobody looks at is not decoded. Whoever looks at one picture pays for those from the key frame before it on, and
whoever looks at all of them, in their order, pays for each once.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from fractions import Fraction
from typing import cast

import av
import av.error
from av.codec.context import ThreadType
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from pipeline.sources.packets import CodedPacket, CodedStream
from pipeline.sources.video.picture import VideoPicture

_TICKS = 1_000_000  # a second
_MOST_KEPT = 8  # decoded pictures, because several threads may look at neighbours
_SOON = 8  # packets that are decoded on to the next key frame, instead of beginning there
_KEPT_SECONDS = 3.0  # of packets before the newest


@dataclass(slots=True)
class Gop:
    """The packets from one key frame up to the next, with the times of their pictures; it grows as they are read."""

    stretch: Stretch
    begin_ticks: int
    packets: list[tuple[bytes, int]] = field(default_factory=list)  # data and time, in decoding order
    following: Gop | None = None  # of the same stretch

    def nearest(self, seconds: float) -> int:
        """The time in ticks of its picture that is nearest, with those of the next GOP that are shown before it."""
        times = [ticks for _, ticks in list(self.packets) if ticks >= self.begin_ticks]
        if self.following is not None:
            times += [ticks for _, ticks in list(self.following.packets) if ticks < self.following.begin_ticks]
        return min(times, key=lambda ticks: abs(ticks - seconds * _TICKS))

    def picture(self, seconds: float) -> VideoPicture | None:
        """Its picture nearest to that time, upright; None where none can be decoded. From any thread."""
        return self.stretch.picture(self, self.nearest(seconds))


class PicturesOnRequest:
    """Hears packets, and has the GOPs of the last seconds; a GOP lives as long as somebody holds it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._gops: deque[Gop] = deque()
        self._stretch: Stretch | None = None
        self._newest: Gop | None = None  # of this stretch

    def begin(self, stream: CodedStream) -> None:
        with self._lock:
            self._stretch, self._newest = Stretch(stream), None

    def take(self, packet: CodedPacket, pts_seconds: float | None) -> None:
        if pts_seconds is None or self._stretch is None:
            return
        ticks = round(pts_seconds * _TICKS)
        with self._lock:
            if packet.is_keyframe:
                gop = Gop(self._stretch, ticks)
                if self._newest is not None:
                    self._newest.following = gop
                self._gops.append(gop)
                self._newest = gop
            if self._newest is not None:
                self._newest.packets.append((bytes(packet), ticks))
            while len(self._gops) > 2 and self._gops[1].begin_ticks < ticks - _KEPT_SECONDS * _TICKS:
                self._gops.popleft()

    def gop_at(self, seconds: float) -> Gop | None:
        """The GOP of the picture that is shown at that time; None where its packets have not been heard."""
        ticks = round(seconds * _TICKS)
        with self._lock:
            return next((gop for gop in reversed(self._gops) if gop.begin_ticks <= ticks), None)


class Stretch:
    """Decodes the pictures of one connection, with one decoder that goes on where it can."""

    def __init__(self, stream: CodedStream) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._decoder: VideoCodecContext | None = None
        self._gop: Gop | None = None  # of the next packet
        self._next = 0
        self._last_ticks = -1  # of the picture that the decoder gave last
        self._decoded: OrderedDict[int, VideoPicture] = OrderedDict()

    def picture(self, gop: Gop, ticks: int) -> VideoPicture | None:
        """The picture of a GOP at a time, or the one decoded after it where it is lost, or the last before."""
        with self._lock:
            if ticks not in self._decoded:
                if not self._comes(gop, ticks):
                    self._begin_at(gop)
                self._decode_to(ticks)
            later = [other for other in self._decoded if other >= ticks]
            earlier = [other for other in self._decoded if gop.begin_ticks <= other < ticks]
            chosen = min(later, default=None) if later else max(earlier, default=None)
            return None if chosen is None else self._decoded[chosen]

    def _comes(self, gop: Gop, ticks: int) -> bool:
        """Whether a picture comes soon if the decoder goes on."""
        current = self._gop
        if current is None or self._last_ticks >= ticks:
            return False
        if current is gop or current is gop.following:
            return True
        return current.following is gop and len(current.packets) - self._next <= _SOON

    def _begin_at(self, gop: Gop) -> None:
        if self._decoder is None:
            self._decoder = _decoder_of(self._stream)
        else:
            self._decoder.flush_buffers()
        self._gop, self._next, self._last_ticks = gop, 0, -1
        self._decoded.clear()

    def _decode_to(self, ticks: int) -> None:
        """Decode until a picture of that time or of a later one has come, or nothing more does."""
        while self._last_ticks < ticks and self._gop is not None:
            if self._next < len(self._gop.packets):
                data, packet_ticks = self._gop.packets[self._next]
                self._next += 1
                packet = cast("Packet[VideoStream]", Packet(data))
                packet.pts, packet.time_base = packet_ticks, Fraction(1, _TICKS)
                self._keep(packet)
            elif self._gop.following is not None:
                self._gop, self._next = self._gop.following, 0
            else:
                self._keep(None)  # what it holds back; then it must begin anew
                self._gop = None

    def _keep(self, packet: Packet[VideoStream] | None) -> None:
        assert self._decoder is not None
        try:
            frames: list[VideoFrame] = self._decoder.decode(packet)
        except (av.error.FFmpegError, EOFError):
            return  # as damaged as for whoever decodes all of it
        for frame in frames:
            ticks = self._last_ticks + 1 if frame.pts is None else frame.pts
            self._decoded[ticks] = VideoPicture(frame, stored_pixel_aspect=_pixel_aspect(self._decoder))
            self._last_ticks = max(self._last_ticks, ticks)
            while len(self._decoded) > _MOST_KEPT:
                self._decoded.popitem(last=False)


def _decoder_of(stream: CodedStream) -> VideoCodecContext:
    decoder = VideoCodecContext.create(stream.codec, "r")
    assert isinstance(decoder, VideoCodecContext)
    decoder.extradata = stream.extradata or None
    decoder.thread_type, decoder.thread_count = ThreadType.SLICE, min(4, os.cpu_count() or 1)  # frames would be held
    return decoder


def _pixel_aspect(decoder: VideoCodecContext) -> Fraction:
    ratio = decoder.sample_aspect_ratio
    return Fraction(ratio.numerator, ratio.denominator) if ratio else Fraction(1)
