"""Faults: a scene of cameras, a process and its disk → one of them spoilt for a while; a table of the kinds.

To add a kind, write its function, which returns when the fault is over, and put a row into `FAULTS`.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from benchmarks.soaking.camera import Camera

T = TypeVar("T")

EATEN_BYTES = 1_000_000_000
_EAT = (
    "import sys, time; block = bytearray(int(sys.argv[1])); block[::4096] = b'x' * len(block[::4096]); time.sleep(60)"
)
_HOG = "while True: pass"


@dataclass
class Scene:
    """What faults are done to."""

    pid: int
    cameras: Mapping[str, Camera]
    visitor: Camera  # that no run starts with
    control: Path
    reader: SlowReader
    disk: Path | None  # a small one that the segments are on; None: there is none that may be filled
    randomness: random.Random
    excused: list[tuple[float, float, str]] = field(default_factory=list)  # times in which no frames are taken

    def tell(self, **request: object) -> None:
        """Send a request to the run's control. Raises RuntimeError where it is refused."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(10)
            connection.connect(str(self.control))
            connection.sendall(json.dumps(request).encode() + b"\n")
            answer = json.loads(connection.makefile().readline())
        if "ok" not in answer:
            raise RuntimeError(f"{request}: {answer}")

    @contextlib.contextmanager
    def excusing(self, names: Sequence[str]) -> Iterator[None]:
        """No frames of these sources are expected meanwhile."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.excused += [(began, time.monotonic() + 1.0, name) for name in names]


class SlowReader:
    """Reads a named pipe to its end, over and over, and stops reading while `is_paused`."""

    def __init__(self, path: Path) -> None:
        self.is_paused = threading.Event()
        self.num_bytes = 0
        os.mkfifo(path)
        self._descriptor = os.open(path, os.O_RDWR)  # so that it has a writer and a reader at all times
        threading.Thread(target=self._run, daemon=True).start()
        with contextlib.suppress(ImportError, AttributeError, OSError):
            import fcntl

            fcntl.fcntl(self._descriptor, fcntl.F_SETPIPE_SZ, 4096)  # else it holds what comes in half a minute

    def _run(self) -> None:
        while True:
            while self.is_paused.is_set():
                time.sleep(0.05)
            self.num_bytes += len(os.read(self._descriptor, 1024))


def _stall(scene: Scene, camera: Camera, *, seconds: float = 3.0) -> None:
    camera.is_stalled = True
    time.sleep(seconds)
    camera.is_stalled = False


def _stall_long(scene: Scene, camera: Camera) -> None:
    _stall(scene, camera, seconds=9.0)  # longer than network.read_timeout_s


def _cut(scene: Scene, camera: Camera) -> None:
    camera.cut()


def _go_away(scene: Scene, camera: Camera) -> None:
    camera.leave()
    time.sleep(20.0)
    camera.come_back()


def _halve(scene: Scene, camera: Camera) -> None:
    is_done = threading.Event()

    def half(data: bytes) -> bytes:
        camera.spoil = None
        is_done.set()
        return data[: len(data) // 2]

    camera.spoil = half
    is_done.wait(3.0)
    camera.spoil = None


def _garble(scene: Scene, camera: Camera) -> None:
    camera.spoil = lambda data: scene.randomness.randbytes(len(data))
    time.sleep(1.0)
    camera.spoil = None


def _resize(scene: Scene, camera: Camera) -> None:
    camera.is_other_size = True
    time.sleep(5.0)
    camera.is_other_size = False


def _jump(scene: Scene, camera: Camera) -> None:
    camera.jump_seconds += scene.randomness.choice((3600.0, -600.0))


def _whiten(scene: Scene, camera: Camera) -> None:
    camera.is_white = True
    time.sleep(3.0)
    camera.is_white = False


def _pause(scene: Scene, camera: Camera) -> None:
    with scene.excusing([camera.name]):
        scene.tell(command="pause", name=camera.name)
        time.sleep(6.0)
        scene.tell(command="resume", name=camera.name)


def _invite(scene: Scene, camera: Camera) -> None:
    scene.tell(command="add", source={"url": scene.visitor.address, "name": scene.visitor.name})
    time.sleep(8.0)
    scene.tell(command="remove", name=scene.visitor.name)


def _stop_reading(scene: Scene, camera: Camera) -> None:
    scene.reader.is_paused.set()
    time.sleep(8.0)
    scene.reader.is_paused.clear()


def _fill_disk(scene: Scene, camera: Camera) -> None:
    assert scene.disk is not None
    path, until = scene.disk / "filler", time.monotonic() + 8.0
    with path.open("wb", buffering=0) as file:
        while time.monotonic() < until:
            try:
                file.write(bytes(65_536))
            except OSError:  # full; what the run frees meanwhile is taken, too
                time.sleep(0.05)
    path.unlink()


def _stop_process(scene: Scene, camera: Camera) -> None:
    with scene.excusing(list(scene.cameras)):
        os.kill(scene.pid, signal.SIGSTOP)
        time.sleep(5.0)
        os.kill(scene.pid, signal.SIGCONT)


def _beside(num: int, *words: str) -> None:
    children = [subprocess.Popen([sys.executable, "-c", *words]) for _ in range(num)]
    time.sleep(8.0)
    for child in children:
        child.kill()
        child.wait()


def _eat_memory(scene: Scene, camera: Camera) -> None:
    _beside(1, _EAT, str(EATEN_BYTES))


def _hog(scene: Scene, camera: Camera) -> None:
    _beside(os.cpu_count() or 1, _HOG)


@dataclass(frozen=True, slots=True)
class FaultKind:
    """A row of the table. inflict: returns when the fault is over. of_camera: it concerns one camera, not all."""

    name: str
    how: str
    inflict: Callable[[Scene, Camera], None]
    of_camera: bool = True
    spares: Sequence[str] = ()  # cameras that it cannot be done to
    needs_disk: bool = False


FAULTS: Sequence[FaultKind] = (
    FaultKind("camera stalls", "connected, no byte for 3 s", _stall),
    FaultKind("camera stalls for long", "connected, no byte for 9 s, read timeout 5 s", _stall_long),
    FaultKind("connection cut", "all connections closed, the next is answered", _cut),
    FaultKind("camera gone", "nothing listens for 20 s", _go_away),
    FaultKind("half a frame", "the second half of a picture's bytes left out", _halve),
    FaultKind("garbage", "random bytes in place of each picture's for 1 s", _garble),
    FaultKind("size changes", "320 × 180 to 256 × 192, and back after 5 s", _resize),
    FaultKind("timestamps jump", "by +1 h or -10 min", _jump, spares=("mjpeg",)),
    FaultKind("model fails", "NaN scores for the pictures of 3 s, --no-strict", _whiten),
    FaultKind("ctl pause", "paused for 6 s, then resumed", _pause),
    FaultKind("ctl add, remove", "a fifth camera for 8 s", _invite, of_camera=False),
    FaultKind("slow sink", "the reader of the CSV, a pipe of 4 KB, stops for 8 s", _stop_reading, of_camera=False),
    FaultKind("full disk", "a tmpfs of segments filled for 8 s", _fill_disk, of_camera=False, needs_disk=True),
    FaultKind("process stopped", "SIGSTOP, SIGCONT after 5 s", _stop_process, of_camera=False),
    FaultKind("memory taken", "another process fills 1 GB, for 8 s", _eat_memory, of_camera=False),
    FaultKind("processor taken", "a busy process for each core, for 8 s", _hog, of_camera=False),
)


@dataclass(frozen=True, slots=True)
class PlannedFault:
    """A fault that is next. cameras: the names of those that it concerns."""

    kind: FaultKind
    cameras: Sequence[str]


def schedule(
    randomness: random.Random, cameras: Sequence[str], *, has_disk: bool, only: Sequence[FaultKind] = FAULTS
) -> Iterator[PlannedFault]:
    """Kinds in random order, each once before any of them comes again, and each on another camera each time."""
    kinds = [kind for kind in only if has_disk or not kind.needs_disk]
    if not kinds:
        raise ValueError("no fault is left: there is no disk to fill; choose another one by --only")
    turns = {kind.name: _shuffled(randomness, [name for name in cameras if name not in kind.spares]) for kind in kinds}
    number = 0
    while True:
        for kind in _shuffled(randomness, kinds):
            names = turns[kind.name]
            yield PlannedFault(kind, [names[number % len(names)]] if kind.of_camera else list(cameras))
        number += 1


def _shuffled(randomness: random.Random, items: Sequence[T]) -> list[T]:
    return randomness.sample(items, len(items))
