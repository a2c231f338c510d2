"""Metrics: a run as it stands → Prometheus' text, by prometheus-client."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, get_args

from prometheus_client import Metric, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)

from pipeline.app.run.exposition import ExposedMetrics
from pipeline.app.stages import DETECT
from pipeline.flow.ledger import LatencyCounts
from pipeline.flow.running import RunStatistics
from pipeline.picture.counting.counts import Counts
from pipeline.sources.states import StateName
from pipeline.stages.gate import GateStatistics
from pipeline.version import __version__

AGE_BOUNDS_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_STATES: tuple[StateName, ...] = get_args(StateName)
_BUCKETS = ("delivered", "dropped_stale", "dropped_full", "filtered", "failed")


class ModelInfo(NamedTuple):
    """A model of a run, and what runs it."""

    name: str
    device: str
    precision: str


@dataclass(frozen=True, slots=True)
class RunSnapshot:
    """What metrics show of a run."""

    statistics: RunStatistics
    ages: Mapping[str, LatencyCounts]  # by source, at `AGE_BOUNDS_SECONDS`
    states: Mapping[str, StateName]
    models: Sequence[ModelInfo]
    counting: Mapping[str, Counts]  # by source; of those with lines or zones
    gates: Mapping[str, GateStatistics] = field(default_factory=dict)  # by source; of those with a gate


class RunMetrics(ExposedMetrics):
    """The metrics of a run and of its process. snapshot: gives None before the run has begun."""

    def __init__(self, snapshot: Callable[[], RunSnapshot | None]) -> None:
        self._snapshot = snapshot
        super().__init__()
        ProcessCollector(registry=self._registry)
        self._registry.register(self)

    def collect(self) -> Iterator[Metric]:
        run = self._snapshot()
        yield GaugeMetricFamily("streamdet_running", "1 once sources and model are open.", value=float(run is not None))
        if run is None:
            return
        info = InfoMetricFamily("streamdet_run", "What runs.")
        for model in run.models:
            labels = {"model": _text(model.name), "device": model.device, "precision": model.precision}
            info.add_metric((), {"version": __version__} | labels)
        yield info
        yield from _frames(run.statistics)
        yield from _rates(run.statistics)
        yield _ages(run.ages)
        yield from _nodes(run.statistics)
        yield _states(run.states)
        yield from count_metrics(run.counting)
        yield from gate_metrics(run.gates)


def _frames(statistics: RunStatistics) -> Iterator[Metric]:
    captured = CounterMetricFamily("streamdet_frames_captured", "Frames that a source gave.", labels=("source",))
    ended = CounterMetricFamily("streamdet_frames", "Frames by what became of them.", labels=("source", "bucket"))
    in_flight = GaugeMetricFamily("streamdet_frames_in_flight", "Frames that are on their way.", labels=("source",))
    for source, counts in statistics.frames_by_source.items():
        captured.add_metric((_text(source),), counts.captured)
        in_flight.add_metric((_text(source),), counts.in_flight)
        for bucket in _BUCKETS:
            ended.add_metric((_text(source), bucket), getattr(counts, bucket))
    yield from (captured, ended, in_flight)


def _rates(statistics: RunStatistics) -> Iterator[Metric]:
    fps = GaugeMetricFamily("streamdet_fps", "Frames a second over the last 3 s.", labels=("source", "at"))
    for source, counts in statistics.frames_by_source.items():
        fps.add_metric((_text(source), "captured"), counts.recent_captured_rate or 0.0)
        fps.add_metric((_text(source), "delivered"), counts.recent_delivered_rate or 0.0)
    yield fps
    rate = statistics.recent_rate_of_role(DETECT.role)
    yield GaugeMetricFamily("streamdet_inferred_fps", "Frames a second through the network, all sources.", rate or 0.0)


def _ages(ages: Mapping[str, LatencyCounts]) -> Metric:
    """Cumulative, as Prometheus wants them."""
    family = HistogramMetricFamily(
        "streamdet_frame_age_seconds", "From capture to the end of the last output.", labels=("source",)
    )
    for source, counts in ages.items():
        edges = [(str(bound), float(num)) for bound, num in zip(AGE_BOUNDS_SECONDS, counts.at_most, strict=True)]
        family.add_metric((_text(source),), [*edges, ("+Inf", float(counts.num))], counts.sum_seconds)
    return family


def _nodes(statistics: RunStatistics) -> Iterator[Metric]:
    waiting = GaugeMetricFamily("streamdet_queue_items", "Items that wait before a node.", labels=("node", "role"))
    dropped = CounterMetricFamily("streamdet_queue_dropped", "Items dropped before a node.", labels=("node", "role"))
    busy = GaugeMetricFamily("streamdet_busy_ratio", "The share of time that a node works.", labels=("node", "role"))
    for node in statistics.nodes:
        labels = (_text(node.name), node.role)
        busy.add_metric(labels, node.busy)
        if node.kind != "source":
            waiting.add_metric(labels, node.waiting)
            dropped.add_metric(labels, node.dropped)
    yield from (waiting, dropped, busy)


def _states(by_source: Mapping[str, StateName]) -> Metric:
    family = GaugeMetricFamily(
        "streamdet_source_state", "1 for the state that a source is in.", labels=("source", "state")
    )
    for source, state in by_source.items():
        for name in _STATES:
            family.add_metric((_text(source), name), float(name == state))
    return family


def count_metrics(by_source: Mapping[str, Counts]) -> Iterator[Metric]:
    """What lines and zones counted; nothing of a run that does not count."""
    labels = ("source", "line", "direction", "class")
    crossings = CounterMetricFamily("streamdet_crossings", "Objects that crossed a line.", labels=labels)
    inside = GaugeMetricFamily("streamdet_zone_objects", "Objects in a zone.", labels=("source", "zone", "class"))
    for source, counts in by_source.items():
        for line in counts.lines:
            for direction, numbers in (("in", line.num_in), ("out", line.num_out)):
                for name, num in numbers.items():
                    crossings.add_metric((_text(source), line.name, direction, _text(name)), num)
        for zone in counts.zones:
            for name in sorted(zone.num_appeared.keys() | zone.num_entered.keys() | zone.inside.keys()):
                inside.add_metric((_text(source), zone.name, _text(name)), zone.inside.get(name, 0))
    if by_source:
        yield from (crossings, inside)


def gate_metrics(by_source: Mapping[str, GateStatistics]) -> Iterator[Metric]:
    """What gates let through and missed; nothing of a run without gates."""
    frames = CounterMetricFamily("streamdet_gate_frames", "Frames by what came of them.", labels=("source", "kind"))
    duty = GaugeMetricFamily(
        "streamdet_gate_duty_ratio", "The share of the frames that a network looked at.", labels=("source",)
    )
    checks = CounterMetricFamily(
        "streamdet_gate_checks", "Frames to be left out that were looked at, by result.", labels=("source", "result")
    )
    rate = GaugeMetricFamily(
        "streamdet_gate_miss_ratio", "Checks that missed an object, and its 95 % interval.", labels=("source", "end")
    )
    is_open = GaugeMetricFamily(
        "streamdet_gate_open", "1 while every frame is looked at, for too much was missed.", labels=("source",)
    )
    every = GaugeMetricFamily(
        "streamdet_gate_every", "Every nth changed frame is looked at, as the load allows.", labels=("source",)
    )
    for name, gate in by_source.items():
        source, misses = _text(name), gate.misses
        if gate.duty is not None:
            duty.add_metric((source,), gate.duty)
        if gate.every is not None:
            every.add_metric((source,), gate.every)
        frames.add_metric((source, "inferred"), gate.num_inferred)
        frames.add_metric((source, "carried"), gate.num_carried)
        frames.add_metric((source, "undecoded"), gate.num_undecoded)
        checks.add_metric((source, "good"), misses.num_checked - misses.num_missed)
        checks.add_metric((source, "missed"), misses.num_missed)
        low, high = misses.interval
        for end, share in (("low", low), ("estimate", misses.share), ("high", high)):
            if share is not None:
                rate.add_metric((source, end), share)
        is_open.add_metric((source,), gate.num_open)
    if by_source:
        yield from (frames, duty, checks, rate, is_open, *([every] if every.samples else []))


def _text(name: str) -> str:
    """A label: the name of a file, and so of a source, need not be valid UTF-8."""
    return name.encode("utf-8", "backslashreplace").decode()
