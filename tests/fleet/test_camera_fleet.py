"""Camera fleet: on a simulated clock, whatever is late, lost or stopped, a camera runs in one place at most."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.fleet.camera_fleet import CameraFleet
from pipeline.fleet.camera_messages import Camera, CameraStatus, Granted, Orders, Report, ResultLine
from pipeline.fleet.leases import LEASE_SECONDS, HeldLeases, LeaseBook

TICK_SECONDS = 0.1  # between two decisions
EXCHANGE_SECONDS = 0.5


def cameras(num: int, model: str = "m") -> list[Camera]:
    return [Camera(f"cam-{number}", model, {"url": f"rtsp://h/{number}"}) for number in range(num)]


@dataclass
class SimulatedWorker:
    """The side of a worker, whose clock may run at another rate and which may be stopped."""

    name: str
    rate: float = 1.0
    leases: HeldLeases = field(default_factory=HeldLeases)
    is_dead: bool = False
    num_lines: int = 0

    def clock(self, now_seconds: float) -> float:
        return 1000 + now_seconds * self.rate

    def running(self, now_seconds: float) -> dict[str, Granted]:
        return {} if self.is_dead else self.leases.valid(self.clock(now_seconds))

    def answer(self, orders: Orders, now_seconds: float) -> Report:
        self.leases.take(orders)
        self.leases.note_report(self.clock(now_seconds))
        running = self.running(now_seconds)
        lines = tuple(ResultLine(name, one.generation, b"{}") for name, one in running.items())
        return Report(
            host=self.name,
            node="",
            held={name: one.generation for name, one in running.items()},
            statuses={name: CameraStatus(one.generation, "live", "", 9, 9, 0) for name, one in running.items()},
            first_line=orders.num_kept,
            lines=lines,
            at_seconds=self.clock(now_seconds),
            cpu_seconds=0.0,
        )


class Simulation:
    """A supervisor and workers, whose messages take the time that `delay` says."""

    def __init__(self, fleet: CameraFleet, *, delay: Callable[[], float] = lambda: 0.01) -> None:
        self.fleet, self.delay = fleet, delay
        self.now_seconds = 0.0
        self.workers: dict[str, SimulatedWorker] = {}
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self.at(0.0, self._tick)

    def at(self, seconds: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._events, (seconds, next(self._order), action))

    def join(self, *names: str, rate: float = 1.0) -> None:
        for name in names:
            self.workers[name] = SimulatedWorker(name, rate)
            self.fleet.join(name, cores=1, now_seconds=self.now_seconds)
            self._exchange(name)

    def run(self, until_seconds: float, *, observe: Callable[[], None] = lambda: None) -> None:
        while self._events and self._events[0][0] <= until_seconds:
            self.now_seconds, _, action = heapq.heappop(self._events)
            observe()
            action()
            observe()
        self.now_seconds = until_seconds

    def places(self) -> dict[str, list[str]]:
        """The workers on which each camera runs now."""
        places: dict[str, list[str]] = {}
        for worker in self.workers.values():
            for camera in worker.running(self.now_seconds):
                places.setdefault(camera, []).append(worker.name)
        return places

    def _tick(self) -> None:
        self.fleet.decide(self.now_seconds)
        self.at(self.now_seconds + TICK_SECONDS, self._tick)

    def _exchange(self, name: str) -> None:
        if name not in self.fleet.workers:
            return
        orders = self.fleet.orders(name, self.now_seconds)
        self.at(self.now_seconds + self.delay(), lambda: self._arrive(name, orders))

    def _arrive(self, name: str, orders: Orders) -> None:
        worker = self.workers[name]
        if worker.is_dead:
            return
        report = worker.answer(orders, self.now_seconds)
        self.at(self.now_seconds + self.delay(), lambda: self._take(name, report))

    def _take(self, name: str, report: Report) -> None:
        if name in self.fleet.workers:
            self.fleet.keep(name, self.fleet.report(name, report, self.now_seconds))
            self.at(self.now_seconds + EXCHANGE_SECONDS, lambda: self._exchange(name))


def fleet_of(num: int, *, workers: Iterable[str] = (), **generations: int) -> Simulation:
    fleet = CameraFleet(LeaseBook(LEASE_SECONDS, generations))
    fleet.desire(cameras(num))
    simulation = Simulation(fleet)
    simulation.join(*workers)
    return simulation


def test_500_cameras_of_a_lost_node_run_elsewhere_within_five_seconds() -> None:
    """Nobody is told of the loss: its workers only stop to answer."""
    nodes = {f"node-{number}": [f"node-{number}/{index}" for index in range(4)] for number in range(5)}
    simulation = fleet_of(500, workers=[name for names in nodes.values() for name in names])
    simulation.run(10)
    assert {len(places) for places in simulation.places().values()} == {1}
    assert len(simulation.places()) == 500
    lost = [camera for camera, (place,) in simulation.places().items() if place.startswith("node-3/")]
    assert len(lost) == 100
    for name in nodes["node-3"]:
        simulation.workers[name].is_dead = True
    simulation.run(15)
    places = simulation.places()
    assert all(len(places.get(camera, ())) == 1 for camera in lost)
    loads = [len(simulation.workers[name].running(15)) for name in simulation.workers if name not in nodes["node-3"]]
    assert max(loads) - min(loads) <= 2


def test_a_worker_that_nobody_has_asked_is_not_silent() -> None:
    """The supervisor may have waited for its disk."""
    simulation = fleet_of(2, workers=("a",))
    simulation.run(3)
    simulation.fleet.workers["a"].ordered_at_seconds = None
    simulation.fleet.decide(60)
    assert "a" in simulation.fleet.workers
    simulation.fleet.orders("a", 60)
    simulation.fleet.decide(64)
    assert "a" not in simulation.fleet.workers


def test_a_worker_that_certainly_ended_is_replaced_at_once() -> None:
    simulation = fleet_of(4, workers=("a", "b"))
    simulation.run(3)
    simulation.workers["a"].is_dead = True
    simulation.fleet.lose("a", 3, is_certain=True)
    simulation.run(4.6)
    assert sorted(simulation.places().values()) == [["b"]] * 4


@st.composite
def troubles(draw: st.DrawFn) -> list[tuple[float, str, int]]:
    """Instants at which something happens to one of four workers, or to the file of cameras."""
    kinds = st.sampled_from(["die", "lose", "join", "change", "fewer", "more", "uneven"])
    return draw(st.lists(st.tuples(st.floats(0, 60), kinds, st.integers(0, 3)), max_size=25))


@given(troubles(), st.integers(0, 2**32 - 1), st.sampled_from([0.02, 0.5, 3.0, 9.0]))
@settings(max_examples=25, deadline=None, derandomize=True)
def test_no_camera_runs_in_two_places_at_any_instant(
    events: list[tuple[float, str, int]], seed: int, longest_delay: float
) -> None:
    """Messages take up to 9 s, clocks differ by 5 %, workers that are given up go on as long as their leases."""
    rng = random.Random(seed)
    fleet = CameraFleet(LeaseBook(LEASE_SECONDS, {"cam-0": 7}))
    fleet.desire(cameras(8))
    simulation = Simulation(fleet, delay=lambda: rng.uniform(0.001, longest_delay))
    for number in range(4):
        simulation.join(f"w{number}", rate=rng.uniform(0.976, 1.024))
    generations: dict[str, dict[int, str]] = {}  # which worker had each generation of a camera

    def observe() -> None:
        for worker in simulation.workers.values():
            for name, one in worker.running(simulation.now_seconds).items():
                assert generations.setdefault(name, {}).setdefault(one.generation, worker.name) == worker.name
        assert all(len(places) == 1 for places in simulation.places().values())

    for number, (at_seconds, kind, index) in enumerate(sorted(events)):
        simulation.run(at_seconds, observe=observe)
        name = f"w{index}"
        if kind == "die" and name in simulation.workers:
            simulation.workers[name].is_dead = True
            fleet.lose(name, at_seconds, is_certain=True)
        elif kind == "lose":
            fleet.lose(name, at_seconds, is_certain=False)
        elif kind == "join":
            simulation.join(f"new-{number}")
        elif kind == "change":
            fleet.desire([Camera("cam-1", f"m{number}", {}), *cameras(8)[2:]])
        elif kind == "uneven" and "cam-2" in fleet.cameras:
            fleet.cameras["cam-2"].cost = 5.0 * index
        else:
            fleet.desire(cameras(3 if kind == "fewer" else 10))
    simulation.run(70, observe=observe)
    assert fleet.leases.generations.get("cam-0", 0) >= 7


def test_results_of_a_replaced_generation_are_refused_and_the_others_taken_once() -> None:
    simulation = fleet_of(1, workers=("a", "b"))
    simulation.run(2)
    fleet = simulation.fleet
    (holder,) = simulation.places()["cam-0"]
    zombie = simulation.workers[holder].answer(fleet.orders(holder, 2), 2)
    fleet.lose(holder, 2, is_certain=False)
    simulation.run(9)
    assert simulation.places()["cam-0"] != [holder]
    fleet.join(holder, cores=1, now_seconds=9)
    late = Report(holder, "", {}, {}, 0, (ResultLine("cam-0", 1, b"late"), ResultLine("cam-0", 2, b"new")), 1, 0)
    assert [line.content for line in fleet.report(holder, late, 9)] == [b"new"]
    fleet.keep(holder, [late.lines[1]])
    assert fleet.counts.num_refused == 1
    assert fleet.report(holder, late, 9.5) == []  # it was kept, and is sent again
    assert zombie.held == {"cam-0": 1}


def test_a_worker_that_outlived_its_supervisor_sends_again_what_that_had_kept_and_it_is_taken_once() -> None:
    fleet = CameraFleet(LeaseBook(LEASE_SECONDS, {"door": 4}), 0.0, {"door/4/7"})
    fleet.desire([Camera("door", "m", {})])
    fleet.join("w", cores=1, now_seconds=0)
    lines = tuple(ResultLine("door", number, b'{"id": "door/%d/7"}' % number) for number in (3, 4))
    new = ResultLine("door", 4, b'{"id": "door/4/8"}')
    fleet.orders("w", 0.1)
    report = Report("h", "", {"door": 4}, {}, 1000, (*lines, new), 0.0, 0.0)
    assert fleet.report("w", report, 0.2) == [new]
    assert fleet.report("w", report, 0.2) == [new]  # it could not be kept
    fleet.keep("w", [new])
    assert (fleet.counts.num_results, fleet.counts.num_refused) == (1, 1)
    assert fleet.orders("w", 0.3).num_kept == 1003


def test_a_camera_whose_settings_change_is_started_anew_where_it_is() -> None:
    simulation = fleet_of(2, workers=("a", "b"))
    simulation.run(3)
    before = simulation.places()["cam-0"]
    changed = Camera("cam-0", "m", {"url": "rtsp://h/other"})
    simulation.fleet.desire([changed, *cameras(2)[1:]])
    simulation.run(6)
    assert simulation.places()["cam-0"] == before
    running = simulation.workers[before[0]].running(6)["cam-0"]
    assert (running.camera, running.generation) == (changed, 2)


def test_a_worker_that_comes_gets_some_of_the_cameras_a_few_at_a_time() -> None:
    simulation = fleet_of(20, workers=("a",))
    simulation.run(40)
    simulation.join("b")
    simulation.run(44)
    assert len(simulation.workers["b"].running(44)) == 2
    simulation.run(120)
    loads = [len(worker.running(120)) for worker in simulation.workers.values()]
    assert sorted(loads) == [9, 11]  # within a quarter of the mean, where it ends
    assert simulation.fleet.counts.num_moves == 9


def test_a_camera_that_fails_is_tried_again_less_and_less_often_and_one_that_ended_is_not() -> None:
    fleet = CameraFleet(LeaseBook(LEASE_SECONDS, {}))
    fleet.desire(cameras(2))
    fleet.join("a", cores=1, now_seconds=0)
    begun: list[float] = []
    held: dict[str, int] = {}
    for step in range(200):
        now = step * 0.5
        states = {"cam-0": "failed", "cam-1": "ended"}
        statuses = {name: CameraStatus(number, states[name], "no answer", 3, 2, 1) for name, number in held.items()}
        fleet.report("a", Report("a", "", held, statuses, 0, (), now, 0.0), now)
        fleet.decide(now)
        granted = {one.camera.name: one.generation for one in fleet.orders("a", now).granted}
        begun += [now for name in granted if name == "cam-0" and granted[name] != held.get(name)]
        held = granted
    gaps = [round(later - earlier) for earlier, later in itertools.pairwise(begun)]
    assert gaps[0] < 3
    assert gaps == sorted(gaps)
    assert len(begun) == 7  # 1, 2, 4, … s after each failure
    assert fleet.leases.generations["cam-1"] == 1
    record = fleet.cameras["cam-0"]
    assert (record.num_captured, record.num_delivered, record.num_dropped) == (21, 14, 7)
    assert not fleet.is_over()
    fleet.desire(cameras(2)[1:])
    assert fleet.is_over()


def test_a_camera_that_kills_worker_after_worker_waits_while_the_others_go_on() -> None:
    fleet = CameraFleet(LeaseBook(LEASE_SECONDS, {}))
    fleet.desire(cameras(1))
    for number in range(4):
        now = 2.0 * number
        fleet.join(f"w{number}", cores=1, now_seconds=now)
        fleet.decide(now)
        assert (fleet.cameras["cam-0"].target is not None) == (number < 3)
        fleet.lose(f"w{number}", now + 1.5, is_certain=True)
    fleet.join("last", cores=1, now_seconds=8)
    fleet.decide(8)
    assert fleet.cameras["cam-0"].target == "last"


def test_cost_is_shared_by_frames() -> None:
    fleet = CameraFleet(LeaseBook(LEASE_SECONDS, {"cam-0": 1, "cam-1": 1}))
    fleet.desire(cameras(2))
    fleet.join("a", cores=2, now_seconds=0)
    for seconds, frames, cpu_seconds in ((0.0, (0, 0), 5.0), (2.0, (30, 10), 7.4)):
        statuses = {f"cam-{index}": CameraStatus(1, "live", "", num, num, 0) for index, num in enumerate(frames)}
        fleet.report("a", Report("a", "", {}, statuses, 0, (), 100 + seconds, cpu_seconds), seconds)
    assert round(fleet.workers["a"].cores_used, 6) == 1.2
    assert [round(record.cost or 0, 6) for record in fleet.cameras.values()] == [0.9, 0.3]
