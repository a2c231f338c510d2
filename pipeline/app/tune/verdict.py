"""Verdict of a search: trials and their repeats → the setting worth taking, and a sentence."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pipeline.measure.measured import Measured
from pipeline.measure.search import LEAST_GAIN, Setting, Trial, gain_holds, ranked

# A rate is held if this share of it really comes.
_HELD = 0.99


@dataclass(frozen=True, slots=True)
class Goal:
    """What is best: most frames per second, the lowest p95 latency without drops, or least CPU time per frame."""

    wants: Literal["throughput", "latency", "cpu"]
    min_fps: float | None = None
    max_latency_ms: float | None = None
    rate: float | None = None  # of a camera that is played
    every: int = 1  # one of this number of its frames is captured

    def judge(self, setting: Setting, measured: Measured) -> Trial:
        """The cost in milliseconds, and what is missed of the limits."""
        fps, p95 = measured.fps.delivered, measured.latency_ms["p95"]
        if not fps or p95 is None:
            return Trial(setting, math.inf, reason="too few frames were delivered to judge it", measured=measured)
        missed = [
            (reason, share) for reason, share in (*self._of_limits(fps, p95), *self._of_camera(measured)) if share > 0
        ]
        cost = {"throughput": 1000 / fps, "latency": p95, "cpu": measured.cpu_ms_per_frame}[self.wants]
        reasons = "; ".join(reason for reason, _ in missed) or None
        return Trial(setting, cost, sum(share for _, share in missed), reasons, measured)

    def _of_limits(self, fps: float, p95_ms: float) -> Iterator[tuple[str, float]]:
        """By which shares the limits are missed, in words; a negative share keeps its limit."""
        if self.min_fps:
            yield f"{fps:.1f} frames/s are less than {self.min_fps:g}", 1 - fps / self.min_fps
        if self.max_latency_ms:
            yield f"p95 of {p95_ms:.1f} ms is more than {self.max_latency_ms:g}", p95_ms / self.max_latency_ms - 1

    def _of_camera(self, measured: Measured) -> Iterator[tuple[str, float]]:
        """Which shares of a camera's frames were lost, in words."""
        if self.wants != "latency":
            return
        dropped, captured = measured.frames.dropped, max(1, measured.frames.captured)
        yield f"{dropped} of {captured} frames were dropped", dropped / captured
        if self.rate is not None:
            share = (measured.fps.captured or 0.0) * self.every / self.rate
            yield f"only {share:.0%} of the camera's frames were captured", _HELD - share

    def __str__(self) -> str:
        what = {
            "throughput": "most frames/s",
            "latency": "the lowest p95 latency without a dropped frame",
            "cpu": "least CPU time per frame",
        }[self.wants]
        limits = [
            *([f"at least {self.min_fps:g} frames/s"] if self.min_fps else []),
            *([f"p95 latency of at most {self.max_latency_ms:g} ms"] if self.max_latency_ms else []),
        ]
        at = f" behind a camera of {self.rate:g} frames/s" if self.rate else ""
        return what + at + (f" with {' and '.join(limits)}" if limits else "")

    def words(self, trials: Sequence[Trial]) -> str:
        """What repeats of a setting come to, in a few words."""
        cost = statistics.median(trial.cost for trial in trials)
        if math.isinf(cost):
            return "rejected"
        if self.wants == "throughput":
            return f"{1000 / cost:.1f} frames/s"
        return f"p95 {cost:.1f} ms" if self.wants == "latency" else f"{cost:.1f} CPU ms / frame"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a search came to."""

    chosen: Setting | None  # what is worth writing; None: the defaults are best
    sentence: str
    keeps_limits: bool  # whether anything does, the defaults included


def judge_trials(
    trials: Sequence[Trial], finals: Mapping[int, Sequence[Trial]], goal: Goal, *, is_interrupted: bool = False
) -> Outcome:
    """Choose a setting whose gain holds when measured again, or the defaults.

    trials: of the search, the defaults first. finals: repeats by the index of the trial; without them, and where it was
    interrupted, the search alone counts.
    """
    if is_interrupted:
        return _outcome_until_now(trials, goal)
    finalists = [index for index in finals if index]
    if not finalists:
        return _outcome_without_finals(trials, goal)
    winner = min(finalists, key=lambda index: _middle(finals[index]))
    return _outcome_of_finals(trials[winner].setting, finals[winner], finals[0], goal)


def _outcome_until_now(trials: Sequence[Trial], goal: Goal) -> Outcome:
    default, ranking = trials[0], ranked(trials)
    best = ranking[0] if ranking else default
    if best.reason is not None or not best.beats(default, least_gain=LEAST_GAIN):
        return Outcome(None, "Interrupted, and nothing better than the defaults was found yet.", True)
    sentence = (
        f"Interrupted: {named(best.setting)} is the best until now, {goal.words([best])} instead of "
        f"{goal.words([default])}, measured once and not again."
    )
    return Outcome(best.setting, sentence, True)


def _outcome_without_finals(trials: Sequence[Trial], goal: Goal) -> Outcome:
    """No setting beat the defaults in the search."""
    default = trials[0]
    if default.reason is not None:
        return Outcome(None, f"Nothing that was tried keeps the limits: {default.reason} with the defaults.", False)
    if len(trials) == 1:
        sentence = "Only the defaults could be tried: all that can be turned is set; leave out some --set."
    else:
        sentence = f"The defaults were best of {len(trials)} settings: {goal.words([default])}; nothing is written."
    return Outcome(None, sentence, True)


def _outcome_of_finals(setting: Setting, repeats: Sequence[Trial], defaults: Sequence[Trial], goal: Goal) -> Outcome:
    """The best setting of the search, measured again, interleaved with the defaults."""
    comparison = f"{goal.words(repeats)} instead of {goal.words(defaults)}"
    (default_shortfall, default_cost), (_, cost) = _middle(defaults), _middle(repeats)
    if gain_holds(defaults, repeats):
        gain = (
            "the defaults miss the limits"
            if default_shortfall
            else f"{default_cost / cost:.2f}× better than the defaults"
        )
        return Outcome(
            setting, f"Take {named(setting)}: {comparison}, {gain}, measured {len(repeats)} times, interleaved.", True
        )
    if default_shortfall > 0:
        reason = next((trial.reason for trial in repeats if trial.reason), "it kept them once")
        nearest = f"{named(setting)}: {comparison}: {reason}"
        return Outcome(None, f"Nothing that was tried keeps the limits; the nearest is {nearest}.", False)
    sentence = (
        f"The defaults were best: {named(setting)} looked better, but measured again it comes to {comparison}, "
        "and is not better in every repeat; nothing is written."
    )
    return Outcome(None, sentence, True)


def named(setting: Setting) -> str:
    """As `--set` takes it."""
    return " ".join(f"{key}={value}" for key, value in setting.items()) or "the defaults"


def _middle(trials: Sequence[Trial]) -> tuple[float, float]:
    """Median shortfall and cost."""
    return statistics.median(trial.shortfall for trial in trials), statistics.median(trial.cost for trial in trials)
