"""MediaClock: timestamps of a stream whose clock may jump or wrap → timestamps that go on.

Joined recordings, and playlists with EXT-X-DISCONTINUITY, hold several unrelated clocks. As in FFmpeg, a leap of more
than `MAX_GAP_SECONDS`, or back, is not a pause: the next packet follows the last.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Protocol

MAX_GAP_SECONDS = 10.0  # FFmpeg's dts_delta_threshold
MAX_BACK_SECONDS = 0.1  # that decoding times may go back, as in FFmpeg
MAX_REORDERED_FRAMES = 16  # that presentation times may go back, in decoding order
MPEG_TIME_BASE, MPEG_WRAP_TICKS = Fraction(1, 90_000), 1 << 33  # 26.5 hours


class TimedPacket(Protocol):
    """The part of `av.Packet` that is used."""

    pts: int | None
    dts: int | None

    @property
    def duration(self) -> int | None: ...

    @property
    def is_keyframe(self) -> bool: ...


class MediaClock:
    """Shifts the timestamps of packets, given in decoding order, so that they go on where the stream's clock jumps.

    time_base: seconds a tick. frame_seconds: the duration of a packet that declares none.
    arrival: monotonic seconds, for a live stream: there, a gap as long as the wait for the packet is a true one.
    """

    def __init__(
        self, *, time_base: Fraction, frame_seconds: float, arrival: Callable[[], float] | None = None
    ) -> None:
        self._time_base = time_base
        self._frame_ticks = max(1, round(frame_seconds / time_base))
        self._arrival = arrival
        self._shift = 0  # ticks to add
        self._first: int | None = None  # this and the next line: after the shift
        self._last = self._next = self._greatest_pts = 0
        self._has_last_dts = False
        self._arrived_at_seconds = 0.0
        self._first_jump = ""
        self.num_jumps = 0

    @property
    def damage(self) -> tuple[str, ...]:
        if not self.num_jumps:
            return ()
        times = "once" if self.num_jumps == 1 else f"{self.num_jumps} times, first"
        return (f"the clock of the stream jumped {times} {self._first_jump}; the times go on without the jump",)

    def carry_on(self, packet: TimedPacket) -> None:
        """Shift a packet's timestamps; the packet itself is changed."""
        if packet.pts is not None and packet.dts is not None and not self._belongs(packet.pts, packet.dts):
            packet.dts = None  # libav's guess, made of the times before a jump
        stamp = packet.pts if packet.dts is None else packet.dts
        if stamp is None:
            return
        now_seconds = self._arrival() if self._arrival else 0.0
        if self._first is None:
            self._first = self._greatest_pts = stamp
        else:
            self._adjust(stamp, packet, waited_seconds=now_seconds - self._arrived_at_seconds)
        self._arrived_at_seconds = now_seconds
        self._last, self._has_last_dts = stamp + self._shift, packet.dts is not None
        self._next = self._last + (packet.duration or self._frame_ticks)
        if packet.dts is not None:
            packet.dts += self._shift
        if packet.pts is not None:
            packet.pts += self._shift
            self._greatest_pts = max(self._greatest_pts, packet.pts)

    def _belongs(self, pts: int, dts: int) -> bool:
        return 0 <= (pts - dts) * self._time_base <= MAX_GAP_SECONDS

    def _adjust(self, stamp: int, packet: TimedPacket, *, waited_seconds: float) -> None:
        """Change the shift, if this packet's time cannot follow that of the last one."""
        most_ticks = round(MAX_GAP_SECONDS / self._time_base)
        late_ticks = stamp + self._shift - self._next
        if self._time_base == MPEG_TIME_BASE and abs(late_ticks) > most_ticks:
            wraps = round(Fraction(late_ticks, MPEG_WRAP_TICKS))
            late_ticks -= wraps * MPEG_WRAP_TICKS
            if abs(late_ticks) <= most_ticks:
                self._shift -= wraps * MPEG_WRAP_TICKS
        if packet.dts is not None and self._has_last_dts:
            most_back_ticks = round(MAX_BACK_SECONDS / self._time_base)
        else:
            most_back_ticks = MAX_REORDERED_FRAMES * self._frame_ticks
        is_back = stamp + self._shift < self._last - most_back_ticks
        is_late = stamp + self._shift > self._next + most_ticks + round(waited_seconds / self._time_base)
        if not is_back and not is_late:
            return
        self._shift = self._next - stamp
        if packet.is_keyframe and packet.pts is not None:  # the next picture comes after the last
            self._shift += max(0, self._greatest_pts + self._frame_ticks - (packet.pts + self._shift))
        self.num_jumps += 1
        if not self._first_jump and self._first is not None:
            after_seconds = float((self._next - self._first) * self._time_base)
            self._first_jump = f"by {float(late_ticks * self._time_base):+.1f} s after {after_seconds:.1f} s"
