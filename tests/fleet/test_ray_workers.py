"""Ray workers: the results are those of a serial run, though an actor is killed on the way."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

import pipeline
from pipeline.app.config.loading import load_config
from pipeline.app.map.work import OpenMapWork
from pipeline.errors import ConfigError
from pipeline.fleet.map_folder import MapFolder
from pipeline.fleet.mapping import MapRun
from pipeline.fleet.ray_workers import RayWorkers, ray_address
from pipeline.fleet.segments import Segment
from pipeline.fleet.table import read_detections
from pipeline.fleet.workers import Answer, Task, Worker
from tests.support.gop_videos import OPEN_H264, write_gop_video
from tests.support.tiny_detector import write_boxes_detector


def test_the_word_of_an_engine_is_an_address_of_ray() -> None:
    assert ray_address("ray") is None
    assert ray_address("ray://head") == "ray://head:10001"
    assert ray_address("ray://head:20002") == "ray://head:20002"
    with pytest.raises(ConfigError, match="must be local, ray or ray://HOST, got 'dask'"):
        ray_address("dask")


class DeadlyWork:
    """Kills its process at one segment, once, after which a file says so."""

    def __init__(self, open_work: OpenMapWork, folder: Path) -> None:
        self._open_work, self._folder = open_work, folder

    def __call__(self) -> Callable[[Task], Answer]:
        work = self._open_work()

        def answer(task: Task) -> Answer:
            mark = self._folder / "killed"
            if isinstance(task, Segment) and task.name == "000000-00001" and not mark.exists():
                mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return work(task)

        return answer


@pytest.mark.skipif("STREAMDET_TEST_RAY" not in os.environ, reason="starts Ray, 24 s; set STREAMDET_TEST_RAY=1")
@pytest.mark.filterwarnings("ignore")  # of Ray's own
def test_a_killed_actor_is_replaced_and_nothing_is_lost(tmp_path: Path) -> None:
    ray = pytest.importorskip("ray")
    pytest.importorskip("pyarrow")
    video = write_gop_video(tmp_path / "a.mp4", options=OPEN_H264)
    model = write_boxes_detector(tmp_path / "m.onnx", [(1, 2, 20, 30, 0.4, 0), (30, 5, 60, 40, 0.3, 1)])
    settings = {"engine.threads": 1, "engine.device": "cpu"}
    work = OpenMapWork(load_config(options={"model": str(model), **settings}), 0.5)
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:
        with MapFolder(tmp_path / "out", {}) as folder:
            run = MapRun(folder, lambda: RayWorkers(DeadlyWork(work, tmp_path), 1, None))
            run.run([video])
    finally:
        ray.shutdown()
    assert (tmp_path / "killed").exists()
    assert run.failures == []
    mapped = Counter(
        (frame["frame"], tuple((one["score"], one["x1"], one["y2"]) for one in frame["detections"]))
        for row in read_detections(tmp_path / "out" / "detections").to_pylist()
        for frame in row["frames"]
    )
    assert mapped == Counter(
        (result.frame.index, tuple((one.score, one.x1, one.y2) for one in result.rows()))
        for result in pipeline.detect(video, model=model, settings=settings)
    )


class Counting:
    """Work that counts its calls, and kills its process at a negative one."""

    def __init__(self, start: int) -> None:
        self.start = start

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Counting) and other.start == self.start

    def __hash__(self) -> int:
        return self.start

    def __call__(self) -> Callable[[int], int]:
        count = self.start

        def answer(step: int) -> int:
            nonlocal count
            if step < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            count += step
            return count

        return answer


@pytest.mark.skipif("STREAMDET_TEST_RAY" not in os.environ, reason="starts Ray, 20 s; set STREAMDET_TEST_RAY=1")
@pytest.mark.filterwarnings("ignore")  # of Ray's own
def test_an_actor_with_a_name_outlives_a_kill_and_whoever_started_it() -> None:
    ray = pytest.importorskip("ray")
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:
        first = RayWorkers(Counting(10), None, None, name="cameras")
        (worker,) = first.__enter__()
        assert worker.start().result() is None
        assert worker.submit(5).result() == 15
        first.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)  # which leaves it behind
        again = RayWorkers(Counting(10), None, None, name="cameras")
        with again as (worker,):
            assert again.more() == []
            assert worker.start().result() is None
            assert worker.submit(1).result() == 16
            with pytest.raises(again.deaths):
                worker.submit(-1).result()
            assert _begun(worker, again.deaths) is None
            assert worker.submit(2).result() == 12
        with RayWorkers(Counting(20), None, None, name="cameras") as (worker,):
            assert _begun(worker, again.deaths) is None
            assert worker.submit(1).result() == 21
    finally:
        ray.shutdown()


def _begun(worker: Worker[int, int], deaths: tuple[type[BaseException], ...]) -> str | None:
    """What a worker says that is begun again and again, as a supervisor does, until Ray has begun its process anew."""
    for _ in range(100):
        try:
            return worker.start().result()
        except deaths:
            continue
    raise AssertionError("the worker did not come back")
