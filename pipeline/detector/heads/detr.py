"""How is a DETR without its post-processor told and read?

DETR: https://arxiv.org/abs/2005.12872 (softmax, the last class is "no object"); Deformable DETR and RT-DETR:
https://arxiv.org/abs/2010.04159, https://arxiv.org/abs/2304.08069 (sigmoid, the best of query × class).
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

import numpy as np

from pipeline.detector.facts import ModelFacts
from pipeline.detector.heads.activation import activated
from pipeline.detector.heads.candidates import Outputs, boxes_to_network, output, refuse_nan
from pipeline.detector.heads.claims import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Claim,
    Hints,
    NotThisError,
    classes_then_boxes,
    spec_for,
)
from pipeline.picture.candidates import Candidates
from pipeline.picture.detector_spec import DetectorSpec, ScoreActivation

_RECIPES: dict[ScoreActivation, dict[str, Any]] = {
    "sigmoid": {"recipe": "RT-DETR's, RGB 0..1, stretched", "resize": "stretch"},
    "softmax": {
        "recipe": "DETR's, RGB less ImageNet's mean, letterbox top left",
        "resize": "letterbox-topleft",
        "pad_value": (124, 116, 104),
        "mean": IMAGENET_MEAN,
        "std": IMAGENET_STD,
    },
}


def detr(outputs: Outputs, spec: DetectorSpec, *, score_threshold: float, batch_index: int) -> Candidates:
    """Logits `[B, Q, C]` and boxes `[B, Q, 4]`.

    By sigmoid, every class of a query may count; by softmax its best class does, and the last column is no object.
    """
    logits, boxes = (output(outputs, spec, place)[batch_index].astype(np.float32) for place in (0, 1))  # [Q, C], [Q, 4]
    scores = activated(logits, spec.score_activation)  # [Q, C]
    refuse_nan(scores, spec)
    if spec.score_activation == "softmax":
        scores = scores[:, :-1]
        best = scores.argmax(axis=1)  # [Q]
        chosen = np.flatnonzero(np.take_along_axis(scores, best[:, None], axis=1)[:, 0] >= np.float32(score_threshold))
        queries, class_ids = chosen, best[chosen]  # [M], [M]
    else:
        queries, class_ids = np.nonzero(scores >= np.float32(score_threshold))  # [M], [M]
    is_object = class_ids >= spec.first_class_id  # [M]
    queries, class_ids = queries[is_object], class_ids[is_object]
    found = scores[queries, class_ids]  # [M]
    order = np.argsort(-found, kind="stable")[: spec.max_detections]
    queries, class_ids = queries[order], class_ids[order].astype(np.int64) - spec.first_class_id
    return Candidates(boxes_to_network(boxes[queries], spec), found[order], class_ids)


def claims(facts: ModelFacts, hints: Hints) -> Iterable[Claim]:
    """Two outputs [B, Q, C] and [B, Q, 4] of at most 1000 queries, and no other input than the image."""
    pair = classes_then_boxes(facts)
    if pair is None:
        raise NotThisError("detr: one input and two outputs, logits [batch, queries, classes] and boxes [.., 4]")
    logits, boxes = pair
    num_queries, num_columns = boxes.shape[1], logits.shape[2]
    if num_columns is None or (num_queries or 0) > 1000 or logits.shape[1] != num_queries:
        raise NotThisError(
            f"detr: at most 1000 queries, the same in logits and boxes, not {logits} and {boxes}", is_near=True
        )
    names = hints.class_names or facts.names_of_exporter() or ()
    is_told_by_names = bool(names) and len(names) in (num_columns, num_columns - 1)
    for activation, recipe in _RECIPES.items():
        if hints.score_activation not in (None, activation):
            continue
        num_classes = num_columns - (activation == "softmax")
        if num_classes < 1 or (is_told_by_names and len(names) != num_classes):
            continue
        spec = spec_for(
            facts,
            hints,
            head="detr",
            num_classes=num_classes,
            reason=f"detr: {logits} and {boxes}, {activation}",
            outputs=(logits.name, boxes.name),
            box_format="cxcywh",
            boxes_are_normalised=True,
            score_activation=activation,
            needs_nms=False,
            **recipe,
        )
        is_told = is_told_by_names or hints.score_activation is not None
        yield Claim(spec, partial(_objection, is_told=is_told))


def _objection(outputs: Outputs, spec: DetectorSpec, *, is_told: bool) -> str | None:
    """With a "no object" column, that is where nearly all queries of any picture go; without it, few go to the last."""
    logits, boxes = output(outputs, spec, 0)[0], output(outputs, spec, 1)[0]  # [Q, C], [Q, 4]
    if boxes.min(initial=0) < -0.5 or boxes.max(initial=0) > 1.5:
        return f"its boxes reach {boxes.max():g}, which is not 0..1"
    if spec.box_format == "cxcywh" and np.mean((boxes[:, 2:] > boxes[:, :2]).all(axis=1)) > 0.95:
        return "its boxes are corners"
    if logits.min(initial=0) >= 0 and logits.max(initial=0) <= 1:
        return "its scores are activated in the graph"
    if is_told or logits.shape[1] == 1:  # or one class, which leaves no column for nothing
        return None
    has_nothing = float(np.mean(logits.argmax(axis=1) == logits.shape[1] - 1)) > 0.5
    if spec.score_activation == "softmax" and not has_nothing:
        return "most queries are not in the last column, as they are where it is no object"
    if spec.score_activation == "sigmoid" and has_nothing:
        return "most queries are in the last column, which is so where it is no object"
    return None
