"""Process: the settings of Python, OpenCV and malloc that a pipeline of threads needs in its process."""

from __future__ import annotations

import ctypes
import os
import sys

_M_ARENA_MAX, _NUM_ARENAS = -8, 2  # the first as in glibc's malloc.h


def prepare_process() -> None:
    """Shorten the wait for the interpreter lock, turn off OpenCV's own threads, and keep malloc from spreading out.

    Once, before a pipeline runs.
    """
    import cv2

    # A thread that comes back from native code waits this long for the interpreter lock, and a frame makes
    # a dozen such trips; the default of 5 ms costs more than the drawing does.
    sys.setswitchinterval(0.0005)
    # Several stages call OpenCV at once; its own pool beside them costs more than it gives.
    cv2.setNumThreads(1)
    _limit_arenas()


def _limit_arenas() -> None:
    """Let all threads share two of glibc's pools of memory; MALLOC_ARENA_MAX, where it is set, says how many.

    By default there may be eight for each core, and what one thread frees in its own is of no use to others. With
    cameras that break and come back, whose threads come and go, a run grew by a megabyte a minute.
    """
    if sys.platform != "linux" or "MALLOC_ARENA_MAX" in os.environ:
        return
    try:
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, _NUM_ARENAS)
    except (OSError, AttributeError):
        return  # another C library, which has no arenas
