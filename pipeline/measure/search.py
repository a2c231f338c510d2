"""In which order are settings tried, and which is best?

One knob after the other is turned from the best setting so far, and what helps stays; then again from the first knob,
because a knob may turn out otherwise after others were turned, until a round brings nothing or the time is up.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Setting = Mapping[str, Any]
"""The keys that differ from the start, and their values; {} is the start itself."""


LEAST_GAIN = 0.02
"""What gains less is no gain: repeats of one setting differ by as much."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of a setting."""

    setting: Setting
    cost: float  # less is better; inf: it cannot be taken at all
    shortfall: float = 0.0  # by which share limits are missed; 0: all are kept
    reason: str | None = None  # why it cannot be taken; None: it can
    measured: Mapping[str, Any] | None = None

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
    least_gain: float = LEAST_GAIN,
) -> Iterator[Trial]:
    """Yield each trial as it comes, the start first; no setting is tried twice.

    A setting takes the place of the best if it beats it by the share `least_gain`.
    """
    best = try_setting({})
    yield best
    tried: set[frozenset[tuple[str, Any]]] = {frozenset()}
    while True:
        before = best
        for knob in knobs:
            here = best.setting
            for change in knob.changes(here):
                setting = {key: value for key, value in {**here, **change}.items() if value is not None}
                if frozenset(setting.items()) in tried:
                    continue
                if not is_time_left():
                    return
                tried.add(frozenset(setting.items()))
                trial = try_setting(setting)
                yield trial
                if trial.beats(best, least_gain=least_gain):
                    best = trial
        if best is before:
            return


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
