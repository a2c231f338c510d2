"""Process: the settings of Python and OpenCV that a pipeline of threads needs in its process."""

from __future__ import annotations

import sys


def prepare_process() -> None:
    """Shorten the wait for the interpreter lock and turn off OpenCV's own threads, once, before a pipeline runs."""
    import cv2

    # A thread that comes back from native code waits this long for the interpreter lock, and a frame makes
    # a dozen such trips; the default of 5 ms costs more than the drawing does.
    sys.setswitchinterval(0.0005)
    # Several stages call OpenCV at once; its own pool beside them costs more than it gives.
    cv2.setNumThreads(1)
