"""Dense detectors: torchvision's SSD, RetinaNet and FCOS → body and decode."""

from __future__ import annotations

import copy
import dataclasses
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torchvision.models.detection.fcos import FCOS, FCOSClassificationHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.retinanet import RetinaNet, RetinaNetClassificationHead
from torchvision.models.detection.ssd import SSD

from export.exportable import Exportable, Reference, boxes_spec_of
from export.families.two_stage import apply_deltas, clip_to_image
from export.graph.ops import best_pairs, take_rows
from pipeline.picture.detector_spec import DetectorSpec, pack_anchors

Dense: TypeAlias = SSD | RetinaNet | FCOS

KINDS = ("SSD", "RetinaNet", "FCOS")

_DENSE_OUTPUTS = ("class_logits", "box_deltas", "centerness_logits")
_NOT_IN_HALF = {"ssd300_vgg16": "its VGG squares activations of thousands"}

# The number of (anchor, class) pairs that leave a dense decoder. torchvision takes up to 1000 from each level
# (RetinaNet, FCOS) or 300 and 400 of each class (SSD); these suffice for every pair that scores 0.05 or more.
_NUM_CANDIDATES = {"SSD": 1000, "RetinaNet": 2000, "FCOS": 1000}


def dense_exportable(model: Dense, body_spec: DetectorSpec, *, backbone: nn.Module, reference: Reference) -> Exportable:
    """The two parts of an SSD, a RetinaNet or an FCOS; `backbone` is that of the body."""
    kind = type(model).__name__
    anchors = _anchors(model, body_spec.network_wh)
    body = DenseBody(backbone, copy.deepcopy(model.head))
    if kind != "SSD":
        _drop_background(body.head.classification_head)
    has_head = kind != "FCOS"  # the runtime has a head for these bodies
    return Exportable(
        body=body,
        decode=DenseDecode(model, kind, anchors, body_spec.network_wh),
        spec=boxes_spec_of(body_spec),
        reference=reference,
        body_outputs=_DENSE_OUTPUTS[: 2 if has_head else 3],
        body_head=_read_by_ssd_raw(body_spec, model, kind, anchors) if has_head else None,
        no_body_because="" if has_head else "its scores are weighted by centerness, which no head of the runtime does",
        half_is_refused_because=_NOT_IN_HALF.get(body_spec.model_name, ""),
    )


class DenseBody(nn.Module):
    """Normalised pixels [N, 3, h, w] → class logits [N, A, C], box deltas [N, A, 4], for FCOS centerness [N, A, 1]."""

    def __init__(self, backbone: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        outputs = self.head(list(self.backbone(images).values()))
        return tuple(outputs[name] for name in ("cls_logits", "bbox_regression", "bbox_ctrness") if name in outputs)


class DenseDecode(nn.Module):
    """The outputs of a `DenseBody` → the K best pairs of an anchor and a class, before NMS.

    The best K pairs lie among the K anchors whose best class scores highest, so that only these go through all classes
    and have their boxes decoded.
    """

    def __init__(self, model: Dense, kind: str, anchors: Tensor, network_wh: tuple[int, int]) -> None:
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


def _anchors(model: Dense, network_wh: tuple[int, int]) -> Tensor:
    """The model's own anchors [A, 4] for a size, xyxy in network pixels."""
    width, height = network_wh
    pixels = torch.zeros(1, 3, height, width)
    with torch.inference_mode():
        features = list(model.backbone(pixels).values())
        anchors = model.anchor_generator(ImageList(pixels, [(height, width)]), features)[0]
    return torch.clone(anchors)


def _read_by_ssd_raw(spec: DetectorSpec, model: Dense, kind: str, anchors: Tensor) -> DetectorSpec:
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


def _drop_background(head: RetinaNetClassificationHead | FCOSClassificationHead) -> None:
    """Remove column 0 of a head with sigmoid scores, in place: torchvision reserves it, and no label ever trains it."""
    for name in ("weight", "bias"):
        old = getattr(head.cls_logits, name)
        by_anchor = old.detach().unflatten(0, (head.num_anchors, head.num_classes))  # [anchors, classes, ...]
        setattr(head.cls_logits, name, nn.Parameter(by_anchor[:, 1:].flatten(0, 1).clone(), requires_grad=False))
    head.num_classes -= 1
