"""Instances: the values of a box beyond its classes → weights of mask prototypes, keypoints, or corners.

Segmenting YOLOs (https://docs.ultralytics.com/tasks/segment) have K weights in each box and an output of K prototypes;
pose YOLOs (https://docs.ultralytics.com/tasks/pose) have x, y and perhaps a score for each point; oriented ones
(https://docs.ultralytics.com/tasks/obb) have the angle by which a box is turned.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pipeline.detector.heads.outputs import Outputs, output, refuse_not_finite
from pipeline.detector.runtime_types import Array
from pipeline.errors import ModelError
from pipeline.picture.candidates import Candidates
from pipeline.picture.detections import FloatArray
from pipeline.picture.detector_spec import DetectorSpec
from pipeline.picture.quadrilaterals import bounds_of, corners_of


def with_instances(
    candidates: Candidates, values: Array, outputs: Outputs, spec: DetectorSpec, batch_index: int
) -> Candidates:
    """The candidates with what their further values [M, E] are, by the spec: its second output are prototypes.

    Raises ModelError for another number of values than prototypes have, and OutputError for weights that are no
    numbers, and such angles.
    """
    if spec.has_angles:
        return _turned(candidates, values[:, 0], spec)
    if spec.keypoint_names:
        return replace(candidates, keypoints=keypoints_of(values, spec))
    if len(spec.outputs) != 2:
        return candidates
    prototypes, weights = output(outputs, spec, 1)[batch_index], values.astype(np.float32)  # [K, h, w], [M, K]
    if weights.shape[1] != len(prototypes):
        raise ModelError(
            f"a box must have a weight for each of the {len(prototypes)} prototypes in {spec.outputs[1]}, it has "
            f"{weights.shape[1]}"
        )
    refuse_not_finite(weights, spec, what="weights of masks")
    return replace(candidates, mask_weights=weights, prototypes=prototypes)


def _turned(candidates: Candidates, angles: Array, spec: DetectorSpec) -> Candidates:
    """The candidates with corners instead of upright boxes, whose bounds their boxes are then."""
    refuse_not_finite(angles, spec, what="angles")
    corners = corners_of(candidates.boxes_xyxy, angles)  # [M, 4, 2]
    return replace(candidates, boxes_xyxy=bounds_of(corners), corners=corners)


def keypoints_of(values: Array, spec: DetectorSpec) -> FloatArray:
    """Points [M, points, 3] in network pixels, of x, y and perhaps a score, which is 1 where there is none."""
    num_points = len(spec.keypoint_names)
    points = values.astype(np.float32).reshape(len(values), num_points, values.shape[1] // num_points)  # [M, P, 2 or 3]
    if points.shape[2] == 2:
        points = np.concatenate([points, np.ones_like(points[..., :1])], axis=2)
    if spec.boxes_are_normalised:
        points = points * np.array([*spec.network_wh, 1], np.float32)
    return points
