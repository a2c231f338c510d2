"""Exporters of lists: outputs named as a known exporter names them → the spec of its convention, or None.

TensorFlow's detection API (boxes y1, x1, y2, x2 in 0..1, ids from 1); torchvision; MMDetection by MMDeploy
(https://github.com/open-mmlab/mmdeploy, `dets` with the score in its fifth column), and MMPose's RTMO and YOLOX-Pose
(https://arxiv.org/abs/2312.07526, `keypoints` beside `dets`); Detectron2's tracing
(https://github.com/facebookresearch/detectron2); YOLO with TensorRT's EfficientNMS; DETRs with their post-processor,
which take the image's size in a second input (RT-DETR, D-FINE, DEIM: https://github.com/lyuwenyu/RT-DETR).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Unpack

from pipeline.detector.facts import ModelFacts, TensorFacts, image_input
from pipeline.detector.heads.claims import NotThisError
from pipeline.detector.heads.hints import Hints
from pipeline.detector.heads.recipes import IMAGENET_MEAN, IMAGENET_STD, RGB_STRETCHED, YOLOX, Recipe
from pipeline.detector.heads.specs import OutputFields, network_wh, spec_for
from pipeline.picture.coco import COCO_80, COCO_91
from pipeline.picture.detector_spec import DetectorSpec, ExtraInput
from pipeline.picture.keypoints import point_names

_TENSORFLOW = Recipe(
    "RGB (pixel - 127.5) / 127.5, stretched", mean=(127.5, 127.5, 127.5), std=(127.5, 127.5, 127.5), resize="stretch"
)
_TENSORFLOW_UINT8 = replace(_TENSORFLOW, in_words=RGB_STRETCHED.in_words)
_MMDETECTION = Recipe(
    "MMDetection's, RGB less ImageNet's mean, letterbox top left, pad 0 (RTMDet and YOLOX have their own: "
    "--colour, --mean, --std)",
    mean=IMAGENET_MEAN,
    std=IMAGENET_STD,
    resize="letterbox-topleft",
    pad_value=(124, 116, 104),
)
_DETECTRON2 = Recipe(
    "Detectron2's, BGR 0..255, letterbox top left",
    colour="bgr",
    std=(1.0, 1.0, 1.0),
    resize="letterbox-topleft",
    pad_value=(104, 116, 124),
)


def sizes_input(facts: ModelFacts, hints: Hints) -> tuple[ExtraInput, ...]:
    """The one input beside the image that takes a width and a height, or ()."""
    others = [tensor for tensor in facts.inputs if tensor.name != image_input(facts).name]
    if len(others) != 1 or others[0].shape[-1:] != (2,):
        return ()
    (size,) = others
    dtype = {"int64": "int64", "int32": "int32", "float": "float32"}.get(size.element_type)
    if dtype is None:
        raise NotThisError(f"lists: {size} must take a width and a height", is_near=True)
    return (ExtraInput(size.name, dtype, tuple(map(float, network_wh(facts, hints)))),)  # type: ignore[arg-type]


def lists_spec(
    facts: ModelFacts,
    hints: Hints,
    tensors: list[TensorFacts],
    what: str,
    *,
    recipe: Recipe,
    usual_names: tuple[str, ...] = COCO_80,
    batch: int | None = None,
    resize_is_assumed: bool = False,
    **fields: Unpack[OutputFields],
) -> DetectorSpec:
    """The spec of a file whose outputs are lists: `tensors`, in the order of the head.

    what: their exporter, in words. batch: the images of one run where the exporter says it; None: as the graph does.
    Raises NotThisError for an input that nothing feeds.
    """
    extra = {tensor.name for tensor in facts.inputs} - {image_input(facts).name}
    fed = {tensor.name for tensor in fields.get("extra_inputs", ())}
    if extra != fed:
        raise NotThisError(f"lists: no value is known for input {', '.join(sorted(extra - fed))}", is_near=True)
    fields["needs_nms"] = False
    fields["outputs"] = tuple(tensor.name for tensor in tensors)
    spec = spec_for(
        facts,
        hints,
        head="lists",
        num_classes=None,
        usual_names=usual_names,
        reason=f"lists: {', '.join(fields['outputs'])}: {what}",
        recipe=recipe,
        resize_is_assumed=resize_is_assumed,
        **fields,
    )
    if batch is None and len(tensors[0].shape) == 2 and spec.batch is None:  # without a batch side, for one image
        batch = 1
    return spec if batch is None else replace(spec, batch=batch)


def _tensorflow(facts: ModelFacts, hints: Hints, by_name: dict[str, TensorFacts]) -> DetectorSpec | None:
    names = ("detection_boxes", "detection_classes", "detection_scores", "num_detections")
    tensors = [next((tensor for key, tensor in by_name.items() if key.split(":")[0] == name), None) for name in names]
    if None in tensors[:3]:
        return None
    return lists_spec(
        facts,
        hints,
        [tensor for tensor in tensors if tensor is not None],
        "TensorFlow's detection API",
        recipe=_TENSORFLOW if image_input(facts).dtype != "uint8" else _TENSORFLOW_UINT8,
        box_format="yxyx",
        boxes_are_normalised=True,
        first_class_id=1,
        usual_names=COCO_91,
    )


def _efficient_nms(facts: ModelFacts, hints: Hints, by_name: dict[str, TensorFacts]) -> DetectorSpec | None:
    for names in (
        ("det_boxes", "det_classes", "det_scores", "num_dets"),
        ("detection_boxes", "detection_classes", "detection_scores", "num_dets"),
    ):
        if all(name in by_name for name in names):
            recipe = Recipe("RGB 0..1, letterbox centred, pad 114")
            return lists_spec(facts, hints, [by_name[name] for name in names], "YOLO with EfficientNMS", recipe=recipe)
    return None


def _mmdeploy(facts: ModelFacts, hints: Hints, by_name: dict[str, TensorFacts]) -> DetectorSpec | None:
    if not {"dets", "labels"} <= by_name.keys() or by_name["dets"].shape[-1] not in (5, None):
        return None
    if len(by_name["labels"].shape) != len(by_name["dets"].shape) - 1:
        return None
    return lists_spec(
        facts,
        hints,
        [by_name["dets"], by_name["labels"]],
        "MMDetection by MMDeploy",
        recipe=_MMDETECTION,
    )


def _poses(facts: ModelFacts, hints: Hints, by_name: dict[str, TensorFacts]) -> DetectorSpec | None:
    """By shape: boxes with scores [B, N, 5], and keypoints [B, N, K, 3], of one class."""
    by_sides = {len(tensor.shape): tensor for tensor in facts.outputs}
    if len(facts.outputs) != 2 or by_sides.keys() != {3, 4} or len(facts.inputs) != 1:
        return None
    boxes, points = by_sides[3], by_sides[4]
    num_points, num_rows = points.shape[2], {boxes.shape[1], points.shape[1]} - {None}
    if boxes.shape[2] != 5 or points.shape[3] != 3 or num_points is None or len(num_rows) > 1:
        return None
    return lists_spec(
        facts,
        hints,
        [boxes, points],
        f"RTMO's or YOLOX-Pose's boxes with scores, and {num_points} keypoints",
        recipe=YOLOX,
        usual_names=("person",),
        keypoint_names=point_names(num_points),
    )


def _detr_with_sizes(facts: ModelFacts, hints: Hints, by_name: dict[str, TensorFacts]) -> DetectorSpec | None:
    if not {"labels", "boxes", "scores"} <= by_name.keys() or len(facts.inputs) == 1:
        return None
    sizes = sizes_input(facts, hints)
    if not sizes:
        return None
    return lists_spec(
        facts,
        hints,
        [by_name["boxes"], by_name["labels"], by_name["scores"]],
        f"a DETR with post-processor, whose {sizes[0].name} gets the network's width and height",
        recipe=Recipe("RT-DETR's, RGB 0..1, stretched", resize="stretch"),
        extra_inputs=sizes,
    )


def _detectron2(facts: ModelFacts, hints: Hints, by_name: dict[str, TensorFacts]) -> DetectorSpec | None:
    kinds = [(len(tensor.shape), tensor.element_type.startswith("int")) for tensor in facts.outputs]
    if kinds != [(2, False), (1, True), (1, False), (1, True)] or facts.outputs[0].shape[-1] != 4:
        return None
    return lists_spec(
        facts,
        hints,
        list(facts.outputs[:3]),
        "Detectron2's tracing: boxes, classes, scores, image size",
        recipe=_DETECTRON2,
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
    return lists_spec(
        facts,
        hints,
        tensors,
        "torchvision's boxes, labels and scores",
        recipe=Recipe(
            "torchvision's, RGB 0..1, stretched to the size of the graph, which normalises itself",
            resize="letterbox-topleft" if None in image_input(facts).size_wh else "stretch",
            pad_value=0,
        ),
        first_class_id=1,
        usual_names=COCO_91,
        batch=1,
    )


EXPORTERS = (_efficient_nms, _tensorflow, _mmdeploy, _poses, _detr_with_sizes, _detectron2, _torchvision)
"""Tried in this order; the first spec counts."""
