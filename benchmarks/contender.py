"""Contenders: the rows of a comparison, each a job and its outcomes; measured in turns, each in a new process."""

from __future__ import annotations

import itertools
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks.job import ContenderError, Job, Outcome, run_apart


@dataclass(slots=True)
class Contender:
    """One row: a module and its job, the Python that runs it, and its outcomes so far."""

    name: str
    module: str
    job: Job
    records: bool = False
    python: str | None = sys.executable  # None: there is none, and `failure` says what to do
    may_fail: bool = False
    failure: str = ""
    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def fps(self) -> float:
        return statistics.median(self.all_fps)

    @property
    def all_fps(self) -> list[float]:
        return [outcome.num_frames / outcome.wall_seconds for outcome in self.outcomes]

    @property
    def cpu_ms(self) -> float:
        """Processor time of a frame."""
        return statistics.median(self.all_cpu_ms)

    @property
    def all_cpu_ms(self) -> list[float]:
        return [1000 * outcome.cpu_seconds / outcome.num_frames for outcome in self.outcomes]

    @property
    def detections_per_frame(self) -> float | None:
        counts = [
            outcome.num_detections / outcome.num_frames
            for outcome in self.outcomes
            if outcome.num_detections is not None
        ]
        return statistics.median(counts) if counts else None


def measure_in_turns(contenders: Sequence[Contender], repeats: int, folder: Path) -> None:
    """Measure every contender once, then every one again. Raises ContenderError for one that must not fail."""
    # Ultralytics writes its settings beside its cache; not into the home of whoever measures.
    environment = {**os.environ, "YOLO_CONFIG_DIR": str(folder)}
    for _, contender in itertools.product(range(repeats), contenders):
        if contender.failure:
            continue
        try:
            contender.outcomes.append(_measure_once(contender, folder, environment))
        except (ContenderError, OSError) as error:
            if not contender.may_fail:
                raise
            contender.failure = str(error)


def _measure_once(contender: Contender, folder: Path, environment: dict[str, str]) -> Outcome:
    assert contender.python is not None
    with tempfile.TemporaryDirectory(dir=folder) as outputs:
        job = replace(contender.job, folder=outputs if contender.records else None)
        return run_apart(job, module=contender.module, python=contender.python, environment=environment)
