"""Segments, killed: SIGKILL at random instants of a run that records → what is lost, and whether the rest plays.

    python -m benchmarks.segments_killed [--kills 200] [--suffix .mp4] [--seed 0]

Each child records a live camera of 25 frames/s in segments of 2 s, and writes down each frame that it handed to the
recording. After the kill, another run takes up the folder; then every segment is decoded. What the child wrote down
and no segment holds was lost.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import random
import signal
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from pipeline.picture.detections import Detections, RenderedFrame, Result
from pipeline.picture.frame import Frame
from pipeline.segment_limits import SegmentLimit
from pipeline.sinks.recording import Recording
from pipeline.sinks.recording_probe import decoded_frames
from pipeline.sinks.segment_archive import SegmentArchive
from pipeline.sinks.segmented import SegmentedRecording

FPS = 25
SEGMENT_SECONDS = 2.0
LONGEST_SECONDS = 5.0  # from the first frame to the kill


@dataclass(frozen=True)
class Loss:
    """What a kill cost."""

    at_seconds: float
    written: int  # frames that were handed to the recording
    kept: int
    num_segments: int
    unplayable: int  # segments that give fewer frames than the index says
    left_over: int  # files without a name of their own


def main() -> None:
    """Kill, and print what was lost; the exit code is 1 if more than a second was, or a segment does not play."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=200, help="how often a writing process is killed")
    parser.add_argument("--suffix", default=".mp4", choices=(".mp4", ".mkv", ".mov"), help="the format")
    parser.add_argument("--seed", type=int, default=0, help="of the instants")
    parser.add_argument("--record", type=Path, help=argparse.SUPPRESS)  # what the child does
    options = parser.parse_args()
    if options.record is not None:
        record_until_killed(options.record, options.suffix)
        return
    logging.disable(logging.WARNING)  # each segment that lost its end is told
    losses = [kill_once(random.Random(options.seed + number), options.suffix) for number in range(options.kills)]
    sys.exit(int(not is_kept(losses, options.suffix)))


def is_kept(losses: list[Loss], suffix: str) -> bool:
    """Print one line; whether every kill cost a second at most, and all that is left plays."""
    lost = [(loss.written - loss.kept) / FPS for loss in losses]
    unplayable, left_over = (sum(getattr(loss, name) for loss in losses) for name in ("unplayable", "left_over"))
    num_segments = sum(loss.num_segments for loss in losses)
    print(
        f"{suffix}: {len(losses)} kills, {num_segments} segments, {unplayable} do not play, "
        f"{left_over} files left over; lost seconds median {statistics.median(lost):.2f}, largest {max(lost):.2f}"
    )
    return max(lost) <= 1.0 and not unplayable and not left_over


def kill_once(instants: random.Random, suffix: str) -> Loss:
    """Start a child, kill it at a random instant after its first frame, and look at what it left."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        command = [sys.executable, "-m", __spec__.name, "--record", str(folder), "--suffix", suffix]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, env=os.environ | {"PYTHONUNBUFFERED": "1"})
        assert child.stdout is not None
        first = child.stdout.readline()
        at_seconds = instants.uniform(0, LONGEST_SECONDS)
        time.sleep(at_seconds)
        child.send_signal(signal.SIGKILL)
        rest, _ = child.communicate()
        return look(folder, at_seconds, num_written=len((first + rest).splitlines()), suffix=suffix)


def look(folder: Path, at_seconds: float, *, num_written: int, suffix: str) -> Loss:
    """Take up a folder as the next run would, and decode every segment in it."""
    archive = SegmentArchive(folder / "cam.segments.jsonl")
    archive.enter()
    archive.make_room()
    archive.leave()
    lines = map(json.loads, (folder / "cam.segments.jsonl").read_text().splitlines())
    segments = {line["file"]: line for line in lines}
    frames = {file: decoded_frames(folder / file) for file, line in segments.items() if not line.get("deleted")}
    return Loss(
        at_seconds,
        num_written,
        kept=sum(frames.values()),
        num_segments=len(frames),
        unplayable=sum(num < segments[file]["frames"] or not num for file, num in frames.items()),
        left_over=len({path.name for path in folder.glob(f"*{suffix}")} - frames.keys()),
    )


def record_until_killed(folder: Path, suffix: str) -> None:
    """Record frames of noise at the camera's rate, and print a line behind each that the recording has taken."""
    import numpy as np

    archive = SegmentArchive(folder / "cam.segments.jsonl")
    archive.enter()
    sink = SegmentedRecording(
        folder / f"cam{suffix}",
        open_recording=lambda part: Recording(part, frames_per_second=FPS, is_live=True),
        archive=archive,
        limit=SegmentLimit(seconds=SEGMENT_SECONDS),
        is_live=True,
    )
    noise = np.random.default_rng(0).integers(0, 256, (8, 240, 320, 3), np.uint8)
    began_at_seconds = time.monotonic()
    for index in range(10**9):
        due_at_seconds = began_at_seconds + index / FPS
        time.sleep(max(0.0, due_at_seconds - time.monotonic()))
        frame = Frame.from_pixels(
            noise[index % 8], source_id="cam", index=index, pts_seconds=index / FPS, captured_at_seconds=due_at_seconds
        )
        sink.write(RenderedFrame(Result(frame, Detections.empty(), ()), noise[index % 8]))
        print(index)


if __name__ == "__main__":
    main()
