"""Cycles: objects that refer to each other and to nothing else alive → freed within seconds, while a run goes on.

And what is free goes back to the system: glibc keeps what a moment of much work has taken, such as frames that waited.
"""

from __future__ import annotations

import ctypes
import gc
import time
from collections.abc import Callable

COLLECT_SECONDS = 10.0


class CycleCollector:
    """Collects cycles every COLLECT_SECONDS between `begin` and `end`, by `look`, which is to be called now and then.

    Python itself does so once objects have become many, which those of a steady run do not: cycles that held 60 MB
    waited for minutes. What is alive at the beginning, most of it of libraries, is set aside meanwhile.

    clock: monotonic seconds.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._due_at_seconds = clock() + COLLECT_SECONDS

    def begin(self) -> None:
        """Collect, which takes some tenths of a second: before frames come, which would wait for it."""
        gc.collect()
        gc.freeze()
        self._due_at_seconds = self._clock() + COLLECT_SECONDS

    def look(self) -> None:
        """Collect where it is time."""
        if self._clock() >= self._due_at_seconds:
            gc.collect()
            give_back_memory()
            self._due_at_seconds = self._clock() + COLLECT_SECONDS

    def end(self) -> None:
        """Give back what was set aside."""
        gc.unfreeze()


def give_back_memory() -> None:
    """Give pages in which nothing lies back to the system, where the C library has a call for it (malloc_trim(3))."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError, TypeError):  # TypeError: Windows
        return
