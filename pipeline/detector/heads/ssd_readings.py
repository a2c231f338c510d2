"""SSD's readings: class values and boxes that a file declares → claims of an SSD without its NMS.

Boxes are decoded in the graph, or offsets from anchors. Anchors are not in the graph of such a file: they come from a
file beside it, or from our export.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import product
from pathlib import Path
from tokenize import TokenError

import numpy as np

from pipeline.detector.facts import ModelFacts, TensorFacts, image_input
from pipeline.detector.heads.claims import Certainty, Claim, NotThisError
from pipeline.detector.heads.class_names import VOC_20
from pipeline.detector.heads.hints import Hints
from pipeline.detector.heads.pairs import classes_then_boxes
from pipeline.detector.heads.recipes import BGR_AS_IT_IS, LESS_IMAGENETS_MEAN, RGB_STRETCHED, ZERO_TO_ONE, Recipe
from pipeline.detector.heads.specs import resize_inputs, spec_for
from pipeline.detector.heads.ssd_objections import Background, decoded_objection, raw_objection
from pipeline.errors import ModelError, reason_of
from pipeline.picture.boxes import BoxFormat
from pipeline.picture.coco import COCO_80, COCO_91
from pipeline.picture.detections import FloatArray
from pipeline.picture.detector_spec import DetectorSpec, ScoreActivation, pack_anchors

_BOXES: tuple[tuple[BoxFormat, bool], ...] = tuple(
    (box_format, is_normalised)
    for box_format in ("xyxy", "yxyx", "cxcywh", "cycxhw")
    for is_normalised in (True, False)
)
_YOLO = Recipe("YOLO's, RGB 0..1, letterbox centred, pad 114")
_SSD = Recipe(
    "SSD's, RGB (pixel - 127) / 128, stretched",
    mean=(127.0, 127.0, 127.0),
    std=(128.0, 128.0, 128.0),
    resize="stretch",
)


def claims(facts: ModelFacts, hints: Hints) -> Iterable[Claim]:
    """Two outputs among all, class values [B, A, C] and boxes or offsets [B, A, 4].

    The values tell, as far as they can, which column is background, what class values still need, and what a box is.
    """
    pairs = classes_then_boxes(_with_rows(facts))
    if not pairs:
        raise NotThisError(
            "ssd: class values [batch, anchors, classes] and boxes [batch, anchors, 4] among its outputs"
        )
    missed: list[NotThisError] = []
    for classes, boxes in pairs:
        try:
            yield from _claims_of(facts, hints, classes, boxes)
        except NotThisError as reason:
            missed.append(reason)
    if missed:
        raise missed[0]


def _claims_of(facts: ModelFacts, hints: Hints, classes: TensorFacts, boxes: TensorFacts) -> Iterator[Claim]:
    num_anchors, num_columns = boxes.shape[1] or classes.shape[1], classes.shape[2]
    if num_columns is None:
        raise NotThisError(f"ssd: {classes} must say its number of classes", is_near=True)
    columns = {
        tensor.shape[2] for tensor in facts.outputs if len(tensor.shape) == 3 and tensor.shape[1] == num_anchors
    } - {4}
    if hints.head is None and 1 in columns and len(columns) > 1:
        raise NotThisError("ssd: class values, and no objectness beside them that multiplies them", is_near=True)
    if num_columns == 1 and sum(tensor.shape == classes.shape for tensor in facts.outputs) > 1:
        raise NotThisError("ssd: class values in one output, not scores and class ids in two")
    if hints.head != "ssd_raw":
        for activation, background, (box_format, is_normalised) in product(
            _activations(hints), _backgrounds(facts, hints, num_columns), _BOXES
        ):
            spec = _decoded(facts, hints, classes, boxes, activation, background, box_format, is_normalised)
            certainty = min(
                _certainty_of_background(facts, hints, num_columns, background, activation, is_normalised),
                _certainty_of_boxes(facts, boxes, num_columns, background, box_format, is_normalised),
            )
            may_be_few = hints.head is not None or not is_normalised
            objection = partial(decoded_objection, background=background, may_be_few=may_be_few)
            yield Claim(spec, objection, certainty, other_recipes=_other_recipes(facts))
    if hints.head != "ssd_decoded":
        if hints.head is None and (num_anchors or 1001) <= 300:
            raise NotThisError(f"ssd_raw: more than 300 anchors, not {classes} and {boxes}", is_near=True)
        for activation, background in product(_activations(hints), _backgrounds(facts, hints, num_columns)):
            spec = _raw(facts, hints, classes, boxes, activation, background)
            certainty = _certainty_of_background(facts, hints, num_columns, background, activation, True)
            yield Claim(spec, partial(raw_objection, background=background), certainty)


def _with_rows(facts: ModelFacts) -> ModelFacts:
    """The facts with outputs [B, 4, A] and [B, C, A] as if they were turned: with a row for each anchor."""
    outputs = tuple(_turned(tensor) if _are_turned_boxes(tensor) else tensor for tensor in facts.outputs)
    nums = {tensor.shape[1] for tensor in outputs if len(tensor.shape) == 3 and tensor.shape[2] == 4} - {None}
    outputs = tuple(
        _turned(tensor)
        if len(tensor.shape) == 3 and tensor.shape[2] in nums and tensor.shape[1] not in nums
        else tensor
        for tensor in outputs
    )
    return dataclasses.replace(facts, outputs=outputs)


def _are_turned_boxes(tensor: TensorFacts) -> bool:
    return len(tensor.shape) == 3 and tensor.shape[1] == 4 and (tensor.shape[2] or 0) > 100


def _turned(tensor: TensorFacts) -> TensorFacts:
    batch, rows, columns = tensor.shape
    return dataclasses.replace(tensor, shape=(batch, columns, rows))


def read_anchors(path: Path) -> FloatArray:
    """Anchors [A, 4] of a .npy file: centre y, centre x, height, width in 0..1, as TensorFlow's detectors have them.

    Raises ModelError for a missing file and for anything else in it.
    """
    try:
        with path.open("rb") as file:
            anchors = np.lib.format.read_array(file, allow_pickle=False)
    except (OSError, ValueError, EOFError, MemoryError, TokenError, RecursionError) as error:
        raise ModelError(f"--anchors must be a .npy file, got {path}: {reason_of(error)}") from error
    if anchors.ndim != 2 or anchors.shape[1] != 4 or not np.issubdtype(anchors.dtype, np.floating):
        raise ModelError(f"{path}: anchors must be floats [A, 4], got {anchors.dtype} {list(anchors.shape)}")
    if not np.isfinite(anchors).all() or anchors[:, 2:].min(initial=1) <= 0 or np.abs(anchors).max(initial=0) > 2:
        raise ModelError(f"{path}: anchors must be centre y, centre x, height, width in 0..1 of the network's input")
    return np.asarray(anchors, np.float32)


def _activations(hints: Hints) -> tuple[ScoreActivation, ...]:
    return ("none", "sigmoid", "softmax") if hints.score_activation is None else (hints.score_activation,)


def _backgrounds(facts: ModelFacts, hints: Hints, num_columns: int) -> tuple[Background, ...]:
    """The columns that may be background, as far as the number of names and the user leave it open."""
    num_names = _num_names(facts, hints, num_columns)
    possible: list[Background] = []
    if num_names in (None, num_columns) and hints.first_class_id in (None, 0):
        possible.append("none")
    if num_columns > 1 and num_names in (None, num_columns - 1):
        if hints.first_class_id in (None, 1):
            possible.append("first")
        if hints.first_class_id in (None, 0):
            possible.append("last")
    return tuple(possible)


def _num_names(facts: ModelFacts, hints: Hints, num_columns: int) -> int | None:
    """The number of classes by hints or metadata, if it fits the columns; else None."""
    names = hints.class_names or facts.names_of_exporter() or ()
    return len(names) if len(names) in (num_columns, num_columns - 1) and names else None


def _certainty_of_background(
    facts: ModelFacts,
    hints: Hints,
    num_columns: int,
    background: Background,
    activation: ScoreActivation,
    is_normalised: bool,
) -> Certainty:
    """The certainty by the number of columns. Values tell the rest: with softmax, background wins nearly everywhere."""
    if _num_names(facts, hints, num_columns) is not None or hints.first_class_id is not None:
        return Certainty.SETTLED
    if background == "last" or activation == "softmax":
        return Certainty.SETTLED  # only where it wins nearly everywhere
    if num_columns in (len(COCO_80) + 1, len(COCO_91) + 1, len(VOC_20) + 1):
        return Certainty.SETTLED if background == "first" else Certainty.UNLIKELY
    if num_columns in (1, len(COCO_80), len(COCO_91), len(VOC_20)) or not (
        is_normalised or image_input(facts).layout in ("nhwc", "hwc")
    ):
        return Certainty.SETTLED if background == "none" else Certainty.UNLIKELY
    return Certainty.OPEN


def _certainty_of_boxes(
    facts: ModelFacts,
    boxes: TensorFacts,
    num_columns: int,
    background: Background,
    box_format: BoxFormat,
    is_normalised: bool,
) -> Certainty:
    """TensorFlow's detectors put y first, PyTorch's x."""
    if box_format not in ("xyxy", "yxyx"):
        return Certainty.OPEN if box_format == "cxcywh" else Certainty.UNLIKELY
    if any(name in boxes.name.lower() for name in ("detection_boxes", "raw_detection")):
        return Certainty.SETTLED if box_format == "yxyx" else Certainty.UNLIKELY
    may_be_tensorflows = image_input(facts).layout in ("nhwc", "hwc") or (
        is_normalised and (background == "none" or num_columns in (len(COCO_91), len(COCO_91) + 1))
    )
    if may_be_tensorflows:
        return Certainty.OPEN
    return Certainty.SETTLED if box_format == "xyxy" else Certainty.UNLIKELY


def _raw(
    facts: ModelFacts,
    hints: Hints,
    classes: TensorFacts,
    boxes: TensorFacts,
    activation: ScoreActivation,
    background: Background,
) -> DetectorSpec:
    path = hints.anchors or facts.path.with_name(f"{facts.path.stem}_anchors.npy")
    if hints.anchors is None and not path.is_file():
        # All files of one network, raw and finished, may share their anchors: net_anchors.npy beside net_raw.onnx.
        path = facts.path.with_name(f"{facts.path.stem.removesuffix('_raw')}_anchors.npy")
    if hints.anchors is None and not path.is_file():
        raise NotThisError("ssd_raw: its anchors are not in the graph, give them with --anchors FILE.npy", is_near=True)
    anchors = read_anchors(path)
    if boxes.shape[1] not in (None, len(anchors)):
        raise ModelError(f"{path}: the graph has {boxes.shape[1]} anchors, the file {len(anchors)}")
    return spec_for(
        facts,
        hints,
        head="ssd_raw",
        num_classes=(classes.shape[2] or 1) - (background != "none"),
        reason=f"ssd_raw: {classes}, {_in_words(activation, background)}, and {boxes}, anchors of {path.name}",
        outputs=(classes.name, boxes.name),
        extra_inputs=resize_inputs(facts, hints, "ssd"),
        box_format="cycxhw",
        anchors=pack_anchors(anchors[:, [1, 0, 3, 2]]),
        score_activation=activation,
        first_class_id=int(background == "first"),
        resize_is_assumed=True,
        recipe=_recipe(facts),
    )


def _decoded(
    facts: ModelFacts,
    hints: Hints,
    classes: TensorFacts,
    boxes: TensorFacts,
    activation: ScoreActivation,
    background: Background,
    box_format: BoxFormat,
    is_normalised: bool,
) -> DetectorSpec:
    num_classes = (classes.shape[2] or 1) - (background != "none")
    unit = "in 0..1" if is_normalised else "in pixels"
    return spec_for(
        facts,
        hints,
        head="ssd_decoded",
        num_classes=num_classes,
        usual_names=("face",) if num_classes == 1 and "face" in facts.path.stem.lower() else None,
        reason=f"ssd_decoded: {classes}, {_in_words(activation, background)}, and {boxes}, {box_format} {unit}",
        outputs=(classes.name, boxes.name),
        extra_inputs=resize_inputs(facts, hints, "ssd"),
        box_format=box_format,
        boxes_are_normalised=is_normalised,
        score_activation=activation,
        first_class_id=int(background == "first"),
        iou_threshold=0.3 if num_classes == 1 else 0.45,
        score_threshold=0.7 if num_classes == 1 else 0.4,
        resize_is_assumed=True,
        recipe=_recipe(facts) if is_normalised else _YOLO,
    )


def _in_words(activation: ScoreActivation, background: Background) -> str:
    where = {"none": "no background", "first": "background first", "last": "background last"}[background]
    return f"{'scores' if activation == 'none' else activation}, {where}"


def _recipe(facts: ModelFacts) -> Recipe:
    return RGB_STRETCHED if image_input(facts).dtype == "uint8" else _SSD


def _other_recipes(facts: ModelFacts) -> tuple[tuple[Recipe, Certainty], ...]:
    if image_input(facts).dtype == "uint8":
        return ()
    return tuple((recipe, Certainty.UNLIKELY) for recipe in (ZERO_TO_ONE, LESS_IMAGENETS_MEAN, BGR_AS_IT_IS))
