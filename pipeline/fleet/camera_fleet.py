"""Camera fleet: the cameras that should run, and workers that come, report and go → orders for each of them.

Pure: it does nothing, reads no clock and waits for nobody; `now_seconds` is handed in. A camera has a target, the
worker that should run it, and a lease, the worker that does or may still. Where they differ, the one is told to stop,
and the other has it as soon as that has, or the lease is over.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from pipeline.fleet.camera_messages import Camera, CameraStatus, Granted, Orders, Report, ResultLine
from pipeline.fleet.leases import LeaseBook
from pipeline.fleet.placement import PlacedCamera, moves, place

_FIRST_DELAY_SECONDS, _LONGEST_DELAY_SECONDS = 1.0, 60.0  # before a camera that failed is tried again
_SETTLED_SECONDS = 30.0  # that a camera stays where it is at least, and runs well until its delays are forgotten
_MOST_DEATHS = 3
_REBALANCE_SECONDS = 5.0
_MOST_MOVES_SHARE = 0.1  # of all cameras, at once
_SMOOTHING = 0.2  # of the cost that was measured last


@dataclass(slots=True)
class CameraRecord:
    """What the fleet knows of a camera."""

    camera: Camera
    target: str | None = None
    placed_at_seconds: float = 0.0
    cost: float | None = None
    status: CameraStatus | None = None  # of its last generation
    retry_at_seconds: float = 0.0
    delay_seconds: float = _FIRST_DELAY_SECONDS
    has_ended: bool = False
    failed_generation: int = 0  # the last one that failed
    num_deaths: int = 0  # of workers that had it, one soon after the other
    is_stale: bool = False  # the generation that runs has other settings
    captured_before: int = 0  # frames, in earlier generations
    delivered_before: int = 0
    dropped_before: int = 0

    @property
    def num_captured(self) -> int:
        """Frames of all generations."""
        return self.captured_before + (0 if self.status is None else self.status.num_captured)

    @property
    def num_delivered(self) -> int:
        """The same of those that came to their end."""
        return self.delivered_before + (0 if self.status is None else self.status.num_delivered)

    @property
    def num_dropped(self) -> int:
        """The same of those that were dropped."""
        return self.dropped_before + (0 if self.status is None else self.status.num_dropped)

    def begin_count(self) -> None:
        """Let the frames of the next generation be added to those before it."""
        before = self.num_captured, self.num_delivered, self.num_dropped
        self.captured_before, self.delivered_before, self.dropped_before = before
        self.status = None


@dataclass(slots=True)
class WorkerRecord:
    """What the fleet knows of a worker."""

    cores: float
    heard_at_seconds: float
    ordered_at_seconds: float | None = None  # None: it has answered its last orders
    report: Report | None = None
    num_kept: int = 0  # of its lines
    num_refused: int = 0  # of those of its last report
    cores_used: float = 0.0


@dataclass(slots=True)
class FleetCounts:
    """What happened so far."""

    num_results: int = 0
    num_refused: int = 0  # results of replaced generations
    num_moves: int = 0
    num_lost_workers: int = 0


@dataclass(slots=True)
class CameraFleet:
    """The supervisor's knowledge and decisions.

    A worker that begins anew must have a new name, because the old one may still run somewhere.

    leases: of this fleet. grants_from_seconds: no camera is granted before, where workers may still have leases of a
    supervisor that was killed. kept_before: ids of results that this one kept last; workers that outlived it may not
    know, and send them again.
    """

    leases: LeaseBook
    grants_from_seconds: float = 0.0
    kept_before: Collection[str] = ()
    cameras: dict[str, CameraRecord] = field(default_factory=dict)
    workers: dict[str, WorkerRecord] = field(default_factory=dict)
    counts: FleetCounts = field(default_factory=FleetCounts)
    _rebalanced_at_seconds: float = 0.0
    _generations_before: Mapping[str, int] = field(init=False)

    def __post_init__(self) -> None:
        self._generations_before = self.leases.generations

    def desire(self, cameras: Iterable[Camera]) -> None:
        """Have these cameras run, and no others; one whose settings have changed is started anew."""
        by_name = {camera.name: camera for camera in cameras}
        for name in self.cameras.keys() - by_name.keys():
            del self.cameras[name]
        for name, camera in by_name.items():
            record = self.cameras.get(name)
            if record is None:
                self.cameras[name] = CameraRecord(camera)
            elif record.camera != camera:
                self.cameras[name] = CameraRecord(camera, record.target, record.placed_at_seconds, is_stale=True)

    def join(self, worker: str, *, cores: float, now_seconds: float) -> None:
        """A worker has begun, or begun anew."""
        self.workers[worker] = WorkerRecord(cores, now_seconds)

    def lose(self, worker: str, now_seconds: float, *, is_certain: bool) -> None:
        """A worker does not answer any longer. is_certain: its process has ended, so that nothing runs there.

        A camera whose third worker this is within half a minute may be what they die of, and waits a while.
        """
        if is_certain:
            self.leases.forget(worker)
        if self.workers.pop(worker, None) is not None:
            self.counts.num_lost_workers += 1
            for record in self.cameras.values():
                if record.target == worker:
                    record.num_deaths += 1
                    if record.num_deaths >= _MOST_DEATHS:
                        self._delay(record, now_seconds)

    def decide(self, now_seconds: float) -> None:
        """Give up workers that are silent, place the cameras that nobody has, and move some where loads are uneven."""
        for worker in [name for name, record in self.workers.items() if self._is_silent(record, now_seconds)]:
            self.lose(worker, now_seconds, is_certain=False)
        for record in self.cameras.values():
            if record.target not in self.workers:
                record.target = None
        new = [name for name, record in self.cameras.items() if self._is_to_be_placed(record, now_seconds)]
        if new:
            targets = place([self._placed(name) for name in new], self._by_worker(), self._cores())
            for name, worker in targets.items():
                self._aim(name, worker, now_seconds)
        if now_seconds >= self._rebalanced_at_seconds + _REBALANCE_SECONDS:
            self._rebalanced_at_seconds = now_seconds
            self._rebalance(now_seconds)

    def orders(self, worker: str, now_seconds: float) -> Orders:
        """What a worker is to be told now: the leases in it count from this moment."""
        record = self.workers[worker]
        record.ordered_at_seconds = now_seconds
        granted = tuple(self._granted(worker, now_seconds)) if record.report is not None else ()
        return Orders(granted, self.leases.seconds, record.num_kept)

    def with_news(self, now_seconds: float) -> set[str]:
        """The workers that would be granted a camera now, and are better told at once."""
        return {
            record.target
            for name, record in self.cameras.items()
            if record.target is not None and self._can_grant(name, now_seconds) and self._has_reported(record.target)
        }

    def report(self, worker: str, report: Report, now_seconds: float) -> list[ResultLine]:
        """Take what a worker answers to its last orders. Returns the lines that are new and not of a replaced one.

        Call `keep` once they are on the disk; the worker sends them again otherwise.
        """
        record = self.workers[worker]
        before = record.report
        if before is None or before.host != report.host:
            record.num_kept, before = report.first_line, None  # what was before that, an earlier supervisor has kept
        self.leases.note_held(worker, report.held)
        record.report, record.heard_at_seconds, record.ordered_at_seconds = report, now_seconds, None
        if before is not None:
            self._measure(record, before, report)
        for name, status in report.statuses.items():
            self._note_status(name, status, now_seconds)
        lines = report.lines[max(0, record.num_kept - report.first_line) :]
        accepted = [line for line in lines if self.leases.accepts(line.camera, line.generation)]
        record.num_refused = len(lines) - len(accepted)
        return [line for line in accepted if not self._is_kept_before(line)]

    def keep(self, worker: str, lines: Sequence[ResultLine]) -> None:
        """The lines of its last report are on the disk, of which `report` returned these."""
        record = self.workers[worker]
        if record.report is None:
            return
        self.counts.num_results += len(lines)
        self.counts.num_refused += record.num_refused
        record.num_kept = max(record.num_kept, record.report.first_line + len(record.report.lines))
        record.num_refused = 0

    def is_over(self) -> bool:
        """Whether every camera has come to its end, as files do."""
        return all(record.has_ended for record in self.cameras.values())

    def is_idle(self) -> bool:
        """Whether no worker has a camera, or lines that are not kept."""
        reports = [(record.report, record.num_kept) for record in self.workers.values()]
        return not any(
            report is not None and (report.held or report.first_line + len(report.lines) > num_kept)
            for report, num_kept in reports
        )

    def worker_of(self, camera: str) -> str | None:
        """The worker that has its lease."""
        lease = self.leases.lease_of(camera)
        return None if lease is None else lease.worker

    def _is_kept_before(self, line: ResultLine) -> bool:
        """Whether an earlier supervisor has kept it; later grants are of generations that it did not know."""
        is_old = bool(self.kept_before) and line.generation <= self._generations_before.get(line.camera, 0)
        return is_old and json.loads(line.content)["id"] in self.kept_before

    def _is_silent(self, record: WorkerRecord, now_seconds: float) -> bool:
        """Whether it does not answer; one that nobody has asked, because the supervisor was busy, is not silent."""
        ordered = record.ordered_at_seconds
        return ordered is not None and now_seconds > ordered + self.leases.longest_seconds

    def _is_to_be_placed(self, record: CameraRecord, now_seconds: float) -> bool:
        return record.target is None and not record.has_ended and now_seconds >= record.retry_at_seconds

    def _aim(self, name: str, worker: str, now_seconds: float) -> None:
        record = self.cameras[name]
        record.target, record.placed_at_seconds = worker, now_seconds

    def _rebalance(self, now_seconds: float) -> None:
        settled = [
            name
            for name, record in self.cameras.items()
            if record.target is not None and now_seconds >= record.placed_at_seconds + _SETTLED_SECONDS
        ]
        most = max(1, int(_MOST_MOVES_SHARE * len(self.cameras)))
        for move in moves(self._by_worker(), self._cores(), movable=settled, most=most):
            self._aim(move.camera, move.target, now_seconds)
            self.counts.num_moves += 1

    def _granted(self, worker: str, now_seconds: float) -> Iterable[Granted]:
        for name, record in self.cameras.items():
            if record.target != worker:
                continue
            lease = self.leases.lease_of(name)
            if lease is not None and lease.worker == worker and not record.is_stale:
                lease = self.leases.renew(name, now_seconds)
            elif self._can_grant(name, now_seconds):
                lease = self.leases.grant(name, worker, now_seconds)
                record.is_stale = False
                record.begin_count()
            else:  # whoever has it is not told to go on, here neither
                continue
            yield Granted(record.camera, lease.generation)

    def _can_grant(self, name: str, now_seconds: float) -> bool:
        return self.leases.is_free(name, now_seconds) and now_seconds >= self.grants_from_seconds

    def _has_reported(self, worker: str) -> bool:
        record = self.workers.get(worker)
        return record is not None and record.report is not None

    def _note_status(self, name: str, status: CameraStatus, now_seconds: float) -> None:
        record = self.cameras.get(name)
        if record is None or not self.leases.accepts(name, status.generation) or record.is_stale:
            return
        record.status = status
        if status.state == "ended":
            record.has_ended, record.target = True, None
        elif status.state == "failed" and record.failed_generation != status.generation:
            record.failed_generation = status.generation
            self._delay(record, now_seconds)
        elif status.num_delivered and now_seconds >= record.placed_at_seconds + _SETTLED_SECONDS:
            record.delay_seconds, record.num_deaths = _FIRST_DELAY_SECONDS, 0

    def _delay(self, record: CameraRecord, now_seconds: float) -> None:
        """Let nobody have a camera for a while, the next time for twice as long."""
        record.target, record.retry_at_seconds = None, now_seconds + record.delay_seconds
        record.delay_seconds = min(2 * record.delay_seconds, _LONGEST_DELAY_SECONDS)

    def _measure(self, record: WorkerRecord, before: Report, report: Report) -> None:
        """Share the processor time between two reports among the cameras, by their frames."""
        seconds = report.at_seconds - before.at_seconds
        if seconds <= 0:
            return
        record.cores_used = (report.cpu_seconds - before.cpu_seconds) / seconds
        frames = {
            name: status.num_delivered - before.statuses[name].num_delivered
            for name, status in report.statuses.items()
            if name in before.statuses and before.statuses[name].generation == status.generation
        }
        total = sum(frames.values())
        for name, num in frames.items():
            camera = self.cameras.get(name)
            if camera is not None and num > 0:
                cost = record.cores_used * num / total
                camera.cost = cost if camera.cost is None else camera.cost + _SMOOTHING * (cost - camera.cost)

    def _placed(self, name: str) -> PlacedCamera:
        record = self.cameras[name]
        return PlacedCamera(name, record.camera.model, record.cost)

    def _by_worker(self) -> dict[str, list[PlacedCamera]]:
        placed: dict[str, list[PlacedCamera]] = {worker: [] for worker in self.workers}
        for name, record in self.cameras.items():
            if record.target is not None:
                placed[record.target].append(self._placed(name))
        return placed

    def _cores(self) -> Mapping[str, float]:
        return {name: record.cores for name, record in self.workers.items()}
