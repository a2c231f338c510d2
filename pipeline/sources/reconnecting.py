"""Reconnecting source: a live stream that breaks → one that goes on once the stream can be opened again."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator

from pipeline.errors import SourceError
from pipeline.flow.stage import Stop
from pipeline.picture.frame import TimedPicture
from pipeline.sources.source import FrameSource

logger = logging.getLogger(__name__)

FIRST_DELAY_SECONDS, LONGEST_DELAY_SECONDS = 0.5, 5.0  # of the exponential backoff


class ReconnectingSource:
    """A live stream that is opened again when it breaks or ends, because a live stream has no end.

    It reconnects with exponential backoff: the delay doubles from `FIRST_DELAY_SECONDS` to `LONGEST_DELAY_SECONDS`.
    Media time goes on by the length of the break. Raises SourceError once a break is longer than `reconnect_seconds`.

    reopen: opens the stream again, or gives None where it has turned out to be a file, which has been read.
    """

    is_live = True
    num_frames = None

    def __init__(
        self,
        stream: FrameSource,
        reopen: Callable[[], FrameSource | None],
        *,
        reconnect_seconds: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.source_id = stream.source_id
        self.size_wh = stream.size_wh
        self.frames_per_second = stream.frames_per_second
        self._stream = stream
        self._reopen = reopen
        self._reconnect_seconds = reconnect_seconds
        self._clock = clock
        self._num_breaks = 0

    @property
    def damage(self) -> tuple[str, ...]:
        breaks = (f"breaks in the stream: {self._num_breaks}",) if self._num_breaks else ()
        return (*breaks, *self._stream.damage)

    def pictures(self, stop: Stop, *, every: int = 1) -> Iterator[TimedPicture]:
        shift_seconds: float | None = 0.0
        last_pts_seconds, last_at_seconds = 0.0, self._clock()
        while True:
            reason = f"{self.source_id}: the stream ended"
            try:
                for timed in self._stream.pictures(stop, every=every):
                    if shift_seconds is None:
                        shift_seconds = last_pts_seconds + self._clock() - last_at_seconds - timed.pts_seconds
                    last_pts_seconds, last_at_seconds = timed.pts_seconds + shift_seconds, self._clock()
                    yield timed._replace(pts_seconds=last_pts_seconds, number=None)
            except SourceError as error:
                reason = str(error)
            if stop.is_set() or not self._reconnect(reason, stop):
                return
            shift_seconds = None

    def close(self) -> None:
        self._stream.close()

    def _reconnect(self, reason: str, stop: Stop) -> bool:
        """Whether the stream is open again; False if the run ends, or the stream was a file."""
        self._stream.close()
        self._num_breaks += 1
        broke_at_seconds, delay_seconds = self._clock(), FIRST_DELAY_SECONDS
        while self._clock() - broke_at_seconds < self._reconnect_seconds:
            logger.warning("%s; trying again in %g s", reason, delay_seconds)
            if stop.wait(delay_seconds):
                return False
            try:
                stream = self._reopen()
                if stream is None:
                    logger.warning("%s: begins again with the same picture: a file, read to its end", self.source_id)
                    self._num_breaks -= 1
                    return False
                self._stream = stream
                return True
            except SourceError as error:
                reason = str(error)
            delay_seconds = min(2 * delay_seconds, LONGEST_DELAY_SECONDS)
        raise SourceError(f"{reason}; gave up after {self._reconnect_seconds:g} s")
