"""Samples: what /metrics, /proc and the cameras say twice a second → the ages, losses, hangs and growth of a run.

A window lies between two samples. It is normal for a source if frames were delivered in it, none of them older than
the source's usual age, which is that of the beginning of the run, before the first fault.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.soaking.trend import Trend, trend

BUCKETS = ("delivered", "dropped_stale", "dropped_full", "filtered", "failed")
LEAST_AGE_SECONDS = 0.5  # a usual age below this is too strict for a machine with two busy cores
SURE_WINDOWS = 4  # in a row are normal, before the first of them counts as the return to normal
HANG_SECONDS = 10.0  # without a frame although the camera gives some
USUAL_SHARE = 0.99  # of the windows before the first fault, whose ages are the usual ones
GROWTH_COUNT = 2  # descriptors or threads, that may be more
WARM_UP_SHARE = 0.2  # of the run, in which caches and pools fill
ALLOWED_BYTES_PER_HOUR = 20e6


@dataclass(frozen=True, slots=True)
class SourceSample:
    """A source at one moment: the run's books, and what its camera has given by then."""

    captured: int
    in_flight: int
    ended: Mapping[str, int]  # by bucket
    ages: Mapping[float, int]  # frames delivered at an age of at most that many seconds; cumulative
    num_given: int
    is_giving: bool

    @property
    def is_balanced(self) -> bool:
        """Whether each captured frame is in one bucket or on its way."""
        return self.captured == sum(self.ended.values()) + self.in_flight


@dataclass(frozen=True, slots=True)
class Sample:
    """The run at one moment."""

    at_seconds: float
    sources: Mapping[str, SourceSample]
    rss_bytes: int
    anonymous_bytes: int  # of it, what is of no file: its own, without pages of libraries, which come as they are used
    descriptors: int
    threads: int
    cpu_seconds: float


@dataclass(frozen=True, slots=True)
class Usual:
    """Of each source, the age that is normal, in seconds."""

    age_seconds: Mapping[str, float]

    @classmethod
    def of(cls, samples: Sequence[Sample]) -> Usual:
        """That of samples without faults: the bound under which the oldest frame is in nearly all windows."""
        ages: dict[str, list[float]] = {}
        for before, after in itertools.pairwise(samples):
            for name in before.sources.keys() & after.sources.keys():
                oldest = oldest_age_seconds(before.sources[name], after.sources[name])
                if oldest is not None:
                    ages.setdefault(name, []).append(oldest)
        return cls({name: max(LEAST_AGE_SECONDS, _quantile(values, USUAL_SHARE)) for name, values in ages.items()})

    def is_normal(self, name: str, before: Sample, after: Sample) -> bool:
        """Whether frames of a source came in a window, at their usual age."""
        if name not in before.sources or name not in after.sources:
            return False
        oldest = oldest_age_seconds(before.sources[name], after.sources[name])
        return oldest is not None and oldest <= self.age_seconds.get(name, math.inf)


def oldest_age_seconds(before: SourceSample, after: SourceSample) -> float | None:
    """The bound of the histogram that the oldest frame of a window is under; None: no frame was delivered."""
    if after.ended["delivered"] <= before.ended["delivered"]:
        return None
    num = max(after.ages.values(), default=0) - max(before.ages.values(), default=0)
    bounds = sorted(after.ages)
    return next((bound for bound in bounds if after.ages[bound] - before.ages.get(bound, 0) >= num), math.inf)


@dataclass(frozen=True, slots=True)
class Recovery:
    """How a run came back after a fault; None: it did not before the next one."""

    frames_after_seconds: float | None  # from the end of the fault to the next frame of every source concerned
    normal_after_seconds: float | None  # until all of them are at their usual age, and stay there
    others_disturbed_windows: int  # windows in which a source that the fault does not concern was not normal
    lost: Mapping[str, int]  # frames of the sources concerned by bucket, and `not received`


def recovery(
    samples: Sequence[Sample], usual: Usual, *, began: float, ended: float, until: float, sources: Sequence[str]
) -> Recovery:
    """Look at the samples from the beginning of a fault to the next one. sources: those that it concerns."""
    windows = [(a, b) for a, b in itertools.pairwise(samples) if began <= b.at_seconds <= until]
    frames = [_first_frame(windows, name, ended) for name in sources]
    normal = [_first_normal(windows, usual, name, ended) for name in sources]
    normal_at = None if None in normal else max((at for at in normal if at is not None), default=ended)
    over = until if normal_at is None else normal_at
    others = {name for before, _ in windows for name in before.sources} - set(sources)
    disturbed = sum(
        not usual.is_normal(name, before, after)
        for before, after in windows
        if after.at_seconds <= max(over, ended)
        for name in others & usual.age_seconds.keys()
    )
    return Recovery(
        None if None in frames else max((at for at in frames if at is not None), default=ended) - ended,
        None if normal_at is None else normal_at - ended,
        disturbed,
        _losses(windows, sources, max(over, ended)),
    )


def hangs(samples: Sequence[Sample], excused: Sequence[tuple[float, float, str]] = ()) -> list[str]:
    """A line for each time in which a camera gave pictures for long and the run took none.

    excused: from, to and source of the times in which it was not to take any, because it was stopped or paused.
    """
    lines = []
    for name in sorted({name for sample in samples for name in sample.sources}):
        since, last, is_told = None, -1, False
        for sample in samples:
            source = sample.sources.get(name)
            is_excused = any(a <= sample.at_seconds <= b and name == of for a, b, of in excused)
            if source is None or source.captured != last or not source.is_giving or is_excused:
                since, is_told = sample.at_seconds, False
                last = last if source is None else source.captured
            elif since is not None and sample.at_seconds - since > HANG_SECONDS and not is_told:
                lines.append(f"{name}: no frame from {since:.1f} s on, for more than {HANG_SECONDS:g} s")
                is_told = True
    return lines


def unbalanced(samples: Sequence[Sample]) -> int:
    """In how many samples the books of a source do not add up."""
    return sum(not source.is_balanced for sample in samples for source in sample.sources.values())


@dataclass(frozen=True, slots=True)
class Growth:
    """A measure of the process early and late, each the median of a fifth of the run without faults."""

    early: float
    late: float
    is_flat: bool


def growth(values: Sequence[float], *, allowed: float) -> Growth:
    """The second fifth against the last, because the first fills caches and pools. Raises StatisticsError for none."""
    fifth = max(1, len(values) // 5)
    early, late = statistics.median(values[fifth : 2 * fifth] or values), statistics.median(values[-fifth:])
    return Growth(early, late, late - early <= allowed)


def growths(samples: Sequence[Sample]) -> dict[str, Growth]:
    """Descriptors and threads, which are few and steady. samples: those in which no fault was under way."""
    return {
        "descriptors": growth([s.descriptors for s in samples], allowed=GROWTH_COUNT),
        "threads": growth([s.threads for s in samples], allowed=GROWTH_COUNT),
    }


def memory_trend(samples: Sequence[Sample]) -> Trend:
    """Of anonymous memory, in bytes an hour, once it has warmed up. samples: as for `growths`."""
    warm = samples[int(WARM_UP_SHARE * len(samples)) :]
    return trend([s.at_seconds for s in warm], [s.anonymous_bytes for s in warm])


def _first_frame(windows: Sequence[tuple[Sample, Sample]], name: str, ended: float) -> float | None:
    for before, after in windows:
        is_there = name in before.sources and name in after.sources and after.at_seconds > ended
        if is_there and after.sources[name].ended["delivered"] > before.sources[name].ended["delivered"]:
            return after.at_seconds
    return None


def _first_normal(windows: Sequence[tuple[Sample, Sample]], usual: Usual, name: str, ended: float) -> float | None:
    """The end of the first normal window after a fault that more of them follow."""
    in_a_row: list[float] = []
    for before, after in windows:
        if after.at_seconds <= ended:
            continue
        in_a_row = [*in_a_row, after.at_seconds] if usual.is_normal(name, before, after) else []
        if len(in_a_row) == SURE_WINDOWS:
            return in_a_row[0]
    return None


def _losses(windows: Sequence[tuple[Sample, Sample]], sources: Sequence[str], until: float) -> dict[str, int]:
    lost = dict.fromkeys(("not received", *BUCKETS[1:]), 0)
    inside = [window for window in windows if window[0].at_seconds <= until]
    if not inside:
        return lost
    first, last = inside[0][0], inside[-1][1]
    for name in sources:
        if name in first.sources and name in last.sources:
            before, after = first.sources[name], last.sources[name]
            lost["not received"] += max(0, after.num_given - before.num_given - (after.captured - before.captured))
            for bucket in BUCKETS[1:]:
                lost[bucket] += after.ended[bucket] - before.ended[bucket]
    return lost


def _quantile(values: Sequence[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, math.floor(share * len(values)))]
