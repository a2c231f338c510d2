"""IdlePackets: the packets of a stream, one by one → those to decode, as long as its camera is idle or not.

An idle camera's key frames are decoded alone, one a second at most. As soon as the gate sees a change in one, or the
next one is overdue, decoding goes on from there: with the key frame once more, because the decoder has been emptied.
Where pictures come after a key frame and are shown before it (an open GOP), which cameras do not do, all are decoded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import inf
from typing import Generic, TypeVar

from pipeline.flow.stage import Stop
from pipeline.sources.idle import Idle
from pipeline.sources.video.needed_packets import PacketLike

KEY_SECONDS = 1.0
"""From one to the next, where key frames alone are decoded."""

_ASK_SECONDS = 0.25  # from one question to the next, while all are decoded and there are key frames more often
_LEAST_REGULAR = 2  # GOPs in a row that were short enough; the first of them shows whether they are open
_MOST_KEPT = 4096  # packets since a key frame, whatever their times are

P = TypeVar("P", bound=PacketLike)


class IdlePackets(Generic[P]):
    """Chooses packets for one decoder of which every packet is a picture.

    seconds_of: media time of a timestamp. stop: whether the run wants to end; None: it has not begun.
    """

    def __init__(
        self, idle: Idle, *, seconds_of: Callable[[int], float], stop: Callable[[], Stop | None] = lambda: None
    ) -> None:
        self._idle, self._seconds_of, self._stop = idle, seconds_of, stop
        self._key: P | None = None  # that was decoded last, while the camera is idle; None: it is not
        self._left_out: list[P] = []  # since then
        self._key_pts: int | None = None  # of the last key frame, decoded or not
        self._key_seconds = -inf  # the same
        self._asked_seconds = -inf  # of that at which the gate was asked last
        self._num_regular = 0  # GOPs in a row that were short enough
        self._has_open_gops = False
        self._begun_at: int | None = None  # timestamp of the key frame that decoding went on from last
        self._hidden: set[int] = set()  # timestamps of pictures that are decoded for others alone
        self.last_left_out: int | None = None
        """The greatest timestamp of a picture that was left out."""

    def hides(self, pts: int | None) -> bool:
        """Whether a decoded picture has been handed out before, or was left out and is only needed by others."""
        return pts in self._hidden

    def needed(self, packet: P | None) -> Iterator[P | None]:
        """Yield what is to be decoded now that a packet has come, and None where the decoder must be emptied.

        packet: the next one, in the order of the stream; None: its end.
        """
        if packet is None:
            yield None
        elif self._has_open_gops:
            yield from self._shown(packet)
        elif packet.pts is None:
            yield from self._woken()
            yield packet
        elif packet.is_keyframe:
            yield from self._key_frame(packet, packet.pts)
        elif self._key_pts is not None and packet.pts < self._key_pts:
            self._has_open_gops = True
            yield from self._woken()
            yield from self._shown(packet)
        elif self._key is not None:
            self._leave_out(packet)
            if self._is_overdue(packet.pts):
                yield from self._woken()
        else:
            yield packet

    def _key_frame(self, packet: P, pts: int) -> Iterator[P | None]:
        seconds, is_idle = self._seconds_of(pts), self._key is not None
        is_regular = 0 < seconds - self._key_seconds <= self._idle.most_gop_seconds
        is_soon = 0 <= seconds - self._asked_seconds < (KEY_SECONDS if is_idle else _ASK_SECONDS)
        self._key_pts, self._key_seconds = pts, seconds
        self._num_regular = self._num_regular + 1 if is_regular else 0
        if is_idle and is_regular and is_soon:
            self._leave_out(packet)
            return
        self._key, self._left_out = None, []
        yield packet
        if is_idle and is_regular:
            may_idle = True
        else:
            may_idle = self._num_regular >= _LEAST_REGULAR and not is_soon and self._is_calm(seconds)
        if may_idle:
            yield None  # so that its picture comes now, not with later ones
            self._key = packet
            if not self._is_calm(seconds):
                yield from self._woken()

    def _is_calm(self, seconds: float) -> bool:
        self._asked_seconds = seconds
        return self._idle.is_calm(self._stop())

    def _leave_out(self, packet: P) -> None:
        self._idle.num_undecoded += not packet.is_discard
        self.last_left_out = max(packet.pts or 0, self.last_left_out or 0)
        self._left_out.append(packet)

    def _shown(self, packet: P) -> Iterator[P]:
        """A packet, but for those that are shown before a key frame which the decoder has begun with."""
        if packet.pts is not None and self._begun_at is not None and packet.pts <= self._begun_at:
            self._idle.num_undecoded += not packet.is_discard
        else:
            yield packet

    def _is_overdue(self, pts: int) -> bool:
        late_seconds = self._seconds_of(pts) - self._key_seconds
        return late_seconds > self._idle.most_gop_seconds or len(self._left_out) > _MOST_KEPT

    def _woken(self) -> Iterator[P]:
        """What has to be decoded so that the next packet can be; nothing where that is so already."""
        if self._key is None:
            return
        key, left_out = self._key, self._left_out
        self._key, self._left_out = None, []
        self._begun_at = key.pts
        self._hidden = {packet.pts for packet in (key, *left_out) if packet.pts is not None}
        yield from (key, *left_out)
