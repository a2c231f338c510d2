"""Calls: threads that are inside a part of a flow → the nodes whose part does not return."""

from __future__ import annotations

import threading
from collections.abc import Callable

THREAD_NAME = "streamdet"
"""What the names of a run's threads begin with."""


class Calls:
    """The calls that are running, one for each thread; may be used from any thread.

    clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._running: dict[int, tuple[str, float]] = {}  # by thread: the node, and since when

    def begin(self, node_name: str) -> float:
        """The calling thread goes into a node's part; returns the time."""
        now = self._clock()
        self._running[threading.get_ident()] = (node_name, now)
        return now

    def end(self) -> float:
        """The calling thread is out again; returns the seconds that it was inside."""
        _, began = self._running.pop(threading.get_ident())
        return self._clock() - began

    def is_stuck(self, node_name: str, *, for_seconds: float) -> bool:
        """Whether a call of this node has been running for so long."""
        now = self._clock()
        return any(name == node_name and now - began >= for_seconds for name, began in tuple(self._running.values()))
