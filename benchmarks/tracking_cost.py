"""Tracking cost: milliseconds of a frame for 10, 100 and 500 objects, beside the library's ByteTrack.

Boxes walk about with noise, 10 % misses and false alarms; processor time of one thread, medians, both in turns.

    python -m benchmarks.tracking_cost [--frames 100]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from importlib import import_module

import numpy as np

from benchmarks.machine import describe_machine
from pipeline.picture.detections import Detections
from pipeline.picture.tracking.bytetrack import ByteTrack
from pipeline.picture.tracking.tracker import TrackerOptions

BARS_MS = {10: 0.3, 100: 1.5, 500: 8.0}


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a row for each number of objects."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=100, help="frames of each walk (default: 100)")
    options = parser.parse_args(arguments)
    print(describe_machine())
    print(f"one thread, processor time, medians of {options.frames} frames\n")
    print("objects  ours ms  trackers ms  ratio  bar ms")
    for num_objects, bar_ms in BARS_MS.items():
        ours_ms, library_ms = cost(num_objects, options.frames)
        print(f"{num_objects:7}{ours_ms:9.2f}{library_ms:13.2f}{library_ms / ours_ms:7.1f}{bar_ms:8.1f}")


def cost(num_objects: int, num_frames: int) -> tuple[float, float]:
    """Milliseconds of a frame of ours and of the library's."""
    library = import_module("trackers").ByteTrackTracker(track_activation_threshold=0.5, high_conf_det_threshold=0.5)
    ours = ByteTrack(TrackerOptions())
    times: tuple[list[float], list[float]] = ([], [])
    for number, detections in enumerate(walk(num_objects, num_frames)):
        theirs = detections.to_supervision()
        calls: tuple[Callable[[], object], ...] = (
            lambda number=number, detections=detections: ours.update(detections, number / 30),  # type: ignore[misc]
            lambda theirs=theirs: library.update(theirs),  # type: ignore[misc]
        )
        for call, seconds in zip(calls, times, strict=True):
            start = time.process_time()
            call()
            seconds.append(time.process_time() - start)
    return 1000 * statistics.median(times[0]), 1000 * statistics.median(times[1])


def walk(num_objects: int, num_frames: int) -> list[Detections]:
    """Boxes of 30 to 90 pixels, as dense whatever their number: 20 on 600 × 600 pixels."""
    rng = np.random.default_rng(num_objects)
    side = 600 * max(1.0, (num_objects / 20) ** 0.5)
    centres, halves = rng.random((num_objects, 2)) * side, rng.random((num_objects, 2)) * 30 + 15
    velocities = rng.normal(0, 3, (num_objects, 2))
    frames = []
    for _ in range(num_frames):
        centres = centres + velocities
        seen = np.flatnonzero(rng.random(num_objects) > 0.1)
        boxes = np.concatenate([centres[seen] - halves[seen], centres[seen] + halves[seen]], axis=1)
        boxes += rng.normal(0, 1, boxes.shape)
        scores = rng.uniform(0.15, 1, len(seen)).astype(np.float32)
        frames.append(Detections(boxes.astype(np.float32), scores, np.zeros(len(seen), np.int64)))
    return frames


if __name__ == "__main__":
    main()
