"""Mapping: whatever dies, breaks or is damaged on the way, the results are those of a serial run, each once."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

import pipeline
from pipeline.app.config.loading import load_config
from pipeline.app.map.command import input_files
from pipeline.app.map.work import OpenMapWork
from pipeline.errors import ConfigError, FlowError, ModelError, SinkError, SourceError
from pipeline.fleet.local_workers import LocalWorkers
from pipeline.fleet.map_folder import MapFolder
from pipeline.fleet.map_storage import LocalStorage
from pipeline.fleet.mapping import MapRun
from pipeline.fleet.segments import Segment
from pipeline.fleet.table import read_detections
from pipeline.fleet.workers import Answer, OpenWork, Task, Workers
from tests.support.gop_videos import OPEN_H264, write_gop_video
from tests.support.inline_workers import InlineWorkers
from tests.support.tiny_detector import write_boxes_detector

pytest.importorskip("pyarrow", reason="map writes Parquet")

Rows = Counter[tuple[str, int, tuple[object, ...]]]
"""File, frame and its boxes, as often as they are there."""

SETTINGS = {"model": "x"}


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two videos and a detector whose boxes depend on the picture; the last is below its threshold."""
    folder = tmp_path_factory.mktemp("desk")
    write_gop_video(folder / "a.mp4", options=OPEN_H264)
    write_gop_video(folder / "b.mp4", options=OPEN_H264, num_frames=35, gaps=90)
    write_boxes_detector(folder / "m.onnx", [(1, 2, 20, 30, 0.4, 0), (30, 5, 60, 40, 0.3, 1), (2, 2, 9, 9, -0.2, 1)])
    return folder


def open_work(desk: Path, **keys: object) -> OpenMapWork:
    options = {"model": str(desk / "m.onnx"), "engine.threads": 1, "engine.device": "cpu", **keys}
    return OpenMapWork(load_config(options=options), 0.5)


def videos(desk: Path) -> list[Path]:
    return [desk / "a.mp4", desk / "b.mp4"]


def serial(desk: Path, paths: Sequence[Path], **settings: object) -> Rows:
    """What a run of each file gives, by the public function."""
    options: dict[str, object] = {"engine.threads": 1, "engine.device": "cpu", **settings}
    return Counter(
        (
            str(path),
            result.frame.index,
            tuple((row.class_id, row.score, *row.box, row.track_id) for row in result.rows()),
        )
        for path in paths
        for result in pipeline.detect(path, model=desk / "m.onnx", settings=options)
    )


def mapped(out: Path) -> Rows:
    """What the results hold."""
    columns = ("class_id", "score", "x1", "y1", "x2", "y2", "track_id")
    return Counter(
        (row["file"], frame["frame"], tuple(tuple(one[name] for name in columns) for one in frame["detections"]))
        for row in read_detections(out / "detections").to_pylist()
        for frame in row["frames"]
    )


def run_map(
    out: Path, paths: Sequence[Path | str], workers: Workers[Task, Answer], *, settings: Mapping[str, object] = SETTINGS
) -> MapRun:
    with MapFolder(out, settings) as folder:
        run = MapRun(folder, lambda: workers)
        run.run(paths)
    return run


def test_the_results_are_those_of_a_serial_run(desk: Path, tmp_path: Path) -> None:
    workers = InlineWorkers(open_work(desk))
    run = run_map(tmp_path / "out", videos(desk), workers)
    assert run.failures == []
    assert len(workers.done) > 4
    assert any(boxes for _, _, boxes in mapped(tmp_path / "out"))
    assert mapped(tmp_path / "out") == serial(desk, videos(desk))


@pytest.mark.parametrize("settings", [{"flow.every": 7}, {"track.kind": "bytetrack"}, {"tiles.grid": "1x2"}])
def test_so_they_are_with_other_stages(desk: Path, tmp_path: Path, settings: dict[str, object]) -> None:
    work = open_work(desk, **settings)
    whole = OpenMapWork(work.config, None) if "track.kind" in settings else work
    run_map(tmp_path / "out", videos(desk), InlineWorkers(whole))
    assert mapped(tmp_path / "out") == serial(desk, videos(desk), **settings)


def test_the_longest_segments_are_first(desk: Path, tmp_path: Path) -> None:
    workers = InlineWorkers(open_work(desk), 1)
    run_map(tmp_path / "out", videos(desk), workers)
    with MapFolder(tmp_path / "out", SETTINGS) as folder:
        seconds = {segment.name: segment.seconds for segment in folder.segments()}
    durations = [seconds[name] for name in workers.done]
    assert durations == sorted(durations, reverse=True)


def test_a_rerun_does_only_what_is_missing(desk: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run_map(out, videos(desk)[:1], InlineWorkers(open_work(desk)))
    (out / "detections" / "000000-00001.parquet").unlink()
    workers = InlineWorkers(open_work(desk))
    run_map(out, videos(desk), workers)
    assert sorted(name for name in workers.done if name.startswith("000000")) == ["000000-00001"]
    assert mapped(out) == serial(desk, videos(desk))
    again = InlineWorkers(open_work(desk))
    assert run_map(out, videos(desk), again).num_segments == 0
    assert again.done == []


class KilledError(Exception):
    """Stands for the end of the driver."""


@pytest.mark.parametrize("num_done", [0, 1, 3])
@pytest.mark.parametrize("tail", [b"", b'{"segment": "0000'], ids=["between lines", "in a line"])
def test_a_driver_that_was_killed_goes_on_where_it_was(desk: Path, tmp_path: Path, num_done: int, tail: bytes) -> None:
    out = tmp_path / "out"
    workers = InlineWorkers(open_work(desk))

    def kill(task: Task) -> None:
        if isinstance(task, Segment) and len(workers.done) == num_done:
            raise KilledError

    workers.before = kill
    with pytest.raises(KilledError):
        run_map(out, videos(desk), workers)
    with (out / "ledger.jsonl").open("ab") as ledger:
        ledger.write(tail)
    with MapFolder(out, SETTINGS) as folder:
        half_done = folder.missing()[0].name
    (out / "detections" / f"{half_done}.parquet").write_bytes(b"renamed, and not yet in the ledger")
    (out / "detections" / ".1.000001-00001.parquet.part").write_bytes(b"half")
    run_map(out, videos(desk), InlineWorkers(open_work(desk)))
    assert mapped(out) == serial(desk, videos(desk))
    assert all(path.suffix == ".parquet" for path in (out / "detections").iterdir())


def test_the_segment_of_a_worker_that_died_is_done_by_another(desk: Path, tmp_path: Path) -> None:
    workers = InlineWorkers(open_work(desk), deaths_of={"000000-00001": 2, "": 1})
    run = run_map(tmp_path / "out", videos(desk), workers)
    assert run.failures == []
    assert mapped(tmp_path / "out") == serial(desk, videos(desk))


def test_a_segment_that_kills_three_workers_is_given_up_and_named(desk: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run = run_map(out, videos(desk), InlineWorkers(open_work(desk), deaths_of={"000000-00001": 3}))
    (failure,) = run.failures
    assert (failure.segment, Path(failure.file).name) == ("000000-00001", "a.mp4")
    assert "killed 3 workers" in failure.reason
    assert json.loads((out / "failed.jsonl").read_text())["segment"] == "000000-00001"
    lost = serial(desk, videos(desk)) - mapped(out)
    assert {(Path(file).name, frame // 20) for file, frame, _ in lost} == {("a.mp4", 1)}
    run_map(out, videos(desk), InlineWorkers(open_work(desk)))
    assert mapped(out) == serial(desk, videos(desk))
    assert not (out / "failed.jsonl").exists()


def test_inputs_that_cannot_be_done_are_listed_and_the_rest_is_done(desk: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("no video")
    bad = [tmp_path / "empty.mp4", tmp_path / "text.mp4", tmp_path / "gone.mp4"]
    run = run_map(tmp_path / "out", [*bad, *videos(desk)], InlineWorkers(open_work(desk)))
    reasons = {Path(failure.file).name: failure.reason for failure in run.failures}
    assert reasons["empty.mp4"].startswith("is empty (0 bytes)")
    assert reasons["text.mp4"].startswith("its index is missing")
    assert reasons["gone.mp4"] == "cannot be opened: No such file or directory"
    assert mapped(tmp_path / "out") == serial(desk, videos(desk))


def test_a_file_of_a_list_that_is_missing_is_a_failure_and_no_end_of_all(desk: Path, tmp_path: Path) -> None:
    (tmp_path / "files.txt").write_text(f"{desk}/a.mp4\ngone.mp4\n{desk}/b.mp4\n")
    paths = input_files((str(tmp_path / "files.txt"),))
    run = run_map(tmp_path / "out", paths, InlineWorkers(open_work(desk)))
    (failure,) = run.failures
    assert (failure.file, failure.reason) == (str(tmp_path / "gone.mp4"), "cannot be opened: No such file or directory")
    assert mapped(tmp_path / "out") == serial(desk, videos(desk))
    (tmp_path / "files.txt").write_text("gone.mp5\n")
    with pytest.raises(SourceError, match="line 1: there is no image or video"):
        input_files((str(tmp_path / "files.txt"),))


def test_a_file_whose_damage_moves_its_seams_is_done_again_as_a_whole(desk: Path, tmp_path: Path) -> None:
    path = write_gop_video(tmp_path / "damaged.mp4", options=OPEN_H264)
    content = bytearray(path.read_bytes())
    middle = (content.index(b"mdat") + content.index(b"moov")) // 2
    content[middle : middle + 400] = bytes(400)
    path.write_bytes(content)
    out = tmp_path / "out"
    workers = InlineWorkers(open_work(desk))
    run = run_map(out, [path, *videos(desk)], workers)
    assert run.failures == []
    assert "000000-whole" in workers.done
    assert [file.name for file in (out / "detections").glob("000000-*")] == ["000000-whole.parquet"]
    assert mapped(out) == serial(desk, [path, *videos(desk)])
    again = InlineWorkers(open_work(desk))
    run_map(out, [path, *videos(desk)], again)
    assert again.done == []


def test_two_runs_on_one_folder_refuse_each_other(tmp_path: Path) -> None:
    words = f"another run, process {os.getpid()}, is writing it"
    with MapFolder(tmp_path / "out", SETTINGS), pytest.raises(SinkError, match=words):
        MapFolder(tmp_path / "out", SETTINGS)
    MapFolder(tmp_path / "out", SETTINGS).close()


def test_other_settings_and_other_peoples_folders_are_refused(desk: Path, tmp_path: Path) -> None:
    MapFolder(tmp_path / "out", {"model": "x", "flow.every": 1}).close()
    with pytest.raises(ConfigError, match=r"was mapped with flow\.every 1, got 2; name another --out"):
        MapFolder(tmp_path / "out", {"model": "x", "flow.every": 2})
    with pytest.raises(ConfigError, match=r"--out must be a new folder, or that of a map, got .*, which holds \w"):
        MapFolder(desk, SETTINGS)


def test_a_file_that_has_changed_is_refused(desk: Path, tmp_path: Path) -> None:
    path = write_gop_video(tmp_path / "c.mp4")
    run_map(tmp_path / "out", [path], InlineWorkers(open_work(desk)))
    write_gop_video(path, num_frames=20)
    with pytest.raises(ConfigError, match="has changed since it was mapped"):
        run_map(tmp_path / "out", [path], InlineWorkers(open_work(desk)))


class FullDisk(LocalStorage):
    """A disk on which there is room for two results."""

    def write(self, name: str, content: bytes) -> None:
        is_third = name.startswith("detections") and len(self.results()) == 2
        super().write("/dev/full" if is_third else name, content)


def test_a_full_disk_ends_the_run_and_loses_nothing(desk: Path, tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    out = tmp_path / "out"
    with MapFolder(out, SETTINGS, storage=FullDisk(out)) as folder:
        run = MapRun(folder, lambda: InlineWorkers(open_work(desk)))
        with pytest.raises(SinkError, match=r"No space left on device; 2 results are kept; mend that and run the same"):
            run.run(videos(desk))
    run_map(out, videos(desk), InlineWorkers(open_work(desk)))
    assert mapped(out) == serial(desk, videos(desk))


class DeadlyWork:
    """Opened in a real process: kills it at one segment, once, after which a file says so."""

    def __init__(self, open_work: OpenWork[Task, Answer], mark: Path) -> None:
        self._open_work, self._mark = open_work, mark

    def __call__(self) -> Callable[[Task], Answer]:
        work = self._open_work()

        def answer(task: Task) -> Answer:
            if isinstance(task, Segment) and task.name == "000000-00001" and not self._mark.exists():
                self._mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return work(task)

        return answer


def test_processes_die_and_are_replaced(desk: Path, tmp_path: Path) -> None:
    workers = LocalWorkers(DeadlyWork(open_work(desk), tmp_path / "killed"), 2)
    run = run_map(tmp_path / "out", videos(desk), workers)
    assert (tmp_path / "killed").exists()
    assert run.failures == []
    assert mapped(tmp_path / "out") == serial(desk, videos(desk))


class UnopenedWork:
    """Work that no worker can begin."""

    def __call__(self) -> Callable[[Task], Answer]:
        raise ModelError("m.onnx: cannot be loaded")


def test_a_model_that_no_worker_can_load_is_said_once(desk: Path, tmp_path: Path) -> None:
    with pytest.raises(FlowError, match=r"m\.onnx: cannot be loaded"):
        run_map(tmp_path / "out", videos(desk), LocalWorkers(UnopenedWork(), 1))


def test_the_results_are_read_by_pandas(desk: Path, tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    run_map(tmp_path / "out", videos(desk), InlineWorkers(open_work(desk)))
    table = pandas.read_parquet(tmp_path / "out" / "detections")
    frames = table.explode("frames")["frames"]
    assert table["num_frames"].sum() == len(frames) == 95
    assert sum(len(frame["detections"]) for frame in frames) == sum(
        len(boxes) * num for (_, _, boxes), num in serial(desk, videos(desk)).items()
    )


def test_the_results_are_read_by_duckdb(desk: Path, tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    run_map(tmp_path / "out", videos(desk), InlineWorkers(open_work(desk)))
    query = f"""
        SELECT file, f.frame, d.class_id, d.score, d.x1 FROM (
            SELECT file, f, unnest(f.detections) AS d FROM (
                SELECT file, unnest(frames) AS f FROM '{tmp_path}/out/detections/*.parquet'))
    """
    rows = Counter(duckdb.sql(query).fetchall())
    expected = Counter(
        (file, frame, box[0], box[1], box[2])  # type: ignore[index]
        for file, frame, boxes in serial(desk, videos(desk)).elements()
        for box in boxes
    )
    assert rows == expected
