"""Command line: words → exit code, stdout and stderr."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

STREAMDET = [sys.executable, "-m", "pipeline.app.cli"]

Done = subprocess.CompletedProcess[str]
Streamdet = Callable[..., Done]
"""What the fixture `streamdet` is: words → what they came to, in this process."""


def run_streamdet(*words: object, **options: Any) -> Done:
    """Run `streamdet WORDS` in a process of its own; options are those of `subprocess.run`."""
    command = [*STREAMDET, *map(str, words)]
    return subprocess.run(command, **{"capture_output": True, "text": True, "timeout": 120, **options})


def refused(done: Done, *parts: str) -> bool:
    """Whether it is exit code 1 and one line with these parts."""
    assert done.returncode == 1, done
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert done.stderr.startswith("streamdet: error: ")
    for part in parts:
        assert part in done.stderr
    return True
