"""Lists: finished detections in several outputs → claims on a file, and candidates.

TensorFlow's detection API (boxes y1, x1, y2, x2 in 0..1, ids from 1); torchvision; MMDetection by MMDeploy
(https://github.com/open-mmlab/mmdeploy, `dets` with the score in its fifth column); Detectron2's tracing
(https://github.com/facebookresearch/detectron2); YOLO with TensorRT's EfficientNMS; DETRs with their post-processor,
which take the image's size in a second input (RT-DETR, D-FINE, DEIM: https://github.com/lyuwenyu/RT-DETR).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.detector.facts import ModelFacts, TensorFacts, image_input
from pipeline.detector.heads.claims import Certainty, Claim, NotThisError
from pipeline.detector.heads.hints import Hints
from pipeline.detector.heads.outputs import Outputs, boxes_to_network, output, refuse_nan
from pipeline.detector.heads.specs import (
    BGR_AS_IT_IS,
    IMAGENET_MEAN,
    IMAGENET_STD,
    LESS_IMAGENETS_MEAN,
    network_wh,
    spec_for,
)
from pipeline.picture.boxes import BoxFormat
from pipeline.picture.candidates import Candidates
from pipeline.picture.coco import COCO_80, COCO_91, EITHER_COCO
from pipeline.picture.detections import FloatArray
from pipeline.picture.detector_spec import DetectorSpec, ExtraInput

_SURE = 0.05  # a score from which a row is an object, not padding


def lists(outputs: Outputs, spec: DetectorSpec, *, score_threshold: float, batch_index: int) -> Candidates:
    """Boxes `[B, N, 4]`, class ids `[B, N]`, scores `[B, N]`, and a count `[B]` where there is one; B may be missing.

    Sides of 1 beside N are as good as none. Without scores, they are the fifth column of the boxes. Rows beyond the
    count, of score 0 or of an id below `first_class_id` are padding.
    """
    boxes, class_ids, scores, num = _rows(outputs, spec, batch_index)  # [N, 4], [N], [N]
    refuse_nan(scores, spec)
    class_ids = class_ids.astype(np.int64) - spec.first_class_id  # [N]
    is_real = (np.arange(len(scores)) < num) & (scores > 0) & (class_ids >= 0)
    chosen = np.flatnonzero(is_real & (scores >= np.float32(score_threshold)))  # [M]
    return Candidates(boxes_to_network(boxes[chosen], spec), scores[chosen], class_ids[chosen])


def _rows(
    outputs: Outputs, spec: DetectorSpec, batch_index: int
) -> tuple[npt.NDArray[Any], npt.NDArray[Any], FloatArray, int]:
    """Boxes [N, 4], class ids [N] and scores [N] of an image as they are, and how many of them count."""
    boxes = output(outputs, spec, 0)
    is_batched = boxes.ndim == 3

    def of_image(index: int) -> npt.NDArray[Any]:
        values = output(outputs, spec, index)
        return (values[batch_index] if is_batched else values).reshape(-1)  # [N]

    boxes = boxes[batch_index] if is_batched else boxes  # [N, 4 or 5]
    scores = boxes[:, 4] if boxes.shape[1] == 5 else of_image(2)  # [N]
    num = len(scores)
    if len(spec.outputs) > 3:
        counts = output(outputs, spec, 3).reshape(-1)  # [B], or one for all
        num = int(counts[min(batch_index, len(counts) - 1)])
    return boxes[:, :4], of_image(1), scores.astype(np.float32), num


def claims(facts: ModelFacts, hints: Hints) -> Iterable[Claim]:
    """Boxes, class ids and scores, by their shapes and types; names say which exporter wrote them."""
    by_name = {tensor.name.lower(): tensor for tensor in facts.outputs}
    for reading in (_efficient_nms, _tensorflow, _mmdeploy, _detr_with_sizes, _detectron2, _torchvision):
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
    sizes = _sizes_input(facts, hints)
    box_formats: tuple[BoxFormat, ...] = ("xyxy", "yxyx", "cxcywh", "xywh")
    for is_normalised, box_format, first_class_id in product((False, True), box_formats, (0, 1)):
        certainty = Certainty.OPEN
        if box_format in ("cxcywh", "xywh") or (
            box_format == "yxyx" and not is_normalised and image.layout in ("nchw", "chw")
        ):
            certainty = Certainty.UNLIKELY
        spec = _spec(
            facts,
            hints,
            parts,
            _in_words(box_format, is_normalised, first_class_id),
            known_names=EITHER_COCO,
            resize_is_assumed=not sizes,
            box_format=box_format,
            boxes_are_normalised=is_normalised,
            first_class_id=first_class_id,
            extra_inputs=sizes,
            **_recipe(facts, sizes, may_be_tensorflows=is_normalised and box_format == "yxyx"),
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


def _recipe(facts: ModelFacts, sizes: tuple[ExtraInput, ...], *, may_be_tensorflows: bool) -> dict[str, Any]:
    if image_input(facts).dtype == "uint8" and may_be_tensorflows:
        return {"recipe": "RGB as it is, stretched", "resize": "stretch"}
    if image_input(facts).dtype == "uint8":
        return {"recipe": "RGB as it is, letterbox centred, pad 114"}
    if sizes:
        return {"recipe": "RT-DETR's, RGB 0..1, stretched", "resize": "stretch"}
    return {"recipe": "RGB 0..1, letterbox centred, pad 114"}


def _boxes_classes_scores(facts: ModelFacts) -> Iterator[list[TensorFacts]]:
    """The outputs that may be boxes, class ids, scores and a count, by shape and type; by names where these tie."""
    floats = ("float", "float16")
    all_boxes = [
        tensor
        for tensor in facts.outputs
        if len(tensor.shape) in (2, 3) and tensor.shape[-1] == 4 and tensor.element_type in floats
    ]
    for dets in facts.outputs:  # with the score in the fifth column
        if len(dets.shape) in (2, 3) and dets.shape[-1] == 5 and dets.element_type in floats:
            labels = [tensor for tensor in facts.outputs if tensor is not dets and _is_list(tensor, dets)]
            if len(labels) == 1:
                yield [dets, labels[0]]
    for boxes in [tensor for tensor in all_boxes if _is_named(tensor, "box", "det")] or all_boxes:
        others = [tensor for tensor in facts.outputs if tensor is not boxes]
        counts = [tensor for tensor in others if _is_count(tensor, boxes)]
        lists = [tensor for tensor in others if tensor not in counts and _is_list(tensor, boxes)]
        integers = [tensor for tensor in lists if tensor.element_type.startswith(("int", "uint"))]
        fractions = [tensor for tensor in lists if tensor.element_type in floats]
        integers = [tensor for tensor in integers if _is_named(tensor, "class", "label", "cls", "categor")] or integers
        if integers:
            pairs = [(integers[0], tensor) for tensor in fractions]
        else:
            pairs = [(one, other) for one in fractions for other in fractions if one is not other]
            pairs = [pair for pair in pairs if _is_named(pair[0], "class", "label", "cls", "categor")] or pairs
        pairs = [pair for pair in pairs if _is_named(pair[1], "score", "conf", "prob")] or pairs
        for classes, scores in pairs:
            yield [boxes, classes, scores, *counts[:1]]


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
            _, class_ids, scores, num = _rows(outputs, spec, index)
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


def _tensorflow(facts: ModelFacts, hints: Hints, by_name: dict[str, TensorFacts]) -> DetectorSpec | None:
    names = ("detection_boxes", "detection_classes", "detection_scores", "num_detections")
    tensors = [next((tensor for key, tensor in by_name.items() if key.split(":")[0] == name), None) for name in names]
    if None in tensors[:3]:
        return None
    is_uint8 = image_input(facts).dtype == "uint8"
    return _spec(
        facts,
        hints,
        [tensor for tensor in tensors if tensor is not None],
        "TensorFlow's detection API",
        recipe="RGB as it is, stretched" if is_uint8 else "RGB (pixel - 127.5) / 127.5, stretched",
        resize="stretch",
        mean=(127.5, 127.5, 127.5),
        std=(127.5, 127.5, 127.5),
        box_format="yxyx",
        boxes_are_normalised=True,
        first_class_id=1,
        known_names=COCO_91,
    )


def _efficient_nms(facts: ModelFacts, hints: Hints, by_name: dict[str, TensorFacts]) -> DetectorSpec | None:
    for names in (
        ("det_boxes", "det_classes", "det_scores", "num_dets"),
        ("detection_boxes", "detection_classes", "detection_scores", "num_dets"),
    ):
        if all(name in by_name for name in names):
            recipe = "RGB 0..1, letterbox centred, pad 114"
            return _spec(facts, hints, [by_name[name] for name in names], "YOLO with EfficientNMS", recipe=recipe)
    return None


def _mmdeploy(facts: ModelFacts, hints: Hints, by_name: dict[str, TensorFacts]) -> DetectorSpec | None:
    if not {"dets", "labels"} <= by_name.keys() or by_name["dets"].shape[-1] not in (5, None):
        return None
    if len(by_name["labels"].shape) != len(by_name["dets"].shape) - 1:
        return None
    return _spec(
        facts,
        hints,
        [by_name["dets"], by_name["labels"]],
        "MMDetection by MMDeploy",
        recipe="MMDetection's, RGB less ImageNet's mean, letterbox top left, pad 0 (RTMDet and YOLOX have their own: "
        "--colour, --mean, --std)",
        resize="letterbox-topleft",
        pad_value=(124, 116, 104),
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
    )


def _detr_with_sizes(facts: ModelFacts, hints: Hints, by_name: dict[str, TensorFacts]) -> DetectorSpec | None:
    if not {"labels", "boxes", "scores"} <= by_name.keys() or len(facts.inputs) == 1:
        return None
    sizes = _sizes_input(facts, hints)
    if not sizes:
        return None
    return _spec(
        facts,
        hints,
        [by_name["boxes"], by_name["labels"], by_name["scores"]],
        f"a DETR with post-processor, whose {sizes[0].name} gets the network's width and height",
        recipe="RT-DETR's, RGB 0..1, stretched",
        resize="stretch",
        extra_inputs=sizes,
    )


def _sizes_input(facts: ModelFacts, hints: Hints) -> tuple[ExtraInput, ...]:
    """The one input beside the image that takes a width and a height, or ()."""
    others = [tensor for tensor in facts.inputs if tensor.name != image_input(facts).name]
    if len(others) != 1 or others[0].shape[-1:] != (2,):
        return ()
    (size,) = others
    dtype = {"int64": "int64", "int32": "int32", "float": "float32"}.get(size.element_type)
    if dtype is None:
        raise NotThisError(f"lists: {size} must take a width and a height", is_near=True)
    return (ExtraInput(size.name, dtype, tuple(map(float, network_wh(facts, hints)))),)  # type: ignore[arg-type]


def _detectron2(facts: ModelFacts, hints: Hints, by_name: dict[str, TensorFacts]) -> DetectorSpec | None:
    kinds = [(len(tensor.shape), tensor.element_type.startswith("int")) for tensor in facts.outputs]
    if kinds != [(2, False), (1, True), (1, False), (1, True)] or facts.outputs[0].shape[-1] != 4:
        return None
    return _spec(
        facts,
        hints,
        list(facts.outputs[:3]),
        "Detectron2's tracing: boxes, classes, scores, image size",
        recipe="Detectron2's, BGR 0..255, letterbox top left",
        resize="letterbox-topleft",
        colour="bgr",
        pad_value=(104, 116, 124),
        std=(1.0, 1.0, 1.0),
        batch=1,
    )


def _torchvision(facts: ModelFacts, hints: Hints, by_name: dict[str, TensorFacts]) -> DetectorSpec | None:
    if {"boxes", "labels", "scores"} <= by_name.keys():
        tensors = [by_name["boxes"], by_name["labels"], by_name["scores"]]
    else:  # unnamed, in torchvision's order
        kinds = [(len(tensor.shape), tensor.element_type.startswith("int")) for tensor in facts.outputs]
        if kinds not in ([(2, False), (1, True), (1, False)], [(2, False), (1, False), (1, True)]):
            return None
        tensors = sorted(
            facts.outputs, key=lambda tensor: (-len(tensor.shape), not tensor.element_type.startswith("int"))
        )
    if len(facts.inputs) != 1 or tensors[0].shape[-1] not in (4, None) or len(tensors[0].shape) != 2:
        return None  # with a side for the batch it is somebody else's, whose class ids may start at 0
    return _spec(
        facts,
        hints,
        tensors,
        "torchvision's boxes, labels and scores",
        recipe="torchvision's, RGB 0..1, stretched to the size of the graph, which normalises itself",
        resize="letterbox-topleft" if None in image_input(facts).size_wh else "stretch",
        pad_value=0,
        first_class_id=1,
        known_names=COCO_91,
        batch=1,
    )


def _spec(
    facts: ModelFacts, hints: Hints, tensors: list[TensorFacts], what: str, *, recipe: str, **values: Any
) -> DetectorSpec:
    extra = {tensor.name for tensor in facts.inputs} - {image_input(facts).name}
    fed = {tensor.name for tensor in values.get("extra_inputs", ())}
    if extra != fed:
        raise NotThisError(f"lists: no value is known for input {', '.join(sorted(extra - fed))}", is_near=True)
    known_names = values.pop("known_names", COCO_80)
    spec = spec_for(
        facts,
        hints,
        head="lists",
        num_classes=None,
        known_names=known_names,
        reason=f"lists: {', '.join(tensor.name for tensor in tensors)}: {what}",
        recipe=recipe,
        outputs=tuple(tensor.name for tensor in tensors),
        needs_nms=False,
        **values,
    )
    if len(tensors[0].shape) == 2 and spec.batch is None:  # without a batch side, for one image
        return dataclasses.replace(spec, batch=1)
    return spec
