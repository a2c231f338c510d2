"""Supervised: a fleet's supervisor with workers that cost nothing → how many cameras one can look after.

Real are the decisions, the messages as they are pickled, the refusals, and the lines on the disk; workers are not.
"""

from __future__ import annotations

import json
import pickle
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from pipeline.fleet.camera_fleet import CameraFleet
from pipeline.fleet.camera_messages import Camera, CameraStatus, Orders, Report, ResultLine
from pipeline.fleet.leases import LEASE_SECONDS, HeldLeases, LeaseBook
from pipeline.fleet.result_log import ResultLog
from pipeline.fleet.supervising import EXCHANGE_SECONDS, FleetSupervisor
from pipeline.testing import StepClock

_CAMERAS_A_WORKER = 8
_NUM_DETECTIONS = 8  # of a frame, in 1.1 kB of JSON
_WARM_UP_ROUNDS = 6


@dataclass(frozen=True, slots=True)
class Supervised:
    """What a supervisor took for a fleet. cores: its processor time for a second of the fleet."""

    num_cameras: int
    results_a_second: float
    cores: float
    bytes_a_result: float


def supervised(num_cameras: int, *, results_a_second: float = 5.0, rounds: int = 20) -> Supervised:
    """Exchange `rounds` times with all workers of a fleet."""
    clock = StepClock()
    workers = [_InstantWorker(clock, results_a_second) for _ in range(-(-num_cameras // _CAMERAS_A_WORKER))]
    fleet = CameraFleet(LeaseBook(LEASE_SECONDS, {}))
    fleet.desire(Camera(f"cam-{number}", "m", {"url": f"rtsp://h/{number}"}) for number in range(num_cameras))
    with TemporaryDirectory() as name:
        log = ResultLog(Path(name), ["jsonl"])

        def keep(lines: Sequence[ResultLine]) -> None:
            log.write([line.content for line in lines])

        supervisor = FleetSupervisor(fleet, (), keep=keep, save_generations=lambda _: None, clock=clock)
        supervisor.add(workers)
        for number in range(_WARM_UP_ROUNDS + rounds):
            if number == _WARM_UP_ROUNDS:
                began_at_seconds, num_before = time.process_time(), fleet.counts.num_results
            supervisor.step()  # sends
            supervisor.step()  # takes
            clock.advance(EXCHANGE_SECONDS)
        seconds = time.process_time() - began_at_seconds
        log.close()
    num_results = fleet.counts.num_results - num_before
    assert num_results > 0.8 * num_cameras * results_a_second * EXCHANGE_SECONDS * rounds, num_results
    return Supervised(num_cameras, results_a_second, seconds / rounds / EXCHANGE_SECONDS, len(_line("cam-0", 0)))


class _InstantWorker:
    """Answers at once with the results of half a second, which were pickled as those of a process are."""

    def __init__(self, clock: StepClock, results_a_second: float) -> None:
        self._clock, self._num = clock, int(results_a_second * EXCHANGE_SECONDS + 0.5)
        self._leases = HeldLeases()
        self._num_frames = 0
        self._contents = [_line("cam-000", frame) for frame in range(self._num)]

    def start(self) -> Future[str | None]:
        future: Future[str | None] = Future()
        future.set_result(None)
        return future

    def submit(self, piece: Orders) -> Future[Report]:
        orders: Orders = pickle.loads(pickle.dumps(piece))
        self._leases.take(orders)
        self._leases.note_report(self._clock())
        held = {name: one.generation for name, one in self._leases.valid(self._clock()).items()}
        lines = tuple(
            ResultLine(name, generation, content) for name, generation in held.items() for content in self._contents
        )
        self._num_frames += self._num
        num = self._num_frames
        status = {name: CameraStatus(generation, "live", "", num, num, 0) for name, generation in held.items()}
        report = Report(str(id(self)), "h", held, status, orders.num_kept, lines, self._clock(), self._clock())
        future: Future[Report] = Future()
        future.set_result(pickle.loads(pickle.dumps(report)))
        return future


def _line(name: str, frame: int) -> bytes:
    box = {"box": [512.25, 288.5, 640.75, 360.0], "score": 0.8765, "class_id": 2, "class_name": "car", "track_id": 17}
    values = {"id": f"{name}/1/{frame}", "source": name, "generation": 1, "time": 1795790948.975, "frame": frame}
    return json.dumps(values | {"pts": frame / 5, "detections": [box] * _NUM_DETECTIONS}).encode()
