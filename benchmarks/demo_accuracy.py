"""How good is the detector that comes with streamdet, on streets that it has never seen, through the whole pipeline?

    python -m benchmarks.demo_accuracy [--seeds 12] [--seconds 10]

Frames go through `pipeline.detect`, as a user's would; pycocotools counts. The speed is that of `session.run` alone.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import time
from typing import Any

import numpy as np
import onnxruntime
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

import pipeline
from benchmarks.machine import describe_machine
from pipeline.app.assemble import DEMO_MODEL
from pipeline.picture.detections import Detections
from pipeline.sources.street.traffic import TrafficSource

FIRST_HELD_OUT_SEED = 1000  # see export/train_demo.py
SIZES = ("640x360", "1280x720")


def rows_of(found: Detections, image_id: int) -> list[dict[str, Any]]:
    """Detections in COCO's result format."""
    boxes = found.boxes_xyxy.astype(float)
    boxes = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)  # [N, 4] x, y, w, h
    return [
        {"image_id": image_id, "category_id": int(class_id), "bbox": box.tolist(), "score": float(score)}
        for box, score, class_id in zip(boxes, found.scores, found.class_ids, strict=True)
    ]


def truth_of(frames: list[tuple[Detections, Detections]], class_names: tuple[str, ...]) -> COCO:
    """Labelled and unlabelled objects as pycocotools wants them: unlabelled ones as crowds, which it ignores."""
    annotations = [
        {**row, "id": 0, "iscrowd": is_crowd, "area": row["bbox"][2] * row["bbox"][3]}
        for image_id, both in enumerate(frames)
        for is_crowd, objects in enumerate(both)
        for row in rows_of(objects, image_id)
    ]
    for number, annotation in enumerate(annotations):
        annotation["id"] = number + 1
    truth = COCO()
    truth.dataset = {
        "info": {},
        "images": [{"id": image_id} for image_id in range(len(frames))],
        "annotations": annotations,
        "categories": [{"id": index, "name": name} for index, name in enumerate(class_names)],
    }
    truth.createIndex()
    return truth


def evaluate(specs: list[str], *, every: int = 10) -> tuple[float, float, dict[str, float]]:
    """AP, AP50 and AP50 by class, of every so-manieth frame of these sources."""
    truths: list[tuple[Detections, Detections]] = []
    found: list[dict[str, Any]] = []
    class_names: tuple[str, ...] = ()
    for spec in specs:
        source = TrafficSource.from_spec(spec)
        class_names = source.class_names
        # From 0.01 on, because AP counts what stands below the threshold that one would show.
        for result in pipeline.detect(spec, settings={"detection.score_threshold": 0.01}):
            if result.frame.index % every == 0:
                found += rows_of(result.detections, len(truths))
                truths.append((source.truth(result.frame.index), source.unlabelled(result.frame.index)))
        source.close()
    with contextlib.redirect_stdout(io.StringIO()):
        truth = truth_of(truths, class_names)
        counting = COCOeval(truth, truth.loadRes(found), "bbox")
        counting.evaluate()
        counting.accumulate()
        counting.summarize()
    at_50 = counting.eval["precision"][0, :, :, 0, 2]  # [recall, class]
    by_class = {
        name: float(values.mean()) for name, values in zip(class_names, at_50.T, strict=True) if values.max() >= 0
    }
    return float(counting.stats[0]), float(counting.stats[1]), by_class


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
