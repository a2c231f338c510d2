"""Cameras: a fleet that something happens to → how long pictures were missing, and what ran twice, by three witnesses.

Witnesses are the cameras, which know who looks at them; the times at which workers got their results, of one clock,
since all nodes are of this machine; and the ids of the results.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from benchmarks.mapping.drivers import Engine
from benchmarks.soaking.camera import Viewer
from benchmarks.soaking.over_http import MjpegCamera

NUM_CAMERAS = 4
LONGEST_GAP_SECONDS = 5.0  # that is promised where a worker or a node is lost
_LOOK_SECONDS = 0.1
_PATIENCE_SECONDS = 90.0
_CALM_SECONDS = 2.0  # of pictures of every camera, before a fault and after it
_STOPPED_SECONDS = 9.0  # a worker, so that its leases are over, and others have its cameras


class Line(NamedTuple):
    """A result. at_seconds: when its worker had it, Unix time."""

    id: str
    camera: str
    generation: int
    at_seconds: float


class WatchedCamera(MjpegCamera):
    """Knows how many look at it. most_viewers: at one instant, since `begin_count`."""

    def __init__(self, name: str) -> None:
        self._num_viewers = self.most_viewers = 0
        self._counting = threading.Lock()
        super().__init__(name, random.Random(0))

    def begin_count(self) -> None:
        """Forget what was, but for those that look now."""
        with self._counting:
            self.most_viewers = self._num_viewers

    def serve(self, viewer: Viewer) -> None:
        with self._counting:
            self._num_viewers += 1
            self.most_viewers = max(self.most_viewers, self._num_viewers)
        try:
            super().serve(viewer)
        finally:
            with self._counting:
                self._num_viewers -= 1


@dataclass(frozen=True, slots=True)
class CameraOutcome:
    """What came of a fault. gap_seconds: the longest time without a result, of the camera that was worst off."""

    fault: str
    engine: str
    gap_seconds: float
    num_results: int
    num_twice: int  # ids that are there more than once
    num_overlaps: int  # results of a generation after the first one of the next
    most_viewers: int  # of one camera at an instant; a stopped process keeps its connection
    num_refused: int  # results that came too late
    is_right: bool


class FleetProcess:
    """`streamdet fleet` in a process of its own, with its page. Its output is kept in a file beside `out`."""

    def __init__(self, cameras: Path, out: Path, engine: Engine, port: int) -> None:
        self.out, self._page = out, f"http://127.0.0.1:{port}/fleet.json"
        words = ["fleet", cameras, "--out", out, "--engine", engine.name, "--metrics", port]
        words += [] if engine.remove_node is not None else ["--workers", 2]
        self._log = out.with_suffix(".log")
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "pipeline.app.cli", *map(str, words)],
                stdout=log,
                stderr=log,
                env=os.environ | engine.environment,
            )

    def page(self) -> dict[str, Any]:
        """What `/fleet.json` says; nothing while it does not answer."""
        with suppress(OSError, ValueError), urllib.request.urlopen(self._page, timeout=5) as answer:
            page: dict[str, Any] = json.load(answer)
            return page
        return {}

    def lines(self) -> list[Line]:
        """The results that are kept."""
        texts = [path.read_text() for path in sorted((self.out / "results").glob("lines-*.jsonl"))]
        values = [json.loads(line) for text in texts for line in text.splitlines(keepends=True) if line[-1] == "\n"]
        return [Line(value["id"], value["source"], value["generation"], value["time"]) for value in values]

    def wait_for_calm(self) -> None:
        """Return once every camera has had results for some time. Raises RuntimeError where that does not come."""
        began_at_seconds = time.time()
        while time.time() < began_at_seconds + _PATIENCE_SECONDS:
            newest: dict[str, list[float]] = {}
            for line in self.lines():
                if line.at_seconds > began_at_seconds:
                    newest.setdefault(line.camera, []).append(line.at_seconds)
            if len(newest) == NUM_CAMERAS and min(map(_span, newest.values())) > _CALM_SECONDS:
                return
            if self.process.poll() is not None:
                break
            time.sleep(_LOOK_SECONDS)
        raise RuntimeError(f"the fleet gives no pictures of all cameras: {self._log.read_text()[-2000:]}")

    def stop(self) -> int:
        """End it as Ctrl-C does; its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        return self.process.wait(_PATIENCE_SECONDS)


@dataclass(slots=True)
class Desk:
    """What a fault happens to. fleet: that which runs now, of `start`."""

    engine: Engine
    start: Callable[[], FleetProcess]
    cameras: Sequence[WatchedCamera]
    fleet: FleetProcess = field(init=False)

    def __post_init__(self) -> None:
        self.fleet = self.start()


def _worker_killed(desk: Desk) -> None:
    _a_worker(desk).kill()


def _worker_stopped(desk: Desk) -> None:
    worker = _a_worker(desk)
    worker.suspend()
    try:
        time.sleep(_STOPPED_SECONDS)
    finally:
        with suppress(psutil.NoSuchProcess):  # a local one was killed when another took its place
            worker.resume()


def _node_removed(desk: Desk) -> None:
    assert desk.engine.remove_node is not None
    desk.engine.remove_node()


def _supervisor_killed(desk: Desk) -> None:
    desk.fleet.process.kill()
    desk.fleet.process.wait()
    desk.fleet = desk.start()


@dataclass(frozen=True, slots=True)
class CameraFault:
    """A row of the table. most_viewers: of one camera, that are right. has_bar: whether the promised gap holds."""

    name: str
    happen: Callable[[Desk], None]
    needs_nodes: bool = False
    most_viewers: int = 1
    has_bar: bool = True


CAMERA_FAULTS = (
    CameraFault("nothing", lambda desk: None),
    CameraFault("SIGKILL of a worker", _worker_killed),
    CameraFault("SIGSTOP of a worker for 9 s", _worker_stopped, most_viewers=2),
    CameraFault("SIGKILL of the supervisor", _supervisor_killed, has_bar=False),
    CameraFault("loss of a node", _node_removed, needs_nodes=True),
)
"""The failure table of a fleet; after the last one a node is missing."""


def camera_outcomes(engine: Engine, folder: Path) -> Iterator[CameraOutcome]:
    """Let the faults happen to one fleet, one after the other."""
    with _running(engine, folder) as desk:
        for fault in CAMERA_FAULTS:
            if not fault.needs_nodes or engine.remove_node is not None:
                yield _outcome_of(fault, desk)


def _outcome_of(fault: CameraFault, desk: Desk) -> CameraOutcome:
    desk.fleet.wait_for_calm()
    before = {line.id for line in desk.fleet.lines()}
    for camera in desk.cameras:
        camera.begin_count()
    refused = _num_refused(desk.fleet)
    began_at_seconds = time.time()
    fault.happen(desk)
    desk.fleet.wait_for_calm()
    lines = desk.fleet.lines()
    after = [line for line in lines if line.id not in before]
    gap_seconds = max(_longest_gap(one, began_at_seconds) for one in _by_camera(lines).values())
    num_twice, overlaps = sum(num - 1 for num in Counter(line.id for line in lines).values()), num_overlaps(lines)
    most_viewers = max(camera.most_viewers for camera in desk.cameras)
    is_right = not num_twice and not overlaps and most_viewers <= fault.most_viewers
    is_right &= not fault.has_bar or gap_seconds <= LONGEST_GAP_SECONDS
    num_refused = max(0, _num_refused(desk.fleet) - refused)
    return CameraOutcome(
        fault.name, desk.engine.name, gap_seconds, len(after), num_twice, overlaps, most_viewers, num_refused, is_right
    )


def num_overlaps(lines: Sequence[Line]) -> int:
    """Results that were got when a later generation of the same camera had begun."""
    num = 0
    for of_camera in _by_camera(lines).values():
        begins = {
            generation: min(line.at_seconds for line in ones)
            for generation, ones in itertools.groupby(
                sorted(of_camera, key=lambda line: line.generation), lambda line: line.generation
            )
        }
        num += sum(
            any(line.at_seconds >= begin for generation, begin in begins.items() if generation > line.generation)
            for line in of_camera
        )
    return num


def _by_camera(lines: Sequence[Line]) -> dict[str, list[Line]]:
    by_camera: dict[str, list[Line]] = {}
    for line in lines:
        by_camera.setdefault(line.camera, []).append(line)
    return by_camera


def _longest_gap(lines: Sequence[Line], since_seconds: float) -> float:
    """Between two results one after the other, of which the later one came after some time."""
    times = sorted(line.at_seconds for line in lines)
    return max((after - before for before, after in itertools.pairwise(times) if after > since_seconds), default=0.0)


def _num_refused(fleet: FleetProcess) -> int:
    return int(fleet.page().get("refused", 0))


def _span(times: Sequence[float]) -> float:
    return max(times) - min(times)


def _a_worker(desk: Desk) -> psutil.Process:
    """The process that runs most cameras: an actor, or a child of the supervisor."""
    name = "ray::_Actor" if desk.engine.remove_node is not None else "spawn_main"
    root = psutil.Process() if desk.engine.remove_node is not None else psutil.Process(desk.fleet.process.pid)
    workers = [one for one in root.children(recursive=True) if name in " ".join(_command_line(one))]
    if not workers:
        raise RuntimeError("there is no worker")
    for worker in workers:
        worker.cpu_percent()
    time.sleep(_LOOK_SECONDS * 5)
    return max(workers, key=lambda worker: worker.cpu_percent())


def _command_line(process: psutil.Process) -> list[str]:
    with suppress(psutil.Error):
        return process.cmdline()
    return []


@contextmanager
def _running(engine: Engine, folder: Path) -> Iterator[Desk]:
    """A fleet of cameras that are served here; whatever happens, all of it ends."""
    with ExitStack() as stack:
        cameras = [WatchedCamera(f"cam-{number}") for number in range(NUM_CAMERAS)]
        for camera in cameras:
            stack.callback(camera.close)
        file = folder / "cameras.yaml"
        sources = [{"name": camera.name, "url": camera.address} for camera in cameras]
        settings = {"model": "demo", "engine": {"device": "cpu"}, "flow": {"mode": "live"}, "sources": sources}
        file.write_text(json.dumps(settings | {"network": {"reconnect_s": 3600}}))
        ports = itertools.repeat(_free_port())
        desk = Desk(engine, lambda: FleetProcess(file, folder / f"fleet-{engine.name}", engine, next(ports)), cameras)
        stack.callback(lambda: desk.fleet.stop())  # of the last start
        yield desk


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
