"""Lists' readings: the outputs that a file declares → claims that they are lists, by exporter or by shape."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import permutations, product

import numpy as np

from pipeline.detector.facts import ModelFacts, TensorFacts, image_input
from pipeline.detector.heads.claims import Certainty, Claim, NotThisError
from pipeline.detector.heads.hints import Hints
from pipeline.detector.heads.lists import rows_of
from pipeline.detector.heads.lists_exporters import EXPORTERS, lists_spec, sizes_input
from pipeline.detector.heads.outputs import Outputs
from pipeline.detector.heads.recipes import BGR_AS_IT_IS, LESS_IMAGENETS_MEAN, RGB_STRETCHED, Recipe
from pipeline.picture.boxes import BoxFormat
from pipeline.picture.coco import COCO_91, EITHER_COCO
from pipeline.picture.detector_spec import DetectorSpec, ExtraInput

_FLOATS = ("float", "float16")
_CLASS_WORDS = ("class", "label", "cls", "categor")
_SURE = 0.05  # a score from which a row is an object, not padding


def claims(facts: ModelFacts, hints: Hints) -> Iterable[Claim]:
    """Boxes, class ids and scores, by their shapes and types; names say which exporter wrote them."""
    by_name = {tensor.name.lower(): tensor for tensor in facts.outputs}
    for reading in EXPORTERS:
        spec = reading(facts, hints, by_name)
        if spec is not None:
            yield from _with_neighbours(facts, spec)
            return
    combinations = list(_boxes_classes_scores(facts))
    if not combinations:
        raise NotThisError(
            "lists: boxes [batch, n, 4], class ids and scores [batch, n] among its outputs, under any names, with or "
            "without the batch and a count; or dets [batch, n, 5] and labels (MMDeploy)",
            is_near=len(facts.outputs) >= 2,
        )
    for parts in combinations:
        yield from _claims_of(facts, hints, parts)


def _with_neighbours(facts: ModelFacts, spec: DetectorSpec) -> Iterator[Claim]:
    """What the names say, and what else it may be where the pictures or the class ids contradict them."""
    objection = partial(_objection, num_images=spec.batch)
    yield Claim(spec, objection)
    if spec.first_class_id != 1:
        return
    reason, *others = spec.provenance
    formats: tuple[BoxFormat, ...] = ("xyxy", "yxyx")
    units = (True, False) if spec.boxes_are_normalised else (False,)
    for is_normalised, box_format, first_class_id in product(units, formats, (1, 0)):
        if (is_normalised, box_format, first_class_id) == (spec.boxes_are_normalised, spec.box_format, 1):
            continue
        names = COCO_91 if first_class_id else EITHER_COCO
        other = dataclasses.replace(
            spec,
            box_format=box_format,
            boxes_are_normalised=is_normalised,
            first_class_id=first_class_id,
            class_names=names if spec.class_names == COCO_91 else spec.class_names,
            provenance=(f"{reason}, but with {_in_words(box_format, is_normalised, first_class_id)}", *others),
        )
        yield Claim(other, objection, Certainty.UNLIKELY)


def _claims_of(facts: ModelFacts, hints: Hints, parts: list[TensorFacts]) -> Iterator[Claim]:
    """Every reading of boxes, class ids, scores and perhaps a count whose names no exporter uses."""
    image = image_input(facts)
    sizes = sizes_input(facts, hints)
    box_formats: tuple[BoxFormat, ...] = ("xyxy", "yxyx", "cxcywh", "xywh")
    for is_normalised, box_format, first_class_id in product((False, True), box_formats, (0, 1)):
        certainty = Certainty.OPEN
        if box_format in ("cxcywh", "xywh") or (
            box_format == "yxyx" and not is_normalised and image.layout in ("nchw", "chw")
        ):
            certainty = Certainty.UNLIKELY
        spec = lists_spec(
            facts,
            hints,
            parts,
            _in_words(box_format, is_normalised, first_class_id),
            usual_names=EITHER_COCO,
            resize_is_assumed=not sizes,
            box_format=box_format,
            boxes_are_normalised=is_normalised,
            first_class_id=first_class_id,
            extra_inputs=sizes,
            recipe=_recipe(facts, sizes, may_be_tensorflows=is_normalised and box_format == "yxyx"),
        )
        others = (
            ()
            if image.dtype == "uint8"
            else ((LESS_IMAGENETS_MEAN, Certainty.UNLIKELY), (BGR_AS_IT_IS, Certainty.UNLIKELY))
        )
        yield Claim(spec, partial(_objection, num_images=spec.batch), certainty, other_recipes=others)


def _in_words(box_format: str, is_normalised: bool, first_class_id: int) -> str:
    unit = "in 0..1" if is_normalised else "in pixels"
    return f"boxes {box_format} {unit}, class ids from {first_class_id}"


def _recipe(facts: ModelFacts, sizes: tuple[ExtraInput, ...], *, may_be_tensorflows: bool) -> Recipe:
    if image_input(facts).dtype == "uint8" and may_be_tensorflows:
        return RGB_STRETCHED
    if image_input(facts).dtype == "uint8":
        return Recipe("RGB as it is, letterbox centred, pad 114")
    if sizes:
        return Recipe("RT-DETR's, RGB 0..1, stretched", resize="stretch")
    return Recipe("RGB 0..1, letterbox centred, pad 114")


def _boxes_classes_scores(facts: ModelFacts) -> Iterator[list[TensorFacts]]:
    """The outputs that may be boxes, class ids, scores and a count, by shape and type; by names where these tie."""
    yield from _boxes_with_scores(facts)
    for boxes in _named([tensor for tensor in facts.outputs if _are_rows(tensor, 4)], "box", "det"):
        others = [tensor for tensor in facts.outputs if tensor is not boxes]
        counts = [tensor for tensor in others if _is_count(tensor, boxes)]
        lists = [tensor for tensor in others if tensor not in counts and _is_list(tensor, boxes)]
        for classes, scores in _classes_and_scores(lists):
            yield [boxes, classes, scores, *counts[:1]]


def _boxes_with_scores(facts: ModelFacts) -> Iterator[list[TensorFacts]]:
    """The outputs that may be boxes with the score in their fifth column, and class ids."""
    for boxes in facts.outputs:
        if _are_rows(boxes, 5):
            labels = [tensor for tensor in facts.outputs if tensor is not boxes and _is_list(tensor, boxes)]
            if len(labels) == 1:
                yield [boxes, labels[0]]


def _classes_and_scores(lists: Sequence[TensorFacts]) -> Sequence[tuple[TensorFacts, TensorFacts]]:
    """The pairs of lists that may be class ids and scores; whole numbers are class ids, where there are any."""
    integers = [tensor for tensor in lists if tensor.element_type.startswith(("int", "uint"))]
    fractions = [tensor for tensor in lists if tensor.element_type in _FLOATS]
    if integers:
        class_ids = _named(integers, *_CLASS_WORDS)[0]
        pairs = [(class_ids, tensor) for tensor in fractions]
    else:
        pairs = list(permutations(fractions, 2))
        pairs = [pair for pair in pairs if _is_named(pair[0], *_CLASS_WORDS)] or pairs
    return [pair for pair in pairs if _is_named(pair[1], "score", "conf", "prob")] or pairs


def _are_rows(tensor: TensorFacts, num_columns: int) -> bool:
    """Whether it is [n, columns] or [batch, n, columns] of fractions."""
    return len(tensor.shape) in (2, 3) and tensor.shape[-1] == num_columns and tensor.element_type in _FLOATS


def _named(tensors: Sequence[TensorFacts], *words: str) -> Sequence[TensorFacts]:
    """Those with one of the words in their names; all of them where none has."""
    return [tensor for tensor in tensors if _is_named(tensor, *words)] or tensors


def _is_named(tensor: TensorFacts, *words: str) -> bool:
    return any(word in tensor.name.lower() for word in words)


def _is_count(tensor: TensorFacts, boxes: TensorFacts) -> bool:
    sides = tensor.shape[1:] if len(boxes.shape) == 3 else tensor.shape
    return len(sides) <= 1 and all(side == 1 for side in sides) and boxes.shape[-2] != 1


def _is_list(tensor: TensorFacts, boxes: TensorFacts) -> bool:
    """Whether it has a number for each box, with or without sides of 1."""
    lead = len(boxes.shape) - 2
    sides = [side for side in tensor.shape[lead:] if side != 1] or [1]
    return (
        len(tensor.shape) > lead
        and len(sides) == 1
        and (None in (sides[0], boxes.shape[-2]) or sides[0] == boxes.shape[-2])
    )


def _objection(outputs: Outputs, spec: DetectorSpec, *, num_images: int | None) -> str | None:
    """Class ids are whole numbers, none of them background; scores are not all whole numbers."""
    for index in range(num_images or 1):
        try:
            _, class_ids, scores, num = rows_of(outputs, spec, index)
        except IndexError:
            return "its outputs are not lists of one length"
        is_real = (np.arange(len(scores)) < num) & (scores > 0)
        if len(class_ids) != len(scores):
            return "its outputs are not lists of one length"
        if is_real.any():
            class_ids, scores = class_ids[is_real], scores[is_real]
        if not np.array_equal(class_ids, np.floor(class_ids)):
            return "its class ids are fractions"
        if len(scores) and np.all(scores == np.floor(scores)) and np.any(class_ids > 1):
            return "its scores are whole numbers"
        if spec.first_class_id == 1 and np.any((class_ids == 0) & (scores >= _SURE)):
            return "it is sure of objects of class 0, so that its class ids start there"
    return None
