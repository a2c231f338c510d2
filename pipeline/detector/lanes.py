"""Lanes: calls from any thread → the same calls in a few threads that stay.

ONNX Runtime knows a recorded CUDA graph by the thread that recorded it: what is recorded in these threads before a run
is played back in all of it, whichever thread asks.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


class Lanes:
    """A number of threads that calls are handed to; a call from one of them stays there."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._own = threading.local()
        self._threads = ThreadPoolExecutor(number, thread_name_prefix="lane", initializer=self._enter)

    def call(self, work: Callable[[], T]) -> T:
        """What the work returns or raises, in the first lane that is free."""
        return work() if hasattr(self._own, "is_lane") else self._threads.submit(work).result()

    def call_in_all(self, work: Callable[[], object]) -> None:
        """Do the work once in every lane, one after the other; raises what it raises in one of them."""
        in_all, one_at_a_time = threading.Barrier(self._number), threading.Lock()

        def once() -> None:
            in_all.wait()  # so that no lane takes two
            with one_at_a_time:
                work()

        for future in [self._threads.submit(once) for _ in range(self._number)]:
            future.result()

    def close(self) -> None:
        """End the threads, once their calls are done. May be called more than once."""
        self._threads.shutdown()

    def _enter(self) -> None:
        self._own.is_lane = True
