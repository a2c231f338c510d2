"""Serving: a camera and viewers in; processor time, frames/s and age of a run, watched and not, and on the glass, out.

    python -m benchmarks.serving VIDEO [--rate 25] [--seconds 60] [--viewers 1 50] [--glass]

The detector gives fixed boxes at once, so that the rest can be seen.

The camera (`benchmarks.network_camera`) and the viewers are processes of their own; the run is a child, whose processor
time is read from the system. `remux` sends the packets as they are, `encode` one x264 encode for all, `mjpeg` JPEGs
with boxes, one for each viewer. A watched run is compared with an unwatched one just before it, because machines vary.
`--glass` opens the page in Debian's Chromium instead: how old are pictures when they show, from capture on, beside
their age at the end of the pipeline, and on how many of them are the boxes of just that picture.
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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.fixed_detector import write_fixed_detector
from benchmarks.machine import describe_machine
from benchmarks.network_camera import network_camera

PATHS = {"remux": "/ws/view/{}", "encode": "/ws/view/{}?mode=encode", "mjpeg": "/mjpeg/{}"}
_WARM_UP_SECONDS = 6.0
_SAME_SECONDS = 0.002  # media times are rounded


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
    with _running(options, model) as (run, port):
        path = PATHS[mode].format(_wait_for(port))
        time.sleep(_WARM_UP_SECONDS)
        before = sample(run.pid, port, options.seconds)
        child = [sys.executable, "-m", "benchmarks.serving", "--watch", str(port), path, str(num_viewers)]
        viewers = subprocess.Popen(child, stderr=subprocess.DEVNULL)
        try:
            time.sleep(_WARM_UP_SECONDS)
            return before, sample(run.pid, port, options.seconds)
        finally:
            viewers.terminate()
            viewers.wait()


@contextmanager
def _running(options: argparse.Namespace, model: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A camera, and a run of it that is served at a port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with network_camera(str(options.video), rate=options.rate) as address:
        words = ["run", address, "-m", str(model), "--serve", str(port)]
        run = subprocess.Popen(
            [sys.executable, "-m", "pipeline.app.cli", *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            yield run, port
        finally:
            run.terminate()
            run.wait()


@dataclass(frozen=True, slots=True)
class Glass:
    """What a browser showed in a window of time. Ages from capture on; own_share: pictures with boxes of theirs."""

    num_pictures: int
    own_share: float
    ages_ms: list[float]


def look(port: int, seconds: float) -> Glass:
    """Open the page, let it settle, and look for that long, at most 60 s."""
    from tests.support.chromium import opened_tab

    player = "[...window.__players.values()][0].player"
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        opened_tab(f"http://127.0.0.1:{port}/", Path(folder)) as tab,
    ):
        time.sleep(_WARM_UP_SECONDS)
        tab.run(f"{player}.shown.length = 0")
        time.sleep(seconds)
        shown = tab.run(
            f"{player}.shown.slice(0, -1).map(([time, pts, age]) => [time, pts, age])"
        )  # the last may change
    own = [age for media_time, pts, age in shown if pts is not None and abs(media_time - pts) < _SAME_SECONDS]
    return Glass(len(shown), len(own) / max(1, len(shown)), own)


def measure_glass(options: argparse.Namespace, model: Path) -> None:
    """Print how old pictures are in the pipeline and on the glass."""
    print(f"{'glass':8}{'pictures/s':>11}{'own boxes':>11}{'age p50/p95 ms':>16}{'on the glass':>15}{'p95 more':>10}")
    with _running(options, model) as (_, port):
        _wait_for(port)
        time.sleep(_WARM_UP_SECONDS)
        glass = look(port, min(60.0, options.seconds))
        stats = _get(port, "/api/stats")
        assert isinstance(stats, dict)
    before = stats["age_p50_ms"], stats["age_p95_ms"]
    p50, p95 = (_percentile(glass.ages_ms, share) for share in (0.5, 0.95))
    print(
        f"{'remux':8}{glass.num_pictures / options.seconds:11.1f}{glass.own_share:11.1%}"
        f"{before[0]:10.0f} /{before[1]:4.0f}{p50:9.0f} /{p95:4.0f}{p95 - before[1]:10.0f}"
    )


def _percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


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
    parser.add_argument("--glass", action="store_true")
    parser.add_argument("--modes", nargs="+", choices=list(PATHS), default=list(PATHS))
    options = parser.parse_args(words)
    print(describe_machine())
    if options.glass:
        with tempfile.TemporaryDirectory() as folder:
            measure_glass(options, write_fixed_detector(Path(folder) / "fixed.onnx", 10))
        return
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
