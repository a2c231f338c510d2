"""Serving: a camera and viewers in; processor time, frames/s and age of a run, watched and not, out.

    python -m benchmarks.serving VIDEO [--rate 25] [--seconds 60] [--viewers 1 50]

The detector gives fixed boxes at once, so that the rest can be seen.

The camera (`benchmarks.network_camera`) and the viewers are processes of their own; the run is a child, whose processor
time is read from the system. `remux` sends the packets as they are, `encode` one x264 encode for all, `mjpeg` JPEGs
with boxes, one for each viewer. A watched run is compared with an unwatched one just before it, because machines vary.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.fixed_detector import write_fixed_detector
from benchmarks.machine import describe_machine
from benchmarks.network_camera import network_camera

PATHS = {"remux": "/ws/view/{}", "encode": "/ws/view/{}?mode=encode", "mjpeg": "/mjpeg/{}"}
_WARM_UP_SECONDS = 6.0


@dataclass(frozen=True, slots=True)
class Sample:
    """What a run did in a window of time."""

    fps: float  # delivered
    core_ms_per_second: float
    age_p95_ms: float


async def watch(port: int, path: str, num: int) -> None:
    """Read as that many viewers, until the end; nothing is decoded."""
    await asyncio.gather(*(_read(port, path) for _ in range(num)))


async def _read(port: int, path: str) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 24)
    upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    words = upgrade + key if path.startswith("/ws") else ""
    writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{words}\r\n".encode())
    while await reader.read(1 << 20):
        pass


def _get(port: int, path: str) -> object:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
        return json.load(answer)


def _processor_seconds(pid: int) -> float:
    """User and system time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def sample(pid: int, port: int, seconds: float) -> Sample:
    """Watch a run from outside for that long."""
    began, spent, delivered = time.monotonic(), _processor_seconds(pid), _numbers(port)["delivered"]
    ages = []
    while time.monotonic() - began < seconds:
        time.sleep(1.0)
        ages.append(_numbers(port)["age_p95_ms"])
    elapsed = time.monotonic() - began
    return Sample(
        (_numbers(port)["delivered"] - delivered) / elapsed,
        1000 * (_processor_seconds(pid) - spent) / elapsed,
        statistics.median(ages),
    )


def _numbers(port: int) -> dict[str, float]:
    stats = _get(port, "/api/stats")
    assert isinstance(stats, dict)
    return {key: stats[key] for key in ("delivered", "age_p95_ms")}


def _wait_for(port: int) -> str:
    """The key of the source, as soon as frames come."""
    for _ in range(600):
        try:
            sources = _get(port, "/api/sources")
            assert isinstance(sources, list)
            if sources and sources[0]["delivered"]:
                return str(sources[0]["key"])
        except OSError:
            pass
        time.sleep(0.1)
    raise SystemExit("the run gave no frame in a minute")


def measure(options: argparse.Namespace, model: Path, mode: str, num_viewers: int) -> tuple[Sample, Sample]:
    """A run unwatched, and then watched."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with network_camera(str(options.video), rate=options.rate) as address:
        words = ["run", address, "-m", str(model), "--serve", str(port)]
        run = subprocess.Popen(
            [sys.executable, "-m", "pipeline.app.cli", *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        viewers = None
        try:
            path = PATHS[mode].format(_wait_for(port))
            time.sleep(_WARM_UP_SECONDS)
            before = sample(run.pid, port, options.seconds)
            child = [sys.executable, "-m", "benchmarks.serving", "--watch", str(port), path, str(num_viewers)]
            viewers = subprocess.Popen(child, stderr=subprocess.DEVNULL)
            time.sleep(_WARM_UP_SECONDS)
            return before, sample(run.pid, port, options.seconds)
        finally:
            for process in (viewers, run):
                if process is not None:
                    process.terminate()
                    process.wait()


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure each mode with each number of viewers, and print a table."""
    words = sys.argv[1:] if arguments is None else arguments
    if words[:1] == ["--watch"]:
        asyncio.run(watch(int(words[1]), words[2], int(words[3])))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path)
    parser.add_argument("--rate", type=float, default=25.0)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--viewers", type=int, nargs="+", default=[1, 50])
    parser.add_argument("--modes", nargs="+", choices=list(PATHS), default=list(PATHS))
    options = parser.parse_args(words)
    print(describe_machine())
    print(
        f"{'mode':8}{'viewers':>8}{'fps':>8}{'watched':>9}{'age p95 ms':>12}{'watched':>9}"
        f"{'core-ms/s more':>16}{'a frame, viewer':>17}"
    )
    with tempfile.TemporaryDirectory() as folder:
        model = write_fixed_detector(Path(folder) / "fixed.onnx", 10)
        for mode, num in itertools.product(options.modes, options.viewers):
            before, after = measure(options, model, mode, num)
            more = after.core_ms_per_second - before.core_ms_per_second
            print(
                f"{mode:8}{num:8}{before.fps:8.1f}{after.fps:9.1f}{before.age_p95_ms:12.0f}{after.age_p95_ms:9.0f}"
                f"{more:16.1f}{more / options.rate / num:17.3f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
