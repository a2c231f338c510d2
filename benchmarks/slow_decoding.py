"""Slow decoding: a camera that is decoded too slowly in; the true age of its boxes, beside the bar and the report, out.

    python -m benchmarks.slow_decoding VIDEO --model YOLOX.onnx [--share 0.25] [--seconds 60] [--max-age-ms 500]

The video's packets come as from a network camera. streamdet runs for 50 ms and is stopped for as long as leaves it the
share of a core. Media time tells from outside how old a line is, against the earliest in the run. Unix only.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from benchmarks.machine import describe_machine
from benchmarks.network_camera import network_camera

RUN_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Outcome:
    """One run; seconds."""

    ages_seconds: tuple[float, ...]  # of lines, when they were there
    report: dict[str, dict[str, float]]


def run_slowly(address: str, options: argparse.Namespace, folder: Path) -> Outcome:
    """Run streamdet on a camera with a share of a core, and watch its lines."""
    lines, report = folder / "lines.jsonl", folder / "report.json"
    command = [sys.executable, "-m", "pipeline.app.cli", "run", address, "-m", options.model, "--device", "cpu"]
    command += ["--no-show", "--live", "--set", f"flow.max_age_ms={options.max_age_ms}"]
    run = subprocess.Popen([*command, "--jsonl", str(lines), "--report", str(report)], stdout=subprocess.DEVNULL)
    while run.poll() is None and not (lines.exists() and lines.stat().st_size):
        time.sleep(0.05)
    seen: list[tuple[float, float]] = []  # when a line was there, and its media time
    ends_at, position = time.monotonic() + options.seconds, 0
    while run.poll() is None and time.monotonic() < ends_at:
        os.kill(run.pid, signal.SIGSTOP)
        time.sleep(RUN_SECONDS / options.share - RUN_SECONDS)
        os.kill(run.pid, signal.SIGCONT)
        time.sleep(RUN_SECONDS)
        with lines.open("rb") as file:
            file.seek(position)
            fresh = file.read().rpartition(b"\n")[0]
        position += len(fresh) + bool(fresh)
        seen += [(time.monotonic(), json.loads(line)["pts"]) for line in fresh.splitlines()]
    run.send_signal(signal.SIGINT)
    run.wait()
    least = min(now - pts for now, pts in seen)
    return Outcome(tuple(now - pts - least for now, pts in seen), json.loads(report.read_text(encoding="utf-8")))


def longest_gop_seconds(video: Path, rate: float) -> float:
    """The longest way from key frame to key frame, at that rate."""
    with av.open(str(video)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    keys = [index for index, packet in enumerate(packets) if packet.is_keyframe]
    return max(after - before for before, after in itertools.pairwise([*keys, len(packets)])) / rate


def main() -> None:
    """Run once, and print the age as a share of its bar."""
    options = _options()
    print(describe_machine())
    with tempfile.TemporaryDirectory() as folder, network_camera(str(options.video), rate=options.rate) as address:
        outcome = run_slowly(address, options, Path(folder))
    gop_seconds = longest_gop_seconds(options.video, options.rate)
    bar = options.max_age_ms / 1000 + gop_seconds
    true, reported = float(np.percentile(outcome.ages_seconds, 95)), outcome.report["latency_ms"]["p95"] / 1000
    frames = outcome.report["frames"]
    print(f"{options.share:.0%} of a core for {options.seconds:g} s; the bar, max_age and a GOP: {bar:.2f} s")
    print(f"p95 age   from outside {true / bar:.2f} of the bar ({true:.2f} s), reported {reported / bar:.2f}")
    print(f"frames    {frames['captured']} captured, {frames['delivered'] / frames['captured']:.1%} delivered")
    print(f"worst age {max(outcome.ages_seconds):.2f} s; {'met' if max(true, reported) <= bar else 'NOT met'}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("video", type=Path)
    parser.add_argument("--model", required=True, help="an ONNX detector")
    parser.add_argument("--rate", type=float, default=30.0, help="frames a second of the camera")
    parser.add_argument("--share", type=float, default=0.25, help="of a core, for streamdet")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--max-age-ms", type=float, default=500.0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
