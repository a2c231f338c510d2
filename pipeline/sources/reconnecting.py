"""Reconnecting source: a live stream that breaks → one that goes on once the stream can be opened again."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterator

from pipeline.errors import LostFramingError, SourceError
from pipeline.events import event
from pipeline.flow.stage import CountsSkipped, Stop
from pipeline.picture.frame import TimedPicture
from pipeline.sources.backoff import delay_seconds
from pipeline.sources.packets import HasPackets, PacketListener, ShiftedPackets
from pipeline.sources.source import FrameSource
from pipeline.sources.states import HasStates, SourceStates

logger = logging.getLogger(__name__)

HEALTHY_SECONDS = 10.0  # a stream that ran so long ran well
_MOST_LINES = 12  # of damage, that are kept of earlier connections


class StreamOver(Exception):  # noqa: N818 - no error: the end of what turned out to be a recording
    """What is there now is not live any more; the message says what it is."""


class ReconnectingSource:
    """A live stream that is opened again when it breaks or ends, because a live stream has no end.

    It reconnects with exponential backoff and jitter; the delays begin small again only after the stream has run for
    HEALTHY_SECONDS. Media time goes on by the length of the break. Raises SourceError once a break is longer than
    `reconnect_seconds`.

    reopen: opens the stream again; raises SourceError, or StreamOver where it has turned out to be a recording, which
    has been read.
    randomness: gives numbers in [0, 1), for the jitter.
    """

    is_live = True
    num_frames = None
    breaks: type[SourceError] = SourceError
    """The errors after which it is opened again; others break it for good."""
    breaks_in_words = "breaks in the stream"
    is_endless = True
    """Whether an end of the stream is a break."""

    def __init__(
        self,
        stream: FrameSource,
        reopen: Callable[[], FrameSource],
        *,
        reconnect_seconds: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
        randomness: Callable[[], float] = random.random,
    ) -> None:
        self.source_id = stream.source_id
        self.size_wh = stream.size_wh
        self.frames_per_second = stream.frames_per_second
        self._stream = stream
        self._reopen = reopen
        self._reconnect_seconds = reconnect_seconds
        self._clock = clock
        self._randomness = randomness
        self._num_breaks = 0
        self._num_short_lives = 0  # in a row
        self._earlier_damage: dict[str, None] = {}  # of streams that broke, in order
        self._num_skipped_earlier = 0
        self._listener: PacketListener | None = None
        self._packets: ShiftedPackets | None = None  # of the stream that is open
        self.keep_states(SourceStates(is_live=True, clock=clock))

    def keep_states(self, states: SourceStates) -> None:
        """Write into these from now on."""
        self.states = states
        if isinstance(self._stream, HasStates):
            self._stream.keep_states(states)

    def listen(self, listener: PacketListener) -> None:
        self._listener = listener
        self._listen_to_stream(shift_seconds=0.0)

    @property
    def damage(self) -> tuple[str, ...]:
        breaks = (f"{self.breaks_in_words}: {self._num_breaks}",) if self._num_breaks else ()
        return (*breaks, *dict.fromkeys((*self._earlier_damage, *self._stream.damage)))

    @property
    def num_skipped(self) -> int:
        """Frames that were left out undecoded because they came too late."""
        return self._num_skipped_earlier + _num_skipped(self._stream)

    def pictures(self, stop: Stop, *, every: int = 1) -> Iterator[TimedPicture]:
        shift_seconds: float | None = 0.0
        last_pts_seconds, last_at_seconds = 0.0, self._clock()
        while True:
            reason, began_at_seconds, is_there = f"{self.source_id}: the stream ended", self._clock(), False
            try:
                for timed in self._stream.pictures(stop, every=every):
                    if shift_seconds is None:
                        shift_seconds = last_pts_seconds + self._clock() - last_at_seconds - timed.pts_seconds
                        if self._packets is not None:
                            self._packets.shift(shift_seconds)
                    last_pts_seconds, last_at_seconds = timed.pts_seconds + shift_seconds, self._clock()
                    yield timed._replace(pts_seconds=last_pts_seconds, number=None)
                if not self.is_endless:
                    return
            except self.breaks as error:
                reason, is_there = str(error), isinstance(error, LostFramingError)
            # A stream that fell silent was well until its last picture, not until that was noticed.
            is_healthy = last_at_seconds - began_at_seconds >= HEALTHY_SECONDS
            self._num_short_lives = 0 if is_healthy else self._num_short_lives + 1
            if stop.is_set() or not self._reconnect(reason, stop, at_once=is_there and is_healthy):
                return
            shift_seconds = None

    def close(self) -> None:
        self._stream.close()

    def _reconnect(self, reason: str, stop: Stop, *, at_once: bool) -> bool:
        """Whether the stream is open again; False if the run ends, or the stream was a recording.

        at_once: there is no reason to wait before the first attempt.
        """
        self._stream.close()
        self._num_breaks += 1
        broke_at_seconds, num_attempts = self._clock(), 0
        while self._clock() - broke_at_seconds < self._reconnect_seconds:
            delay = 0.0 if at_once and not num_attempts else self._delay_seconds(num_attempts)
            logger.warning(
                "%s; trying again in %.2g s",
                reason,
                delay,
                extra=event("source_reconnecting", source=self.source_id, reason=reason, delay_seconds=round(delay, 3)),
            )
            self.states.lose(reason, retry_in_seconds=delay)
            if stop.wait(delay):
                return False
            self.states.connect()
            try:
                self._replace_stream(self._reopen())
                return True
            except StreamOver as over:
                logger.warning("%s: %s", self.source_id, over)
                self._num_breaks -= 1
                return False
            except SourceError as error:
                reason = str(error)
            num_attempts += 1
        raise SourceError(f"{reason}; gave up after {self._reconnect_seconds:g} s")

    def _delay_seconds(self, num_attempts: int) -> float:
        """How long to wait before the next attempt to open the stream again."""
        num_flaps = max(0, self._num_short_lives - 1)  # one break soon after the start may happen
        most = self._reconnect_seconds
        return delay_seconds(num_attempts, num_flaps=num_flaps, most_seconds=most, randomness=self._randomness)

    def _replace_stream(self, stream: FrameSource) -> None:
        for line in self._stream.damage:
            if len(self._earlier_damage) < _MOST_LINES:
                self._earlier_damage[line] = None
        self._num_skipped_earlier += _num_skipped(self._stream)
        self._stream = stream
        self.keep_states(self.states)
        self._listen_to_stream()

    def _listen_to_stream(self, *, shift_seconds: float | None = None) -> None:
        if self._listener is not None and isinstance(self._stream, HasPackets):
            self._packets = ShiftedPackets(self._listener, shift_seconds=shift_seconds)
            self._stream.listen(self._packets)


def _num_skipped(stream: FrameSource) -> int:
    return stream.num_skipped if isinstance(stream, CountsSkipped) else 0
