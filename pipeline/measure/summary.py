"""What do several repeats of a measurement come to, next to their floors?"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# From this share of the machine's cores in other hands on, or of repeats apart, a figure is not to be trusted.
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
    def of(cls, repeats: Sequence[Mapping[str, Any]]) -> Floor:
        """Of at least one repeat, as `pipeline.app.measure_apart` measures it."""
        return cls(
            Figure.of([each["fps"] for each in repeats]), Figure.of([each["cpu_ms_per_frame"] for each in repeats])
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
        sources: Sequence[Mapping[str, Any]],
        network: Sequence[Mapping[str, Any]],
        network_alone: Sequence[Mapping[str, Any]],
        encoder: Sequence[Mapping[str, Any]] = (),
    ) -> Floors:
        """Of repeats; network_alone: with one thread."""
        networks = [Floor.of(network), Floor.of(network_alone)]
        best = Floor(
            max((each.fps for each in networks), key=lambda rate: rate.median),
            min((each.cpu_ms for each in networks), key=lambda cost: cost.median),
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
    typical: Mapping[str, Any]  # the repeat in the middle, as it was measured
    floors: Floors | None

    @classmethod
    def of(cls, repeats: Sequence[Mapping[str, Any]], floors: Floors | None) -> Summary:
        """Of at least one repeat, as `pipeline.app.measure_apart` measures it."""
        by_speed = sorted(repeats, key=lambda each: each["fps"]["delivered"] or 0.0)
        captured = [each["fps"]["captured"] for each in repeats if each["fps"]["captured"] is not None]
        frames = [each["frames"] for each in repeats]
        return cls(
            Figure.of([each["fps"]["delivered"] or 0.0 for each in repeats]),
            Figure.of(captured) if captured else None,
            Figure.of([each["cpu_ms_per_frame"] for each in repeats]),
            {
                name: Figure.of([each["latency_ms"][name] for each in repeats if each["latency_ms"][name] is not None])
                for name in ("p50", "p95", "p99")
                if any(each["latency_ms"][name] is not None for each in repeats)
            },
            sum(each["captured"] for each in frames),
            sum(each["dropped_stale"] + each["dropped_full"] for each in frames),
            Figure.of([each["memory_mb"]["peak"] for each in repeats]),
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


def p50_and_p95(percentiles: Mapping[str, float | None]) -> str:
    """In a cell of a table."""
    return " / ".join("–" if (value := percentiles[name]) is None else f"{value:.2f}" for name in ("p50", "p95"))


def typical_cpu_ms_by_role(repeats: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Milliseconds a frame by role, of at least one repeat; in all, the median of the repeats' `cpu_ms_per_frame`.

    Of the repeat whose processor time is the middle one, or the mean of the two in the middle.
    """
    by_cost = sorted(repeats, key=lambda each: each["cpu_ms_per_frame"])
    middle = by_cost[(len(by_cost) - 1) // 2 : len(by_cost) // 2 + 1]
    parts: dict[str, float] = {}
    for repeat in middle:
        for role, milliseconds in repeat["cpu_ms_by_role"].items():
            parts[role] = parts.get(role, 0.0) + milliseconds / len(middle)
    return apportioned(parts, total=Figure.of([each["cpu_ms_per_frame"] for each in repeats]).median)


def apportioned(parts: Mapping[str, float], *, total: float, digits: int = 3) -> dict[str, float]:
    """The parts of a total, rounded so that they add up to the rounded total: what is cut by most is rounded up."""
    units = {name: part * 10**digits for name, part in parts.items()}
    rounded = {name: math.floor(part) for name, part in units.items()}
    missing = round(round(total, digits) * 10**digits) - sum(rounded.values())
    for name in sorted(units, key=lambda each: rounded[each] - units[each])[:missing]:
        rounded[name] += 1
    return {name: round(part / 10**digits, digits) for name, part in rounded.items()}


def most_loops(repeats: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """How often each source that ended was read again, in the repeat where that was most."""
    found: dict[str, int] = {}
    for repeat in repeats:
        for name, num in repeat.get("loops", {}).items():
            found[name] = max(num, found.get(name, 0))
    return found


def loop_lines(loops: Mapping[str, int]) -> list[str]:
    """The same, a line for each source."""
    return [
        f"{name} is shorter than the measurement and was read again {num} time{'s' if num > 1 else ''}"
        for name, num in loops.items()
    ]


def disturbances(repeats: Sequence[Mapping[str, Any]], fps: Figure, *, cores: int) -> list[str]:
    """What speaks against trusting the figures of some repeats."""
    found = []
    others = max(each["other_cores"] for each in repeats)
    if others > _DISTURBED_SHARE * cores:
        found.append(f"other processes kept up to {others:.1f} of {cores} cores busy")
    stolen = max(each["stolen_cores"] for each in repeats)
    if stolen > _DISTURBED_SHARE * cores:
        found.append(f"the host of this virtual machine took up to {stolen:.1f} of {cores} cores away")
    if fps.spread > _DISTURBED_SHARE:
        found.append(f"repeats lie {fps.spread:.0%} apart")
    return found
