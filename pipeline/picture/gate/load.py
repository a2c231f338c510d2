"""Load: how old the results of live frames are → every how many of the frames that change a network looks at.

A loop that is closed through the network. It looks at fewer frames as soon as results get too old, and at more only
after a while in which none did. What turned out to be too many frames is not tried again soon: each time the while
before it gets twice as long, so that at a load that stays the steps die out, and it does not swing.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

MOST_EVERY = 12
"""At the highest load every 12th frame is looked at, two a second of 25."""

_MOST_STEPS = 100  # that are kept of a run of months
_LATE_SHARE = 0.05  # of the results of a window, which may be later: p95 is the limit
_LEAST_LATE = 3  # results that are more than chance
_ENOUGH_RESULTS = 20  # of a window
_LEAST_SECONDS, _MOST_SECONDS = 1.0, 5.0  # of a window; one without enough results is judged by those that there are
_ROOM = 0.7  # of the limit, by which results must come where more frames are to be tried
_CALM_SECONDS, _MOST_CALM_SECONDS = 5.0, 600.0  # before more frames are tried
_PROOF_SECONDS = 20.0  # after which more frames were not too many


@dataclass(frozen=True, slots=True, order=True)
class Step:
    """From then on, seconds after the first result, every `every`-th frame is looked at. late: because results were."""

    at_seconds: float
    every: int
    late: bool


class Load:
    """Shared by the live sources of a network; every method may be called from any thread.

    limit_seconds: from when a camera gave a frame until its boxes are there, of 95 % of the frames that are looked at.
    every: at the start. clock: monotonic seconds.
    Raises ValueError for a limit or a start that cannot work.
    """

    def __init__(self, limit_seconds: float, *, every: int, clock: Callable[[], float]) -> None:
        if not (limit_seconds > 0 and 1 <= every <= MOST_EVERY):
            raise ValueError(
                f"limit_seconds must be above 0 and every within [1, {MOST_EVERY}], got {limit_seconds:g} and {every}"
            )
        self._limit_seconds, self._clock = limit_seconds, clock
        self._lock = threading.Lock()
        self._every = every
        self._began: float | None = None  # with the first result
        self._stepped_at, self._window_at = -math.inf, 0.0
        self._num_results = self._num_late = self._num_near = 0  # of this window; near: beyond `_ROOM` of the limit
        self._has_room_since: float | None = None
        self._calm_seconds: dict[int, float] = {}  # before it steps down to an `every`, where that was too much once
        self._is_on_trial = False  # since it last stepped to more frames
        self._steps: deque[Step] = deque(maxlen=_MOST_STEPS)

    @property
    def every(self) -> int:
        """Every nth of the frames that change is looked at; 1: all."""
        return self._every

    @property
    def steps(self) -> tuple[Step, ...]:
        """The last hundred, in order."""
        with self._lock:
            return tuple(self._steps)

    def observe(self, captured_at_seconds: float, *, num_lost: int = 0) -> None:
        """Take note of a result that has just come. num_lost: frames that were to be looked at and were dropped.

        captured_at_seconds: when the camera gave its frame. What was under way at the last step says nothing of it, nor
        does what came behind that.
        """
        now = self._clock()
        with self._lock:
            if self._began is None:
                self._began = self._window_at = now
            if captured_at_seconds < self._stepped_at + self._limit_seconds:
                return
            age_seconds = now - captured_at_seconds
            self._num_results += 1 + num_lost
            self._num_late += (age_seconds > self._limit_seconds) + num_lost
            self._num_near += (age_seconds > _ROOM * self._limit_seconds) + num_lost
            window = now - self._window_at
            is_clear = self._num_results >= _ENOUGH_RESULTS or self._num_late >= _LEAST_LATE
            if window >= _MOST_SECONDS or (window >= _LEAST_SECONDS and is_clear):
                self._decide(now)

    def _decide(self, now: float) -> None:
        is_late, has_room = self._are_many(self._num_late), not self._are_many(self._num_near)
        if not has_room:
            self._has_room_since = None
        elif self._has_room_since is None:
            self._has_room_since = self._window_at
        self._window_at, self._num_results, self._num_late, self._num_near = now, 0, 0, 0
        if self._is_on_trial and not is_late and now - self._stepped_at >= _PROOF_SECONDS:
            self._is_on_trial = False
            self._calm_seconds.pop(self._every, None)
        if is_late and self._every < MOST_EVERY:
            if self._is_on_trial:
                self._calm_seconds[self._every] = min(_MOST_CALM_SECONDS, 2 * self._calm_before(self._every))
            self._step(now, min(MOST_EVERY, self._every + max(1, self._every // 2)), late=True)
        elif self._may_try(now):
            self._step(now, self._every - 1, late=False)

    def _are_many(self, num: int) -> bool:
        return num >= _LEAST_LATE and num > _LATE_SHARE * self._num_results

    def _calm_before(self, every: int) -> float:
        return self._calm_seconds.get(every, _CALM_SECONDS)

    def _may_try(self, now: float) -> bool:
        """Whether there has been room for long enough."""
        since = self._has_room_since
        return self._every > 1 and since is not None and now - since >= self._calm_before(self._every - 1)

    def _step(self, now: float, every: int, *, late: bool) -> None:
        self._every, self._stepped_at, self._has_room_since, self._is_on_trial = every, now, None, not late
        self._steps.append(Step(now - (self._began or 0.0), every, late))
