"""Catch-up: the packets of a live stream that is decoded too slowly → those that are still worth decoding."""

from __future__ import annotations

from collections.abc import Callable

from pipeline.sources.video.camera_clock import CameraClock
from pipeline.sources.video.playlist_clock import PlaylistClock

PATIENCE_SECONDS = 2.0  # of skipping that does not catch up
_PACE = 1.5  # times as fast as the camera; what is skipped no faster than that is read as it comes


class CatchUp:
    """Leaves packets out, undecoded, from when one is too old until the newest key frame.

    max_age_seconds: the backlog from which packets are too old.
    clock: monotonic seconds, the one that `camera` has too.
    """

    def __init__(
        self, camera: CameraClock | PlaylistClock, *, max_age_seconds: float, clock: Callable[[], float]
    ) -> None:
        self._camera = camera
        self._max_age_seconds = max_age_seconds
        self._clock = clock
        self._began: tuple[float, float] | None = None  # time and media time at which skipping began
        self.num_skipped = 0  # packets
        self.num_times = 0
        self.oldest_seconds = 0.0  # the largest backlog

    @property
    def damage(self) -> tuple[str, ...]:
        """A line for what was skipped, and one for a stream whose times are too slow."""
        lines = []
        if self.num_skipped:
            times = "once" if self.num_times == 1 else f"{self.num_times} times"
            lines.append(
                f"fell behind {times}, by up to {self.oldest_seconds:.1f} s: {self.num_skipped} pictures were skipped "
                "undecoded, up to the newest key frame"
            )
        if self._camera.num_anchors:
            lines.append(
                "its times go slower than the clock, or the line is too slow for it "
                f"(noticed {self._camera.num_anchors} times): the age of its pictures is counted from their arrival"
            )
        return tuple(lines)

    def is_worth_decoding(self, media_seconds: float, *, is_keyframe: bool, waited_seconds: float = 0.0) -> bool:
        """Whether to decode a packet that has just been read. waited_seconds: for it."""
        late_seconds = self._camera.arrive(media_seconds, waited_seconds=waited_seconds)
        self.oldest_seconds = max(self.oldest_seconds, late_seconds)
        is_late = late_seconds > self._max_age_seconds
        if self._began is None:
            if not is_late:
                return True
            self._began = self._clock(), media_seconds
            self.num_times += 1
        elif is_late and self._is_in_vain(media_seconds):
            self._camera.begin_anew(media_seconds)
            is_late = False
        if is_keyframe and not is_late:
            self._began = None
            return True
        self.num_skipped += 1
        return False

    def _is_in_vain(self, media_seconds: float) -> bool:
        """Whether packets come no faster than the camera gives them though they are only read: none are behind."""
        assert self._began is not None
        elapsed_seconds = self._clock() - self._began[0]
        advanced_seconds = media_seconds - self._began[1]
        return elapsed_seconds > PATIENCE_SECONDS and advanced_seconds < _PACE * elapsed_seconds
