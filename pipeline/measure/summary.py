"""Summary: the repeats of a measurement → medians and spreads, beside their floors."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.measure.measured import FloorMeasured, Measured, Percentiles

# From this share of the machine's cores in other hands on, or of repeats apart, do not trust a figure.
_DISTURBED_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class Figure:
    """The median of some repeats, and how far apart they are."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Figure:
        """Of at least one value."""
        return cls(statistics.median(values), min(values), max(values))

    @property
    def spread(self) -> float:
        """(most - least) / median, 0 where all is 0."""
        return (self.most - self.least) / self.median if self.median else 0.0

    def as_json(self) -> dict[str, float]:
        """In JSON types."""
        return {"median": round(self.median, 3), "least": round(self.least, 3), "most": round(self.most, 3)}


@dataclass(frozen=True, slots=True)
class Floor:
    """One part of the work, alone."""

    fps: Figure
    cpu_ms: Figure  # a frame

    @classmethod
    def of(cls, repeats: Sequence[FloorMeasured]) -> Floor:
        """Of at least one repeat."""
        return cls(
            Figure.of([repeat.fps for repeat in repeats]), Figure.of([repeat.cpu_ms_per_frame for repeat in repeats])
        )


@dataclass(frozen=True, slots=True)
class Floors:
    """What cannot be undercut: each part alone, one frame after the other."""

    sources: Floor
    network: Floor  # with one thread, or with as many as ONNX Runtime likes: the faster rate, and the cheaper cost
    encoder: Floor | None = None  # where a recording is made

    @classmethod
    def of(
        cls,
        sources: Sequence[FloorMeasured],
        network: Sequence[FloorMeasured],
        network_alone: Sequence[FloorMeasured],
        encoder: Sequence[FloorMeasured] = (),
    ) -> Floors:
        """Of repeats; network_alone: with one thread."""
        networks = [Floor.of(network), Floor.of(network_alone)]
        best = Floor(
            max((floor.fps for floor in networks), key=lambda rate: rate.median),
            min((floor.cpu_ms for floor in networks), key=lambda cost: cost.median),
        )
        return cls(Floor.of(sources), best, Floor.of(encoder) if encoder else None)

    @property
    def parts(self) -> dict[str, Floor]:
        """By name: sources, network, encoder."""
        named = {"sources": self.sources, "network": self.network, "encoder": self.encoder}
        return {name: floor for name, floor in named.items() if floor is not None}

    @property
    def fps(self) -> float:
        """That of the slowest: faster a pipeline that does one thing after the other cannot be."""
        return min(floor.fps.median for floor in self.parts.values())

    @property
    def cpu_ms(self) -> float:
        """The sum."""
        return sum(floor.cpu_ms.median for floor in self.parts.values())


@dataclass(frozen=True, slots=True)
class Summary:
    """A configuration's repeats."""

    fps: Figure
    captured_fps: Figure | None
    cpu_ms: Figure  # a frame
    latency_ms: Mapping[str, Figure]  # p50, p95, p99
    num_captured: int  # over all repeats
    num_dropped: int
    peak_memory_mb: Figure
    typical: Measured  # the repeat in the middle by speed
    floors: Floors | None

    @classmethod
    def of(cls, repeats: Sequence[Measured], floors: Floors | None) -> Summary:
        """Of at least one repeat."""
        by_speed = sorted(repeats, key=lambda repeat: repeat.delivered_fps)
        captured = [repeat.fps.captured for repeat in repeats if repeat.fps.captured is not None]
        return cls(
            Figure.of([repeat.delivered_fps for repeat in repeats]),
            Figure.of(captured) if captured else None,
            Figure.of([repeat.cpu_ms_per_frame for repeat in repeats]),
            _latencies([repeat.latency_ms for repeat in repeats]),
            sum(repeat.frames.captured for repeat in repeats),
            sum(repeat.frames.dropped for repeat in repeats),
            Figure.of([repeat.memory_mb.peak for repeat in repeats]),
            by_speed[len(by_speed) // 2],
            floors,
        )

    @property
    def cpu_efficiency(self) -> float | None:
        """Processor time of the floors over that of the pipeline; 1 is nothing above what has to be done."""
        return None if self.floors is None or not self.cpu_ms.median else self.floors.cpu_ms / self.cpu_ms.median

    @property
    def fps_efficiency(self) -> float | None:
        """Frames a second over those of the slowest floor; several inferences at once can exceed 1."""
        return None if self.floors is None or not self.floors.fps else self.fps.median / self.floors.fps


def _latencies(repeats: Sequence[Percentiles]) -> dict[str, Figure]:
    """By percentile; those that no repeat has are left out."""
    latencies = {}
    for name in ("p50", "p95", "p99"):
        values = [value for percentiles in repeats if (value := percentiles[name]) is not None]
        if values:
            latencies[name] = Figure.of(values)
    return latencies


def p50_and_p95(percentiles: Percentiles) -> str:
    """In a cell of a table."""
    values = percentiles["p50"], percentiles["p95"]
    return " / ".join("–" if value is None else f"{value:.2f}" for value in values)


def typical_cpu_ms_by_role(repeats: Sequence[Measured]) -> dict[str, float]:
    """Milliseconds a frame by role, of at least one repeat; in all, the median of the repeats' `cpu_ms_per_frame`.

    Of the repeat whose processor time is the middle one, or the mean of the two in the middle.
    """
    by_cost = sorted(repeats, key=lambda repeat: repeat.cpu_ms_per_frame)
    middle = by_cost[(len(by_cost) - 1) // 2 : len(by_cost) // 2 + 1]
    parts: dict[str, float] = {}
    for repeat in middle:
        for role, milliseconds in repeat.cpu_ms_by_role.items():
            parts[role] = parts.get(role, 0.0) + milliseconds / len(middle)
    return apportioned(parts, total=Figure.of([repeat.cpu_ms_per_frame for repeat in repeats]).median)


def apportioned(parts: Mapping[str, float], *, total: float, digits: int = 3) -> dict[str, float]:
    """The parts of a total, rounded so that they add up to the rounded total: what is cut by most is rounded up."""
    units = {name: part * 10**digits for name, part in parts.items()}
    rounded = {name: math.floor(part) for name, part in units.items()}
    missing = round(round(total, digits) * 10**digits) - sum(rounded.values())
    for name in sorted(units, key=lambda part: rounded[part] - units[part])[:missing]:
        rounded[name] += 1
    return {name: round(part / 10**digits, digits) for name, part in rounded.items()}


def most_loops(repeats: Sequence[Measured | FloorMeasured]) -> dict[str, int]:
    """How often each source that ended was read again, in the repeat where that was most."""
    most: dict[str, int] = {}
    for repeat in repeats:
        for name, num in repeat.loops.items():
            most[name] = max(num, most.get(name, 0))
    return most


def loop_lines(loops: Mapping[str, int]) -> list[str]:
    """The same, a line for each source."""
    return [
        f"{name} is shorter than the measurement and was read again {num} time{'s' if num > 1 else ''}"
        for name, num in loops.items()
    ]


def disturbances(repeats: Sequence[Measured], fps: Figure, *, cores: int) -> list[str]:
    """What speaks against trusting the figures of some repeats."""
    reasons = []
    others = max(repeat.other_cores for repeat in repeats)
    if others > _DISTURBED_SHARE * cores:
        reasons.append(f"other processes kept up to {others:.1f} of {cores} cores busy")
    stolen = max(repeat.stolen_cores for repeat in repeats)
    if stolen > _DISTURBED_SHARE * cores:
        reasons.append(f"the host of this virtual machine took up to {stolen:.1f} of {cores} cores away")
    if fps.spread > _DISTURBED_SHARE:
        reasons.append(f"repeats differ by {fps.spread:.0%}")
    return reasons
