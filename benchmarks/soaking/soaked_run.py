"""Soaked run: cameras and a folder → a `streamdet run` in a process of its own, watched, and what it left behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from benchmarks.soaking.camera import Camera
from benchmarks.soaking.failing_detector import write_failing_detector
from benchmarks.soaking.samples import Sample
from benchmarks.soaking.watch import SegmentCheck, Watch, index_lines, played

ROOT = Path(__file__).parents[2]
SEGMENT = "10s"
START_SECONDS, END_SECONDS = 60.0, 20.0
WARM_UP_SECONDS = 10.0
EXIT_CODES = {signal.SIGHUP: 129, signal.SIGTERM: 143, signal.SIGKILL: -signal.SIGKILL}


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended, and what was seen of it."""

    signal: signal.Signals
    exit_code: int | None  # None: it did not end in time
    samples: Sequence[Sample]
    num_missed_scrapes: int
    segments: SegmentCheck
    lines_by_source: Mapping[str, int]  # JSON lines that it added
    broken_lines: Sequence[str]
    report: Mapping[str, object] | None
    log: str

    @property
    def ended_well(self) -> bool:
        """Whether the exit code is that of the signal."""
        return self.exit_code == EXIT_CODES[self.signal]


@dataclass(frozen=True, slots=True)
class KillLoss:
    """What SIGKILL cost: by source, the media time of the last frame that has a line, and of the last that plays."""

    last_lines_pts: Mapping[str, float]
    last_played_pts: Mapping[str, float]

    @property
    def seconds(self) -> float:
        """The most of any source; one of which nothing plays has lost all that it had."""
        return max(
            (max(0.0, pts - self.last_played_pts.get(name, 0.0)) for name, pts in self.last_lines_pts.items()),
            default=0.0,
        )


class SoakedRun:
    """Runs one after another in one folder, with the same outputs. The folder has `table.csv`, a pipe, already."""

    def __init__(self, folder: Path, cameras: Mapping[str, Camera]) -> None:
        self.control = folder / "control"
        self._folder, self._cameras = folder, cameras
        self._index = folder / "segments" / "cam.segments.jsonl"
        self._port = _free_port()
        self._began_at: list[float] = []  # of each run, in seconds since 1970
        self._last_pts: list[Mapping[str, float]] = []  # of each run, by source
        self._num_bytes = 0  # of lines that have been looked at
        self._child: subprocess.Popen[bytes] | None = None
        self._watch: Watch | None = None
        write_failing_detector(folder / "detector.onnx")
        self._write_config()

    @property
    def watch(self) -> Watch:
        """What watches the run."""
        assert self._watch is not None
        return self._watch

    @property
    def warm_up_samples(self) -> int:
        """How many samples of the beginning say nothing of how it goes on."""
        began = self.watch.samples[0].at_seconds if self.watch.samples else 0.0
        return sum(sample.at_seconds < began + WARM_UP_SECONDS for sample in self.watch.samples)

    @property
    def has_died(self) -> bool:
        """Whether the run has ended unasked."""
        return self._child is not None and self._child.poll() is not None

    @contextmanager
    def started(self) -> Iterator[subprocess.Popen[bytes]]:
        """A run that gives frames; it does not outlive the context. Raises RuntimeError where it does not start."""
        log = self._folder / f"log-{len(self._began_at)}.jsonl"
        self._began_at.append(time.time())
        with log.open("wb") as stderr:
            self._child = subprocess.Popen(self._command(), cwd=self._folder, stderr=stderr, env=self._environment())
        try:
            self._wait_for_frames(log)
            self._watch = Watch(self._child.pid, self._port, self._cameras, self._index)
            yield self._child
        finally:
            if self._watch is not None:
                self._watch.close()
            if self._child.poll() is None:
                self._child.kill()
                self._child.wait()

    def ended(self, number: signal.Signals) -> Outcome:
        """End the run by a signal, and look at what it left."""
        assert self._child is not None
        self.watch.close()
        self._child.send_signal(number)
        try:
            code: int | None = self._child.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            code = None
        self.watch.segments.look()
        counts, last_pts, broken = self._new_lines(may_be_torn=number is signal.SIGKILL)
        self._last_pts.append(last_pts)
        report = self._folder / "report.json"
        return Outcome(
            number,
            code,
            self.watch.samples,
            self.watch.num_missed,
            self.watch.segments,
            counts,
            broken,
            json.loads(report.read_text()) if number is not signal.SIGKILL and report.exists() else None,
            (self._folder / f"log-{len(self._began_at) - 1}.jsonl").read_text(errors="replace"),
        )

    def kill_loss(self) -> KillLoss:
        """Of the second run, which was killed; to be asked once a third one has taken up its segments."""
        last_played: dict[str, float] = {}
        for line in {line["file"]: line for line in index_lines(self._index)}.values():
            began = datetime.fromisoformat(str(line.get("start", "1970-01-01T00:00:00+00:00"))).timestamp()
            if self._began_at[1] <= began < self._began_at[2] and line.get("frames"):
                name, (_, seconds) = str(line["source"]), played(self._index.parent / str(line["file"]))
                last_played[name] = max(last_played.get(name, 0.0), float(str(line["start_pts"])) + seconds)
        return KillLoss(self._last_pts[1], last_played)

    def _command(self) -> list[str]:
        return [
            *(sys.executable, "-P", "-m", "pipeline.app.cli", "run", "--config", "soak.yaml", "--log-format", "json"),
            *("--metrics", str(self._port)),
        ]

    def _environment(self) -> dict[str, str]:
        return os.environ | {"PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(self._folder / "cache")}

    def _write_config(self) -> None:
        """The configuration, in JSON, which YAML includes."""
        config = {
            "sources": [{"url": camera.address, "name": name} for name, camera in self._cameras.items()],
            "model": "detector.onnx",
            "control": str(self.control),
            "strict": False,
            "engine": {"device": "cpu"},
            "flow": {"mode": "live", "wait_for_sources": True},
            "network": {"read_timeout_s": 5, "reconnect_s": 60},
            "output": {
                "video": "segments/cam.mp4",
                "segment": SEGMENT,
                "keep": ["2m"],
                "min_free": "4MB",
                "jsonl": "lines.jsonl",
                "csv": "table.csv",
                "report": "report.json",
                "append": True,
                "overwrite": True,
                "show": False,
            },
        }
        (self._folder / "soak.yaml").write_text(json.dumps(config, indent=2))

    def _wait_for_frames(self, log: Path) -> None:
        assert self._child is not None
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until and self._child.poll() is None:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/healthz", timeout=2):
                    return
            except OSError:  # not yet, or 503
                time.sleep(0.2)
        raise RuntimeError(f"the run gives no frames: {log.read_text(errors='replace')[-2000:]}")

    def _new_lines(self, *, may_be_torn: bool) -> tuple[Mapping[str, int], Mapping[str, float], Sequence[str]]:
        """Since the last look, each source's number of lines, the time of its last, and lines that are not right."""
        content = (self._folder / "lines.jsonl").read_bytes()
        *lines, rest = content[self._num_bytes :].split(b"\n")
        self._num_bytes = len(content) - len(rest)
        counts: Counter[str] = Counter()
        frames: dict[str, int] = {}
        last_pts: dict[str, float] = {}
        broken = [f"torn: {rest[:80]!r}"] if rest and not may_be_torn else []
        for line in lines:
            try:
                values = json.loads(line)
            except ValueError:
                broken.append(f"no JSON: {line[:80]!r}")
                continue
            name, frame = values["source"], values["frame"]
            if frame <= frames.get(name, -1) and name in self._cameras:  # a visitor begins anew
                broken.append(f"{name}: frame {frame} after {frames[name]}")
            frames[name], last_pts[name] = frame, values["pts"]
            counts[name] += 1
        return counts, last_pts, broken


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
