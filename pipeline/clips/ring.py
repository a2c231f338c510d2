"""Packet ring: the packets of a source → those of the last seconds, from a key frame on, in bounded memory.

One thread puts packets in, another takes spans out; neither waits for the other.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from pipeline.sources.packets import CodedPacket, CodedStream


@dataclass(frozen=True, slots=True)
class StampedPacket:
    """A coded picture, and its media time."""

    data: bytes
    pts_seconds: float
    is_keyframe: bool


@dataclass(frozen=True, slots=True)
class PacketSpan:
    """Packets of one stream in decoding order; the first is a key frame."""

    stream: CodedStream
    packets: Sequence[StampedPacket]
    is_cut_short: bool  # whether the beginning is missing, because memory was short


@dataclass(slots=True)
class _Stretch:
    """The packets of one connection."""

    stream: CodedStream
    packets: deque[StampedPacket] = field(default_factory=deque)
    is_cut_short: bool = False


class PacketRing:
    """Packets of the newest stretches of a source. most_bytes: of their data; beyond it the oldest GOPs go."""

    def __init__(self, *, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        self._stretches: deque[_Stretch] = deque()
        self._num_bytes = 0
        self.has_times = True

    @property
    def num_bytes(self) -> int:
        """What the packets take now."""
        return self._num_bytes

    def begin(self, stream: CodedStream) -> None:
        """A stream begins, whose packets refer to nothing before. From the thread that reads."""
        with self._lock:
            self._stretches.append(_Stretch(stream))

    def take(self, packet: CodedPacket, pts_seconds: float | None) -> None:
        """Keep a packet. From the thread that reads."""
        if pts_seconds is None:
            self.has_times = False
            return
        with self._lock:
            if not self._stretches or not (packet.is_keyframe or self._stretches[-1].packets):
                return  # what comes before the first key frame cannot be decoded
            stamped = StampedPacket(bytes(packet), pts_seconds, packet.is_keyframe)
            self._stretches[-1].packets.append(stamped)
            self._num_bytes += len(stamped.data)
            while self._num_bytes > self._most_bytes:
                if not self._drop_gop():
                    self._drop_all()

    def keep_from(self, seconds: float) -> None:
        """Let go of the GOPs of which no picture is needed that is shown at that time or later."""
        with self._lock:
            while (start := self._second_keyframe_seconds()) is not None and start <= seconds:
                self._drop_gop(is_needed=False)

    def span(self, start_seconds: float, end_seconds: float, *, at_seconds: float) -> PacketSpan | None:
        """The packets shown from start to end, from the key frame before on, of the stretch that has `at_seconds`.

        Pictures that are shown before that key frame are left out. None where there are none.
        """
        with self._lock:
            stretches = [stretch for stretch in self._stretches if stretch.packets]
            begun = [stretch for stretch in stretches if stretch.packets[0].pts_seconds <= at_seconds]
            if not stretches:
                return None
            stretch = (begun or stretches)[-1 if begun else 0]
            packets = list(stretch.packets)
        keyframes = [index for index, packet in enumerate(packets) if packet.is_keyframe]
        before = [index for index in keyframes if packets[index].pts_seconds <= start_seconds]
        first = before[-1] if before else keyframes[0]
        last = max((i for i, packet in enumerate(packets) if packet.pts_seconds < end_seconds), default=-1)
        shown = [packet for packet in packets[first : last + 1] if packet.pts_seconds >= packets[first].pts_seconds]
        if not shown:
            return None
        return PacketSpan(stretch.stream, shown, not before and stretch.is_cut_short)

    def _second_keyframe_seconds(self) -> float | None:
        """When the second GOP begins; None where there is none."""
        if not self._stretches:
            return None
        following = [packet for packet in list(self._stretches[0].packets)[1:] if packet.is_keyframe]
        if following:
            return following[0].pts_seconds
        later = [stretch for stretch in list(self._stretches)[1:] if stretch.packets]
        return later[0].packets[0].pts_seconds if later else None

    def _drop_all(self) -> None:
        """Let go of a GOP that alone is too large; the next key frame begins anew."""
        self._stretches[-1].packets.clear()
        self._stretches[-1].is_cut_short = True
        self._num_bytes = 0

    def _drop_gop(self, *, is_needed: bool = True) -> bool:
        """Let go of the oldest GOP, and of a stretch that has no other. False where there is but one."""
        if self._second_keyframe_seconds() is None:
            return False
        stretch = self._stretches[0]
        is_first = True
        while stretch.packets and (is_first or not stretch.packets[0].is_keyframe):
            self._num_bytes -= len(stretch.packets.popleft().data)
            is_first = False
        stretch.is_cut_short = is_needed
        while not self._stretches[0].packets:
            self._stretches.popleft()
        return True
