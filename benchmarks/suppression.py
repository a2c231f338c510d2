"""Suppression: milliseconds from a network's raw output to detections.

Thresholds, decodes and suppresses 25,200 candidates of 80 classes, of which few survive, as a YOLO at 640 x 640
gives them for an ordinary picture; on one core, beside other implementations of NMS where they are installed.

    python -m benchmarks.suppression
"""

from __future__ import annotations

import importlib.util
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from benchmarks.machine import describe_machine
from pipeline.detector.heads import head_of
from pipeline.picture.candidates import Candidates
from pipeline.picture.detections import FloatArray
from pipeline.picture.detector_spec import DetectorSpec
from pipeline.picture.suppression import SuppressionOptions, suppress

NUM_BOXES, NUM_CLASSES = 25_200, 80
NUM_OBJECTS, BOXES_EACH = 20, 8
IOU_THRESHOLD, SCORE_THRESHOLD = 0.5, 0.25


def main() -> None:
    """Print the milliseconds of each step and each implementation."""
    cv2.setNumThreads(1)
    print(describe_machine())
    print("one core, medians of 50\n")
    print(f"{NUM_BOXES:,} candidates x {NUM_CLASSES} classes, {NUM_OBJECTS * BOXES_EACH} reach the threshold")
    for head, output in {"yolov5": _raw_output(), "yolov8": _without_objectness(_raw_output())}.items():
        spec = _spec(head)

        candidates = _decode(output, spec)
        kept, _ = _suppress(candidates)
        decode_ms = _median_ms(partial(_decode, output, spec))
        suppress_ms = _median_ms(partial(_suppress, candidates))
        print(
            f"  {head} {list(output.shape)}: decode {decode_ms:.2f} ms + NMS {suppress_ms:.2f} ms = "
            f"{decode_ms + suppress_ms:.2f} ms, {len(candidates.scores)} candidates, {len(kept)} stay"
        )
    print("\nNMS alone, all boxes asked for")
    for num_boxes in (160, 1_000, 5_000):
        _compare(num_boxes)


def _compare(num_boxes: int) -> None:
    rng = np.random.default_rng(num_boxes)
    centres, sizes = rng.random((num_boxes, 2)) * 600 + 20, rng.random((num_boxes, 2)) * 60 + 20
    boxes = np.concatenate([centres - sizes / 2, centres + sizes / 2], axis=1).astype(np.float32)  # [N, 4]
    candidates = Candidates(
        boxes, rng.random(num_boxes).astype(np.float32) * 0.7 + 0.3, rng.integers(0, NUM_CLASSES, num_boxes)
    )
    print(f"  {num_boxes:5} boxes: streamdet {_median_ms(lambda: _suppress(candidates, num_boxes)):7.2f} ms", end="")
    boxes_xywh = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
    class_ids = candidates.class_ids.astype(np.int32)
    opencv_nms: Any = cv2.dnn.NMSBoxesBatched  # its stub asks for lists
    opencv_ms = _median_ms(lambda: opencv_nms(boxes_xywh, candidates.scores, class_ids, SCORE_THRESHOLD, IOU_THRESHOLD))
    print(f", cv2.dnn.NMSBoxesBatched {opencv_ms:7.2f} ms", end="")
    if importlib.util.find_spec("torchvision"):
        import torch
        from torchvision.ops import batched_nms

        torch.set_num_threads(1)
        tensors = [torch.from_numpy(array) for array in (boxes, candidates.scores, candidates.class_ids)]
        print(f", torchvision.ops.batched_nms {_median_ms(lambda: batched_nms(*tensors, IOU_THRESHOLD)):7.2f} ms")
    else:
        print(", torchvision is not installed")


def _decode(output: FloatArray, spec: DetectorSpec) -> Candidates:
    return head_of(spec)({"output": output}, spec, score_threshold=SCORE_THRESHOLD, batch_index=0)


def _suppress(candidates: Candidates, max_detections: int = 300) -> tuple[npt.NDArray[np.int64], FloatArray]:
    options = SuppressionOptions(
        iou_threshold=IOU_THRESHOLD, score_threshold=SCORE_THRESHOLD, max_detections=max_detections
    )
    return suppress(candidates.boxes_xyxy, candidates.scores, candidates.class_ids, options)


def _raw_output() -> FloatArray:
    """[1, N, 5 + C] as YOLOv5 returns it: groups of boxes around each object, noise elsewhere."""
    rng = np.random.default_rng(0)
    rows = rng.random((NUM_BOXES, 5 + NUM_CLASSES), np.float32) * 0.1
    rows[:, :2] *= 6_400
    chosen = rng.choice(NUM_BOXES, NUM_OBJECTS * BOXES_EACH, replace=False)
    objects = np.repeat(rng.random((NUM_OBJECTS, 4)) * 400 + 100, BOXES_EACH, axis=0)
    rows[chosen, :4] = objects + rng.normal(0, 4, objects.shape)
    rows[chosen, 4] = rng.uniform(0.7, 1, len(chosen))
    rows[chosen, 5 + np.repeat(rng.integers(0, NUM_CLASSES, NUM_OBJECTS), BOXES_EACH)] = rng.uniform(
        0.7, 1, len(chosen)
    )
    return rows[None]


def _without_objectness(output: FloatArray) -> FloatArray:
    """The same as [1, 4 + C, N], as YOLOv8 returns it."""
    return np.ascontiguousarray(np.delete(output, 4, axis=2).transpose(0, 2, 1))


def _spec(head: str) -> DetectorSpec:
    names = tuple(f"class {index}" for index in range(NUM_CLASSES))
    return DetectorSpec("images", (640, 640), head, names, box_format="cxcywh")


def _median_ms(call: Callable[[], object], repeats: int = 50) -> float:
    call()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds) * 1e3


if __name__ == "__main__":
    main()
