"""Verdict of a search: trials and their repeats → the setting worth taking, and a sentence."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pipeline.measure.measured import Measured
from pipeline.measure.search import LEAST_GAIN, Setting, Trial, gain_holds, ranked

# A rate is held if this share of it really comes.
_HELD = 0.99


@dataclass(frozen=True, slots=True)
class Goal:
    """What is best: most frames a second, the lowest p95 latency without drops, or least CPU time a frame."""

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
        dropped, captured = measured.frames.dropped, max(1, measured.frames.captured)
        missed = [
            (f"{fps:.1f} frames/s are less than {self.min_fps:g}", 1 - fps / self.min_fps) if self.min_fps else ("", 0),
            (f"p95 of {p95:.1f} ms is more than {self.max_latency_ms:g}", p95 / self.max_latency_ms - 1)
            if self.max_latency_ms
            else ("", 0),
        ]
        if self.wants == "latency":
            missed.append((f"{dropped} of {captured} frames were dropped", dropped / captured))
        if self.wants == "latency" and self.rate is not None:
            came = (measured.fps.captured or 0.0) * self.every / self.rate
            missed.append((f"only {came:.0%} of the rate came", _HELD - came))
        reasons = [(reason, share) for reason, share in missed if share > 0]
        cost = {"throughput": 1000 / fps, "latency": p95, "cpu": measured.cpu_ms_per_frame}[self.wants]
        return Trial(
            setting,
            cost,
            sum(share for _, share in reasons),
            "; ".join(reason for reason, _ in reasons) or None,
            measured,
        )

    def __str__(self) -> str:
        what = {
            "throughput": "most frames/s",
            "latency": "the lowest p95 latency without a dropped frame",
            "cpu": "least CPU time a frame",
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
        return f"p95 {cost:.1f} ms" if self.wants == "latency" else f"{cost:.1f} CPU ms a frame"


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
    default = trials[0]
    if is_interrupted:
        best = ranked(trials)[:1]
        if not best or not best[0].beats(default, least_gain=LEAST_GAIN) or best[0].reason is not None:
            return Outcome(None, "Interrupted, and nothing better than the defaults was found yet.", True)
        return Outcome(
            best[0].setting,
            f"Interrupted: {named(best[0].setting)} is the best until now, {goal.words(best)} instead of "
            f"{goal.words([default])}, measured once and not again.",
            True,
        )
    finalists = [index for index in finals if index]
    if not finalists:
        if default.reason is not None:
            return Outcome(None, f"Nothing that was tried keeps the limits: {default.reason} with the defaults.", False)
        if len(trials) == 1:
            return Outcome(
                None, "Only the defaults could be tried: all that can be turned is set; leave out some --set.", True
            )
        return Outcome(
            None,
            f"The defaults were best of {len(trials)} settings: {goal.words([default])}; nothing is written.",
            True,
        )
    winner = min(finalists, key=lambda index: _middle(finals[index]))
    words = f"{named(trials[winner].setting)}: {goal.words(finals[winner])} instead of {goal.words(finals[0])}"
    if gain_holds(finals[0], finals[winner]):
        ratio = _middle(finals[0])[1] / _middle(finals[winner])[1]
        gain = f"{ratio:.2f}× better than the defaults" if not _middle(finals[0])[0] else "the defaults miss the limits"
        return Outcome(
            trials[winner].setting,
            f"Take {words}, {gain}, measured {len(finals[winner])} times in turns.",
            True,
        )
    if _middle(finals[0])[0] > 0:
        reason = next((trial.reason for trial in finals[winner] if trial.reason), "it kept them once")
        return Outcome(None, f"Nothing that was tried keeps the limits; the nearest is {words}: {reason}.", False)
    return Outcome(
        None,
        f"The defaults were best: {named(trials[winner].setting)} looked better, but measured again it comes to "
        f"{goal.words(finals[winner])} instead of {goal.words(finals[0])}, not in every turn; nothing is written.",
        True,
    )


def named(setting: Setting) -> str:
    """As `--set` takes it."""
    return " ".join(f"{key}={value}" for key, value in setting.items()) or "the defaults"


def _middle(trials: Sequence[Trial]) -> tuple[float, float]:
    """Median shortfall and cost."""
    return statistics.median(trial.shortfall for trial in trials), statistics.median(trial.cost for trial in trials)
