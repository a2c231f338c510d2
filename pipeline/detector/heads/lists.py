"""Lists: finished detections in several outputs → candidates."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pipeline.detector.heads.instances import keypoints_of
from pipeline.detector.heads.outputs import Outputs, boxes_to_network, output, refuse_not_finite
from pipeline.detector.runtime_types import Array
from pipeline.picture.candidates import Candidates
from pipeline.picture.detections import FloatArray
from pipeline.picture.detector_spec import DetectorSpec


def lists(outputs: Outputs, spec: DetectorSpec, *, score_threshold: float, batch_index: int) -> Candidates:
    """Boxes `[B, N, 4]`, class ids `[B, N]`, scores `[B, N]`, and a count `[B]` where there is one; B may be missing.

    Sides of 1 beside N are as good as none. Without scores, they are the fifth column of the boxes. Rows beyond the
    count, of score 0 or of an id below `first_class_id` are padding. Where the spec names keypoints, these are the
    second output, `[B, N, K, 3]` of x, y and a score, and all objects are of the one class.
    """
    boxes, class_ids, scores, num = rows_of(outputs, spec, batch_index)  # [N, 4], [N], [N]
    refuse_not_finite(scores, spec)
    class_ids = class_ids.astype(np.int64) - spec.first_class_id  # [N]
    is_real = (np.arange(len(scores)) < num) & (scores > 0) & (class_ids >= 0)
    chosen = np.flatnonzero(is_real & (scores >= np.float32(score_threshold)))  # [M]
    candidates = Candidates(boxes_to_network(boxes[chosen], spec), scores[chosen], class_ids[chosen])
    if not spec.keypoint_names:
        return candidates
    points = output(outputs, spec, 1)
    points = points[batch_index] if _is_batched(outputs, spec) else points  # [N, K, 3]
    flat = points[chosen].reshape(len(chosen), 3 * len(spec.keypoint_names))  # [M, 3 K]
    return replace(candidates, keypoints=keypoints_of(flat, spec))


def rows_of(outputs: Outputs, spec: DetectorSpec, batch_index: int) -> tuple[Array, Array, FloatArray, int]:
    """Boxes [N, 4], class ids [N] and scores [N] of an image as they are, and how many of them count."""
    boxes, is_batched = output(outputs, spec), _is_batched(outputs, spec)

    def of_image(index: int) -> Array:
        values = output(outputs, spec, index)
        return (values[batch_index] if is_batched else values).reshape(-1)  # [N]

    boxes = boxes[batch_index] if is_batched else boxes  # [N, 4 or 5]
    scores = boxes[:, 4] if boxes.shape[1] == 5 else of_image(2)  # [N]
    num = len(scores)
    if len(spec.outputs) > 3:
        counts = output(outputs, spec, 3).reshape(-1)  # [B], or one for all
        num = int(counts[min(batch_index, len(counts) - 1)])
    class_ids = np.full(num, spec.first_class_id) if spec.keypoint_names else of_image(1)  # [N]
    return boxes[:, :4], class_ids, scores.astype(np.float32), num


def _is_batched(outputs: Outputs, spec: DetectorSpec) -> bool:
    """Whether the outputs have a side for the batch, as the boxes show."""
    return output(outputs, spec).ndim == 3
