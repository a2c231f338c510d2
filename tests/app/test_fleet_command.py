"""Command fleet: a file of cameras → every frame once, whatever happens to workers; mistakes are one line."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipeline.app.config.loading import load_config
from pipeline.app.run.fleet.cameras_file import CamerasFile, plan_of
from pipeline.app.run.fleet.command import FleetFolder
from pipeline.app.run.fleet.host import CameraHost
from pipeline.app.run.fleet.page import CameraRow, FleetView, WorkerRow, html_page, json_page
from pipeline.app.signals import Signals
from pipeline.errors import ConfigError, SinkError
from pipeline.fleet.camera_messages import Camera, Granted, Orders, Report
from pipeline.testing import StepClock
from tests.support.command_line import Streamdet
from tests.support.mqtt_broker import Broker
from tests.support.nats_server import NatsServer


def write_file(folder: Path, video: Path, detector: Path, *names: str, **keys: object) -> Path:
    sources = [{"name": name, "url": str(video)} for name in names]
    path = folder / "cameras.yaml"
    path.write_text(json.dumps({"model": str(detector), "engine": {"device": "cpu"}, "sources": sources} | keys))
    return path


class Hosted:
    """A host in this process, whose thread is this test, and what it reported."""

    def __init__(self, path: Path) -> None:
        self.plan = CamerasFile(str(path)).plan
        self.clock = StepClock(100.0)
        self.host = CameraHost(self.plan.shared, clock=self.clock, wall_clock=lambda: 5.0)
        self.granted: tuple[Granted, ...] = ()
        self.num_kept = 0
        self.lines: list[dict[str, object]] = []
        self.report = self.exchange()

    def exchange(self) -> Report:
        self.report = self.host.answer(Orders(self.granted, 3.5, self.num_kept))
        self.lines += [json.loads(line.content) for line in self.report.lines]
        self.num_kept = self.report.first_line + len(self.report.lines)
        return self.report

    def until(self, is_so: Callable[[Report], bool]) -> Report:
        for _ in range(3000):
            self.host.reconcile()
            if is_so(self.exchange()):
                return self.report
            threading.Event().wait(0.01)
        raise AssertionError(self.report)


@contextmanager
def hosted(path: Path) -> Iterator[Hosted]:
    one = Hosted(path)
    try:
        yield one
    finally:
        one.host.close()


def test_a_host_runs_what_it_has_leases_for_and_reports_every_frame_once(
    tmp_path: Path, small_video: Path, small_detector: Path
) -> None:
    with hosted(write_file(tmp_path, small_video, small_detector, "door", "yard")) as desk:
        door, yard = desk.plan.cameras
        lost = Camera("lost", door.model, {"url": str(tmp_path / "nowhere.mp4")})
        desk.granted = (Granted(door, 4), Granted(lost, 1), Granted(yard, 2))
        report = desk.until(
            lambda report: (
                [one.state for one in report.statuses.values()].count("ended") == 2 and "lost" in report.statuses
            )
        )
        desk.exchange()
        assert report.held == {"door": 4, "lost": 1, "yard": 2}
        assert report.statuses["lost"].state == "failed"
        assert "nowhere.mp4: there is no such file" in report.statuses["lost"].reason
        ids = Counter(line["id"] for line in desk.lines)
        assert ids == Counter(f"{name}/{frame}" for name in ("door/4", "yard/2") for frame in range(30))
        assert [line["source"] for line in desk.lines if line["id"] == "yard/2/3"] == ["yard"]
        assert list(report.models.values()) == ["cpu fp32"]
        desk.granted = ()
        desk.until(lambda report: not report.held and not report.statuses)


def test_a_host_whose_lease_is_over_reports_nothing_more_and_stops(
    tmp_path: Path, small_detector: Path, small_video: Path
) -> None:
    path = write_file(tmp_path, small_video, small_detector, "door", flow={"mode": "live"})
    with hosted(path) as desk:
        street = {"url": "sim:traffic?size=64x48&seed=1&fps=100"}
        desk.granted = (Granted(Camera("street", desk.plan.cameras[0].model, street | {"model": "demo"}), 1),)
        desk.until(lambda report: bool(report.lines))
        desk.clock.advance(3.6)  # nobody has answered the last report for so long
        desk.host.reconcile()
        desk.granted = ()
        report = desk.until(lambda report: not report.held)
        assert report.lines == ()
        assert len({line["id"] for line in desk.lines}) == len(desk.lines)


def test_a_fleet_of_files_ends_with_them_and_every_frame_is_there_once(
    tmp_path: Path, small_video: Path, small_detector: Path, streamdet: Streamdet
) -> None:
    """Also at the broker and the stream, whose connections are cut before they have acknowledged the sixth."""
    pytest.importorskip("paho.mqtt.client")
    pytest.importorskip("nats")
    path = write_file(tmp_path, small_video, small_detector, "door", "yard")
    with Broker(breaks={5}) as broker, NatsServer(breaks={5}) as server:
        words = ("--out", tmp_path / "out", "--workers", 1, "--lease", "60s")
        mqtt, nats = f"mqtt://127.0.0.1:{broker.port}/boxes", f"nats://127.0.0.1:{server.port}/boxes"
        done = streamdet("fleet", path, *words, "--mqtt", mqtt, "--nats", nats)
    assert done.returncode == 0, done.stderr
    assert "60 results kept, 0 moves, 0 workers lost" in done.stdout
    lines = [
        json.loads(line) for line in (tmp_path / "out" / "results" / "lines-000001.jsonl").read_text().splitlines()
    ]
    assert Counter(line["id"] for line in lines) == Counter(
        f"{name}/1/{frame}" for name in ("door", "yard") for frame in range(30)
    )
    published = Counter(json.loads(payload)["id"] for _, payload, _ in broker.published)
    assert published.keys() == {line["id"] for line in lines}
    assert published.total() == 61
    streamed = Counter(key for _, key, _ in server.published)
    assert (streamed.keys(), streamed.total()) == (published.keys(), 61)
    assert {one["class_name"] for line in lines for one in line["detections"]} == {"cat", "dog"}
    assert json.loads((tmp_path / "out" / "generations.json").read_text()) == {"door": 1, "yard": 1}


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"sources": []}, "sources must name the cameras of the fleet, got none"),
        ({"model": None}, "model must name the detector"),
        ({"output": {"jsonl": "out.jsonl"}}, "a fleet writes what --out, --write, --mqtt, --nats and --metrics say"),
        ({"serve": "8000"}, "leave events, serve and control out"),
        ({"sources": ["a.mp4", "a.mp4"]}, "two sources must not have one name, got 'a.mp4' twice"),
    ],
)
def test_what_a_fleet_has_no_use_for_is_refused(
    keys: dict[str, object], message: str, tmp_path: Path, small_video: Path, small_detector: Path
) -> None:
    path = write_file(tmp_path, small_video, small_detector, "door", **keys)
    with pytest.raises(ConfigError, match=message):
        plan_of(load_config(str(path)))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "--out must name the folder of the results"),
        (["--write", "csv"], "--write must be some of jsonl, parquet, got 'csv'"),
        (["--lease", "0.2s"], "--lease must be at least 1s"),
        (["--out", "out", "--engine", "dask"], "--engine must be local, ray or ray://HOST, got 'dask'"),
        (["--out", "out", "--mqtt", "http://a/b"], "--mqtt must be mqtt://"),
        (["--out", "out", "--nats", "http://a/b"], "--nats must be nats://"),
    ],
)
def test_a_mistake_is_one_line(
    words: list[str],
    message: str,
    tmp_path: Path,
    small_video: Path,
    small_detector: Path,
    streamdet: Streamdet,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    done = streamdet("fleet", write_file(tmp_path, small_video, small_detector, "door"), *words)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert message in done.stderr


def test_the_file_is_read_again_and_only_its_sources_may_change(
    tmp_path: Path, small_video: Path, small_detector: Path
) -> None:
    path = write_file(tmp_path, small_video, small_detector, "door")
    file = CamerasFile(str(path))
    assert not file.has_changed()
    write_file(tmp_path, small_video, small_detector, "door", "yard")
    assert file.has_changed()
    assert [camera.name for camera in file.read_again().cameras] == ["door", "yard"]
    assert not file.has_changed()
    write_file(tmp_path, small_video, small_detector, "door", detection={"score_threshold": 0.7})
    with pytest.raises(ConfigError, match="detection cannot change while the fleet runs, only sources"):
        file.read_again()
    assert [camera.name for camera in file.plan.cameras] == ["door", "yard"]
    path.unlink()
    assert not file.has_changed()


def test_a_password_of_an_address_is_in_no_name() -> None:
    plan = plan_of(load_config(options={"model": "demo", "sources": ("rtsp://u:SECRET@h/a",)}))
    assert plan.cameras[0].name == "rtsp://***@h/a"


def test_two_fleets_on_one_folder_refuse_each_other_and_generations_only_grow(tmp_path: Path) -> None:
    with FleetFolder(tmp_path / "out") as folder:
        with pytest.raises(SinkError, match=f"another run, process {os.getpid()}, is writing it"):
            FleetFolder(tmp_path / "out")
        folder.save_generations({"door": 3})
    with FleetFolder(tmp_path / "out") as folder:
        assert folder.generations() == {"door": 3}
        (tmp_path / "out" / "generations.json").write_text("[]")
        with pytest.raises(ConfigError, match="is not what a fleet wrote; name another --out"):
            folder.generations()


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has no SIGHUP")
def test_a_hangup_does_what_it_is_to_do_and_ends_nothing() -> None:
    came = threading.Event()
    with Signals(on_hangup=came.set) as signals:
        os.kill(os.getpid(), signal.SIGHUP)
        assert came.wait(5)
    assert signals.numbers == []


def test_the_page_shows_all_and_escapes_what_others_named() -> None:
    camera = CameraRow("<b>door</b>", "failed", 'no "answer"', "worker-0.1", 3, None, 10, 8, 2, 0.25)
    worker = WorkerRow("worker-0.1", "h", 1, 0.5, None, "m (cpu fp32)")
    view = FleetView([camera], [worker], 8, 1, 2, 3, "out: No space left")
    page = html_page(view).decode()
    for words in (
        "&lt;b&gt;door",
        "no &quot;answer&quot;",
        "<b>0</b> of 1 cameras",
        "1 late results refused",
        "No space left",
    ):
        assert words in page
    assert "<b>door" not in page
    assert json.loads(json_page(view))["cameras"][0]["generation"] == 3


def test_metrics_are_those_of_all_workers() -> None:
    pytest.importorskip("prometheus_client")
    from pipeline.app.run.fleet.metrics import FleetMetrics

    cameras = [CameraRow(name, "live", "", "worker-0.1", 1, 9.5, 10, 8, 2, 0.25) for name in ("door", "yard\udc80")]
    view = FleetView(cameras, [WorkerRow("worker-0.1", "h", 2, 0.5, 0.1, "")], 16, 0, 0, 0, "")
    text = FleetMetrics(lambda: view).text().decode()
    assert 'streamdet_frames_total{bucket="delivered",source="door"} 8.0' in text
    assert 'streamdet_worker_cameras{node="h",worker="worker-0.1"} 2.0' in text
    assert "streamdet_fleet_cameras_running 2.0" in text
