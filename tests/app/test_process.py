"""Process: what a run sets in its process."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

ALLOCATE_IN_THREADS = """
import ctypes, sys, threading
libc = ctypes.CDLL(None)
if not hasattr(libc, "malloc_stats"):
    sys.exit("no glibc")
from pipeline.app.process import prepare_process
prepare_process()
meet = threading.Barrier(9)
def allocate():
    libc.malloc(5000)
    meet.wait()
threads = [threading.Thread(target=allocate) for _ in range(8)]
for thread in threads:
    thread.start()
meet.wait()
libc.malloc_stats()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="arenas are glibc's")
@pytest.mark.parametrize(("of_user", "most"), [(None, 2), ("5", 5)])
def test_threads_share_two_pools_of_memory_unless_the_user_says_how_many(of_user: str | None, most: int) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "MALLOC_ARENA_MAX"}
    environment |= {} if of_user is None else {"MALLOC_ARENA_MAX": of_user}
    done = subprocess.run(
        [sys.executable, "-c", ALLOCATE_IN_THREADS], capture_output=True, text=True, env=environment, check=False
    )
    if "no glibc" in done.stderr:
        pytest.skip("another C library")
    assert done.stderr.count("Arena ") == most
