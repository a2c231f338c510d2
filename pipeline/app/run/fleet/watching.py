"""Watching: a camera fleet as it is now, and as it was seconds ago → what its page and metrics show."""

from __future__ import annotations

from collections import deque

from pipeline.app.run.fleet.page import CameraRow, FleetView, WorkerRow
from pipeline.fleet.camera_fleet import CameraFleet, CameraRecord, WorkerRecord

_RATE_SECONDS = 5.0  # over which frames a second are counted


class FleetWatch:
    """Looks at a fleet again and again, in the thread that changes it."""

    def __init__(self, fleet: CameraFleet) -> None:
        self._fleet = fleet
        self._delivered: deque[tuple[float, dict[str, int]]] = deque()

    def view(self, now_seconds: float, *, trouble: str = "") -> FleetView:
        """What there is to be seen now. trouble: why results are not kept."""
        fleet, counts = self._fleet, self._fleet.counts
        fps = self._fps(now_seconds)
        return FleetView(
            [self._camera(name, record, fps.get(name)) for name, record in fleet.cameras.items()],
            [self._worker(name, record, now_seconds) for name, record in fleet.workers.items()],
            counts.num_results,
            counts.num_refused,
            counts.num_moves,
            counts.num_lost_workers,
            trouble,
        )

    def _camera(self, name: str, record: CameraRecord, fps: float | None) -> CameraRow:
        worker, status = self._fleet.worker_of(name) or "", record.status
        return CameraRow(
            name,
            state=_state_of(record, worker),
            reason="" if status is None else status.reason,
            worker=worker,
            generation=self._fleet.leases.generations.get(name, 0),
            fps=fps,
            num_captured=record.num_captured,
            num_delivered=record.num_delivered,
            num_dropped=record.num_dropped,
            cost=record.cost,
        )

    def _worker(self, name: str, record: WorkerRecord, now_seconds: float) -> WorkerRow:
        report = record.report
        return WorkerRow(
            name,
            node="" if report is None else report.node,
            num_cameras=len(self._fleet.leases.of_worker(name)),
            cores_used=record.cores_used,
            silent_seconds=None if report is None else now_seconds - record.heard_at_seconds,
            models="" if report is None else ", ".join(f"{model} ({on})" for model, on in report.models.items()),
        )

    def _fps(self, now_seconds: float) -> dict[str, float]:
        """Delivered frames a second of each camera."""
        delivered = {name: record.num_delivered for name, record in self._fleet.cameras.items()}
        self._delivered.append((now_seconds, delivered))
        while len(self._delivered) > 2 and self._delivered[1][0] <= now_seconds - _RATE_SECONDS:
            self._delivered.popleft()
        at_seconds, before = self._delivered[0]
        seconds = now_seconds - at_seconds
        return {name: (num - before[name]) / seconds for name, num in delivered.items() if name in before and seconds}


def _state_of(record: CameraRecord, worker: str) -> str:
    """What its worker says; waiting, where nobody is to have it yet, and starting, where nobody has said anything."""
    if record.status is not None and (worker or record.has_ended):
        return record.status.state
    return "waiting" if record.target is None else "starting"
