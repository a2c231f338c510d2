"""Drivers: `streamdet map` in a process of its own, whose ledger is watched, and which may be killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from benchmarks.mapping.clips import SETTINGS

_LOOK_SECONDS = 0.05
_PATIENCE_SECONDS = 400.0  # with a driver that does nothing


@dataclass(frozen=True, slots=True)
class Engine:
    """Where workers run. environment: of the driver, which finds its cluster there."""

    name: str  # of --engine
    environment: dict[str, str] = field(default_factory=dict)
    remove_node: Callable[[], None] | None = None  # None: it has none
    restore: Callable[[], None] = lambda: None  # after a node was removed


class Driver:
    """A map that runs. Its standard error is kept."""

    def __init__(self, inputs: Sequence[Path], out: Path, engine: Engine, *, workers: int = 2) -> None:
        self._ledger = out / "ledger.jsonl"
        words = ["map", *map(str, inputs), "-m", "demo", "--out", str(out), "--engine", engine.name]
        words += ["--workers", str(workers), "--segment", "1s"]
        words += [word for key, value in SETTINGS.items() for word in ("--set", f"{key}={value}")]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "pipeline.app.cli", *words],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=os.environ | engine.environment,
            text=True,
        )

    def wait_for_results(self, num: int) -> None:
        """Return once the ledger has that number of lines. Raises RuntimeError where the map ends or stands before."""
        ends_at_seconds = time.monotonic() + _PATIENCE_SECONDS
        while not self._ledger.exists() or self._ledger.read_bytes().count(b"\n") < num:
            if self._process.poll() is not None or time.monotonic() > ends_at_seconds:
                raise RuntimeError(f"the map came to no {num} results: {self.wait()}")
            time.sleep(_LOOK_SECONDS)

    def kill(self) -> None:
        """End the driver as the kernel does where memory is short."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def kill_a_worker(self) -> None:
        """The same for one of the processes that detect."""
        of_ray = [process for process in psutil.Process().children(recursive=True) if _is_ray_actor(process)]
        own = [process for process in psutil.Process(self._process.pid).children() if _is_spawned(process)]
        workers = of_ray or own
        if not workers:
            raise RuntimeError("there is no worker to kill")
        workers[-1].kill()

    def wait(self) -> tuple[int, str]:
        """The exit code, and the last line that was an error."""
        _, text = self._process.communicate(timeout=_PATIENCE_SECONDS)
        errors = [line for line in text.splitlines() if line.startswith("streamdet:")]
        return self._process.returncode, errors[-1].removeprefix("streamdet: ") if errors else ""


def _is_ray_actor(process: psutil.Process) -> bool:
    try:
        return process.cmdline()[:1] != [] and process.cmdline()[0].startswith("ray::_Actor")
    except psutil.Error:
        return False


def _is_spawned(process: psutil.Process) -> bool:
    try:
        return any("spawn_main" in word for word in process.cmdline())
    except psutil.Error:
        return False
