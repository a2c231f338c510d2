"""How are finished detections in several outputs told and read?

TensorFlow's detection API (boxes y1, x1, y2, x2 in 0..1, ids from 1); torchvision; MMDetection by MMDeploy
(https://github.com/open-mmlab/mmdeploy, `dets` with the score in its fifth column); Detectron2's tracing
(https://github.com/facebookresearch/detectron2); YOLO with TensorRT's EfficientNMS; DETRs with their post-processor,
which are told the image's size by a second input (RT-DETR, D-FINE, DEIM: https://github.com/lyuwenyu/RT-DETR).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import numpy as np

from pipeline.detector.facts import ModelFacts, TensorFacts, image_input
from pipeline.detector.heads.candidates import Outputs, boxes_to_network, output, refuse_nan
from pipeline.detector.heads.claims import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Claim,
    Hints,
    NotThisError,
    network_wh,
    spec_for,
)
from pipeline.picture.candidates import Candidates
from pipeline.picture.coco import COCO_80, COCO_91
from pipeline.picture.detector_spec import DetectorSpec, ExtraInput


def lists(outputs: Outputs, spec: DetectorSpec, *, score_threshold: float, batch_index: int) -> Candidates:
    """Boxes `[B, N, 4]`, class ids `[B, N]`, scores `[B, N]`, and a count `[B]` where there is one; B may be missing.

    Without scores, they are the fifth column of the boxes. Rows beyond the count, of score 0 or of an id below
    `first_class_id` are padding.
    """
    boxes, class_ids = output(outputs, spec, 0), output(outputs, spec, 1)
    if boxes.ndim == 3:
        boxes, class_ids = boxes[batch_index], class_ids[batch_index]  # [N, 4 or 5], [N]
    scores = boxes[:, 4] if boxes.shape[1] == 5 else output(outputs, spec, 2)  # [N]
    scores = (scores[batch_index] if scores.ndim == 2 else scores).astype(np.float32)
    refuse_nan(scores, spec)
    num = len(scores)
    if len(spec.outputs) > 3:
        num = int(output(outputs, spec, 3).reshape(-1)[batch_index])
    class_ids = class_ids.astype(np.int64) - spec.first_class_id  # [N]
    is_real = (np.arange(len(scores)) < num) & (scores > 0) & (class_ids >= 0)
    chosen = np.flatnonzero(is_real & (scores >= np.float32(score_threshold)))  # [M]
    return Candidates(boxes_to_network(boxes[chosen, :4], spec), scores[chosen], class_ids[chosen])


def claims(facts: ModelFacts, hints: Hints) -> Iterable[Claim]:
    """Boxes, class ids and scores, told by their names where they have some, else by their shapes and types."""
    named = {each.name.lower(): each for each in facts.outputs}
    for reading in (_tensorflow, _efficient_nms, _mmdeploy, _detr_with_sizes, _detectron2, _torchvision):
        spec = reading(facts, hints, named)
        if spec is not None:
            yield Claim(spec)
            return
    raise NotThisError(
        "lists: outputs named detection_boxes, detection_classes, detection_scores, num_detections (TensorFlow); "
        "num_dets, det_boxes, det_scores, det_classes (EfficientNMS); dets, labels (MMDeploy); boxes, labels, scores "
        "(torchvision, RT-DETR); or boxes [n, 4], classes, scores, image size in this order (Detectron2)",
        is_near=len(facts.outputs) >= 2,
    )


def _tensorflow(facts: ModelFacts, hints: Hints, named: dict[str, TensorFacts]) -> DetectorSpec | None:
    names = ("detection_boxes", "detection_classes", "detection_scores", "num_detections")
    found = [next((each for key, each in named.items() if key.split(":")[0] == name), None) for name in names]
    if None in found[:3]:
        return None
    is_uint8 = image_input(facts).dtype == "uint8"
    return _spec(
        facts,
        hints,
        [each for each in found if each is not None],
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


def _efficient_nms(facts: ModelFacts, hints: Hints, named: dict[str, TensorFacts]) -> DetectorSpec | None:
    for names in (
        ("det_boxes", "det_classes", "det_scores", "num_dets"),
        ("detection_boxes", "detection_classes", "detection_scores", "num_dets"),
    ):
        if all(name in named for name in names):
            recipe = "RGB 0..1, letterbox centred, pad 114"
            return _spec(facts, hints, [named[name] for name in names], "YOLO with EfficientNMS", recipe=recipe)
    return None


def _mmdeploy(facts: ModelFacts, hints: Hints, named: dict[str, TensorFacts]) -> DetectorSpec | None:
    if not {"dets", "labels"} <= named.keys():
        return None
    return _spec(
        facts,
        hints,
        [named["dets"], named["labels"]],
        "MMDetection by MMDeploy",
        recipe="MMDetection's, RGB less ImageNet's mean, letterbox top left, pad 0 (RTMDet and YOLOX have their own: "
        "--colour, --mean, --std)",
        resize="letterbox-topleft",
        pad_value=(124, 116, 104),
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
    )


def _detr_with_sizes(facts: ModelFacts, hints: Hints, named: dict[str, TensorFacts]) -> DetectorSpec | None:
    others = [each for each in facts.inputs if each.name != image_input(facts).name]
    if not {"labels", "boxes", "scores"} <= named.keys() or len(others) != 1 or others[0].shape[-1:] != (2,):
        return None
    (size,) = others
    values = tuple(map(float, network_wh(facts, hints)))
    dtype = {"int64": "int64", "int32": "int32", "float": "float32"}.get(size.element_type)
    if dtype is None:
        raise NotThisError(f"lists: {size} must take a width and a height", is_near=True)
    return _spec(
        facts,
        hints,
        [named["boxes"], named["labels"], named["scores"]],
        f"a DETR with post-processor, whose {size.name} gets the network's width and height",
        recipe="RT-DETR's, RGB 0..1, stretched",
        resize="stretch",
        extra_inputs=(ExtraInput(size.name, dtype, values),),  # type: ignore[arg-type]
    )


def _detectron2(facts: ModelFacts, hints: Hints, named: dict[str, TensorFacts]) -> DetectorSpec | None:
    kinds = [(len(each.shape), each.element_type.startswith("int")) for each in facts.outputs]
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


def _torchvision(facts: ModelFacts, hints: Hints, named: dict[str, TensorFacts]) -> DetectorSpec | None:
    if {"boxes", "labels", "scores"} <= named.keys():
        found = [named["boxes"], named["labels"], named["scores"]]
    else:  # unnamed, in torchvision's order
        kinds = [(len(each.shape), each.element_type.startswith("int")) for each in facts.outputs]
        if kinds not in ([(2, False), (1, True), (1, False)], [(2, False), (1, False), (1, True)]):
            return None
        found = sorted(facts.outputs, key=lambda each: (-len(each.shape), not each.element_type.startswith("int")))
    if len(facts.inputs) != 1 or found[0].shape[-1] not in (4, None):
        return None
    return _spec(
        facts,
        hints,
        found,
        "torchvision's boxes, labels and scores",
        recipe="torchvision's, RGB 0..1, stretched to the size of the graph, which normalises itself",
        resize="letterbox-topleft" if None in image_input(facts).size_wh else "stretch",
        pad_value=0,
        first_class_id=1,
        known_names=COCO_91,
        batch=1,
    )


def _spec(
    facts: ModelFacts, hints: Hints, found: list[TensorFacts], what: str, *, recipe: str, **values: Any
) -> DetectorSpec:
    extra = {each.name for each in facts.inputs} - {image_input(facts).name}
    told = {each.name for each in values.get("extra_inputs", ())}
    if extra != told:
        raise NotThisError(f"lists: nothing is known to feed {', '.join(sorted(extra - told))} with", is_near=True)
    known_names = values.pop("known_names", COCO_80)
    spec = spec_for(
        facts,
        hints,
        head="lists",
        num_classes=None,
        known_names=known_names,
        reason=f"lists: {', '.join(each.name for each in found)}: {what}",
        recipe=recipe,
        outputs=tuple(each.name for each in found),
        needs_nms=False,
        **values,
    )
    if len(found[0].shape) == 2 and spec.batch is None:  # without a batch side, for one image
        return dataclasses.replace(spec, batch=1)
    return spec
