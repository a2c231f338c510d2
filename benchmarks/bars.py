"""Bars: contenders in; the ratios and differences that streamdet must reach on two cores, and whether it did, out."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks.contender import Contender

_RUNS = (("", "boxes only"), ("-recording", "with a recording"))
_COMPETITORS = ("loop", "ultralytics", "roboflow", "roboflow-plain")
_ROBOFLOW = (("roboflow-plain", "as it comes"), ("roboflow", "with our settings and runtime"))


@dataclass(frozen=True, slots=True)
class Bar:
    """One line: a value and its limit; `value` is None where a contender beside us is missing."""

    name: str
    value: float | None
    limit: float
    at_most: bool = False
    remark: str = ""

    @property
    def is_met(self) -> bool | None:
        if self.value is None:
            return None
        return self.value <= self.limit if self.at_most else self.value >= self.limit


class Turns:
    """Medians over turns of the ratio, or difference, in each turn.

    Not ratios of medians: work that disturbs the machine for minutes disturbs both contenders of a turn alike.
    """

    def __init__(self, contenders: Sequence[Contender]) -> None:
        self._by_name = {row.name: row for row in contenders if row.outcomes and not row.failure}

    def __contains__(self, name: str) -> bool:
        return name in self._by_name

    def above(self, name: str, floor: str) -> float:
        """Milliseconds of processor time of a frame above a floor."""
        pairs = zip(self._by_name[name].all_cpu_ms, self._by_name[floor].all_cpu_ms, strict=True)
        return statistics.median(cpu_ms - floor_ms for cpu_ms, floor_ms in pairs)

    def rate(self, name: str, other: str) -> float | None:
        """Frames/s over those of another contender; None if one is missing."""
        if name not in self or other not in self:
            return None
        pairs = zip(self._by_name[name].all_fps, self._by_name[other].all_fps, strict=True)
        return statistics.median(fps / other_fps for fps, other_fps in pairs)

    def efficiency(self, name: str, floors: Sequence[str]) -> float:
        """Processor time of the floors over that of a contender."""
        turns = zip(*(self._by_name[row].all_cpu_ms for row in (name, *floors)), strict=True)
        return statistics.median(float(sum(floor_ms) / cpu_ms) for cpu_ms, *floor_ms in turns)


def bars_of(contenders: Sequence[Contender], lost_ap: float | None, small: Sequence[str]) -> list[Bar]:
    """All bars. lost_ap: points that the best setting loses, None if not measured; small: names of small detectors."""
    turns = Turns(contenders)
    return [
        *_cpu_bars(turns),
        *_competitor_bars(turns),
        Bar("frames/s of Ultralytics, our best setting, boxes only", turns.rate("ours-best", "ultralytics"), 2.5),
        Bar("AP lost by our best setting, points", lost_ap, 0.5, True),
        *(_small_bar(turns, name) for name in small),
        *_efficiency_bars(turns),
    ]


def _cpu_bars(turns: Turns) -> Iterator[Bar]:
    for (suffix, words), limit in zip(_RUNS, (12.0, 26.0), strict=True):
        others = ", ".join(
            f"{name} {turns.above(name + suffix, 'bare'):.1f}" for name in _COMPETITORS if name + suffix in turns
        )
        remark = f"{others}; ours above bare-1 {turns.above(f'ours{suffix}', 'bare-1'):.1f}"
        yield Bar(f"CPU ms / frame above bare, {words}", turns.above(f"ours{suffix}", "bare"), limit, True, remark)


def _competitor_bars(turns: Turns) -> Iterator[Bar]:
    for (suffix, words), limit in zip(_RUNS, (1.2, 1.6), strict=True):
        value = turns.rate(f"ours{suffix}", f"ultralytics{suffix}")
        yield Bar(f"frames/s of Ultralytics, {words}", value, limit)
        for name, manner in _ROBOFLOW:
            value = turns.rate(f"ours{suffix}", f"{name}{suffix}")
            remark = _ceiling(turns, "bare-1-pair", f"{name}{suffix}")
            yield Bar(f"frames/s of Roboflow {manner}, {words}", value, 2.2, False, remark)


def _small_bar(turns: Turns, name: str) -> Bar:
    remark = _ceiling(turns, f"bare-1-pair {name}", f"loop {name}")
    return Bar(f"frames/s of the loop, {name}", turns.rate(f"ours {name}", f"loop {name}"), 1.5, False, remark)


def _efficiency_bars(turns: Turns) -> Iterator[Bar]:
    floors = (("decode", "convert"), ("decode", "convert", "encode"))
    for (suffix, words), parts in zip(_RUNS, floors, strict=True):
        shares = {
            network: turns.efficiency(f"ours{suffix}", (network, *parts))
            for network in ("bare-1", "bare-1-pair", "bare")
        }
        remark = ", ".join(f"{share:.3f} with {network}" for network, share in shares.items())
        yield Bar(f"efficiency, {words}", shares["bare-1"], 0.95, False, remark)


def _ceiling(turns: Turns, network: str, competitor: str) -> str:
    ceiling = turns.rate(network, competitor)
    return "" if ceiling is None else f"{ceiling:.2f} for the bare network alone"


def print_bars(bars: Sequence[Bar]) -> None:
    """Print one line a bar."""
    width = max(len(bar.name) for bar in bars)
    print(f"\n{'':{width}}  reached      bar")
    for bar in bars:
        value = "–" if bar.value is None else f"{bar.value:.2f}"
        verdict = {True: "met", False: "NOT met", None: "not measured"}[bar.is_met]
        limit = f"{'≤' if bar.at_most else '≥'} {bar.limit:5.2f}"
        print(f"{bar.name:{width}} {value:>8}   {limit}  {verdict:12} {bar.remark}")
