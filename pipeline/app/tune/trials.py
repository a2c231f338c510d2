"""Trials of a search: its start, its knobs and a meter → each setting tried, and the best again beside the start."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

from pipeline.app.config.loading import with_keys
from pipeline.app.measure_apart import Case, Measure
from pipeline.app.progress import Say
from pipeline.app.tune.promise import Promise, promise_of
from pipeline.app.tune.start import Start
from pipeline.app.tune.verdict import Goal, named
from pipeline.errors import StreamdetError
from pipeline.measure.search import Knob, Setting, Trial, coordinate_search, ranked

_NUM_FINALISTS = 2
_FINAL_REPEATS = 5


class Trials:
    """The trials of one search, as far as it has come; `run` may be interrupted at any point.

    seconds: how long a setting is measured. min_agreement: see `Start.disagreement`.
    """

    def __init__(
        self, start: Start, goal: Goal, measure: Measure, say: Say, *, seconds: float, min_agreement: float
    ) -> None:
        self._start, self._goal, self._measure, self._say = start, goal, measure, say
        self._seconds, self._min_agreement = seconds, min_agreement
        self._time_answers: list[bool] = []  # of `_is_time_left`, one a call
        self.trials: list[Trial] = []  # the start first
        self.finals: dict[int, list[Trial]] = {}  # repeats by index in `trials`
        self.promise: Promise | None = None

    @property
    def is_cut_to_promise(self) -> bool:
        """Whether the budget allowed the most promising knob alone."""
        return self._time_answers[:1] == [False]

    def run(self, knobs: Sequence[Knob], *, ends_at_seconds: float) -> None:
        """Turn the knobs until the time is up, on the monotonic clock, then repeat the best in turns with the start.

        Raises a StreamdetError if the start cannot run.
        """
        began_at_seconds = time.monotonic()

        def most_promising(trial: Trial) -> Knob | None:
            return self._most_promising(trial, knobs)

        def is_time_left() -> bool:
            self._time_answers.append(self._is_time_left(began_at_seconds, ends_at_seconds))
            return self._time_answers[-1]

        for trial in coordinate_search(knobs, self._try, is_time_left=is_time_left, turn_first=most_promising):
            self.trials.append(trial)
        self._repeat_finalists()

    def _repeat_finalists(self) -> None:
        better = [trial for trial in ranked(self.trials) if trial.beats(self.trials[0])]
        finalists = [self.trials.index(trial) for trial in better[:_NUM_FINALISTS]]
        if not finalists:
            return
        self._say("the best again, interleaved with the defaults")
        for _ in range(_FINAL_REPEATS):
            for index in (0, *finalists):
                repeat = self._measured_again(self.trials[index].setting)
                self.finals.setdefault(index, []).append(repeat)
                self._say(f"{named(repeat.setting)}: {self._goal.words([repeat])}")

    def _most_promising(self, trial: Trial, knobs: Sequence[Knob]) -> Knob | None:
        if trial.measured is not None:
            self.promise = promise_of(trial.measured, knobs, is_live=self._start.is_live)
        if self.promise is None:
            return None
        self._say(f"most promising is {self.promise}")
        return self.promise.knob

    def _is_time_left(self, began_at_seconds: float, ends_at_seconds: float) -> bool:
        """Whether another trial and the repeats of the finalists would end in time."""
        now = time.monotonic()
        seconds_per_trial = (now - began_at_seconds) / len(self.trials)
        num_finalists = min(_NUM_FINALISTS, max(1, sum(trial.beats(self.trials[0]) for trial in self.trials)))
        num_more = 1 + _FINAL_REPEATS * (1 + num_finalists)
        return now + num_more * seconds_per_trial < ends_at_seconds

    def _try(self, setting: Setting) -> Trial:
        trial = self._agreeing(setting) if setting else self._measured(setting)  # the start itself must run
        reason = f" ({trial.reason})" if trial.reason else ""
        self._say(f"{named(setting)}: {self._goal.words([trial])}{reason}")
        return trial

    def _agreeing(self, setting: Setting) -> Trial:
        """Agreement first, because it takes less time than speed; a setting that fails is refused."""
        try:
            doubt = self._start.disagreement(setting, min_agreement=self._min_agreement)
            return self._measured(setting) if doubt is None else _refused(setting, doubt)
        except StreamdetError as error:
            return _refused(setting, str(error))

    def _measured_again(self, setting: Setting) -> Trial:
        """It ran before; if it does not now, it is refused."""
        try:
            return self._measured(setting)
        except StreamdetError as error:
            return _refused(setting, str(error))

    def _measured(self, setting: Setting) -> Trial:
        config = with_keys(self._start.config, setting).without_outputs()
        return self._goal.judge(setting, self._measure(Case.of(config, seconds=self._seconds, warm_up_seconds=0.5)))


def _refused(setting: Setting, reason: str) -> Trial:
    return Trial(setting, math.inf, reason=reason)
