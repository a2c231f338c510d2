"""Summary: what a soak measured → whether every promise was kept, a table by kind of fault, and JSON."""

from __future__ import annotations

import json
import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property

from benchmarks.soaking.samples import (
    ALLOWED_BYTES_PER_HOUR,
    Growth,
    Recovery,
    Sample,
    Usual,
    growths,
    hangs,
    memory_trend,
    unbalanced,
)
from benchmarks.soaking.soaked_run import KillLoss, Outcome
from benchmarks.soaking.trend import CONFIDENCE, Trend

BAR_SECONDS = 2.0  # until the age is as usual again
BAR_KILL_SECONDS = 1.0
_SAMPLES_A_POINT = 20  # of memory over time
_LOST = ("not received", "dropped_stale", "dropped_full", "filtered", "failed")


@dataclass(frozen=True, slots=True)
class FaultRecord:
    """A fault, and what came of it."""

    name: str
    how: str
    cameras: Sequence[str]
    began: float
    ended: float
    recovery: Recovery


@dataclass(frozen=True)
class Soak:
    """All that was measured. outcomes: of the run with the faults, the one that was killed, and the last."""

    machine: str
    seed: int
    minutes: float
    records: Sequence[FaultRecord]
    usual: Usual
    outcomes: Sequence[Outcome]
    excused: Sequence[tuple[float, float, str]]
    kill: KillLoss
    left_out: Sequence[str] = field(default=())

    @cached_property
    def hangs(self) -> list[str]:
        """Times in which a camera gave pictures and the run took none."""
        return hangs(self.outcomes[0].samples, self.excused)

    @cached_property
    def growths(self) -> Mapping[str, Growth]:
        """Of samples that no fault had a part in."""
        return growths(self._quiet_samples())

    @cached_property
    def memory(self) -> Trend:
        """Of the same samples, in bytes an hour."""
        return memory_trend(self._quiet_samples())

    @cached_property
    def unaccounted(self) -> int:
        """Books that do not add up in a sample, frames that are in none at the end, lines of frames not delivered."""
        return sum(unbalanced(outcome.samples) + _unaccounted_in_report(outcome) for outcome in self.outcomes)

    @property
    def unplayable(self) -> list[str]:
        """Segments that do not play to their end."""
        return sorted({line for outcome in self.outcomes for line in outcome.segments.unplayable})

    @property
    def num_segments(self) -> int:
        """Segments that were decoded."""
        return sum(outcome.segments.num_played for outcome in self.outcomes)

    @property
    def broken_promises(self) -> list[str]:
        """A line for each promise that was not kept; how soon the age is as usual is in the table."""
        lines = [*self.hangs, *self.unplayable]
        lines += [
            f"{name} grew from {of.early:.0f} to {of.late:.0f}" for name, of in self.growths.items() if not of.is_flat
        ]
        lines += [memory_in_words(self.memory)] if self.memory.judged(ALLOWED_BYTES_PER_HOUR) == "grows" else []
        lines += [f"{self.unaccounted} frames unaccounted"] if self.unaccounted else []
        lines += [line for outcome in self.outcomes for line in outcome.broken_lines[:5]]
        lines += [
            f"exit code {outcome.exit_code} after {outcome.signal.name}"
            for outcome in self.outcomes
            if not outcome.ended_well
        ]
        lines += [f"SIGKILL lost {self.kill.seconds:.1f} s"] if self.kill.seconds > BAR_KILL_SECONDS else []
        lines += [
            f"{record.name}: not as usual before the next fault" for record in self.records if not _is_back(record)
        ]
        return lines + ["a traceback in the log"] * any("Traceback (most" in outcome.log for outcome in self.outcomes)

    @property
    def is_kept(self) -> bool:
        """Whether every promise was."""
        return not self.broken_promises

    def _quiet_samples(self) -> list[Sample]:
        """Those from the usual state on until the next fault; all, if there are too few of them."""
        samples = self.outcomes[0].samples
        spans = [
            (record.began, record.ended + (record.recovery.normal_after_seconds or 10.0) + 1.0)
            for record in self.records
        ]
        quiet = [s for s in samples if not any(began <= s.at_seconds <= ended for began, ended in spans)]
        return quiet if len(quiet) >= 10 else list(samples)


def print_soak(soak: Soak) -> None:
    """One table, then one line for the whole, and what was not kept."""
    print(soak.machine)
    print(f"seed {soak.seed}, {soak.minutes:g} minutes; usual age " + _ages_in_words(soak.usual))
    print(
        "\n| fault | how | times | lost frames | s until frames, median / worst | s until usual age, median / worst |"
    )
    print("|---|---|---|---|---|---|")
    for row in rows_of(soak.records):
        print(row)
    print(f"\n{whole_in_words(soak)}\n{memory_in_words(soak.memory)}")
    for line in (*soak.left_out, *soak.broken_promises):
        print(f"- {line}")


def rows_of(records: Sequence[FaultRecord]) -> list[str]:
    """A row of the table for each kind, in the order in which they came first."""
    kinds = dict.fromkeys((record.name, record.how) for record in records)
    return [_row(how, [record for record in records if record.name == name]) for name, how in kinds]


def whole_in_words(soak: Soak) -> str:
    """The whole run in a sentence."""
    first = soak.outcomes[0]
    late = [record for record in soak.records if not _is_in_time(record)]
    grown = ", ".join(f"{name} {of.early:.0f} to {of.late:.0f}" for name, of in soak.growths.items())
    spent = first.samples[-1].cpu_seconds - first.samples[0].cpu_seconds
    share = spent / (first.samples[-1].at_seconds - first.samples[0].at_seconds)
    return (
        f"{len(soak.records)} faults, {len(late)} of them longer than {BAR_SECONDS:g} s until the usual age; "
        f"{len(soak.hangs)} hangs, {soak.unaccounted} frames unaccounted in {len(first.samples)} scrapes, "
        f"{soak.num_segments} segments decoded, {len(soak.unplayable)} do not play; "
        f"SIGKILL lost {soak.kill.seconds:.1f} s; "
        f"exit codes {', '.join(str(outcome.exit_code) for outcome in soak.outcomes)}; {grown}; {share:.0%} of a core"
    )


def memory_in_words(memory: Trend) -> str:
    """The slope with its interval, and what follows of it."""
    judgement = {
        "flat": "it does not grow more than that",
        "grows": "it grows",
        "undecided": "the run is too short to say whether it does",
    }[memory.judged(ALLOWED_BYTES_PER_HOUR)]
    slope, low, high, allowed = (of / 1e6 for of in (memory.per_hour, memory.low, memory.high, ALLOWED_BYTES_PER_HOUR))
    return (
        f"anonymous memory, over {memory.minutes:.0f} minutes: {slope:+.1f} MB an hour, {CONFIDENCE:.0%} interval "
        f"{low:+.1f} to {high:+.1f}, allowed {allowed:g}: {judgement}"
    )


def soak_in_json(soak: Soak) -> dict[str, object]:
    """All of it, without the samples and the log."""
    return {
        "machine": soak.machine,
        "seed": soak.seed,
        "minutes": soak.minutes,
        "is_kept": soak.is_kept,
        "broken_promises": soak.broken_promises,
        "usual_age_seconds": dict(soak.usual.age_seconds),
        "faults": [asdict(record) for record in soak.records],
        "memory_bytes_per_hour": _memory_in_json(soak.memory),
        "growth": {name: asdict(of) for name, of in soak.growths.items()},
        "hangs": soak.hangs,
        "unaccounted": soak.unaccounted,
        "unplayable": soak.unplayable,
        "segments_decoded": soak.num_segments,
        "left_out": list(soak.left_out),
        "kill": asdict(soak.kill) | {"seconds": soak.kill.seconds},
        "runs": [
            {
                "signal": outcome.signal.name,
                "exit_code": outcome.exit_code,
                "scrapes": len(outcome.samples),
                "missed_scrapes": outcome.num_missed_scrapes,
                "lines": dict(outcome.lines_by_source),
                "rss_megabytes": [round(sample.rss_bytes / 1e6, 1) for sample in outcome.samples[::_SAMPLES_A_POINT]],
                "anonymous_megabytes": [round(s.anonymous_bytes / 1e6, 1) for s in outcome.samples[::_SAMPLES_A_POINT]],
                "events": dict(Counter(_events(outcome.log))),
            }
            for outcome in soak.outcomes
        ],
    }


def _row(how: str, records: Sequence[FaultRecord]) -> str:
    lost = Counter[str]()
    for record in records:
        lost.update(record.recovery.lost)
    words = ", ".join(f"{lost[name]} {name.replace('_', ' ')}" for name in _LOST if lost[name]) or "none"
    frames = _median_and_worst([record.recovery.frames_after_seconds for record in records])
    normal = _median_and_worst([record.recovery.normal_after_seconds for record in records])
    return f"| {records[0].name} | {how} | {len(records)} | {words} | {frames} | {normal} |"


def _median_and_worst(seconds: Sequence[float | None]) -> str:
    values = [value for value in seconds if value is not None]
    worst = "never" if len(values) < len(seconds) else f"{max(values):.1f}"
    return f"{statistics.median(values):.1f} / {worst}" if values else "never"


def _is_back(record: FaultRecord) -> bool:
    return record.recovery.normal_after_seconds is not None


def _is_in_time(record: FaultRecord) -> bool:
    seconds = record.recovery.normal_after_seconds
    return seconds is not None and seconds <= BAR_SECONDS


def _unaccounted_in_report(outcome: Outcome) -> int:
    if outcome.report is None:
        return 0
    sources = outcome.report["sources"]
    assert isinstance(sources, dict)
    num = 0
    for name, source in sources.items():
        frames = dict(source["frames"])
        captured = frames.pop("captured")
        num += abs(captured - sum(frames.values())) + max(0, outcome.lines_by_source.get(name, 0) - frames["delivered"])
    return num


def _memory_in_json(memory: Trend) -> dict[str, object]:
    """JSON has no infinite numbers: an end that is not known is null."""
    ends = {name: end if math.isfinite(end) else None for name, end in (("low", memory.low), ("high", memory.high))}
    return asdict(memory) | ends | {"judgement": memory.judged(ALLOWED_BYTES_PER_HOUR)}


def _ages_in_words(usual: Usual) -> str:
    return ", ".join(f"{name} {seconds:g} s" for name, seconds in usual.age_seconds.items())


def _events(log: str) -> list[str]:
    return [json.loads(line).get("event", "") for line in log.splitlines() if line.startswith("{")]
