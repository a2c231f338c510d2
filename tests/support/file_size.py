"""File size: a number of bytes → files that take no more, as on a full disk, for a while."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def no_file_above(num_bytes: int) -> Iterator[None]:
    """Every write of this process that would make a file larger writes a part, then fails (EFBIG)."""
    resource = pytest.importorskip("resource", reason="limits of POSIX")
    limits, ignored = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
