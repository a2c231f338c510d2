"""Absent source: the address of a camera that does not answer yet → its pictures, from when it does."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Iterator

from pipeline.errors import SourceError, SourceRefusedError
from pipeline.events import event
from pipeline.flow.stage import CountsSkipped, Stop
from pipeline.picture.frame import TimedPicture
from pipeline.sources.backoff import delay_seconds
from pipeline.sources.packets import HasPackets, PacketListener
from pipeline.sources.source import FrameSource
from pipeline.sources.states import HasStates, SourceStates

logger = logging.getLogger(__name__)

_LOOK_SECONDS = 0.1  # between two looks at whether the run wants to end


class Opening:
    """The opening of a source in a thread of its own, because a mute camera is waited for and others are not to be.

    open_source: opens it, or raises. source_id: its name, without secrets.
    """

    def __init__(self, open_source: Callable[[], FrameSource], *, source_id: str) -> None:
        self._open = open_source
        self._source: FrameSource | None = None
        self._failure: BaseException | None = None
        self._is_over = threading.Event()
        self._is_abandoned = False
        self._lock = threading.Lock()
        threading.Thread(target=self._run, name=f"opening {source_id}", daemon=True).start()

    def wait(self, timeout_seconds: float) -> bool:
        """Whether it has opened or failed within that time."""
        return self._is_over.wait(timeout_seconds)

    def result(self) -> FrameSource:
        """The source, for the caller to close. Raises what the opening raised."""
        self._is_over.wait()
        if self._source is None:
            assert self._failure is not None
            raise self._failure
        return self._source

    @property
    def refusal(self) -> SourceRefusedError | None:
        """The answer of a server that does not give the source; None where there is none yet, or another."""
        return self._failure if isinstance(self._failure, SourceRefusedError) else None

    def abandon(self) -> None:
        """Close the source as soon as it is open, because nobody will read it."""
        with self._lock:
            self._is_abandoned = True
            source = self._source
        if source is not None:
            source.close()

    def _run(self) -> None:
        try:
            source = self._open()
        except BaseException as error:
            self._failure = error
        else:
            with self._lock:
                self._source = source
                is_abandoned = self._is_abandoned
            if is_abandoned:
                source.close()
        self._is_over.set()


class AbsentSource:
    """A live source that is not there yet: it is tried with the delays of one that has broken, until it is.

    Its size and rate are not known. Raises SourceError once it has been away for `patience_seconds`, and for what
    turns out to be a recording, whose frames would be dropped like those of a camera.

    opening: the first attempt, which may be under way. open_source: makes another one.
    tries_refused: whether one that its server refuses is tried, too; it raises SourceRefusedError at once otherwise.
    randomness: gives numbers in [0, 1), for the jitter.
    """

    is_live = True
    size_wh = None
    frames_per_second = None
    num_frames = None

    def __init__(
        self,
        source_id: str,
        open_source: Callable[[], FrameSource],
        *,
        opening: Opening | None = None,
        patience_seconds: float = 30.0,
        tries_refused: bool = False,
        clock: Callable[[], float] = time.monotonic,
        randomness: Callable[[], float] = random.random,
    ) -> None:
        self.source_id = source_id
        self.states = SourceStates(is_live=True, clock=clock)
        self._open = open_source
        self._opening = opening
        self._patience_seconds = patience_seconds
        self._tries_refused = tries_refused
        self._clock = clock
        self._randomness = randomness
        self._source: FrameSource | None = None
        self._listener: PacketListener | None = None

    def listen(self, listener: PacketListener) -> None:
        self._listener = listener

    def keep_states(self, states: SourceStates) -> None:
        """Write into these from now on."""
        self.states = states

    @property
    def damage(self) -> tuple[str, ...]:
        return () if self._source is None else self._source.damage

    @property
    def num_skipped(self) -> int:
        """Frames that were left out undecoded because they came too late."""
        return self._source.num_skipped if isinstance(self._source, CountsSkipped) else 0

    def pictures(self, stop: Stop, *, every: int = 1) -> Iterator[TimedPicture]:
        source = self._opened(stop)
        if source is None:
            return
        if not source.is_live:
            raise SourceError(f"{self.source_id}: turned out to be a recording; start it when its server answers")
        if isinstance(source, HasStates):
            source.keep_states(self.states)
        if self._listener is not None and isinstance(source, HasPackets):
            source.listen(self._listener)
        yield from source.pictures(stop, every=every)

    def close(self) -> None:
        if self._opening is not None:
            self._opening.abandon()
        if self._source is not None:
            self._source.close()

    def _opened(self, stop: Stop) -> FrameSource | None:
        """The source, once it can be opened; None: the run ends."""
        began_at_seconds, num_attempts = self._clock(), 0
        while True:
            opening = self._opening = self._opening or Opening(self._open, source_id=self.source_id)
            while not opening.wait(_LOOK_SECONDS):
                if stop.is_set():
                    return None
            self._opening = None
            try:
                self._source = opening.result()
                return self._source
            except SourceError as error:
                if isinstance(error, SourceRefusedError) and not self._tries_refused:
                    raise
                reason = str(error)
            if self._clock() - began_at_seconds >= self._patience_seconds:
                raise SourceError(f"{reason}; gave up after {self._patience_seconds:g} s")
            delay = delay_seconds(num_attempts, most_seconds=self._patience_seconds, randomness=self._randomness)
            logger.warning(
                "%s; trying again in %.2g s",
                reason,
                delay,
                extra=event("source_reconnecting", source=self.source_id, reason=reason, delay_seconds=round(delay, 3)),
            )
            self.states.await_first(reason, retry_in_seconds=delay)
            num_attempts += 1
            if stop.wait(delay):
                return None
