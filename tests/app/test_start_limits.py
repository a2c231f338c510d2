"""Limits of the shell: what is too little for a start is one line, not a signal or a traceback."""

from __future__ import annotations

import subprocess
import sys

import pytest

resource = pytest.importorskip("resource", reason="limits of POSIX")

LIMITS = [
    ("RLIMIT_STACK", 64 << 10, "ulimit -s must be at least 256 kB for the native libraries, got 64"),
    ("RLIMIT_AS", 600 << 20, "ulimit -v must be at least 786432 kB for the native libraries, got 614400"),
    ("RLIMIT_NOFILE", 4, "no further file can be opened; raise ulimit -n, which must be at least some dozens"),
]


@pytest.mark.parametrize(("limit", "most", "reason"), LIMITS, ids=[limit for limit, _, _ in LIMITS])
def test_a_limit_that_is_too_low_is_said_in_one_line(limit: str, most: int, reason: str) -> None:
    # Set in the process itself, which has its stack by then: a lower one would keep Python from starting at all.
    code = (
        f"import resource; resource.setrlimit(resource.{limit}, ({most}, {most}))\n"
        "from pipeline.app.start import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "doctor"], capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
    )
    assert (done.returncode, done.stderr) == (1, f"streamdet: error: {reason}\n")
