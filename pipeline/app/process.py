"""Process: the settings of Python and OpenCV that a pipeline of threads needs in its process."""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

COLLECT_SECONDS = 10.0


def prepare_process() -> None:
    """Shorten the wait for the interpreter lock and turn off OpenCV's own threads, once, before a pipeline runs."""
    import cv2

    # A thread that comes back from native code waits this long for the interpreter lock, and a frame makes
    # a dozen such trips; the default of 5 ms costs more than the drawing does.
    sys.setswitchinterval(0.0005)
    # Several stages call OpenCV at once; its own pool beside them costs more than it gives.
    cv2.setNumThreads(1)


@contextmanager
def collecting_often(clock: Callable[[], float] = time.monotonic) -> Iterator[Callable[[], None]]:
    """Collect cycles every COLLECT_SECONDS while inside, by what this gives, which is to be called now and then.

    Python itself does so once objects have become many, which those of a steady run do not: cycles that held 60 MB
    waited for minutes. What is alive at the beginning, most of it of libraries, is set aside meanwhile.
    """
    gc.collect()
    gc.freeze()
    due_at_seconds = clock() + COLLECT_SECONDS

    def collect() -> None:
        nonlocal due_at_seconds
        if clock() >= due_at_seconds:
            gc.collect()
            due_at_seconds = clock() + COLLECT_SECONDS

    try:
        yield collect
    finally:
        gc.unfreeze()
