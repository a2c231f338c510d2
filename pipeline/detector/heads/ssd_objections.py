"""SSD's objections: a network's outputs and a reading of them → what in the values speaks against it, or None."""

from __future__ import annotations

from typing import Literal

import numpy as np

from pipeline.detector.heads.activation import activated
from pipeline.detector.heads.outputs import Outputs
from pipeline.detector.heads.ssd import boxes_of, class_values_of
from pipeline.detector.runtime_types import Array
from pipeline.picture.detector_spec import DetectorSpec

Background = Literal["none", "first", "last"]


def _objection_to_scores(outputs: Outputs, spec: DetectorSpec, background: Background) -> str | None:
    values = class_values_of(outputs, spec, 0).astype(np.float64)  # [A, C]
    if not len(values):
        return None
    is_within = values.min() >= -1e-4 and values.max() <= 1 + 1e-4
    if spec.score_activation == "none":
        if not is_within:
            return f"its class values reach {values.max():g}, so they are not scores yet"
        return _objection_to_activated(values, background)
    if is_within:
        return "its class values lie in 0..1, so they are scores already"
    objection_to = _objection_to_softmax if spec.score_activation == "softmax" else _objection_to_sigmoid
    return objection_to(values, background)


def _objection_to_activated(values: Array, background: Background) -> str | None:
    """Why values [A, C] in 0..1 are not scores with that background; None if they may be."""
    adds_up = values.shape[1] > 1 and float(np.median(np.abs(values.sum(axis=1) - 1))) < 0.02
    if adds_up and background == "none":
        return "its class values add up to 1, as they do where one of them is background"
    if adds_up:
        return _objection_to_winner(values, background)
    if background == "last":
        return "its class values do not add up to 1, as they do with a background at their end"
    if background == "first" and values[:, 0].max() > 0.3:
        return "its first column is sure of something, which background is not"
    return None


def _objection_to_softmax(values: Array, background: Background) -> str | None:
    """Why softmax of values [A, C] does not give scores: by it, background wins nearly everywhere."""
    if background == "none":
        return "by softmax one of its columns would be background"
    column = 0 if background == "first" else values.shape[1] - 1
    if np.median(values[:, column]) < -4:
        return f"its {background} column is far below 0, which background is not"
    return _objection_to_winner(values, background)


def _objection_to_sigmoid(values: Array, background: Background) -> str | None:
    """Why a sigmoid of values [A, C] does not give scores: by it, nearly every value is far below 0."""
    if background == "last":
        return "by sigmoid there is no background at the end"
    if np.mean(values < 0) < 0.8:
        return "its class values are mostly above 0, so that its scores do not come by sigmoid"
    for winner, name in ((0, "first"), (values.shape[1] - 1, "last")):
        share = activated(values, "softmax")[:, winner]  # [A]
        if values.shape[1] > 1 and np.mean(share > 0.5) > 0.5 and np.median(values[:, winner]) > -2.5:
            return f"its {name} column wins as background does, so that its scores come by softmax"
    return None


def _objection_to_winner(values: Array, background: Background) -> str | None:
    """Where scores add up to 1 over all classes and background, background wins nearly everywhere."""
    column = 0 if background == "first" else values.shape[1] - 1
    if np.mean(values.argmax(axis=1) == column) < 0.5:
        return f"its {background} column is not background, which must win nearly everywhere"
    return None


def decoded_objection(outputs: Outputs, spec: DetectorSpec, *, background: Background, may_be_few: bool) -> str | None:
    """Why the boxes are not decoded boxes, one for each anchor; None if they may be."""
    boxes = boxes_of(outputs, spec, 0).astype(np.float64)  # [A, 4]
    if not may_be_few and len(boxes) <= 300:
        return f"its {len(boxes)} boxes are few, as those of queries are"
    objection = _objection_to_format(boxes, spec) or _objection_to_unit(boxes, spec) if len(boxes) else None
    return objection or _objection_to_scores(outputs, spec, background)


def _objection_to_format(boxes: Array, spec: DetectorSpec) -> str | None:
    """Why boxes [A, 4] are not corners, or not centres and sides, as the spec says; None if they may be."""
    ordered = np.mean((boxes[:, 2:] >= boxes[:, :2]).all(axis=1))
    if spec.box_format in ("xyxy", "yxyx"):
        if np.median(boxes[:, 2:] - boxes[:, :2]) == 0:
            return "its boxes have no size"
        return f"{ordered:.0%} of its boxes are corners in order" if ordered < 0.95 else None
    if ordered >= 0.95:
        return "its boxes are corners"
    return "its boxes have sides below 0" if np.mean(boxes[:, 2:] >= 0) < 0.95 else None


def _objection_to_unit(boxes: Array, spec: DetectorSpec) -> str | None:
    """Why boxes [A, 4] are not in 0..1, or not in pixels, as the spec says; None if they may be."""
    inside = np.mean((boxes > -0.5) & (boxes < 1.5))
    if spec.boxes_are_normalised and inside < 0.9:
        return f"{inside:.0%} of the values of its boxes lie in 0..1"
    if not spec.boxes_are_normalised and inside > 0.9:
        return "its boxes are no larger than 1 pixel"
    return None


def raw_objection(outputs: Outputs, spec: DetectorSpec, *, background: Background) -> str | None:
    """Why the boxes are not offsets from anchors; None if they may be."""
    boxes = boxes_of(outputs, spec, 0)  # [A, 4]
    if np.mean((boxes[:, 2:] > boxes[:, :2]).all(axis=1)) > 0.95:
        return "its boxes are corners already"
    return _objection_to_scores(outputs, spec, background)
