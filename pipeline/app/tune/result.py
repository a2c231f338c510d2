"""Result of a search: its trials, their repeats and the verdict on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.app.machine import available_cores
from pipeline.app.tune.promise import Promise
from pipeline.app.tune.verdict import Goal, Outcome
from pipeline.measure.search import Trial
from pipeline.measure.summary import Figure, disturbances


@dataclass(frozen=True, slots=True)
class Search:
    """What was searched for, and what came of it."""

    source: str
    output: Path  # where the best is written
    min_agreement: float
    goal: Goal
    device: str  # of the defaults
    precision: str
    form: str | None  # of the one file that was tried; None: there were several
    trials: Sequence[Trial]  # the defaults first
    finals: Mapping[int, Sequence[Trial]]  # repeats by the index of the trial
    outcome: Outcome
    promise: Promise | None  # the knob that was turned whatever the budget; None: there was none to turn
    is_cut_to_promise: bool  # whether the budget allowed no other

    @property
    def disturbances(self) -> list[str]:
        """What speaks against trusting the numbers, seen by what should not differ: the defaults."""
        repeats = [trial.measured for trial in self.finals.get(0, self.trials[:1]) if trial.measured is not None]
        if not repeats:
            return []
        return disturbances(repeats, Figure.of([repeat.delivered_fps for repeat in repeats]), cores=available_cores())

    @property
    def command(self) -> str:
        """What runs the best once it is written."""
        return f"streamdet run {self.source} --config {self.output}"
