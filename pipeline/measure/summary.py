"""What do several repeats of a measurement come to, next to their floors?"""

from __future__ import annotations

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
class Floors:
    """What cannot be undercut: the sources alone, and the bare network one run after the other."""

    sources_fps: Figure
    sources_cpu_ms: Figure
    network_fps: Figure  # with one thread, or with as many as ONNX Runtime likes: the faster
    network_cpu_ms: Figure  # with one thread, or with many: the cheaper

    @classmethod
    def of(
        cls,
        sources: Sequence[Mapping[str, Any]],
        network: Sequence[Mapping[str, Any]],
        network_alone: Sequence[Mapping[str, Any]],
    ) -> Floors:
        """Of repeats; network_alone: with one thread."""
        costs = [Figure.of([each["cpu_ms_per_frame"] for each in repeats]) for repeats in (network, network_alone)]
        rates = [Figure.of([each["fps"] for each in repeats]) for repeats in (network, network_alone)]
        return cls(
            Figure.of([each["fps"] for each in sources]),
            Figure.of([each["cpu_ms_per_frame"] for each in sources]),
            max(rates, key=lambda rate: rate.median),
            min(costs, key=lambda cost: cost.median),
        )

    @property
    def fps(self) -> float:
        """The slower of the two: faster a pipeline that does one thing after the other cannot be."""
        return min(self.sources_fps.median, self.network_fps.median)

    @property
    def cpu_ms(self) -> float:
        """The sum of the two."""
        return self.sources_cpu_ms.median + self.network_cpu_ms.median


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
        """Of at least one repeat, as `pipeline.app.one_run` measures it."""
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
        """Frames a second over those of the slower floor; several inferences at once can exceed 1."""
        return None if self.floors is None or not self.floors.fps else self.fps.median / self.floors.fps


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
