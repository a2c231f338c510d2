"""SSD: class values, and boxes or offsets from anchors → candidates.

https://arxiv.org/abs/1512.02325; the same for RetinaNet and EfficientDet.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from pipeline.detector.heads.activation import activated
from pipeline.detector.heads.outputs import Outputs, boxes_to_network, output, refuse_not_finite
from pipeline.detector.runtime_types import Array
from pipeline.errors import ModelError
from pipeline.picture.boxes import Indices
from pipeline.picture.candidates import Candidates
from pipeline.picture.detections import FloatArray, IntArray
from pipeline.picture.detector_spec import DetectorSpec, unpack_anchors

_LARGEST_LOG_RATIO = float(np.log(1000 / 16))  # torchvision's limit: no box is more than 62 times its anchor


def ssd_raw(outputs: Outputs, spec: DetectorSpec, *, score_threshold: float, batch_index: int) -> Candidates:
    """Class values `[B, A, C]` and offsets from anchors `[B, A, 4]`; ids below `first_class_id` are background."""
    chosen, scores, class_ids = _likely(outputs, spec, score_threshold, batch_index)  # [M] anchors
    offsets = boxes_of(outputs, spec, batch_index)[chosen].astype(np.float32)  # [M, 4]
    if spec.box_format == "cycxhw":
        offsets = offsets[:, [1, 0, 3, 2]]
    offsets = offsets * np.array(spec.anchor_variances, np.float32)
    anchors = _anchors(spec.anchors, spec.network_wh)  # [A, 4]
    num = len(boxes_of(outputs, spec, batch_index))
    if num != len(anchors):
        raise ModelError(f"head ssd_raw has {len(anchors)} anchors, the model returns {num} boxes")
    anchors = anchors[chosen]  # [M, 4]
    centres = anchors[:, :2] + offsets[:, :2] * anchors[:, 2:]  # [M, 2]
    halves = anchors[:, 2:] * np.exp(np.minimum(offsets[:, 2:], _LARGEST_LOG_RATIO)) / 2  # [M, 2]
    boxes = np.concatenate([centres - halves, centres + halves], axis=1)  # [M, 4]
    refuse_not_finite(boxes, spec, what="boxes")
    # Clipped before suppression, as torchvision and TensorFlow do: what lies outside does not count as overlap.
    return Candidates(np.clip(boxes, 0, np.array(spec.network_wh * 2, np.float32)), scores, class_ids)


def ssd_decoded(outputs: Outputs, spec: DetectorSpec, *, score_threshold: float, batch_index: int) -> Candidates:
    """Class values `[B, A, C]` and boxes `[B, A, 4]`; ids below `first_class_id` are background."""
    chosen, scores, class_ids = _likely(outputs, spec, score_threshold, batch_index)
    return Candidates(boxes_to_network(boxes_of(outputs, spec, batch_index)[chosen], spec), scores, class_ids)


def boxes_of(outputs: Outputs, spec: DetectorSpec, batch_index: int) -> Array:
    """Boxes or offsets [A, 4], which may lie turned."""
    boxes = output(outputs, spec, 1)[batch_index]
    return np.asarray(boxes.T if len(boxes) == 4 != boxes.shape[1] else boxes)


def class_values_of(outputs: Outputs, spec: DetectorSpec, batch_index: int) -> Array:
    """Class values [A, C], which may lie turned."""
    values, num = output(outputs, spec, 0)[batch_index], len(boxes_of(outputs, spec, batch_index))
    return np.asarray(values.T if len(values) != num == values.shape[1] else values)


def _likely(
    outputs: Outputs, spec: DetectorSpec, score_threshold: float, batch_index: int
) -> tuple[Indices, FloatArray, IntArray]:
    """The pairs of anchor and class that reach the threshold: anchors [M], scores [M], class ids [M]."""
    values = class_values_of(outputs, spec, batch_index)  # [A, C]
    classes = slice(spec.first_class_id, spec.first_class_id + len(spec.class_names))  # the others are background
    if spec.score_activation != "softmax":
        values = values[:, classes]
    scores = activated(values, spec.score_activation)
    refuse_not_finite(scores, spec)
    if spec.score_activation == "softmax":
        scores = scores[:, classes]  # after it: background takes its share
    chosen, class_ids = np.nonzero(scores >= np.float32(score_threshold))  # [M], [M]
    return chosen, scores[chosen, class_ids], class_ids.astype(np.int64)


@lru_cache(maxsize=8)
def _anchors(text: str, network_wh: tuple[int, int]) -> FloatArray:
    """Anchors [A, 4] as centre x, centre y, width, height in network pixels."""
    return np.asarray(unpack_anchors(text) * np.array(network_wh * 2, np.float32), np.float32)
