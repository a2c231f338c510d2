"""How are the outputs of the YOLO family read?

Every function thresholds in the order in which the numbers lie in memory: of 25,200 × 85 values most are never touched.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from pipeline.detector.heads.candidates import Outputs, boxes_to_network, only_output
from pipeline.picture.candidates import Candidates
from pipeline.picture.detections import FloatArray
from pipeline.picture.detector_spec import DetectorSpec

YOLOX_STRIDES = (8, 16, 32)


def yolov5(outputs: Outputs, spec: DetectorSpec, *, score_threshold: float, batch_index: int) -> Candidates:
    """`[B, N, 5 + C]`: box, objectness, class scores; the score is objectness × best class."""
    rows = only_output(outputs, spec)[batch_index]  # [N, 5 + C]
    rows = rows[rows[:, 4] >= np.float32(score_threshold)].astype(np.float32)  # [few, 5 + C]
    return _best_class(rows[:, :4], rows[:, 5:] * rows[:, 4:5], spec, score_threshold)


def yolox(outputs: Outputs, spec: DetectorSpec, *, score_threshold: float, batch_index: int) -> Candidates:
    """`[B, N, 5 + C]` like YOLOv5, but boxes are offsets and log sizes in cells of strides 8, 16, 32, row by row."""
    rows = only_output(outputs, spec)[batch_index]  # [N, 5 + C]
    chosen = np.flatnonzero(rows[:, 4] >= np.float32(score_threshold))  # [few]
    rows = rows[chosen].astype(np.float32)  # [few, 5 + C]
    corners, strides = (cells[chosen] for cells in _cells(spec.network_wh))  # [few, 2], [few, 1]
    boxes = np.concatenate([(rows[:, :2] + corners) * strides, np.exp(rows[:, 2:4]) * strides], axis=1)  # [few, 4]
    return _best_class(boxes, rows[:, 5:] * rows[:, 4:5], spec, score_threshold)


def yolov8(outputs: Outputs, spec: DetectorSpec, *, score_threshold: float, batch_index: int) -> Candidates:
    """`[B, 4 + C, N]`, or its transpose: box and class scores, no objectness."""
    columns = only_output(outputs, spec)[batch_index]  # [4 + C, N]
    if len(columns) != 4 + len(spec.class_names):
        columns = columns.T
    chosen = np.flatnonzero(columns[4:].max(axis=0) >= np.float32(score_threshold))  # [few]
    columns = columns[:, chosen].astype(np.float32)  # [4 + C, few]
    return _best_class(columns[:4].T, columns[4:].T, spec, score_threshold)


def _best_class(boxes: FloatArray, class_scores: FloatArray, spec: DetectorSpec, score_threshold: float) -> Candidates:
    """Candidates of boxes [few, 4] and scores [few, C]; each box keeps its best class only."""
    class_ids = class_scores.argmax(axis=1)  # [few]
    scores = np.take_along_axis(class_scores, class_ids[:, None], axis=1)[:, 0]  # [few]
    enough = scores >= np.float32(score_threshold)  # [few]
    return Candidates(boxes_to_network(boxes[enough], spec), scores[enough], class_ids[enough].astype(np.int64))


@lru_cache(maxsize=8)
def _cells(network_wh: tuple[int, int]) -> tuple[FloatArray, FloatArray]:
    """Top left corner [N, 2] (x, y), in cells, and stride [N, 1] of every YOLOX cell."""
    corners, strides = [], []
    for stride in YOLOX_STRIDES:
        width, height = (side // stride for side in network_wh)
        y, x = np.divmod(np.arange(width * height), width)  # [cells], [cells]
        corners.append(np.stack([x, y], axis=1))
        strides.append(np.full((width * height, 1), stride))
    return np.concatenate(corners).astype(np.float32), np.concatenate(strides).astype(np.float32)
