"""Playlist clock: packets of a live playlist, which come a segment at a time → when each picture is due."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from statistics import median

CATCH_UP_RATE = 0.05  # by which a playlist is played faster than its times, until a segment has to be waited for
REST_SECONDS = 10.0  # after that, in which it is not, so that it does not stutter at every segment
LONG_GAP_SECONDS = 1.0  # between two pictures: what is not there is not waited for
_LONG_GAPS = 3.0  # times the usual gap, of a playlist of few pictures
_SHORT_SECONDS = 0.03  # of waiting that says nothing
_NUM_GAPS = 9  # of which the median is the usual one


class PlaylistClock:
    """Plays a playlist at the pace of its media times, as near to its newest segment as its segments come regularly.

    A segment that comes late delays all that follow. That is made good: it is played 5 % faster than its times until a
    segment is waited for again; and where the times leap, because the camera gave nothing or segments have left the
    playlist, the next picture is due at once. What a playlist is behind its camera is not seen by it.

    clock: monotonic seconds.
    """

    def __init__(self, *, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._zero_seconds: float | None = None  # the machine's time at media time 0
        self._last_media_seconds = 0.0
        self._rests_until_seconds = -math.inf
        self._gaps_seconds: deque[float] = deque(maxlen=_NUM_GAPS)
        self._before_leap: tuple[float, float] | None = None  # media time up to which another zero holds, and that
        self.num_anchors = 0  # how often it had to begin anew

    def arrive(self, media_seconds: float, *, waited_seconds: float = 0.0) -> float:
        """Take note of a packet that has just been read; returns by how much it is overdue, for reasons of our own."""
        now = self._clock()
        if self._zero_seconds is None:
            self._zero_seconds, self._last_media_seconds = now - media_seconds, media_seconds
        self._advance(media_seconds, now)
        overdue_seconds = max(0.0, now - media_seconds - self._zero_seconds)
        delay_seconds = min(overdue_seconds, waited_seconds)  # nobody had it sooner
        self._zero_seconds += delay_seconds
        if delay_seconds > _SHORT_SECONDS:
            self._rests_until_seconds = now + REST_SECONDS
        return overdue_seconds - delay_seconds

    def begin_anew(self, media_seconds: float) -> None:
        """Say that what is behind cannot be caught up: this packet is due now."""
        self._zero_seconds = self._clock() - media_seconds
        self.num_anchors += 1

    def given_at_seconds(self, media_seconds: float) -> float | None:
        """When the picture of that media time is due; None before the first packet."""
        if self._before_leap is not None and media_seconds <= self._before_leap[0]:
            return media_seconds + self._before_leap[1]
        return None if self._zero_seconds is None else media_seconds + self._zero_seconds

    def _advance(self, media_seconds: float, now: float) -> None:
        """Let a packet be due sooner than its time says: by a little, or by a leap of the times."""
        assert self._zero_seconds is not None
        gap_seconds, last = media_seconds - self._last_media_seconds, self._last_media_seconds
        if gap_seconds <= 0:  # in decoding order
            return
        self._last_media_seconds = media_seconds
        step_seconds = median(self._gaps_seconds) if self._gaps_seconds else gap_seconds
        if gap_seconds > max(LONG_GAP_SECONDS, _LONG_GAPS * step_seconds):
            self._before_leap = last, self._zero_seconds
            soonest = max(now, last + self._zero_seconds + step_seconds)
        else:
            gain_seconds = CATCH_UP_RATE * gap_seconds if now >= self._rests_until_seconds else 0.0
            soonest = max(now, media_seconds + self._zero_seconds - gain_seconds)
        self._gaps_seconds.append(gap_seconds)
        self._zero_seconds = min(self._zero_seconds, soonest - media_seconds)
