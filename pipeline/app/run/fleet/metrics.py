"""Fleet metrics: what a fleet does now → Prometheus' text for all of its workers, by prometheus-client."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from pipeline.app.run.exposition import ExposedMetrics
from pipeline.app.run.fleet.page import FleetView


class FleetMetrics(ExposedMetrics):
    """The metrics of a fleet."""

    def __init__(self, view: Callable[[], FleetView]) -> None:
        self._view = view
        super().__init__()
        self._registry.register(self)

    def collect(self) -> Iterator[Metric]:
        view = self._view()
        yield GaugeMetricFamily("streamdet_fleet_cameras", "Cameras that should run.", value=len(view.cameras))
        yield GaugeMetricFamily("streamdet_fleet_cameras_running", "Cameras with pictures.", value=view.num_running)
        yield GaugeMetricFamily("streamdet_fleet_workers", "Workers that take orders.", value=len(view.workers))
        yield GaugeMetricFamily("streamdet_fleet_trouble", "1 while results wait.", value=float(bool(view.trouble)))
        for name, words, value in (
            ("results", "Frames whose results are kept.", view.num_results),
            ("results_refused", "Late results of replaced generations.", view.num_refused),
            ("moves", "Cameras that were moved to even loads.", view.num_moves),
            ("workers_lost", "Workers that died or fell silent.", view.num_lost_workers),
        ):
            yield CounterMetricFamily(f"streamdet_fleet_{name}", words, value=value)
        yield from _of_cameras(view)
        yield from _of_workers(view)


def _of_cameras(view: FleetView) -> Iterator[Metric]:
    state = GaugeMetricFamily(
        "streamdet_source_state", "1 for the state that a source is in.", labels=("source", "state", "worker")
    )
    captured = CounterMetricFamily("streamdet_frames_captured", "Frames that a source gave.", labels=("source",))
    frames = CounterMetricFamily("streamdet_frames", "Frames by what became of them.", labels=("source", "bucket"))
    generation = GaugeMetricFamily("streamdet_source_generation", "How often it was started.", labels=("source",))
    for row in view.cameras:
        name = row.name.encode("utf-8", "backslashreplace").decode()
        state.add_metric((name, row.state, row.worker), 1.0)
        captured.add_metric((name,), row.num_captured)
        frames.add_metric((name, "delivered"), row.num_delivered)
        frames.add_metric((name, "dropped"), row.num_dropped)
        generation.add_metric((name,), row.generation)
    yield from (state, captured, frames, generation)


def _of_workers(view: FleetView) -> Iterator[Metric]:
    cameras = GaugeMetricFamily("streamdet_worker_cameras", "Cameras of a worker.", labels=("worker", "node"))
    cores = GaugeMetricFamily("streamdet_worker_cores", "Cores that a worker uses.", labels=("worker", "node"))
    for row in view.workers:
        cameras.add_metric((row.name, row.node), row.num_cameras)
        cores.add_metric((row.name, row.node), row.cores_used)
    yield from (cameras, cores)
