"""Supervising: workers that die, hang or cannot begin, and results that cannot be kept, on a clock that is set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future

import pytest

from pipeline.errors import FlowError, SinkError
from pipeline.fleet.camera_fleet import CameraFleet
from pipeline.fleet.camera_messages import Camera, CameraStatus, Orders, Report, ResultLine
from pipeline.fleet.leases import HeldLeases, LeaseBook
from pipeline.fleet.supervising import FleetSupervisor
from pipeline.testing import StepClock


class DiedError(Exception):
    """What a future raises whose worker died."""


class FakeWorker:
    """Answers at once: a line for each camera that it holds; or dies, hangs, or cannot begin."""

    def __init__(self, clock: StepClock, *, refuses: str | None = None) -> None:
        self.clock, self.refuses = clock, refuses
        self.is_dead = self.hangs = False
        self.num_starts = 0
        self.mistake: Exception | None = None
        self.orders: list[Orders] = []

    def start(self) -> Future[str | None]:
        self.num_starts += 1
        self.mistake = None
        self.is_dead = self.hangs = False
        self.leases, self.lines, self.first = HeldLeases(), [], 0  # type: ignore[var-annotated]
        future: Future[str | None] = Future()
        future.set_result(self.refuses)
        return future

    def submit(self, piece: Orders) -> Future[Report]:
        future: Future[Report] = Future()
        if self.is_dead:
            future.set_exception(DiedError())
        elif self.mistake is not None:
            future.set_exception(self.mistake)
        elif not self.hangs:
            future.set_result(self._report(piece))
        return future

    def _report(self, orders: Orders) -> Report:
        self.orders.append(orders)
        del self.lines[: orders.num_kept - self.first]
        self.first = orders.num_kept
        self.leases.take(orders)
        self.leases.note_report(self.clock())
        held = {name: one.generation for name, one in self.leases.valid(self.clock()).items()}
        self.lines += [
            ResultLine(name, generation, f"{name} {generation} {self.clock():g}".encode())
            for name, generation in held.items()
        ]
        statuses = {name: CameraStatus(generation, "live", "", 1, 1, 0) for name, generation in held.items()}
        host = f"{id(self)}/{self.num_starts}"
        return Report(host, "", held, statuses, self.first, tuple(self.lines), self.clock(), 0.0)


class Desk:
    """A supervisor of two cameras and its workers; `run` lets time pass."""

    def __init__(self, num_workers: int = 2, *, refuses: str | None = None) -> None:
        self.clock = StepClock()
        self.kept: list[ResultLine] = []
        self.saved: list[dict[str, int]] = []
        self.is_full = False
        self.fleet = CameraFleet(LeaseBook(3.5, {}))
        self.fleet.desire([Camera("door", "m", {}), Camera("yard", "m", {})])
        self.workers = [FakeWorker(self.clock, refuses=refuses) for _ in range(num_workers)]
        self.supervisor = FleetSupervisor(
            self.fleet, (DiedError,), keep=self.keep, save_generations=self.save, clock=self.clock
        )
        self.supervisor.add(self.workers)

    def keep(self, lines: Sequence[ResultLine]) -> None:
        if self.is_full:
            raise SinkError("out: cannot be kept: No space left on device")
        self.kept += lines

    def save(self, generations: Mapping[str, int]) -> None:
        if self.is_full:
            raise SinkError("out: cannot be written: No space left on device")
        self.saved.append(dict(generations))

    def run(self, seconds: float) -> None:
        for _ in range(int(seconds * 10)):
            self.supervisor.step()
            self.clock.advance(0.1)


def test_cameras_are_shared_out_and_their_lines_kept_once() -> None:
    desk = Desk()
    desk.run(4)
    assert {desk.fleet.worker_of("door"), desk.fleet.worker_of("yard")} == {"worker-0.1", "worker-1.1"}
    contents = [line.content for line in desk.kept]
    assert len(contents) == len(set(contents)) > 8
    assert desk.saved == [{"door": 1}, {"door": 1, "yard": 1}]


def test_no_worker_hears_of_a_generation_that_is_not_saved() -> None:
    desk = Desk(1)
    desk.is_full = True
    desk.run(3)
    assert all(not orders.granted for orders in desk.workers[0].orders)
    assert "No space left" in desk.supervisor.trouble
    desk.is_full = False
    desk.run(2)
    assert desk.saved[0] == {"door": 1, "yard": 1}
    assert desk.kept


def test_lines_come_again_until_they_are_kept() -> None:
    desk = Desk(1)
    desk.run(2)
    desk.is_full = True
    before = len(desk.kept)
    desk.run(2)
    assert (len(desk.kept), desk.supervisor.trouble) == (before, "out: cannot be kept: No space left on device")
    desk.is_full = False
    desk.run(1)
    contents = [line.content for line in desk.kept]
    assert len(contents) == len(set(contents)) == 2 * len({content.split()[2] for content in contents})
    assert desk.supervisor.trouble == ""


def test_a_worker_that_dies_is_begun_anew_later_each_time_and_the_other_has_its_cameras() -> None:
    desk = Desk()
    desk.run(2)
    dead = desk.workers[0]
    dead.is_dead = True
    desk.run(2)
    assert {desk.fleet.worker_of("door"), desk.fleet.worker_of("yard")} == {"worker-1.1"}
    assert dead.num_starts == 2
    dead.is_dead = True
    desk.run(1)
    assert dead.num_starts == 2
    desk.run(2)
    assert dead.num_starts == 3
    assert dict(desk.supervisor.labels()) == {"worker-0": "worker-0.3", "worker-1": "worker-1.1"}


def test_a_worker_that_hangs_is_given_up_and_its_cameras_move_once_its_leases_are_over() -> None:
    desk = Desk()
    desk.run(2)
    desk.workers[0].hangs = True
    desk.run(3)
    assert "worker-0.1" in desk.fleet.workers
    desk.run(2)
    assert {desk.fleet.worker_of("door"), desk.fleet.worker_of("yard")} == {"worker-1.1"}
    assert max(desk.saved[-1].values()) == 2
    assert desk.fleet.counts.num_lost_workers == 1


def test_a_worker_that_cannot_answer_by_a_mistake_is_begun_anew_and_the_others_go_on() -> None:
    desk = Desk()
    desk.run(2)
    desk.workers[0].mistake = KeyError("yard@2")
    desk.run(8)
    assert desk.workers[0].num_starts == 2
    assert {desk.fleet.worker_of("door"), desk.fleet.worker_of("yard")} == {"worker-1.1"}


def test_what_no_worker_can_do_ends_the_fleet() -> None:
    with pytest.raises(FlowError, match=r"m\.onnx: cannot be loaded"):
        Desk(refuses="m.onnx: cannot be loaded").run(1)
