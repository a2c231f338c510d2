"""DETR without its post-processor: two outputs → claims on a file, and candidates.

DETR: https://arxiv.org/abs/2005.12872 (softmax, the last class is "no object"); Deformable DETR and RT-DETR:
https://arxiv.org/abs/2010.04159, https://arxiv.org/abs/2304.08069 (sigmoid, the best of query × class).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np

from pipeline.detector.facts import ModelFacts, TensorFacts
from pipeline.detector.heads.activation import activated
from pipeline.detector.heads.claims import Certainty, Claim, NotThisError
from pipeline.detector.heads.hints import Hints
from pipeline.detector.heads.outputs import Outputs, boxes_to_network, output, refuse_not_finite
from pipeline.detector.heads.pairs import classes_then_boxes
from pipeline.detector.heads.recipes import LESS_IMAGENETS_MEAN, ZERO_TO_ONE, Recipe
from pipeline.detector.heads.specs import spec_for
from pipeline.detector.runtime_types import Array
from pipeline.picture.boxes import BoxFormat
from pipeline.picture.candidates import Candidates
from pipeline.picture.coco import COCO_80, COCO_91
from pipeline.picture.detector_spec import DetectorSpec, ScoreActivation

_FAR_BELOW = -3.0  # a logit of nothing: "no object" is never so low, and by sigmoid nearly all are

_RT_DETR = replace(ZERO_TO_ONE, in_words="RT-DETR's, RGB 0..1, stretched", resize="stretch")
_RF_DETR = replace(LESS_IMAGENETS_MEAN, in_words="RF-DETR's, RGB less ImageNet's mean, stretched", resize="stretch")
_DETR = replace(
    LESS_IMAGENETS_MEAN,
    in_words="DETR's, RGB less ImageNet's mean, letterbox top left",
    resize="letterbox-topleft",
    pad_value=(124, 116, 104),
)


def detr(outputs: Outputs, spec: DetectorSpec, *, score_threshold: float, batch_index: int) -> Candidates:
    """Logits `[B, Q, C]` and boxes `[B, Q, 4]`.

    By sigmoid, or where the graph has done it, every class of a query may count; by softmax its best class does.
    Columns beyond the classes are no object.
    """
    logits, boxes = (output(outputs, spec, index)[batch_index].astype(np.float32) for index in (0, 1))  # [Q, C], [Q, 4]
    scores = activated(logits, spec.score_activation)  # [Q, C]
    refuse_not_finite(scores, spec)
    if spec.score_activation == "softmax":
        scores = scores[:, :-1]
        best = scores.argmax(axis=1)  # [Q]
        chosen = np.flatnonzero(np.take_along_axis(scores, best[:, None], axis=1)[:, 0] >= np.float32(score_threshold))
        queries, class_ids = chosen, best[chosen]  # [M], [M]
    else:
        scores = scores[:, : spec.first_class_id + len(spec.class_names)]
        queries, class_ids = np.nonzero(scores >= np.float32(score_threshold))  # [M], [M]
    is_object = class_ids >= spec.first_class_id  # [M]
    queries, class_ids = queries[is_object], class_ids[is_object]
    best_scores = scores[queries, class_ids]  # [M]
    order = np.argsort(-best_scores, kind="stable")[: spec.max_detections]
    queries, class_ids = queries[order], class_ids[order].astype(np.int64) - spec.first_class_id
    return Candidates(boxes_to_network(boxes[queries], spec), best_scores[order], class_ids)


def claims(facts: ModelFacts, hints: Hints) -> Iterable[Claim]:
    """Two outputs [B, Q, C] and [B, Q, 4] of at most 1000 queries among all, and no other input than the image."""
    pairs = classes_then_boxes(facts)
    fitting = [
        (logits, boxes)
        for logits, boxes in pairs
        if logits.shape[2] is not None and (hints.head == "detr" or (logits.shape[1] or boxes.shape[1] or 0) <= 1000)
    ]
    if not fitting:
        raise NotThisError(
            "detr: one input, and logits [batch, queries, classes] and boxes [.., 4] of at most 1000 queries",
            is_near=bool(pairs),
        )
    if len(facts.inputs) != 1:
        raise NotThisError("detr: one input, the image; this file has more", is_near=True)
    for logits, boxes in fitting:
        yield from _claims_of(facts, hints, logits, boxes)


def _claims_of(facts: ModelFacts, hints: Hints, logits: TensorFacts, boxes: TensorFacts) -> Iterator[Claim]:
    num_columns = logits.shape[2] or 1
    names = hints.class_names or facts.names_of_exporter() or ()
    is_rf_detr = {"dets", "labels"} <= {tensor.name for tensor in facts.outputs}
    activations: tuple[ScoreActivation, ...] = ("sigmoid", "softmax", "none")
    for activation in activations:
        if hints.score_activation not in (None, activation):
            continue
        if activation == "none" and hints.head is None and (logits.shape[1] or boxes.shape[1] or 0) > 300:
            continue  # more than queries: these are anchors
        has_spare = (
            activation == "softmax"
            or (bool(names) and len(names) == num_columns - 1)
            or (is_rf_detr and num_columns != len(COCO_91) + 1 and len(names) != num_columns)
        )
        first_class_id = hints.first_class_id or 0
        if num_columns == len(COCO_91) + 1 and names == COCO_91:  # by their category ids, of which none is 0
            has_spare, first_class_id = activation == "softmax", 1
        num_classes = num_columns - has_spare - first_class_id
        if num_classes < 1 or (len(names) in (num_columns, num_columns - 1) and names and len(names) != num_classes):
            continue
        recipe, others = _recipes(activation, is_rf_detr, num_columns, len(names))
        for box_format, certainty in _BOX_FORMATS:
            spec = spec_for(
                facts,
                hints,
                head="detr",
                num_classes=num_classes,
                reason=f"detr: {logits}, {_in_words(activation, has_spare)}, and {boxes}, {box_format} in 0..1",
                outputs=(logits.name, boxes.name),
                box_format=box_format,
                boxes_are_normalised=True,
                score_activation=activation,
                first_class_id=first_class_id,
                needs_nms=False,
                recipe=recipe,
            )
            if box_format == "xyxy" and (logits.shape[1] or boxes.shape[1] or 0) > 300:
                certainty = Certainty.UNLIKELY  # more than queries: these come from anchors
            yield Claim(spec, _objection, certainty, other_recipes=others)


_BOX_FORMATS: tuple[tuple[BoxFormat, Certainty], ...] = (
    ("cxcywh", Certainty.SETTLED),
    ("xyxy", Certainty.OPEN),  # which values tell from centres and sizes
    ("yxyx", Certainty.UNLIKELY),
    ("cycxhw", Certainty.UNLIKELY),
)


def _recipes(
    activation: ScoreActivation, is_rf_detr: bool, num_columns: int, num_names: int
) -> tuple[Recipe, tuple[tuple[Recipe, Certainty], ...]]:
    """How the pictures of such a DETR are prepared, and how else they may be.

    RT-DETR, D-FINE and DEIM have COCO's 80 classes and take 0..1; RF-DETR, Conditional and Deformable DETR have its 91
    ids, RF-DETR has a column more than classes, and all three take pictures less ImageNet's mean.
    """
    if activation == "softmax":
        return _DETR, ()
    if is_rf_detr or num_columns == len(COCO_91) + 1 or num_names == num_columns - 1 > 0:
        return _RF_DETR, ((_RT_DETR, Certainty.UNLIKELY),)
    is_certain = num_columns in (len(COCO_80), num_names)
    return _RT_DETR, ((_RF_DETR, Certainty.UNLIKELY if is_certain else Certainty.SETTLED),)


def _in_words(activation: ScoreActivation, has_spare: bool) -> str:
    return f"{'scores' if activation == 'none' else activation}{', the last no object' if has_spare else ''}"


def _objection(outputs: Outputs, spec: DetectorSpec) -> str | None:
    """By softmax nearly all queries of any picture go to the column of no object; by sigmoid few values are high."""
    logits, boxes = output(outputs, spec, 0)[0], output(outputs, spec, 1)[0]  # [Q, C], [Q, 4]
    return _objection_to_boxes(boxes, spec) or _objection_to_logits(logits, spec)


def _objection_to_boxes(boxes: Array, spec: DetectorSpec) -> str | None:
    """Why boxes [Q, 4] are not in 0..1, or not in the spec's format; None if they may be."""
    if boxes.min(initial=0) < -0.5 or boxes.max(initial=0) > 1.5:
        return f"its boxes reach {boxes.max():g}, which is not 0..1"
    are_corners = len(boxes) > 0 and np.mean((boxes[:, 2:] >= boxes[:, :2]).all(axis=1)) > 0.95
    if are_corners != (spec.box_format in ("xyxy", "yxyx")) and len(boxes):
        return f"its boxes are {'corners' if are_corners else 'no corners in order'}"
    return None


def _objection_to_logits(logits: Array, spec: DetectorSpec) -> str | None:
    """Why class values [Q, C] do not become scores by the spec's activation; None if they may."""
    is_within = logits.min(initial=0) >= 0 and logits.max(initial=0) <= 1
    if spec.score_activation == "none":
        return None if is_within else f"its class values reach {logits.max():g}, so they are not scores yet"
    if is_within:
        return "its scores are activated in the graph"
    shares = activated(logits, "softmax")[:, -1]  # [Q]
    has_nothing = (
        logits.shape[1] > 1 and float(np.mean(shares > 0.5)) > 0.5 and float(np.median(logits[:, -1])) > _FAR_BELOW
    )
    if spec.score_activation == "softmax" and not has_nothing:
        return "most queries are not in the last column, as they are where that column means no object"
    if spec.score_activation == "sigmoid" and has_nothing:
        return "most queries are in the last column, as they are where that column means no object"
    return None
