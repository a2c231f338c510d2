"""EfficientDet and its relatives: a network of effdet → an `Exportable`."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from export import known
from export.exportable import Exportable, ExportRequest, Reference, boxes_spec_of
from export.graph.forms import Normalise
from export.graph.ops import best_pairs, take_rows
from export.proof.random_weights import SEED, LogitScale, calibrate, proof_pixels, scale_logits
from export.weights.loading import load_checkpoint
from pipeline.errors import MissingExtraError, ModelError
from pipeline.picture.candidates import Candidates
from pipeline.picture.coco import COCO_91
from pipeline.picture.detector_spec import DetectorSpec, pack_anchors

NAMES = known.NAMES["effdet"]

# effdet passes 5000 to its suppression, which keeps 100; TensorRT's TopK ends at 3840.
_NUM_CANDIDATES = 1000
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # where a config has none


def build(request: ExportRequest) -> Exportable:
    """The detector of a request, in eval mode.

    Raises ModelError for weights that are missing or do not fit and for a size that the network does not take,
    MissingExtraError without effdet.
    """
    config = _effdet("effdet.config").get_efficientdet_config(request.name)
    if request.network_wh is not None:
        stride = 2**config.max_level
        if any(side % stride for side in request.network_wh):
            width, height = request.network_wh
            raise ModelError(
                f"{request.name} needs a width and a height that are multiples of {stride}, got {width} x {height}"
            )
        config.image_size = request.network_wh[::-1]
    model = _model(request, config)
    model.eval().requires_grad_(False)
    anchors = _anchors(config)  # [A, 4]
    body_spec = _body_spec(request, config, anchors)
    spec = boxes_spec_of(body_spec)
    if request.uses_random_weights:
        _randomise_weights(model, spec)
    return Exportable(
        body=_Body(model),
        decode=DecodeAnchors(anchors, spec.network_wh),
        spec=spec,
        reference=_reference(model, spec),
        body_outputs=("class_logits", "box_offsets"),
        body_head=body_spec,
    )


def _randomise_weights(model: Any, spec: DetectorSpec) -> None:
    """Scale random weights, in place, so that there are many detections with many different scores."""
    pixels = Normalise(spec)(proof_pixels(spec.network_wh))
    calibrate(model, lambda: model(pixels))
    classes, boxes = (
        [layer for layer in part.predict.modules() if isinstance(layer, nn.Conv2d)][-1:]
        for part in (model.class_net, model.box_net)
    )
    scale_logits(lambda: model(pixels), LogitScale(classes, 2.0, mean=None, share=0.0005), LogitScale(boxes, 0.3))


class _Body(nn.Module):
    """Normalised pixels [N, 3, h, w] → class logits [N, A, C], box offsets [N, A, 4] dx, dy, dw, dh, level by level."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.num_classes = int(model.config.num_classes)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        class_maps, box_maps = self.model(images)  # lists of [N, anchors × C, h', w'] and [N, anchors × 4, h', w']
        logits = [level.permute(0, 2, 3, 1).reshape(level.shape[0], -1, self.num_classes) for level in class_maps]
        offsets = [level.permute(0, 2, 3, 1).reshape(level.shape[0], -1, 4) for level in box_maps]
        return torch.cat(logits, dim=1), torch.cat(offsets, dim=1)[..., [1, 0, 3, 2]]  # effdet: dy, dx, dh, dw


class DecodeAnchors(nn.Module):
    """Logits [N, A, C] and offsets [N, A, 4] → the best pairs of anchor and class, decoded and clipped, before NMS."""

    def __init__(self, anchors_cxcywh: Tensor, network_wh: tuple[int, int]) -> None:
        super().__init__()
        self.anchors: Tensor
        self.corner: Tensor
        self.register_buffer("anchors", anchors_cxcywh, persistent=False)  # [A, 4] network pixels
        self.register_buffer("corner", torch.tensor(network_wh * 2, dtype=torch.float32), persistent=False)
        self.num_anchors = min(_NUM_CANDIDATES, len(anchors_cxcywh))

    def forward(self, logits: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        # An anchor of one of the best K pairs is one of the best K anchors: two small searches instead of one in A × C.
        anchor_ids = logits.amax(dim=2).topk(self.num_anchors, dim=1).indices  # [N, R]
        best, rows, class_ids = best_pairs(take_rows(logits, anchor_ids), _NUM_CANDIDATES)  # [N, K]
        anchor_ids = anchor_ids.gather(1, rows)  # [N, K]
        offsets, anchors = take_rows(offsets, anchor_ids), self.anchors[anchor_ids]  # [N, K, 4]
        centres = offsets[..., :2] * anchors[..., 2:] + anchors[..., :2]
        halves = offsets[..., 2:].exp() * anchors[..., 2:] / 2
        boxes = torch.cat([centres - halves, centres + halves], dim=2)  # [N, K, 4]
        return torch.minimum(boxes.clamp(min=0), self.corner), best.sigmoid(), class_ids


def _reference(model: Any, spec: DetectorSpec) -> Reference:
    """effdet's own bench with its suppression; boxes are clipped to the image, as in its evaluation."""
    bench = _effdet("effdet.bench").DetBenchPredict(model).eval()
    bench.max_detection_points = min(bench.max_detection_points, len(bench.anchors.boxes) * len(spec.class_names))
    mean = torch.tensor(spec.mean, dtype=torch.float64).view(3, 1, 1)
    std = torch.tensor(spec.std, dtype=torch.float64).view(3, 1, 1)

    def reference(pixels: Tensor) -> Sequence[Candidates]:
        images = ((pixels.permute(0, 3, 1, 2).double() - mean) / std).float()  # [N, 3, h, w]
        info = {
            "img_scale": torch.ones(len(pixels)),
            "img_size": torch.tensor([spec.network_wh] * len(pixels), dtype=torch.float32),
        }
        with torch.inference_mode():
            detections = bench(images, info)  # [N, 100, 6] x, y, x, y, score, class from 1; padded with zeros
        rows = [detected[detected[:, 4] >= 0.01].numpy() for detected in detections]
        return [Candidates(row[:, :4], row[:, 4], row[:, 5].astype("int64") - 1) for row in rows]

    return reference


def _anchors(config: Any) -> Tensor:
    """Anchors [A, 4] cx, cy, w, h in network pixels."""
    corners = _effdet("effdet.anchors").Anchors.from_config(config).boxes  # [A, 4] yxyx
    corners = corners[:, [1, 0, 3, 2]]
    return torch.cat([(corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]], dim=1)


def _body_spec(request: ExportRequest, config: Any, anchors_cxcywh: Tensor) -> DetectorSpec:
    height, width = config.image_size
    mean, std = config.get("mean") or _IMAGENET_MEAN, config.get("std") or _IMAGENET_STD
    red, green, blue = (255 * value for value in mean)
    fill = config.get("fill_color", "mean")
    return DetectorSpec(
        input_name="images",
        network_wh=(int(width), int(height)),
        head="ssd_raw",
        class_names=_class_names(request, config.num_classes),
        batch=None,
        resize="letterbox-topleft",
        pad_value=(round(red), round(green), round(blue)) if fill in (None, "mean") else int(fill),
        mean=(red, green, blue),
        std=(255 * std[0], 255 * std[1], 255 * std[2]),
        score_activation="sigmoid",
        anchors=pack_anchors((anchors_cxcywh / torch.tensor([width, height] * 2)).numpy()),
        anchor_variances=(1.0, 1.0, 1.0, 1.0),
        needs_nms=True,
        iou_threshold=0.5,
        max_detections=int(config.max_det_per_image),
        form="body",
        model_name=request.name,
    )


def _class_names(request: ExportRequest, num_classes: int) -> tuple[str, ...]:
    if request.class_names is not None:
        return request.class_names
    if request.num_classes is None and num_classes == len(COCO_91):
        return COCO_91
    return tuple(f"class {index}" for index in range(num_classes))


def _model(request: ExportRequest, config: Any) -> Any:
    """The network with its weights; sets the requested number of classes in `config`."""
    config.num_classes = _num_classes(request, config)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # timm warns about its own names
        torch.manual_seed(SEED)
        model = _effdet("effdet").EfficientDet(config, pretrained_backbone=False)
    if request.checkpoint is not None:
        load_checkpoint(model, request.checkpoint)
    elif request.uses_published_weights:
        model.load_state_dict(_published_weights(request.name, config.url))
    return model


def _num_classes(request: ExportRequest, config: Any) -> int:
    """The number of classes of a request. Raises ModelError for names or weights that contradict it."""
    num_classes = int(request.num_requested_classes or config.num_classes)
    if request.class_names is not None and len(request.class_names) != num_classes:
        raise ModelError(
            f"{request.name}: {num_classes} classes need {num_classes} names, got {len(request.class_names)}"
        )
    if request.uses_published_weights and num_classes != config.num_classes:
        raise ModelError(
            f"{request.name}'s weights have {config.num_classes} classes, got {num_classes}; "
            "for another number pass --checkpoint or --weights none"
        )
    if request.uses_published_weights and not config.url:
        raise ModelError(
            f"effdet has no weights of {request.name}; pass --checkpoint or --weights none, or export a model tf_…"
        )
    return num_classes


def _published_weights(name: str, url: str) -> dict[str, Tensor]:
    try:
        state: dict[str, Tensor] = torch.hub.load_state_dict_from_url(
            url, map_location="cpu", progress=False, check_hash=True, weights_only=True
        )
    except (OSError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelError(f"{name}: its weights must be downloaded from {url}, which failed: {reason}") from error
    return state


def _effdet(module: str) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it uses torch.jit.script
            return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError('EfficientDet needs effdet: pip install "streamdet[effdet]"') from error
