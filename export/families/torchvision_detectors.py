"""torchvision: a detector by its name → an `Exportable`; its decoding is in `torchvision_dense` or `two_stage`."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias
from urllib.error import URLError

import torch
import torchvision
from torch import Tensor, nn
from torchvision.models import Weights
from torchvision.models.detection import FCOS, FasterRCNN, RetinaNet
from torchvision.models.detection.ssd import SSD
from torchvision.ops import FrozenBatchNorm2d

from export import known
from export.exportable import Exportable, ExportRequest, Reference, boxes_spec_of
from export.families.torchvision_dense import KINDS, dense_exportable
from export.families.torchvision_random import randomise_weights
from export.families.two_stage import Features, TwoStageDecode
from export.proof.random_weights import SEED, proof_pixels
from export.weights.loading import load_checkpoint
from pipeline.errors import ModelError
from pipeline.picture.candidates import Candidates
from pipeline.picture.detector_spec import DetectorSpec

_LARGE = (1344, 800)
_DEFAULT_NETWORK_WH = {  # of all others _LARGE
    "ssdlite320_mobilenet_v3_large": (320, 320),
    "ssd300_vgg16": (300, 300),
    "fasterrcnn_mobilenet_v3_large_320_fpn": (576, 320),
}
NAMES = known.NAMES["torchvision"]

Detector: TypeAlias = SSD | RetinaNet | FCOS | FasterRCNN
"""FasterRCNN is also the base of Mask R-CNN and of Keypoint R-CNN."""

# Their published weights were trained with batch norms without epsilon; torchvision sets it to 0 when it loads them.
_NORMS_WITHOUT_EPS = (
    "retinanet_resnet50_fpn",
    "fasterrcnn_resnet50_fpn",
    "maskrcnn_resnet50_fpn",
    "keypointrcnn_resnet50_fpn",
)

# With random weights, this much more for the background leaves some dozens of detections in an image.
_BACKGROUND = {"ssd": 20.0, "ret": 6.0, "fco": 2.0, "fas": 7.0, "mas": 8.0, "key": 2.4}

_LEAST_SCORE = 0.05  # detectors are compared down to this score


def build(request: ExportRequest) -> Exportable:
    """The torchvision detector of a request, in eval mode.

    Raises ModelError for a size that the detector does not take, for classes that contradict the weights and for
    weights that can neither be found nor downloaded.
    """
    if request.name not in NAMES:
        raise ModelError(f"{request.name} is not one of torchvision's detectors: {', '.join(NAMES)}")
    network_wh = _network_wh(request)
    class_names = _class_names(request)
    model = _load(request, len(class_names))
    if request.uses_random_weights:
        _fix_size(model, network_wh)
        background = _BACKGROUND.get(request.name[:3])
        randomise_weights(
            model,
            request.name,
            num_columns=len(class_names) + 1,
            pixels=proof_pixels(network_wh),
            background=background,
        )
    return exportable_of(model, request.name, class_names=class_names, network_wh=network_wh)


def exportable_of(
    model: Detector, name: str, *, class_names: tuple[str, ...], network_wh: tuple[int, int]
) -> Exportable:
    """Split a torchvision detector that has a background class and the named ones.

    The body is a copy of the model's, so that it may run in float16; the rest is shared.
    """
    _fix_size(model, network_wh)
    parts = model.roi_heads if hasattr(model, "roi_heads") else model
    parts.score_thresh = min(parts.score_thresh, _LEAST_SCORE)  # FCOS stops at 0.2
    model.eval().requires_grad_(False)
    body_spec = _body_spec(model, name, class_names, network_wh)
    backbone = _with_affine_norms(model.backbone)
    if type(model).__name__ in KINDS:
        reference = _reference(model, lambda model, images: model(images))
        return dense_exportable(model, body_spec, backbone=backbone, reference=reference)
    decode = TwoStageDecode(model, network_wh)
    return Exportable(
        body=Features(backbone),
        decode=decode,
        spec=dataclasses.replace(
            boxes_spec_of(body_spec), needs_nms=False, keypoint_names=_keypoint_names(name, decode)
        ),
        reference=_reference(model, _detections_of_two_stages),
        more_outputs=decode.more_outputs,
        inner_iou_threshold=float(parts.nms_thresh),
    )


class _Affine(nn.Module):
    """A frozen batch norm as one scale and shift, computed in float32: variances of 1e-12 become 0 in float16."""

    def __init__(self, norm: FrozenBatchNorm2d) -> None:
        super().__init__()
        scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
        self.scale: Tensor
        self.shift: Tensor
        self.register_buffer("scale", scale.reshape(1, -1, 1, 1))
        self.register_buffer("shift", (norm.bias - norm.running_mean * scale).reshape(1, -1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale + self.shift


def _with_affine_norms(module: nn.Module) -> nn.Module:
    """A copy of the module whose frozen batch norms survive float16."""
    copied = copy.deepcopy(module)
    for parent in list(copied.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, FrozenBatchNorm2d):
                setattr(parent, name, _Affine(child))
    return copied


def _body_spec(model: Detector, name: str, class_names: tuple[str, ...], network_wh: tuple[int, int]) -> DetectorSpec:
    """The input of the body; most bodies have no head."""
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


def _reference(model: Detector, detect: Callable[[Detector, list[Tensor]], list[dict[str, Tensor]]]) -> Reference:
    def reference(pixels: Tensor) -> Sequence[Candidates]:
        images = pixels.permute(0, 3, 1, 2).float() / 255
        with torch.inference_mode():
            return [_candidates(result) for result in detect(model, list(images))]

    return reference


def _candidates(result: dict[str, Tensor]) -> Candidates:
    """torchvision's detections in one image, without those of the background class, which no training touches."""
    objects = {key: value[result["labels"] > 0] for key, value in result.items()}
    keypoints = None
    if "keypoints" in objects:
        positions, certainty = objects["keypoints"][..., :2], objects["keypoints_scores"]
        keypoints = torch.cat([positions, certainty[..., None]], dim=2).numpy()  # [M, points, 3]
    masks = objects["masks"][:, 0].numpy() if "masks" in objects else None
    boxes, scores, class_ids = (objects[key].numpy() for key in ("boxes", "scores", "labels"))
    return Candidates(boxes, scores, class_ids - 1, masks, keypoints)


def _detections_of_two_stages(model: Detector, images: list[Tensor]) -> list[dict[str, Tensor]]:
    """GeneralizedRCNN.forward without its last step, which pastes the masks into images of the original size."""
    transformed, _ = model.transform(images)
    features = model.backbone(transformed.tensors)
    proposals, _ = model.rpn(transformed, features)
    detections, _ = model.roi_heads(features, proposals, transformed.image_sizes)
    return list(detections)


def _fix_size(model: Detector, network_wh: tuple[int, int]) -> None:
    """Set the model's own transform so that it leaves images of the network's size unchanged."""
    if model.transform.fixed_size is None:
        model.transform.min_size = (min(network_wh),)
        model.transform.max_size = max(network_wh)


def _network_wh(request: ExportRequest) -> tuple[int, int]:
    default = _DEFAULT_NETWORK_WH.get(request.name, _LARGE)
    if request.network_wh is None:
        return default
    width, height = request.network_wh
    if request.name.startswith("ssd"):
        if request.network_wh != default:
            raise ModelError(f"{request.name} is made for {default[0]} x {default[1]} pixels, got {width} x {height}")
    elif width % 32 or height % 32 or min(width, height) < 32:
        raise ModelError(f"{request.name} needs a width and a height that are multiples of 32, got {width} x {height}")
    return width, height


def _default_weights(name: str) -> Weights:
    return torchvision.models.get_model_weights(name).DEFAULT


def _class_names(request: ExportRequest) -> tuple[str, ...]:
    trained = tuple(_default_weights(request.name).meta["categories"][1:])  # without the background
    num_classes = _num_classes(request, len(trained))
    if request.class_names is not None:
        return request.class_names
    return trained if num_classes == len(trained) else tuple(f"class {index}" for index in range(num_classes))


def _num_classes(request: ExportRequest, num_trained: int) -> int:
    """The number of classes without the background. Raises ModelError for a request that contradicts itself."""
    names = request.class_names
    if request.num_classes is None and names is None:
        return num_trained
    if request.num_classes is not None and names is not None and request.num_classes != len(names):
        raise ModelError(f"{request.name}: {len(names)} class names contradict {request.num_classes} classes")
    if request.num_requested_classes < 1:
        raise ModelError(
            f"{request.name} needs at least one class besides the background, got {request.num_requested_classes}"
        )
    if request.uses_published_weights and (request.num_classes or request.num_requested_classes != num_trained):
        raise ModelError(
            f"{request.name}: the trained weights know {num_trained} classes, so --num-classes cannot be chosen; "
            "pass --checkpoint with weights for your classes, or --weights none"
        )
    return request.num_requested_classes


def _keypoint_names(name: str, decode: TwoStageDecode) -> tuple[str, ...]:
    return tuple(_default_weights(name).meta["keypoint_names"]) if "keypoints" in decode.more_outputs else ()


def _load(request: ExportRequest, num_classes: int) -> Detector:
    make = getattr(torchvision.models.detection, request.name)
    if not request.uses_published_weights:
        torch.manual_seed(SEED)
        model = make(weights=None, weights_backbone=None, num_classes=num_classes + 1)
        if request.checkpoint is not None:
            _load_checkpoint(model, request.name, request.checkpoint)
        return model
    try:
        return make(weights="DEFAULT", weights_backbone=None)
    except (URLError, OSError, RuntimeError) as error:  # RuntimeError: the downloaded file is broken
        raise ModelError(
            f"{request.name}: its trained weights must be downloaded once, from PyTorch's model server into "
            f"{torch.hub.get_dir()}, which failed ({error}); go online once, or pass --checkpoint or --weights none"
        ) from error


def _load_checkpoint(model: Detector, name: str, checkpoint: Path) -> None:
    """Put the weights of a file into a detector, in place; with torchvision's own, as torchvision does."""
    load_checkpoint(model, checkpoint)
    if name in _NORMS_WITHOUT_EPS and checkpoint.name == Path(_default_weights(name).url).name:
        for module in model.backbone.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eps = 0.0
