"""Search: knobs and a cost → settings in the order in which they are tried, and the best.

One knob after the other is turned from the best setting so far, and what helps stays; then again from the first knob,
because a knob may turn out otherwise after others were turned, until a round brings nothing or the time is up. One knob
may be turned first, whatever the time.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.measure.measured import Measured

Setting = Mapping[str, Any]
"""The keys that differ from the start, and their values; {} is the start itself."""


LEAST_GAIN = 0.02
"""A smaller gain does not count: repeats of one setting differ by as much."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of a setting."""

    setting: Setting
    cost: float  # less is better; inf: it cannot be taken at all
    shortfall: float = 0.0  # by which share limits are missed; 0: all are kept
    reason: str | None = None  # why it cannot be taken; None: it can
    measured: Measured | None = None

    def beats(self, other: Trial, *, least_gain: float = 0.0) -> bool:
        """Whether it misses the limits by less or, where both keep them, costs less, by that share or more."""
        if math.isinf(self.cost):
            return False
        if math.isinf(other.cost):
            return True
        if self.shortfall or other.shortfall:
            return self.shortfall < other.shortfall * (1 - least_gain)
        return self.cost < other.cost * (1 - least_gain)


@dataclass(frozen=True, slots=True)
class Knob:
    """Something that can be turned: from the best setting so far, the changes to try; None takes a key back."""

    name: str
    changes: Callable[[Setting], Iterable[Setting]]


def coordinate_search(
    knobs: Sequence[Knob],
    try_setting: Callable[[Setting], Trial],
    *,
    is_time_left: Callable[[], bool],
    turn_first: Callable[[Trial], Knob | None] = lambda _: None,
    least_gain: float = LEAST_GAIN,
) -> Iterator[Trial]:
    """Yield each trial as it comes, the start first; no setting is tried twice.

    A setting takes the place of the best if it beats it by the share `least_gain`. turn_first: gives, from the trial of
    the start, the knob that is turned before the others and without asking for time.
    """
    best = try_setting({})
    yield best
    tried: set[frozenset[tuple[str, object]]] = {frozenset()}
    promising = turn_first(best)
    rounds = itertools.chain([[] if promising is None else [promising]], itertools.repeat(knobs))
    for number, turned in enumerate(rounds):
        before = best
        for knob in turned:
            origin = best.setting
            for change in knob.changes(origin):
                setting = applied(origin, change)
                if frozenset(setting.items()) in tried:
                    continue
                if number and not is_time_left():
                    return
                tried.add(frozenset(setting.items()))
                trial = try_setting(setting)
                yield trial
                if trial.beats(best, least_gain=least_gain):
                    best = trial
        if number and best is before:
            return


def applied(setting: Setting, change: Setting) -> dict[str, object]:
    """The setting after a change, in which None takes a key back."""
    return {key: value for key, value in {**setting, **change}.items() if value is not None}


def ranked(trials: Iterable[Trial]) -> list[Trial]:
    """Those that can be run at all, the best first: by what they miss of the limits, then by cost."""
    return sorted(
        (trial for trial in trials if not math.isinf(trial.cost)), key=lambda trial: (trial.shortfall, trial.cost)
    )


def gain_holds(start: Sequence[Trial], best: Sequence[Trial], *, least_gain: float = LEAST_GAIN) -> bool:
    """Whether repeats of a setting beat repeats of the start, in turns: each in its own turn, and enough in the median.

    A machine drifts by more than a setting gains, but both in a turn drift alike. Where limits are set and the start
    misses them, whether every repeat of the other keeps them.
    """
    if any(trial.shortfall or math.isinf(trial.cost) for trial in best):
        return False
    if statistics.median(trial.shortfall for trial in start) > 0:
        return True
    ratios = [ours.cost / theirs.cost for ours, theirs in zip(best, start, strict=False)]
    return max(ratios) < 1 and statistics.median(ratios) <= 1 - least_gain
