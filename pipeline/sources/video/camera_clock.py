"""Camera clock: arrivals and media times of a live stream → when the camera gave each picture.

A picture cannot arrive before it was taken. So of all packets, the one with the smallest difference of arrival and
media time waited least on its way; whatever a later one exceeds that by is backlog: in sockets, in the demuxer, in the
camera. What all of them wait is not seen by it, but for what is known of the demuxer (`num_held`) and for what a camera
says whose clock is right (`note_wall_clock`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

DRIFT = 0.0005  # by which the clocks of camera and machine may differ; backlog is forgotten that slowly
FASTEST_DRIFT = 0.1  # of a stream whose times are counted pictures, not time
NUM_CONFIRMING = 3  # packets in a row that must come early: fewer are wild timestamps
SYNCHRONISED_SECONDS = 0.25  # a camera's clock that is this near to ours is taken for right
_TOLERANCE_SECONDS = 0.05
_NUM_STEPS = 8  # packets that the time between pictures is measured on


class CameraClock:
    """The machine's time at which a camera gave the pictures of its stream.

    clock: monotonic seconds. num_held: pictures that the demuxer holds back, because only the next shows their end.
    most_held_seconds: that count at most for those; of a slow camera, one is long.
    """

    def __init__(
        self, *, clock: Callable[[], float], num_held: int = 0, most_held_seconds: float | None = None
    ) -> None:
        self._clock = clock
        self._num_held = num_held
        self._most_held_seconds = most_held_seconds
        self._zero_seconds: float | None = None  # the machine's time at media time 0, of what waited least
        self._zero_at_seconds = self._anchored_at_seconds = 0.0
        self._drift = DRIFT
        self._latest: deque[float] = deque(maxlen=NUM_CONFIRMING)  # differences of arrival and media time
        self._times: deque[float] = deque(maxlen=_NUM_STEPS)  # media times
        self._camera_age_seconds: float | None = None
        self.num_anchors = 0  # how often it had to begin anew

    def arrive(self, media_seconds: float, *, waited_seconds: float = 0.0) -> float:
        """Take note of a packet that has just been read; returns its backlog in seconds, at least 0.

        waited_seconds: for it, which says nothing here: a machine with too much to do waits too.
        """
        now = self._clock()
        self._times.append(media_seconds)
        self._latest.append(now - media_seconds)
        earliest = max(self._latest)
        if self._zero_seconds is None:
            self._zero_seconds, self._anchored_at_seconds = earliest, now
        else:
            self._zero_seconds = min(self._zero_seconds + self._drift * (now - self._zero_at_seconds), earliest)
        self._zero_at_seconds = now
        return max(0.0, now - media_seconds - self._zero_seconds)

    def begin_anew(self, media_seconds: float) -> None:
        """Say that what is behind cannot be caught up: this packet, just read, is as new as any.

        If that goes on, the stream's own times are slow, and are given way to as fast as they proved to be.
        """
        now = self._clock()
        behind_seconds = now - media_seconds - (self._zero_seconds or 0.0)
        elapsed_seconds = max(1.0, now - self._anchored_at_seconds)
        self._drift = min(FASTEST_DRIFT, max(self._drift, 1.25 * behind_seconds / elapsed_seconds))
        self._zero_seconds, self._zero_at_seconds, self._anchored_at_seconds = now - media_seconds, now, now
        self._latest.clear()
        self.num_anchors += 1

    def note_wall_clock(self, age_seconds: float) -> None:
        """Take note of a packet's age by the camera's own time of day, as RTCP sender reports tell it."""
        least = self._camera_age_seconds
        self._camera_age_seconds = age_seconds if least is None else min(least, age_seconds)

    def given_at_seconds(self, media_seconds: float) -> float | None:
        """When the camera gave the picture of that media time; None before the first packet."""
        if self._zero_seconds is None:
            return None
        return media_seconds + self._zero_seconds - self._on_the_way_seconds()

    def _on_the_way_seconds(self) -> float:
        """What every picture waits: as long as it is held back, or as the camera's clock says, if that is right."""
        seconds = 0.0
        if self._num_held and len(self._times) > 1:
            seconds = self._num_held * (max(self._times) - min(self._times)) / (len(self._times) - 1)
        camera_age = self._camera_age_seconds
        if camera_age is not None and -_TOLERANCE_SECONDS <= camera_age - seconds <= SYNCHRONISED_SECONDS:
            seconds = camera_age
        return seconds if self._most_held_seconds is None else min(seconds, self._most_held_seconds)
