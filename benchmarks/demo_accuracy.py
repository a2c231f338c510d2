"""Demo accuracy: the accuracy and speed of the detector that comes with streamdet, on streets that it has never seen.

    python -m benchmarks.demo_accuracy [--seeds 12] [--seconds 10]

Frames go through `pipeline.detect`, as a user's would; AP is COCO's (`pipeline.accuracy.coco`). The speed is that of
`session.run` alone.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import onnxruntime

import pipeline
from benchmarks.machine import describe_machine
from pipeline.accuracy.coco import coco_accuracy
from pipeline.accuracy.truth import Truth
from pipeline.app.model_files import DEMO_MODEL
from pipeline.picture.detections import Detections
from pipeline.sources.street.traffic import TrafficSource

FIRST_HELD_OUT_SEED = 1000  # see export/train_demo.py
SIZES = ("640x360", "1280x720")


def evaluate(specs: list[str], *, every: int = 10) -> tuple[float, float, dict[str, float]]:
    """AP, AP50 and AP50 by class, of every Nth frame of these sources."""
    truths: list[Truth] = []
    detections: list[Detections] = []
    class_names: tuple[str, ...] = ()
    for spec in specs:
        source = TrafficSource.from_spec(spec)
        class_names = source.class_names
        # From 0.01 on: AP also counts detections with lower scores than one would show.
        for result in pipeline.detect(spec, settings={"detection.score_threshold": 0.01}):
            index = result.frame.index
            if index % every == 0:
                detections.append(result.detections)
                truths.append(Truth.of(source.truth(index), source.ignored(index)))
        source.close()
    accuracy = coco_accuracy(detections, truths)
    by_class = {class_names[row.class_id]: row.ap50 for row in accuracy.classes}
    return accuracy.numbers["AP"] or 0.0, accuracy.numbers["AP50"] or 0.0, by_class


def frames_per_second(threads: int, *, runs: int = 300) -> float:
    """`session.run` alone."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(DEMO_MODEL), options, providers=["CPUExecutionProvider"])
    _, height, width, _ = session.get_inputs()[0].shape
    pixels = np.random.default_rng(0).integers(0, 256, (1, height, width, 3), np.uint8)
    for _ in range(20):
        session.run(None, {session.get_inputs()[0].name: pixels})
    began = time.perf_counter()
    for _ in range(runs):
        session.run(None, {session.get_inputs()[0].name: pixels})
    return runs / (time.perf_counter() - began)


def main() -> None:
    """Measure speed and accuracy, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seeds", type=int, default=12)
    parser.add_argument("--seconds", type=int, default=10)
    options = parser.parse_args()
    print(describe_machine())
    print(f"{DEMO_MODEL.name}: {DEMO_MODEL.stat().st_size / 1e6:.2f} MB")
    for threads in (1, 2):
        print(f"session.run alone, {threads} threads: {frames_per_second(threads):.0f} frames/s (bar: 100 on two)")
    for size in SIZES:
        seeds = range(FIRST_HELD_OUT_SEED, FIRST_HELD_OUT_SEED + options.seeds)
        specs = [f"sim:traffic?seed={seed}&seconds={options.seconds}&fps=5&size={size}" for seed in seeds]
        ap, ap50, by_class = evaluate(specs, every=5)
        classes = ", ".join(f"{name} {value:.3f}" for name, value in by_class.items())
        print(f"{size}, {options.seeds} new streets: AP {ap:.3f}, AP50 {ap50:.3f} (bar: .90); AP50 by class: {classes}")


if __name__ == "__main__":
    main()
