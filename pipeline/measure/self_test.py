"""Self-test: a run whose rate and costs are certain → what the meters read of it.

Do the meters tell the truth? The run is measured by the same meters as any other.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from pipeline.flow.graph import Flow
from pipeline.flow.running import Running
from pipeline.flow.stage import Stop

TOLERANCE = 0.01

_COSTS_SECONDS = {"cheap": 0.003, "dear": 0.008}


@dataclass(frozen=True, slots=True)
class Check:
    """One number that is certain, and what the meters say it is."""

    name: str
    expected: float
    measured: float
    unit: str

    @property
    def error(self) -> float:
        """The relative error."""
        return self.measured / self.expected - 1 if self.expected else float(self.measured != 0)

    @property
    def passes(self) -> bool:
        """Whether it is within 1 %."""
        return abs(self.error) <= TOLERANCE


@dataclass(slots=True)
class _Metronome:
    """A source of numbers at a known pace: number k comes at k / rate, and never early."""

    rate: float
    num_items: int
    is_live: bool
    ticks_seconds: list[float] = field(default_factory=list)
    source_id: str = "metronome"

    def items(self, stop: Stop) -> Iterator[int]:
        began = time.monotonic()
        for number in range(self.num_items):
            _wait_until(began + number / self.rate)
            self.ticks_seconds.append(time.monotonic())
            yield number

    def close(self) -> None: ...


@dataclass(slots=True)
class _Work:
    """A stage of a known cost, which it times itself."""

    seconds: float
    spent_seconds: list[float] = field(default_factory=list)

    def process(self, item: int) -> Iterable[int]:
        began = time.monotonic()
        _wait_until(began + self.seconds)
        self.spent_seconds.append(time.monotonic() - began)
        return (item,)

    def drain(self) -> Iterable[int]:
        return ()

    def close(self) -> None: ...


@dataclass(slots=True)
class _Arrivals:
    """A sink that notes when each item came."""

    at_seconds: list[float] = field(default_factory=list)

    def write(self, item: int) -> None:
        self.at_seconds.append(time.monotonic())

    def close(self) -> None: ...


def self_test(*, num_items: int = 300) -> tuple[Check, ...]:
    """Run at a known rate, then from a live source that is faster than its slowest stage; compare. Takes about 6 s."""
    return (*_recorded(num_items), *_live(num_items))


def _recorded(num_items: int) -> Iterator[Check]:
    source = _Metronome(rate=100.0, num_items=num_items, is_live=False)
    works = {name: _Work(seconds) for name, seconds in _COSTS_SECONDS.items()}
    arrivals = _Arrivals()
    flow = Flow.from_sources(source)
    for name, work in works.items():
        flow = flow.then(work, name=name)
    with Running(flow.to(arrivals)) as running:
        running.wait()
    statistics = running.statistics()
    rate = (num_items - 1) / (source.ticks_seconds[-1] - source.ticks_seconds[0])
    yield Check("captured, at 100 a second", rate, statistics.frames.captured_rate or 0.0, "1/s")
    yield Check("delivered of a run that keeps up", rate, statistics.frames.delivered_rate or 0.0, "1/s")
    yield Check("frames accounted for", num_items, statistics.frames.delivered, "")
    for node in statistics.nodes:
        if node.name in works:
            spent = works[node.name].spent_seconds
            yield Check(
                f"service of {node.name}", 1000 * sum(spent) / len(spent), 1000 * (node.service.mean or 0), "ms"
            )
    ages = [arrival - tick for tick, arrival in zip(source.ticks_seconds, arrivals.at_seconds, strict=True)]
    expected_ms, measured_ms = 1000 * sum(ages) / num_items, 1000 * (statistics.frames.latency.mean or 0)
    yield Check("latency from capture to sink", expected_ms, measured_ms, "ms")


def _live(num_items: int) -> Iterator[Check]:
    source = _Metronome(rate=200.0, num_items=num_items, is_live=True)
    slow = _Work(0.010)
    with Running(Flow.from_sources(source).then(slow, name="slow")) as running:
        running.wait()
    frames = running.statistics().frames
    yield Check("frames of a live run accounted for", num_items, frames.delivered + frames.dropped, "")
    yield Check("delivered where the source is twice too fast", len(slow.spent_seconds), frames.delivered, "")


def _wait_until(due_seconds: float) -> None:
    """Sleep most of it, then watch the clock, because a sleep ends a little late."""
    rest = due_seconds - time.monotonic()
    if rest > 0.001:
        time.sleep(rest - 0.001)
    while time.monotonic() < due_seconds:
        time.sleep(0)
