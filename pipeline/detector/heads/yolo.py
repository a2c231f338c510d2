"""YOLO: the outputs of YOLOv5 to YOLO12 and YOLOX → candidates.

YOLOv5 and v7: https://github.com/ultralytics/yolov5, https://arxiv.org/abs/2207.02696; v6: https://arxiv.org/abs/2209.02976;
v8, 9, 11 and 12: https://docs.ultralytics.com; YOLOX: https://arxiv.org/abs/2107.08430.

Every function thresholds in the order in which the numbers lie in memory: of 25,200 × 85 values most are never touched.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.detector.heads.grid import check_cells, grid
from pipeline.detector.heads.instances import with_instances
from pipeline.detector.heads.outputs import Outputs, boxes_to_network, output, refuse_not_finite, refuse_other_classes
from pipeline.detector.runtime_types import Array
from pipeline.picture.candidates import Candidates
from pipeline.picture.detections import FloatArray
from pipeline.picture.detector_spec import DetectorSpec

YOLOX_STRIDES = (8, 16, 32)


def yolov5(outputs: Outputs, spec: DetectorSpec, *, score_threshold: float, batch_index: int) -> Candidates:
    """`[B, N, 5 + C]`, or its transpose: box, objectness, class scores; the score is objectness × best class.

    More columns than that are of masks or keypoints, see `instances`.
    """
    rows = rows_of(outputs, spec)[batch_index]  # [N, 5 + C]
    refuse_other_classes(rows.shape[1] - 5, spec, may_be_more=True)
    refuse_not_finite(rows[:, 4], spec)
    rows = rows[rows[:, 4] >= np.float32(score_threshold)].astype(np.float32)  # [few, 5 + C]
    num = 5 + len(spec.class_names)
    candidates, kept = _best_class(rows[:, :4], rows[:, 5:num] * rows[:, 4:5], spec, score_threshold)
    return with_instances(candidates, rows[kept, num:], outputs, spec, batch_index)


def yolox(outputs: Outputs, spec: DetectorSpec, *, score_threshold: float, batch_index: int) -> Candidates:
    """`[B, N, 5 + C]` like YOLOv5, but boxes are offsets and log sizes in cells of strides 8, 16, 32, row by row."""
    rows = rows_of(outputs, spec)[batch_index]  # [N, 5 + C]
    refuse_other_classes(rows.shape[1] - 5, spec)
    refuse_not_finite(rows[:, 4], spec)
    corners, strides = grid(spec.network_wh, YOLOX_STRIDES)  # [N, 2], [N, 1]
    check_cells(len(rows), corners, spec)
    chosen = np.flatnonzero(rows[:, 4] >= np.float32(score_threshold))  # [few]
    rows = rows[chosen].astype(np.float32)  # [few, 5 + C]
    corners, strides = corners[chosen], strides[chosen]  # [few, 2], [few, 1]
    sizes = np.exp(rows[:, 2:4]) * strides  # [few, 2]
    boxes = np.concatenate([(rows[:, :2] + corners) * strides, sizes], axis=1)  # [few, 4]
    candidates, _ = _best_class(boxes, rows[:, 5:] * rows[:, 4:5], spec, score_threshold)
    return candidates


def yolov8(outputs: Outputs, spec: DetectorSpec, *, score_threshold: float, batch_index: int) -> Candidates:
    """`[B, 4 + C, N]`, or its transpose: box and class scores, no objectness.

    More channels than that are of masks or keypoints, or the angle of an oriented box, see `instances`.
    """
    columns, num = output(outputs, spec)[batch_index], 4 + len(spec.class_names)  # [4 + C, N]
    if len(columns) != num and (columns.shape[1] == num or len(columns) > columns.shape[1]):
        columns = columns.T
    refuse_other_classes(len(columns) - 4 - spec.has_angles, spec, may_be_more=not spec.has_angles)
    best = columns[4:num].max(axis=0)  # [N]
    refuse_not_finite(best, spec)
    chosen = np.flatnonzero(best >= np.float32(score_threshold))  # [few]
    columns = columns[:, chosen].astype(np.float32)  # [4 + C, few]
    candidates, kept = _best_class(columns[:4].T, columns[4:num].T, spec, score_threshold)
    return with_instances(candidates, columns[num:, kept].T, outputs, spec, batch_index)


def rows_of(outputs: Outputs, spec: DetectorSpec) -> Array:
    """Rows [B, N, 5 + C] of box, objectness and classes, which may lie turned, or in an output each."""
    if len(spec.outputs) == 3:
        return np.concatenate([output(outputs, spec, index) for index in range(3)], axis=2)
    rows, num = output(outputs, spec), 5 + len(spec.class_names)
    is_turned = rows.shape[2] != num and (rows.shape[1] == num or rows.shape[1] < rows.shape[2])
    return rows.transpose(0, 2, 1) if is_turned else rows


def _best_class(
    boxes: FloatArray, class_scores: FloatArray, spec: DetectorSpec, score_threshold: float
) -> tuple[Candidates, npt.NDArray[np.bool_]]:
    """Candidates of boxes [few, 4] and scores [few, C], and which boxes they are; a box keeps its best class only."""
    class_ids = class_scores.argmax(axis=1)  # [few]
    scores = np.take_along_axis(class_scores, class_ids[:, None], axis=1)[:, 0]  # [few]; NaN is the best class
    refuse_not_finite(scores, spec)
    enough = scores >= np.float32(score_threshold)  # [few]
    boxes = boxes_to_network(boxes[enough], spec)
    return Candidates(boxes, scores[enough], class_ids[enough].astype(np.int64)), enough
