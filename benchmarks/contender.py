"""What does a party of a benchmark get, and what does it give back? Also for guests in environments of their own.

A party is a module that is run in a process of its own: `python -m MODULE < job.json`; its last line is the outcome.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

SCORE_THRESHOLD, IOU_THRESHOLD = 0.25, 0.5
"""The same for every party."""


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be done: detect in so many frames, and record into a folder if one is given."""

    kind: str
    video: str
    model: str
    num_frames: int
    folder: str | None = None  # where a recording goes; None: boxes only
    threads: int | None = None  # of a bare network; None: as many as ONNX Runtime likes
    settings: tuple[str, ...] = ()  # KEY=VALUE, ours alone


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it; start-up and warm-up are in none of the numbers. Seconds of processor time: of all threads."""

    num_frames: int
    wall_seconds: float
    cpu_seconds: float
    num_detections: int | None = None
    remark: str = ""


class PartyError(Exception):
    """A party could not do its job, and says why in one line."""


class Stopwatch:
    """Wall time, and CPU time of the whole process."""

    wall_seconds = cpu_seconds = 0.0

    def __enter__(self) -> Stopwatch:
        self._wall, self._cpu = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.wall_seconds = time.perf_counter() - self._wall
        self.cpu_seconds = time.process_time() - self._cpu

    def outcome(self, num_frames: int, num_detections: int | None = None, remark: str = "") -> Outcome:
        """What was done in that time."""
        return Outcome(num_frames, self.wall_seconds, self.cpu_seconds, num_detections, remark)


def run_apart(job: Job, *, module: str, python: str = sys.executable, environment: dict[str, str]) -> Outcome:
    """Let a module do a job in a new process. Raises PartyError with the last words of one that could not."""
    done = subprocess.run(
        [python, "-m", module],
        input=json.dumps(asdict(job)),
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[1],
        env=environment,
    )
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip()]
        reason = said[-1] if said else f"{module} ended with {done.returncode}"
        raise PartyError(re.sub(r"^[\w.]+Error: ", "", reason))
    return Outcome(**json.loads(done.stdout.splitlines()[-1]))


def do_job(work: Callable[[Job], Outcome]) -> None:
    """Read a job from stdin, do it, and write the outcome to stdout; a missing package is said in one line."""
    given = json.load(sys.stdin)
    try:
        outcome = work(Job(**{**given, "settings": tuple(given["settings"])}))
    except ModuleNotFoundError as error:
        sys.exit(f"not installed: {error}")
    print()  # a library may have left its line open
    print(json.dumps(asdict(outcome)))
