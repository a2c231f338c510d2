"""States of a source: what happens to it → what it is doing now, since when and why, and the breaks that it had."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import median
from typing import Literal, Protocol, runtime_checkable

StateName = Literal["connecting", "live", "stalled", "lost", "reading", "paused", "ended", "failed"]
"""A camera is connecting, live, stalled (it gives no picture, and nobody knows why) or lost (it is tried again after a
while); a recording is reading; both may be paused, and end, or fail."""

STALLED_SECONDS = 3.0  # without a picture, of a camera that gives several a second
_STALLED_GAPS = 3.0  # of a slower one, times its usual distance between two pictures
_MOST_GAPS = 9  # of which the median is the usual one
_MOST_BREAKS = 100  # that are kept of a run of months


@dataclass(frozen=True, slots=True)
class SourceState:
    """What a source is doing."""

    name: StateName
    since_seconds: float  # on the monotonic clock of the run
    since_unix_seconds: float
    reason: str = ""  # why it is not as it should be
    next_attempt_seconds: float | None = None  # when a lost one is tried again, on the clock of the run


@dataclass(frozen=True, slots=True)
class SourceBreak:
    """A time without pictures."""

    kind: Literal["stalled", "lost"]
    began_unix_seconds: float
    seconds: float | None  # None: it goes on
    reason: str


@runtime_checkable
class HasStates(Protocol):
    """A source that says itself when it is lost and comes back."""

    @property
    def states(self) -> SourceStates:
        """What is written by the thread that reads the source, and read by anyone."""

    def keep_states(self, states: SourceStates) -> None:
        """Write into these from now on: they are those of the source that this one is a part of."""


class SourceStates:
    """The states of one source. Every method may be called from any thread.

    is_live: whether it is a camera, which may be stalled or lost. clock: monotonic seconds. wall_clock: Unix seconds.
    """

    def __init__(
        self,
        *,
        is_live: bool,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._is_live = is_live
        self._clock = clock
        self._wall_clock = wall_clock
        self._lock = threading.Lock()
        self._state = SourceState("connecting" if is_live else "reading", clock(), wall_clock())
        self._waiting_since_seconds: float | None = None  # for the next picture
        self._gaps_seconds: deque[float] = deque(maxlen=_MOST_GAPS)
        self._breaks: deque[SourceBreak] = deque(maxlen=_MOST_BREAKS)
        self._num_breaks = 0
        self._lost_since_seconds: float | None = None
        self._paused: SourceState | None = None

    @property
    def state(self) -> SourceState:
        """What the source is doing now."""
        with self._lock:
            if self._paused is not None and self._state.name not in ("ended", "failed"):
                return self._paused
            silence = self._stall_seconds()
            if silence is None or self._waiting_since_seconds is None:
                return self._state
            since, reason = self._waiting_since_seconds, f"no picture for {silence:.0f} s"
            return SourceState("stalled", since, self._unix(since), reason)

    @property
    def breaks(self) -> tuple[SourceBreak, ...]:
        """The last hundred, in order, with one that goes on."""
        with self._lock:
            breaks = list(self._breaks)
            silence = self._stall_seconds()
            if silence is not None and self._waiting_since_seconds is not None:
                began = self._unix(self._waiting_since_seconds)
                breaks.append(SourceBreak("stalled", began, None, f"no picture for {silence:.0f} s"))
            return tuple(breaks)

    @property
    def num_breaks(self) -> int:
        """How many breaks there were, with those that are not kept and one that goes on."""
        with self._lock:
            return self._num_breaks + (self._stall_seconds() is not None)

    def wait(self) -> None:
        """Say that the source is asked for its next picture; other times are not its own."""
        with self._lock:
            self._waiting_since_seconds = self._clock()

    def see_picture(self) -> None:
        """Say that a picture came."""
        with self._lock:
            since, now = self._waiting_since_seconds, self._clock()
            if self._lost_since_seconds is not None:
                self._breaks[-1] = replace(self._breaks[-1], seconds=now - self._lost_since_seconds)
                self._lost_since_seconds = None
            elif self._state.name == "live" and since is not None:
                self._end_stall(since, now)
            self._waiting_since_seconds = None
            name: StateName = "live" if self._is_live else "reading"
            if self._state.name != name:
                self._state = SourceState(name, now, self._wall_clock())

    def lose(self, reason: str, *, retry_in_seconds: float) -> None:
        """Say that the source is lost, or still is, and when it is tried again."""
        with self._lock:
            now = self._clock()
            if self._lost_since_seconds is None:
                silent_since = self._waiting_since_seconds if self._state.name == "live" else None
                self._lost_since_seconds = now if silent_since is None else silent_since
                began = self._unix(self._lost_since_seconds)
                self._breaks.append(SourceBreak("lost", began, None, reason))
                self._num_breaks += 1
            self._waiting_since_seconds = None
            self._state = SourceState("lost", now, self._wall_clock(), reason, now + retry_in_seconds)

    def await_first(self, reason: str, *, retry_in_seconds: float) -> None:
        """Say that a source that was not there yet is not there still, and when it is tried again."""
        with self._lock:
            now = self._clock()
            self._state = replace(self._state, reason=reason, next_attempt_seconds=now + retry_in_seconds)

    def connect(self) -> None:
        """Say that a lost source is being opened again."""
        with self._lock:
            self._state = SourceState("connecting", self._clock(), self._wall_clock(), self._state.reason)

    def pause(self, *, is_paused: bool = True) -> None:
        """Say that somebody lets the source wait, or go on. What happens to it meanwhile is kept, and shown after."""
        with self._lock:
            if is_paused and self._paused is None:
                self._paused = SourceState("paused", self._clock(), self._wall_clock())
            elif not is_paused:
                self._paused = None

    def end(self, failure: BaseException | None = None) -> None:
        """Say that the source has ended, or what broke it. A break goes on for good."""
        with self._lock:
            self._waiting_since_seconds = None
            name: StateName = "ended" if failure is None else "failed"
            reason = "" if failure is None else str(failure)
            self._state = SourceState(name, self._clock(), self._wall_clock(), reason)

    def _stall_seconds(self) -> float | None:
        """How long a live source has been silent, where that is longer than usual."""
        if self._state.name != "live" or self._waiting_since_seconds is None:
            return None
        silence = self._clock() - self._waiting_since_seconds
        return silence if silence > self._patience_seconds() else None

    def _patience_seconds(self) -> float:
        return max(STALLED_SECONDS, _STALLED_GAPS * median(self._gaps_seconds or (0.0,)))

    def _end_stall(self, since_seconds: float, now_seconds: float) -> None:
        """Keep the time without a picture that is over, where it was long."""
        seconds = now_seconds - since_seconds
        if seconds > self._patience_seconds():
            reason = f"no picture for {seconds:.0f} s"
            self._breaks.append(SourceBreak("stalled", self._unix(since_seconds), seconds, reason))
            self._num_breaks += 1
        self._gaps_seconds.append(seconds)

    def _unix(self, at_seconds: float) -> float:
        """The wall time of a moment that has been."""
        return self._wall_clock() - (self._clock() - at_seconds)
