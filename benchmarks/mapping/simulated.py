"""Simulated workers: processes that sleep as long as a segment would take them → what the driver around them costs.

A sleep needs no core, so that a machine with two can bear 64 of them. Everything else is real: the processes, the
segments and rows that travel, the commits to the disk. Sleeps are shorter than the work that they stand for, so that a
run takes `run_seconds`; the driver is not, so that its share is too large by that factor, and efficiency understated.
"""

from __future__ import annotations

import pickle
import random
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Literal

import numpy as np

from pipeline.fleet.local_workers import LocalWorkers
from pipeline.fleet.map_folder import MapFolder
from pipeline.fleet.mapping import MapRun
from pipeline.fleet.ray_workers import RayWorkers
from pipeline.fleet.segments import InputFile, Segment
from pipeline.fleet.workers import Answer, Detected, Task, Worker, Workers

RUN_SECONDS = 8.0  # of a simulated map without any overhead
SEGMENT_SECONDS = 60.0
_SHORTEST_SHARE = 0.5  # of a segment, as the last of a file may be; the median one is whole


@dataclass(frozen=True, slots=True)
class Calibration:
    """What a real segment is. row: its Parquet file. seconds_a_frame: of one worker, decoding included."""

    row: bytes
    num_frames: int
    seconds_a_frame: float
    frames_per_second: float

    @property
    def work_seconds(self) -> float:
        """What a segment of `SEGMENT_SECONDS` takes a worker."""
        return SEGMENT_SECONDS * self.frames_per_second * self.seconds_a_frame

    @property
    def row_of_segment(self) -> bytes:
        """As many bytes as a whole segment gives, which compress no further."""
        num_frames = SEGMENT_SECONDS * self.frames_per_second
        return np.random.default_rng(0).bytes(int(len(self.row) / self.num_frames * num_frames))


@dataclass(frozen=True, slots=True)
class SleepingWork:
    """Opened in a worker: answers a segment after its time, with a row of the usual size."""

    row: bytes
    work_seconds: float  # of a segment of the usual length

    def __call__(self) -> Callable[[Task], Answer]:
        return self._answer

    def _answer(self, task: Task) -> Answer:
        assert isinstance(task, Segment)
        seconds = sleep_seconds(task, self.work_seconds)
        time.sleep(seconds)
        return Detected(self.row, task.num_frames, (), seconds)


@dataclass(frozen=True, slots=True)
class SimulatedRun:
    """How long a simulated map took. sleep_seconds: of all workers together."""

    num_workers: int
    num_segments: int
    wall_seconds: float
    sleep_seconds: float
    compression: float = 1.0  # by which sleeps are shorter than the work

    @property
    def full_seconds(self) -> float:
        """Of the map, if its driver were slower by the same factor as its workers."""
        return self.wall_seconds * self.compression

    @property
    def efficiency(self) -> float:
        """The share of the workers' time in which they worked."""
        return self.sleep_seconds / self.wall_seconds / self.num_workers

    @property
    def overhead_ms(self) -> float:
        """Of a worker's time for a segment, what is not work."""
        return 1000 * (self.wall_seconds * self.num_workers - self.sleep_seconds) / self.num_segments


class _ListedFolder(MapFolder):
    """A folder whose segments are done as they are listed."""

    def segments(self) -> list[Segment]:
        return sorted(super().segments(), key=lambda segment: segment.name)


def simulated_run(
    calibration: Calibration,
    *,
    num_workers: int,
    num_segments: int,
    engine: Literal["local", "ray"] = "local",
    is_longest_first: bool = True,
    run_seconds: float = RUN_SECONDS,
) -> SimulatedRun:
    """Map `num_segments` of about a minute; workers are started before the clock is."""
    segments = segments_of_files(num_segments, calibration)
    total_seconds = sum(sleep_seconds(segment, calibration.work_seconds) for segment in segments)
    compression = total_seconds / num_workers / run_seconds
    work = SleepingWork(calibration.row_of_segment, calibration.work_seconds / compression)
    of_engine = LocalWorkers(work, num_workers) if engine == "local" else RayWorkers(work, num_workers, None)
    folder_type = MapFolder if is_longest_first else _ListedFolder
    with TemporaryDirectory() as name, _started(of_engine) as workers:
        began_at_seconds = time.monotonic()
        with folder_type(Path(name) / "out", {}) as folder:
            folder.add(segments)
            MapRun(folder, lambda: workers).run(())
            assert not folder.missing()
        wall_seconds = time.monotonic() - began_at_seconds
    return SimulatedRun(num_workers, num_segments, wall_seconds, total_seconds / compression, compression)


def segments_of_files(num: int, calibration: Calibration) -> list[Segment]:
    """Segments of a minute, of which one in five is the shorter or longer rest of a file."""
    rates, lengths = calibration.frames_per_second, random.Random(0)
    segments = []
    for number in range(num):
        share = lengths.uniform(_SHORTEST_SHARE, 1.5) if number % 5 == 4 else 1.0
        seconds = SEGMENT_SECONDS * share
        file = InputFile(number // 5, f"/videos/{number // 5:06d}.mp4", 1, 1)
        segments.append(Segment(f"{number // 5:06d}-{number % 5:05d}", file, None, seconds, int(seconds * rates)))
    return segments


def sleep_seconds(segment: Segment, work_seconds: float) -> float:
    """Of a segment, where the usual one takes `work_seconds`."""
    return work_seconds * segment.seconds / SEGMENT_SECONDS


def store_bytes_a_frame(calibration: Calibration) -> float:
    """What travels for a frame: a share of its segment, and of the answer with its row."""
    (segment,) = segments_of_files(1, calibration)
    answer = Detected(calibration.row_of_segment, segment.num_frames, (), 1.0)
    return len(pickle.dumps(segment) + pickle.dumps(answer)) / segment.num_frames


def amdahl(runs: Sequence[SimulatedRun]) -> tuple[float, float]:
    """Serial and parallel seconds of T(n) = serial + parallel / n, by least squares of relative errors.

    G. Amdahl, AFIPS 1967; the serial part is not negative.
    """
    times = np.array([run.full_seconds for run in runs])
    terms = np.array([[1.0, 1 / run.num_workers] for run in runs]) / times[:, None]  # [N, 2]
    serial, parallel = np.linalg.lstsq(terms, np.ones(len(runs)), rcond=None)[0]
    return max(0.0, float(serial)), float(parallel)


@contextmanager
def _started(workers: Workers[Task, Answer]) -> Iterator[_StartedWorkers]:
    """The same workers, all of them started; they end with this context, and not with the map."""
    with workers as running:
        for future in [worker.start() for worker in running]:
            assert future.result() is None
        yield _StartedWorkers(workers.deaths, [_StartedWorker(worker) for worker in running])


@dataclass(slots=True)
class _StartedWorkers:
    deaths: tuple[type[BaseException], ...]
    workers: Sequence[Worker[Task, Answer]]

    def __enter__(self) -> Sequence[Worker[Task, Answer]]:
        return self.workers

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...


@dataclass(frozen=True, slots=True)
class _StartedWorker:
    worker: Worker[Task, Answer]

    def start(self) -> Future[str | None]:
        future: Future[str | None] = Future()
        future.set_result(None)
        return future

    def submit(self, piece: Task) -> Future[Answer]:
        return self.worker.submit(piece)
