"""Tables: finished detections as rows of one output → claims on a file, and candidates.

YOLOv10 (https://arxiv.org/abs/2405.14458), YOLO26 and Ultralytics' `nms=True`: `[B, 300, 6]`. YOLOv7 with NMS inside:
`[N, 7]`, the image first. PaddleDetection (https://github.com/PaddlePaddle/PaddleDetection): `[N, 6]`, class and score
first, and inputs that say how the image was resized. EfficientDet by automl: `[B, 100, 7]`. YOLO-NAS in the flat format
of super-gradients (https://github.com/Deci-AI/super-gradients): `[N, 7]`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from functools import partial
from itertools import product

import numpy as np

from pipeline.detector.facts import ModelFacts, TensorFacts, image_input
from pipeline.detector.heads.claims import Certainty, Claim, NotThisError
from pipeline.detector.heads.extra_values import extra_values, task_of, with_extra_values
from pipeline.detector.heads.hints import Hints
from pipeline.detector.heads.instances import with_instances
from pipeline.detector.heads.outputs import Outputs, boxes_to_network, output, refuse_not_finite
from pipeline.detector.heads.recipes import LESS_IMAGENETS_MEAN, RGB_STRETCHED, Recipe
from pipeline.detector.heads.specs import network_wh, resize_inputs, spec_for
from pipeline.detector.runtime_types import Array
from pipeline.errors import ModelError
from pipeline.picture.boxes import BoxFormat
from pipeline.picture.candidates import Candidates
from pipeline.picture.coco import COCO_80, COCO_91, EITHER_COCO
from pipeline.picture.detector_spec import DetectorSpec

_MOST_FINISHED = 1000  # rows
_CORNERS = ("x1", "y1", "x2", "y2")
_CENTRES = ("cx", "cy", "w", "h")
_ULTRALYTICS = (*_CORNERS, "score", "class")
_ORIENTED = (*_CENTRES, "score", "class")  # and the angle
_CLASS_FIRST = (*_CORNERS, "class", "score")
_PADDLE = ("class", "score", *_CORNERS)
_YOLOV7 = ("image", *_CORNERS, "class", "score")
_AUTOML = ("image", "y1", "x1", "y2", "x2", "score", "class")
_YOLO_NAS = ("image", *_CORNERS, "score", "class")
_Y_FIRST = ("y1", "x1", "y2", "x2", "score", "class")
_Y_AND_CLASS_FIRST = ("y1", "x1", "y2", "x2", "class", "score")
_USUAL_IDS: Mapping[tuple[str, ...], int] = {_ULTRALYTICS: 0, _PADDLE: 0, _YOLOV7: 0, _YOLO_NAS: 0, _AUTOML: 1}
# Number of columns → their orders, the likeliest first.
_ORDERS: Mapping[int, tuple[tuple[str, ...], ...]] = {
    6: (_ULTRALYTICS, _PADDLE, _CLASS_FIRST, _Y_FIRST, _Y_AND_CLASS_FIRST),
    7: (_YOLOV7, _YOLO_NAS, _AUTOML),
}


def table(outputs: Outputs, spec: DetectorSpec, *, score_threshold: float, batch_index: int) -> Candidates:
    """`[B, N, columns]`, or `[N, columns]` for all images or the only one; rows of score 0 or class -1 are padding.

    More columns than the spec names are of masks or keypoints, or the angle of an oriented box, see `instances`.
    """
    rows = output(outputs, spec)
    if rows.ndim == 3:
        rows = rows[batch_index]  # [N, columns]
    elif "image" in spec.columns:
        rows = rows[rows[:, spec.columns.index("image")] == batch_index]
    scores = rows[:, spec.columns.index("score")].astype(np.float32)  # [N]
    refuse_not_finite(scores, spec)
    class_ids = rows[:, spec.columns.index("class")].astype(np.int64) - spec.first_class_id  # [N]
    chosen = np.flatnonzero((scores >= np.float32(score_threshold)) & (class_ids >= 0) & (scores > 0))  # [M]
    sides = _CENTRES if spec.has_angles else _CORNERS
    boxes = rows[chosen][:, [spec.columns.index(name) for name in sides]]  # [M, 4]
    candidates = Candidates(boxes_to_network(boxes, spec), scores[chosen], class_ids[chosen])
    return with_instances(candidates, rows[chosen][:, len(spec.columns) :], outputs, spec, batch_index)


def claims(facts: ModelFacts, hints: Hints) -> Iterable[Claim]:
    """An output whose last side is 6 or 7, or 6 and the values of a mask or keypoints; values tell columns apart."""
    with_more = list(_with_extra_values(facts, hints))
    yield from with_more
    is_open = all(claim.spec.has_angles for claim in with_more) and task_of(facts) != "obb"
    if not with_more or is_open:
        yield from _claims_of_boxes(facts, hints)


def _with_extra_values(facts: ModelFacts, hints: Hints) -> Iterable[Claim]:
    """YOLO26 and Ultralytics' `nms=True` with masks, keypoints or an angle: `[B, 300, 6 + E]`."""
    for tensor in facts.outputs:
        if len(tensor.shape) != 3 or tensor.shape[2] is None or tensor.shape[2] < 7 or len(facts.inputs) != 1:
            continue
        if tensor.shape[1] is not None and tensor.shape[1] > _MOST_FINISHED:
            continue
        for extra in extra_values(facts, tensor, network_wh(facts, hints), num_others=(6,)):
            columns = _ORIENTED if extra.has_angles else _ULTRALYTICS
            if tensor.shape[2] != 6 + extra.num or hints.columns not in (None, columns):
                continue
            if hints.boxes_are_normalised is True and extra.has_angles:
                continue
            spec = spec_for(
                facts,
                hints,
                head="table",
                num_classes=None,
                usual_names=("person",) if extra.keypoint_names else COCO_80,
                reason=f"table: {tensor} holds {', '.join(columns)} {extra.in_words}",
                columns=columns,
                box_format="cxcywh" if extra.has_angles else "xyxy",
                has_angles=extra.has_angles,
                outputs=(tensor.name, *extra.outputs),
                keypoint_names=extra.keypoint_names,
                needs_nms=False,
                recipe=_recipe(facts, _ULTRALYTICS, is_normalised=False),
            )
            objection = partial(_objection_to_angles, has_metadata=task_of(facts) == "obb")
            yield Claim(spec, with_extra_values(objection if extra.has_angles else _objection, extra))


def _claims_of_boxes(facts: ModelFacts, hints: Hints) -> Iterable[Claim]:
    tensor = _table_among(facts, hints)
    extra_inputs = resize_inputs(facts, hints, "table")
    for columns, first_class_id, is_normalised in product(_orders(tensor, hints), (0, 1), (False, True)):
        certainty = _certainty(facts, tensor, columns, first_class_id, is_normalised)
        is_known = certainty > Certainty.UNLIKELY
        if hints.columns is not None and not is_normalised and _USUAL_IDS.get(columns) == first_class_id:
            certainty = max(certainty, Certainty.OPEN)
        unit = " in 0..1" if is_normalised else ""
        spec = spec_for(
            facts,
            hints,
            head="table",
            num_classes=None,
            usual_names=EITHER_COCO if not is_known else COCO_91 if first_class_id else COCO_80,
            reason=f"table: {tensor} holds {_in_words(columns, hints)}{unit}, class ids from {first_class_id}",
            columns=columns,
            extra_inputs=extra_inputs,
            outputs=(tensor.name,),
            needs_nms=False,
            first_class_id=first_class_id,
            boxes_are_normalised=is_normalised,
            resize_is_assumed=not is_known,
            recipe=_recipe(facts, columns, is_normalised),
        )
        if len(tensor.shape) == 2 and "image" not in columns:  # without a batch side, for one image
            spec = dataclasses.replace(spec, batch=1)
        others = ((LESS_IMAGENETS_MEAN, Certainty.UNLIKELY),) if columns == _PADDLE else ()
        yield Claim(spec, _objection, certainty, other_recipes=others)


def _table_among(facts: ModelFacts, hints: Hints) -> TensorFacts:
    """The one output that may be a table. Raises NotThisError, and ModelError for columns that cannot be."""
    tables = [tensor for tensor in facts.outputs if len(tensor.shape) in (2, 3) and tensor.shape[-1] in _ORDERS]
    if hints.columns is not None:
        _check_columns(hints.columns, hints.box_format)
        tables = [tensor for tensor in tables if tensor.shape[-1] == len(hints.columns)]
    if len(tables) != 1 or any(len(tensor.shape) > 1 and tensor.shape[-1] == 4 for tensor in facts.outputs):
        raise NotThisError("table: one output [batch, boxes, 6], [boxes, 6] or [boxes, 7]")
    (tensor,) = tables
    if tensor.shape[-2] is not None and tensor.shape[-2] > _MOST_FINISHED and hints.head is None:
        raise NotThisError(f"table: {tensor.shape[-2]} rows are more than finished detections have", is_near=True)
    if tensor.shape[0] == 1 and len(tensor.shape) == 2 and hints.head is None:
        raise NotThisError(f"table: {tensor} is one row, not as many as there are objects", is_near=True)
    return tensor


def _check_columns(columns: tuple[str, ...], box_format: BoxFormat | None) -> None:
    every = {*_CORNERS, "score", "class", *(("image",) if len(columns) == 7 else ())}
    if len(columns) != len(every) or set(columns) != every:
        needed = "x1, y1, x2, y2, score, class, and image where there are seven"
        raise ModelError(f"--columns must name each of {needed}, in their order, got {', '.join(columns)}")
    first = "x" if columns.index("x1") < columns.index("y1") else "y"
    if box_format in ("xyxy", "yxyx") and not box_format.startswith(first):
        raise ModelError(f"--box-format {box_format} contradicts --columns, where {first}1 comes first; leave one out")


def _orders(tensor: TensorFacts, hints: Hints) -> tuple[tuple[str, ...], ...]:
    """The usual orders of columns, or the hinted one; x first where a box format says what comes first."""
    orders = _ORDERS[tensor.shape[-1] or 6] if hints.columns is None else (hints.columns,)
    if hints.box_format is not None:
        orders = tuple(
            dict.fromkeys(
                _turned(columns) if columns.index("y1") < columns.index("x1") else columns for columns in orders
            )
        )
    return orders


def _turned(columns: tuple[str, ...]) -> tuple[str, ...]:
    """The columns with x for y and y for x."""
    other = {"x1": "y1", "y1": "x1", "x2": "y2", "y2": "x2"}
    return tuple(other.get(name, name) for name in columns)


def _in_words(columns: tuple[str, ...], hints: Hints) -> str:
    return ", ".join(_turned(columns) if hints.box_format == "yxyx" else columns)


def _certainty(
    facts: ModelFacts, tensor: TensorFacts, columns: tuple[str, ...], first_class_id: int, is_normalised: bool
) -> Certainty:
    """Of six columns Ultralytics' are the usual ones, without a side for the batch PaddleDetection's; of seven, what is
    TensorFlow's has its channels last, and super-gradients names its output."""
    if is_normalised:
        return Certainty.UNLIKELY
    if len(columns) == 6:
        likeliest = _ULTRALYTICS if len(tensor.shape) == 3 else _PADDLE
        if columns == likeliest and first_class_id == 0:
            return Certainty.SETTLED
    elif "flat_predictions" in tensor.name:
        return Certainty.SETTLED if columns == _YOLO_NAS and first_class_id == 0 else Certainty.UNLIKELY
    elif image_input(facts).layout in ("nhwc", "hwc") and len(tensor.shape) == 3:
        return Certainty.SETTLED if columns == _AUTOML and first_class_id == 1 else Certainty.UNLIKELY
    return Certainty.OPEN if first_class_id == _USUAL_IDS.get(columns) else Certainty.UNLIKELY


def _recipe(facts: ModelFacts, columns: tuple[str, ...], is_normalised: bool) -> Recipe:
    if columns == _PADDLE:
        return Recipe(
            "PP-YOLOE+'s, RGB 0..1, stretched (PP-YOLOE and PicoDet take ImageNet's --mean and --std)", resize="stretch"
        )
    is_uint8 = image_input(facts).dtype == "uint8"
    if is_uint8 and is_normalised:
        return RGB_STRETCHED
    return Recipe(f"RGB {'as it is' if is_uint8 else '0..1'}, letterbox centred, pad 114")


def _objection(outputs: Outputs, spec: DetectorSpec) -> str | None:
    """Values tell columns apart: classes are whole numbers, scores lie in 0..1, corners are in order."""
    rows = output(outputs, spec)
    rows = rows.reshape(-1, rows.shape[-1])[:, : len(spec.columns)]  # [N, columns]
    rows = rows[~((rows == 0).all(axis=1) | (rows == -1).all(axis=1))]  # without padding
    scores, class_ids = rows[:, spec.columns.index("score")], rows[:, spec.columns.index("class")]
    corners = rows[:, [spec.columns.index(name) for name in _CORNERS]]
    if not len(rows):
        return None
    if rows.shape[1] == 7 and _are_oriented(rows):
        return "it looks like a model of oriented boxes: its last column holds angles"
    if not np.array_equal(class_ids, np.floor(class_ids)):
        return "its class column holds fractions"
    if np.any((scores < 0) | (scores > 1)):
        return f"its score column reaches {scores.min():g} and {scores.max():g}"
    if np.all(scores == np.floor(scores)) and np.any(class_ids != 0):
        return "its score column holds whole numbers"
    if spec.first_class_id == 1 and np.any((class_ids == 0) & (scores > 0)):
        return "it finds objects of class 0, so that its class ids start there"
    if "image" in spec.columns and not np.isin(rows[:, spec.columns.index("image")], range(spec.batch or 1)).all():
        return "its image column is not 0 for the only image"
    if np.any(corners[:, 2:] < corners[:, :2]):
        return "its corners are not in order"
    return None


def _objection_to_angles(outputs: Outputs, spec: DetectorSpec, *, has_metadata: bool) -> str | None:
    """What speaks against x, y, w, h, score, class and an angle; without metadata they have to look like these."""
    rows = output(outputs, spec).reshape(-1, 7)  # [N, 7]
    rows = rows[rows.any(axis=1)]  # without padding
    scores, class_ids = rows[:, 4], rows[:, 5]
    if not has_metadata and not (len(rows) and _are_oriented(rows)):
        return "its last column does not look like angles"
    if not np.array_equal(class_ids, np.floor(class_ids)):
        return "its class column holds fractions"
    if np.any((scores < 0) | (scores > 1)):
        return f"its score column reaches {scores.min():g} and {scores.max():g}"
    return "it has boxes of negative sides" if np.any(rows[:, 2:4] < 0) else None


def _are_oriented(rows: Array) -> bool:
    """Whether rows [N, 7] hold a box, its score, its class and an angle, as Ultralytics' finished oriented boxes do."""
    scores, class_ids, angles = rows[:, 4:].T
    return bool(
        np.array_equal(class_ids, np.floor(class_ids))
        and np.all((scores >= 0) & (scores <= 1))
        and np.any(angles != np.floor(angles))
        and np.abs(angles).max() <= np.pi
        and np.abs(rows[:, 0]).max() > 1
    )
