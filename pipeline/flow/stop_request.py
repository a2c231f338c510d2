"""Stop request: the wish that a run ends → an event for its sources, and the time by which they must have returned."""

from __future__ import annotations

import threading
from collections.abc import Callable


class StopRequest:
    """The `Stop` that every source of a run gets; may be used from any thread and from a signal handler.

    grace_seconds: how long a source may take to return once the run wants to end.
    clock: monotonic seconds.
    """

    def __init__(self, *, clock: Callable[[], float], grace_seconds: float) -> None:
        self.grace_seconds = grace_seconds
        self._clock = clock
        self._event = threading.Event()
        self._made_at_seconds: float | None = None

    def make(self) -> None:
        """Want the run to end; only the first request counts."""
        if self._made_at_seconds is None:
            self._made_at_seconds = self._clock()
        self._event.set()

    def is_set(self) -> bool:
        """Whether the run wants to end."""
        return self._event.is_set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the run wants to end, or for `timeout` seconds; returns whether it wants to."""
        return self._event.wait(timeout)

    def grace_is_over(self) -> bool:
        """Whether a source that has not returned by now hangs."""
        return self._made_at_seconds is not None and self._clock() >= self._made_at_seconds + self.grace_seconds
