"""Jobs: the task of a contender in, its outcome out; needs no package, so that competitors' Pythons can run it.

A contender is a module that runs in a process of its own: `python -m MODULE < job.json`; its last line is the outcome.
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
"""The same for every contender."""


@dataclass(frozen=True, slots=True)
class Job:
    """Detect in `num_frames` frames of a video, and record into a folder if there is one."""

    kind: str
    video: str
    model: str
    num_frames: int
    folder: str | None = None  # where a recording goes; None: boxes only
    threads: int | None = None  # of a bare network; None: as many as ONNX Runtime likes
    settings: tuple[str, ...] = ()  # KEY=VALUE, read by streamdet alone


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a job took, without start-up and warm-up. Seconds of processor time are those of all threads."""

    num_frames: int
    wall_seconds: float
    cpu_seconds: float
    num_detections: int | None = None
    remark: str = ""


class ContenderError(Exception):
    """A contender could not do its job; the message is one line."""


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
        """The outcome of the frames that were done in that time."""
        return Outcome(num_frames, self.wall_seconds, self.cpu_seconds, num_detections, remark)


def run_apart(job: Job, *, module: str, python: str = sys.executable, environment: dict[str, str]) -> Outcome:
    """Let a module do a job in a new process. Raises ContenderError with the last line of its errors."""
    done = subprocess.run(
        [python, "-m", module],
        input=json.dumps(asdict(job)),
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[1],
        env=environment,
    )
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        reason = lines[-1] if lines else f"{module} ended with {done.returncode}"
        raise ContenderError(re.sub(r"^[\w.]+Error: ", "", reason))
    return Outcome(**json.loads(done.stdout.splitlines()[-1]))


def do_job(work: Callable[[Job], Outcome]) -> None:
    """Read a job from stdin, do it, and write the outcome to stdout; exit with one line if a package is missing."""
    fields = json.load(sys.stdin)
    try:
        outcome = work(Job(**{**fields, "settings": tuple(fields["settings"])}))
    except ModuleNotFoundError as error:
        sys.exit(f"not installed: {error}")
    print()  # a library may have left its line open
    print(json.dumps(asdict(outcome)))
