"""Stop request: the wish that a run, or one source of it, ends → an event, and the time by which it must have ended."""

from __future__ import annotations

import _thread
import threading
from collections.abc import Callable


class StopRequest:
    """The `Stop` of a run; may be used from any thread and from a signal handler.

    grace_seconds: how long a part may take to return once the run wants to end.
    clock: monotonic seconds.
    """

    def __init__(self, *, clock: Callable[[], float], grace_seconds: float) -> None:
        self.grace_seconds = grace_seconds
        self._clock = clock
        self._events = [threading.Event()]  # its own, and one for each source
        self._made_at_seconds: float | None = None

    def make(self) -> None:
        """Want the run to end; only the first request counts."""
        if self._made_at_seconds is None:
            self._made_at_seconds = self._clock()
        # A signal handler may have interrupted its own thread within `Event.set`, whose lock cannot be taken twice.
        if threading.current_thread() is threading.main_thread():
            _thread.start_new_thread(self._set, ())
        else:
            self._set()

    def is_set(self) -> bool:
        """Whether the run wants to end."""
        return self._made_at_seconds is not None

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the run wants to end, or for `timeout` seconds; returns whether it wants to."""
        return self._events[0].wait(timeout) or self.is_set()

    def grace_is_over(self) -> bool:
        """Whether a part that has not returned by now hangs."""
        return self._made_at_seconds is not None and self._clock() >= self._made_at_seconds + self.grace_seconds

    def of_source(self) -> SourceStop:
        """The `Stop` of one source: set when the run wants to end, or that source alone is to."""
        event = threading.Event()
        self._events.append(event)
        if self.is_set():
            event.set()
        return SourceStop(event, self._events)

    def _set(self) -> None:
        for event in tuple(self._events):
            event.set()


class SourceStop:
    """The `Stop` of one source; see `StopRequest.of_source`."""

    def __init__(self, event: threading.Event, all_events: list[threading.Event]) -> None:
        self._event, self._all_events = event, all_events

    def make(self) -> None:
        """Want this source to end."""
        self._event.set()

    def is_set(self) -> bool:
        """Whether the source is to end."""
        return self._event.is_set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the source is to end, or for `timeout` seconds; returns whether it is to."""
        return self._event.wait(timeout)

    def forget(self) -> None:
        """The source has ended: the run need not tell it."""
        if self._event in self._all_events:
            self._all_events.remove(self._event)
