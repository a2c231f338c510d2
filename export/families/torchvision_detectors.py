"""How do torchvision's detectors become body and decode?

Dense detectors (SSD, RetinaNet, FCOS) are decoded here, those with a second stage in `two_stage`.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import FrozenBatchNorm2d

from export import known
from export.exportable import Exportable, ExportRequest, Reference, boxes_spec_of
from export.families.torchvision_random import randomise_weights
from export.families.two_stage import Features, TwoStageDecode, apply_deltas, clip_to_image
from export.graph.ops import best_pairs, take_rows
from export.proof.random_weights import SEED, proof_pixels
from export.weights.loading import load_checkpoint
from pipeline.errors import ModelError
from pipeline.picture.candidates import Candidates
from pipeline.picture.detector_spec import DetectorSpec, pack_anchors

_LARGE = (1344, 800)
_DEFAULT_NETWORK_WH = {  # of all others _LARGE
    "ssdlite320_mobilenet_v3_large": (320, 320),
    "ssd300_vgg16": (300, 300),
    "fasterrcnn_mobilenet_v3_large_320_fpn": (576, 320),
}
NAMES = known.NAMES["torchvision"]

# Whose published weights were trained with batch norms that add nothing to the variance, as torchvision knows by heart.
_NORMS_WITHOUT_EPS = (
    "retinanet_resnet50_fpn",
    "fasterrcnn_resnet50_fpn",
    "maskrcnn_resnet50_fpn",
    "keypointrcnn_resnet50_fpn",
)

_DENSE_OUTPUTS = ("class_logits", "box_deltas", "centerness_logits")
# With random weights, so much for the background leaves some dozens of things in an image.
_BACKGROUND = {"ssd": 20.0, "ret": 6.0, "fco": 2.0, "fas": 7.0, "mas": 8.0, "key": 2.4}

_LEAST_SCORE = 0.05  # down to which a detector must be compared

_NOT_IN_HALF = {"ssd300_vgg16": "its VGG squares activations of thousands"}

# How many (anchor, class) pairs leave a dense decoder. torchvision takes up to 1000 from each level (RetinaNet, FCOS)
# or 300 and 400 of each class (SSD) above a threshold; what matters is that no pair of 0.05 or more is left behind.
_NUM_CANDIDATES = {"SSD": 1000, "RetinaNet": 2000, "FCOS": 1000}


def build(wanted: ExportRequest) -> Exportable:
    """The torchvision detector of that name, whose size, classes and weights are as wanted.

    Raises ModelError for a size that the detector cannot take, classes that contradict the weights, and weights that
    can neither be found nor downloaded.
    """
    if wanted.name not in NAMES:
        raise ModelError(f"{wanted.name} is not one of torchvision's detectors: {', '.join(NAMES)}")
    network_wh = _network_wh(wanted)
    class_names = _class_names(wanted)
    model = _load(wanted, len(class_names))
    if wanted.weights == "none" and wanted.checkpoint is None:
        _fix_size(model, network_wh)
        background = _BACKGROUND.get(wanted.name[:3])
        randomise_weights(
            model, wanted.name, num_columns=len(class_names) + 1, pixels=proof_pixels(network_wh), background=background
        )
    return exportable_of(model, wanted.name, class_names=class_names, network_wh=network_wh)


def exportable_of(model: Any, name: str, *, class_names: tuple[str, ...], network_wh: tuple[int, int]) -> Exportable:
    """Split a torchvision detector of that name, which has a background class and the named ones.

    The body is a copy of the model's, so that it may be run in float16; the rest is shared.
    """
    _fix_size(model, network_wh)
    parts: Any = model.roi_heads if hasattr(model, "roi_heads") else model
    parts.score_thresh = min(parts.score_thresh, _LEAST_SCORE)  # FCOS stops at 0.2
    model.eval().requires_grad_(False)
    body_spec = _body_spec(model, name, class_names, network_wh)
    kind = type(model).__name__
    if kind in ("SSD", "RetinaNet", "FCOS"):
        return _dense(model, kind, body_spec)
    decode = TwoStageDecode(model, network_wh)
    return Exportable(
        body=Features(_with_settled_norms(model.backbone)),
        decode=decode,
        spec=dataclasses.replace(
            boxes_spec_of(body_spec), needs_nms=False, keypoint_names=_keypoint_names(name, decode)
        ),
        reference=_reference(model, _detections_of_two_stages),
        more_outputs=decode.more_outputs,
        inner_iou_threshold=float(parts.nms_thresh),
    )


def _dense(model: Any, kind: str, body_spec: DetectorSpec) -> Exportable:
    anchors = _anchors(model, body_spec.network_wh)
    body = DenseBody(_with_settled_norms(model.backbone), copy.deepcopy(model.head))
    if kind != "SSD":
        _drop_background(body.head.classification_head)
    has_head = kind != "FCOS"  # what the runtime can read by itself
    return Exportable(
        body=body,
        decode=DenseDecode(model, kind, anchors, body_spec.network_wh),
        spec=boxes_spec_of(body_spec),
        reference=_reference(model, lambda model, images: model(images)),
        body_outputs=_DENSE_OUTPUTS[: 2 if has_head else 3],
        body_head=_read_by_ssd_raw(body_spec, model, kind, anchors) if has_head else None,
        no_body_because="" if has_head else "its scores are weighed by centerness, which no head of the runtime does",
        half_is_refused_because=_NOT_IN_HALF.get(body_spec.model_name, ""),
    )


class DenseBody(nn.Module):
    """Normalised pixels [N, 3, h, w] → class logits [N, A, C], box deltas [N, A, 4], for FCOS centerness [N, A, 1]."""

    def __init__(self, backbone: nn.Module, head: Any) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        said = self.head(list(self.backbone(images).values()))
        return tuple(said[name] for name in ("cls_logits", "bbox_regression", "bbox_ctrness") if name in said)


class DenseDecode(nn.Module):
    """What a `DenseBody` says of each anchor → the K best pairs of an anchor and a class.

    The best K pairs lie among the K anchors whose best class is best, so that the long way through all classes is
    gone only for these, and boxes are decoded for no others.
    """

    def __init__(self, model: Any, kind: str, anchors: Tensor, network_wh: tuple[int, int]) -> None:
        super().__init__()
        self.kind = kind
        self.network_wh = network_wh
        self.num_candidates = _NUM_CANDIDATES[kind]
        self.weights = tuple(model.box_coder.weights) if kind != "FCOS" else ()
        self.anchors: Tensor
        self.register_buffer("anchors", anchors)  # [A, 4] xyxy, network pixels

    def forward(
        self, class_logits: Tensor, box_deltas: Tensor, centerness: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        if self.kind == "SSD":
            class_scores = class_logits.softmax(dim=2)[:, :, 1:]  # [N, A, C]; 0 is the background
            rank = class_scores.amax(dim=2)  # [N, A]
        elif centerness is None:
            class_scores = class_logits
            rank = class_logits.amax(dim=2)
        else:
            class_scores = class_logits
            rank = class_logits.amax(dim=2).sigmoid() * centerness.sigmoid()[:, :, 0]
        anchor_ids = rank.topk(min(self.num_candidates, rank.shape[1]), dim=1).indices  # [N, B]
        scores = take_rows(class_scores, anchor_ids)  # [N, B, C]
        if self.kind == "RetinaNet":
            scores = scores.sigmoid()
        elif centerness is not None:
            scores = (scores.sigmoid() * take_rows(centerness, anchor_ids).sigmoid()).sqrt()
        scores, rows, class_ids = best_pairs(scores, self.num_candidates)  # [N, K], rows into anchor_ids
        boxes = self._boxes(take_rows(box_deltas, anchor_ids), self.anchors[anchor_ids])  # [N, B, 4]
        return take_rows(boxes, rows), scores, class_ids

    def _boxes(self, deltas: Tensor, anchors: Tensor) -> Tensor:
        """Boxes xyxy [N, B, 4] in network pixels, within the image."""
        if self.kind != "FCOS":
            return clip_to_image(apply_deltas(deltas, anchors, self.weights), self.network_wh)
        centre = (anchors[..., :2] + anchors[..., 2:]) * 0.5  # [N, B, 2]
        deltas = deltas * (anchors[..., 2:] - anchors[..., :2]).repeat(1, 1, 2)  # left, top, right, bottom
        return clip_to_image(torch.cat([centre - deltas[..., :2], centre + deltas[..., 2:]], dim=2), self.network_wh)


def _anchors(model: Any, network_wh: tuple[int, int]) -> Tensor:
    """The model's own anchors [A, 4] for that size, xyxy in network pixels."""
    width, height = network_wh
    pixels = torch.zeros(1, 3, height, width)
    with torch.inference_mode():
        features = list(model.backbone(pixels).values())
        anchors = model.anchor_generator(ImageList(pixels, [(height, width)]), features)[0]
    return torch.clone(anchors)


def _read_by_ssd_raw(spec: DetectorSpec, model: Any, kind: str, anchors: Tensor) -> DetectorSpec:
    """The spec of a `DenseBody` whose outputs the head `ssd_raw` reads."""
    size = torch.tensor(spec.network_wh)
    centre, extent = (anchors[:, :2] + anchors[:, 2:]) / 2, anchors[:, 2:] - anchors[:, :2]  # [A, 2]
    x, y, w, h = (1 / weight for weight in model.box_coder.weights)
    return dataclasses.replace(
        spec,
        head="ssd_raw",
        outputs=_DENSE_OUTPUTS[:2],
        score_activation="softmax" if kind == "SSD" else "sigmoid",
        first_class_id=1 if kind == "SSD" else 0,
        anchors=pack_anchors(torch.cat([centre / size, extent / size], dim=1).numpy()),
        anchor_variances=(x, y, w, h),
    )


def _drop_background(head: Any) -> None:
    """Take out the column 0 of a head with sigmoid scores: torchvision reserves it, and no label ever trains it."""
    for name in ("weight", "bias"):
        old = getattr(head.cls_logits, name)
        by_anchor = old.detach().unflatten(0, (head.num_anchors, head.num_classes))  # [anchors, classes, ...]
        setattr(head.cls_logits, name, nn.Parameter(by_anchor[:, 1:].flatten(0, 1).clone(), requires_grad=False))
    head.num_classes -= 1


class _Affine(nn.Module):
    """What a frozen batch norm does, worked out in float32: variances of 1e-12 become 0 in float16."""

    def __init__(self, norm: Any) -> None:
        super().__init__()
        scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
        self.scale: Tensor
        self.shift: Tensor
        self.register_buffer("scale", scale.reshape(1, -1, 1, 1))
        self.register_buffer("shift", (norm.bias - norm.running_mean * scale).reshape(1, -1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale + self.shift


def _with_settled_norms(module: nn.Module) -> nn.Module:
    """A copy of the module whose frozen batch norms survive float16."""
    copied = copy.deepcopy(module)
    for parent in list(copied.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, FrozenBatchNorm2d):
                setattr(parent, name, _Affine(child))
    return copied


def _body_spec(model: Any, name: str, class_names: tuple[str, ...], network_wh: tuple[int, int]) -> DetectorSpec:
    """What the body takes; its head is not set, as most bodies have none."""
    mean = [255 * value for value in model.transform.image_mean]
    std = [255 * value for value in model.transform.image_std]
    parts = model.roi_heads if hasattr(model, "roi_heads") else model
    is_ssd = name.startswith("ssd")
    return DetectorSpec(
        input_name="pixels",
        network_wh=network_wh,
        head="boxes",
        class_names=class_names,
        batch=None,
        resize="stretch" if is_ssd else "letterbox-topleft",
        pad_value=(round(mean[0]), round(mean[1]), round(mean[2])),  # torchvision pads with 0 after normalising
        colour="rgb",
        mean=(mean[0], mean[1], mean[2]),
        std=(std[0], std[1], std[2]),
        score_threshold=0.5 if hasattr(model, "roi_heads") else 0.4,
        iou_threshold=parts.nms_thresh,
        max_detections=parts.detections_per_img,
        form="body",
        model_name=name,
    )


def _reference(model: Any, detect: Callable[[Any, list[Tensor]], list[dict[str, Tensor]]]) -> Reference:
    def reference(pixels: Tensor) -> Sequence[Candidates]:
        images = pixels.permute(0, 3, 1, 2).float() / 255
        with torch.inference_mode():
            return [_candidates(found) for found in detect(model, list(images))]

    return reference


def _candidates(found: dict[str, Tensor]) -> Candidates:
    """torchvision's answer about one image; what it calls background, which no detector was taught, is left out."""
    named = found["labels"] > 0
    of = {key: value[named].numpy() for key, value in found.items()}
    keypoints = None
    if "keypoints" in found:
        positions, scores = found["keypoints"][named][..., :2], found["keypoints_scores"][named]
        keypoints = torch.cat([positions, scores[..., None]], dim=2).numpy()  # [M, points, 3]
    masks = of["masks"][:, 0] if "masks" in of else None
    return Candidates(of["boxes"], of["scores"], of["labels"] - 1, masks, keypoints)


def _detections_of_two_stages(model: Any, images: list[Tensor]) -> list[dict[str, Tensor]]:
    """GeneralizedRCNN.forward but for its last step, which pastes the masks into images of the original size."""
    transformed, _ = model.transform(images)
    features = model.backbone(transformed.tensors)
    proposals, _ = model.rpn(transformed, features)
    detections, _ = model.roi_heads(features, proposals, transformed.image_sizes)
    return list(detections)


def _fix_size(model: Any, network_wh: tuple[int, int]) -> None:
    """Let the model's own transform leave images of the network's size as they are."""
    if model.transform.fixed_size is None:
        model.transform.min_size = (min(network_wh),)
        model.transform.max_size = max(network_wh)


def _network_wh(wanted: ExportRequest) -> tuple[int, int]:
    default = _DEFAULT_NETWORK_WH.get(wanted.name, _LARGE)
    if wanted.network_wh is None:
        return default
    width, height = wanted.network_wh
    if wanted.name.startswith("ssd"):
        if wanted.network_wh != default:
            raise ModelError(f"{wanted.name} is made for {default[0]} x {default[1]} pixels, got {width} x {height}")
    elif width % 32 or height % 32 or min(width, height) < 32:
        raise ModelError(f"{wanted.name} needs a width and a height that are multiples of 32, got {width} x {height}")
    return width, height


def _default_weights(name: str) -> Any:
    return torchvision.models.get_model_weights(name).DEFAULT


def _class_names(wanted: ExportRequest) -> tuple[str, ...]:
    trained = tuple(_default_weights(wanted.name).meta["categories"][1:])  # without the background
    names = wanted.class_names
    if wanted.num_classes is not None and names is not None and wanted.num_classes != len(names):
        raise ModelError(f"{wanted.name}: {len(names)} class names contradict {wanted.num_classes} classes")
    num_classes = wanted.num_classes if names is None else len(names)
    if num_classes is None:
        return trained
    if num_classes < 1:
        raise ModelError(f"{wanted.name} needs at least one class beside the background, got {num_classes}")
    if (
        wanted.weights == "DEFAULT"
        and wanted.checkpoint is None
        and (wanted.num_classes or num_classes != len(trained))
    ):
        raise ModelError(
            f"{wanted.name}: the trained weights know {len(trained)} classes, so --num-classes cannot be chosen; "
            "give --checkpoint with weights for your classes, or --weights none"
        )
    if names is not None:
        return names
    return trained if num_classes == len(trained) else tuple(f"class {index}" for index in range(num_classes))


def _keypoint_names(name: str, decode: TwoStageDecode) -> tuple[str, ...]:
    return tuple(_default_weights(name).meta["keypoint_names"]) if "keypoints" in decode.more_outputs else ()


def _load(wanted: ExportRequest, num_classes: int) -> Any:
    make, published = getattr(torchvision.models.detection, wanted.name), _default_weights(wanted.name)
    if wanted.checkpoint is not None or wanted.weights == "none":
        torch.manual_seed(SEED)
        model = make(weights=None, weights_backbone=None, num_classes=num_classes + 1)
        if wanted.checkpoint is not None:
            load_checkpoint(model, wanted.checkpoint)
            if wanted.name in _NORMS_WITHOUT_EPS and wanted.checkpoint.name == Path(published.url).name:
                for module in model.backbone.modules():
                    if isinstance(module, nn.BatchNorm2d):
                        module.eps = 0.0
        return model
    try:
        return make(weights="DEFAULT", weights_backbone=None)
    except (URLError, OSError, RuntimeError) as error:  # RuntimeError: the file came, but broken
        raise ModelError(
            f"{wanted.name}: its trained weights must be downloaded once, from PyTorch's model server into "
            f"{torch.hub.get_dir()}, which failed ({error}); go online for that, or give --checkpoint or --weights none"
        ) from error
