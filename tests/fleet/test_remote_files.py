"""Remote files: the same results as from a disk, and a line for what a storage refuses."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.app.config.loading import load_config
from pipeline.app.map.command import input_files
from pipeline.app.map.work import OpenMapWork
from pipeline.errors import ConfigError, SinkError, SourceError
from pipeline.fleet.map_folder import MapFolder
from pipeline.fleet.map_storage import RemoteStorage
from pipeline.fleet.mapping import MapRun
from pipeline.fleet.remote_address import is_remote
from pipeline.fleet.remote_files import RemoteFolder, file_status, local_path
from pipeline.fleet.table import read_detections
from tests.support.gop_videos import OPEN_H264, write_gop_video
from tests.support.inline_workers import InlineWorkers
from tests.support.tiny_detector import write_boxes_detector

pytest.importorskip("pyarrow", reason="map writes Parquet")
fsspec = pytest.importorskip("fsspec", reason="opens addresses")


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("desk")
    write_gop_video(folder / "a.mp4", options=OPEN_H264)
    write_gop_video(folder / "b.mp4", options=OPEN_H264, num_frames=35)
    write_boxes_detector(folder / "m.onnx", [(1, 2, 20, 30, 0.4, 0)])
    return folder


@pytest.fixture
def memory(desk: Path) -> Iterator[Any]:
    """A storage in memory, with the videos and something else."""
    files = fsspec.filesystem("memory")
    for name in ("a.mp4", "b.mp4"):
        files.pipe_file(f"/store/day/{name}", (desk / name).read_bytes())
    files.pipe_file("/store/day/notes.txt", b"no video")
    yield files
    files.rm("/store", recursive=True)


def work_of(desk: Path) -> OpenMapWork:
    settings = {"model": str(desk / "m.onnx"), "engine.threads": 1, "engine.device": "cpu"}
    return OpenMapWork(load_config(options=settings), 0.5)


def mapped(desk: Path, out: Path, words: tuple[str, ...]) -> tuple[MapRun, Counter[tuple[str, int, str]]]:
    work = work_of(desk)
    with MapFolder(out, {}) as folder:
        run = MapRun(folder, lambda: InlineWorkers(work))
        run.run(input_files(words))
    return run, Counter(
        (Path(row["file"]).name, frame["frame"], str(frame["detections"]))
        for row in read_detections(out / "detections").to_pylist()
        for frame in row["frames"]
    )


@pytest.mark.parametrize("word", ["memory://store/day", "memory://store/*/[ab].mp4", "memory://store/day/"])
def test_the_results_are_those_of_the_same_files_on_a_disk(desk: Path, memory: Any, tmp_path: Path, word: str) -> None:
    run, remote = mapped(desk, tmp_path / "remote", (word,))
    assert run.failures == []
    assert run.num_segments > 2
    assert remote == mapped(desk, tmp_path / "local", (str(desk),))[1]
    assert remote.total() == 95
    again, _ = mapped(desk, tmp_path / "remote", (word,))
    assert again.num_segments == 0


def test_what_is_gone_or_has_changed_is_said(desk: Path, memory: Any, tmp_path: Path) -> None:
    paths = input_files(("memory://store/day/a.mp4", "memory://store/day/b.mp4"))
    memory.rm("/store/day/b.mp4")
    with MapFolder(tmp_path / "out", {}) as folder:
        run = MapRun(
            folder, lambda: InlineWorkers(OpenMapWork(load_config(options={"model": str(desk / "m.onnx")}), None))
        )
        run.run(paths)
    (failure,) = run.failures
    assert (failure.file, failure.reason) == (
        "memory://store/day/b.mp4",
        "cannot be opened: No such file or directory",
    )
    memory.pipe_file("/store/day/a.mp4", b"another")
    with pytest.raises(ConfigError, match="has changed since it was mapped"):
        mapped(desk, tmp_path / "out", ("memory://store/day/a.mp4",))


def test_an_address_without_videos_is_one_line(memory: Any) -> None:
    with pytest.raises(ConfigError, match="memory://store/none: must be videos, got no file"):
        input_files(("memory://store/none",))
    with pytest.raises(SourceError, match=r"memory://store/gone.mp4: cannot be opened: No such file"):
        file_status("memory://store/gone.mp4")
    with pytest.raises(SourceError, match="cannot be opened"), local_path("memory://store/gone.mp4"):
        pass


def test_a_path_of_this_machine_is_no_address(tmp_path: Path) -> None:
    assert not any(map(is_remote, ["/a/b.mp4", "a.mp4", "rtsp://h/a", "file:///a", "s3:/a", "s3://"]))
    (tmp_path / "a.mp4").write_bytes(b"123")
    assert file_status(str(tmp_path / "a.mp4")).num_bytes == 3
    with local_path(str(tmp_path / "a.mp4")) as path:
        assert path == tmp_path / "a.mp4"


class KilledError(Exception):
    pass


class MortalStorage(RemoteStorage):
    """Is killed after `most` writes: whatever follows, its lock included, is not done."""

    def __init__(self, address: str, most: int | None) -> None:
        super().__init__(address, beat_seconds=0.01)
        self._most, self._num = most, 0

    def write(self, name: str, content: bytes) -> None:
        if self._num == self._most:
            raise KilledError
        self._num += 1
        super().write(name, content)

    def close(self) -> None:
        if self._num == self._most:
            self._lock.abandon()
        else:
            super().close()


def map_until(desk: Path, address: str, most: int | None) -> None:
    """Map the videos of the desk, to the end or until the storage has been written to as often."""
    try:
        storage = MortalStorage(address, most)
        with MapFolder(address, {}, storage=storage) as folder:
            MapRun(folder, lambda: InlineWorkers(work_of(desk))).run(input_files((str(desk),)))
    except KilledError:
        assert most is not None


def rows_in(address: str, tmp_path: Path) -> Counter[tuple[str, int, str]]:
    """What the results at an address hold, by way of a copy."""
    folder = RemoteFolder(address)
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in folder.names("detections"):
        (copy / name).write_bytes(folder.read(f"detections/{name}") or b"")
    return Counter(
        (Path(row["file"]).name, frame["frame"], str(frame["detections"]))
        for row in read_detections(copy).to_pylist()
        for frame in row["frames"]
    )


@pytest.mark.parametrize("most", range(13))
def test_a_map_to_a_storage_that_was_killed_after_any_write_is_completed(
    desk: Path, memory: Any, tmp_path: Path, most: int
) -> None:
    """Though a storage knows no rename and no end of a file to add a line to."""
    map_until(desk, "memory://store/out/", most)
    num_before = len(RemoteFolder("memory://store/out").names("ledger"))
    map_until(desk, "memory://store/out/", None)
    assert rows_in("memory://store/out", tmp_path) == mapped(desk, tmp_path / "local", (str(desk),))[1]
    assert num_before <= len(RemoteFolder("memory://store/out").names("ledger"))
    assert RemoteFolder("memory://store/out").names("") == ["detections", "ledger", "manifest.parquet", "settings.json"]


def test_two_maps_to_one_storage_refuse_each_other_and_so_do_other_peoples_files(memory: Any) -> None:
    first = RemoteStorage("memory://store/out", beat_seconds=0.01)
    first.write("settings.json", b"{}")
    with pytest.raises(SinkError, match="memory://store/out: another run is writing it"):
        RemoteStorage("memory://store/out", beat_seconds=0.2)
    RemoteFolder("memory://store/out").write(".lock", b"of another who came at the same moment")
    while not first.is_lost:
        threading.Event().wait(0.01)
    with pytest.raises(SinkError, match="memory://store/out: another run has begun to write it"):
        first.enter({"segment": "000000-00001"})
    first.close()
    assert RemoteFolder("memory://store/out").read(".lock") is not None
    with pytest.raises(ConfigError, match=r"--out must be .* of a map, got memory://store/day, which holds a.mp4"):
        MapFolder("memory://store/day", {})


@pytest.mark.filterwarnings("ignore")  # of boto's own
def test_the_same_from_a_server_that_speaks_s3(desk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("s3fs", reason="the extra s3 is not installed")
    moto = pytest.importorskip("moto.server", reason="moto[server] is not installed")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    try:
        host, port = server.get_host_and_port()
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
        }.items():
            monkeypatch.setenv(name, value)
        files = fsspec.filesystem("s3", skip_instance_cache=True)
        files.mkdir("films")
        for name in ("a.mp4", "b.mp4"):
            files.put_file(str(desk / name), f"films/day/{name}")
        run, remote = mapped(desk, tmp_path / "remote", ("s3://films/day",))
        local = mapped(desk, tmp_path / "local", (str(desk),))[1]
        for most in (1, 4, 9):
            map_until(desk, "s3://films/results/new", most)
        map_until(desk, "s3://films/results/new", None)
        assert rows_in("s3://films/results/new", tmp_path) == local
        with pytest.raises(SinkError, match=r"s3://nowhere/out/\.lock: cannot be written"):
            MapFolder("s3://nowhere/out", {})
    finally:
        server.stop()
    assert run.failures == []
    assert remote == local
