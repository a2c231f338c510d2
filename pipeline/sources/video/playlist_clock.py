"""Playlist clock: packets of a live playlist, which come a segment at a time → when each picture is due."""

from __future__ import annotations

from collections.abc import Callable


class PlaylistClock:
    """Plays a playlist at the pace of its media times; a segment that comes late delays all that follow.

    What a playlist is behind its camera, some segments, is not seen by it. clock: monotonic seconds.
    """

    def __init__(self, *, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._zero_seconds: float | None = None  # the machine's time at media time 0
        self.num_anchors = 0  # how often it had to begin anew

    def arrive(self, media_seconds: float, *, waited_seconds: float = 0.0) -> float:
        """Take note of a packet that has just been read; returns by how much it is overdue, for reasons of our own."""
        now = self._clock()
        if self._zero_seconds is None:
            self._zero_seconds = now - media_seconds
        overdue_seconds = max(0.0, now - media_seconds - self._zero_seconds)
        delay_seconds = min(overdue_seconds, waited_seconds)  # nobody had it sooner
        self._zero_seconds += delay_seconds
        return overdue_seconds - delay_seconds

    def begin_anew(self, media_seconds: float) -> None:
        """Say that what is behind cannot be caught up: this packet is due now."""
        self._zero_seconds = self._clock() - media_seconds
        self.num_anchors += 1

    def given_at_seconds(self, media_seconds: float) -> float | None:
        """When the picture of that media time is due; None before the first packet."""
        return None if self._zero_seconds is None else media_seconds + self._zero_seconds
