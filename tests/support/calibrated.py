"""Calibrated: a name of torchvision → a detector with random weights that is worth comparing."""

from __future__ import annotations

from typing import Any

import torch
import torchvision
from torchvision.models.detection.keypoint_rcnn import KeypointRCNNHeads, KeypointRCNNPredictor
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor

from export.exportable import Exportable
from export.families.torchvision_detectors import exportable_of
from export.families.torchvision_random import randomise_weights
from export.proof.random_weights import some_images


def random_exportable(
    name: str,
    *,
    network_wh: tuple[int, int],
    num_classes: int = 7,
    background: float | None = None,
    seed: int = 0,
    is_narrow: bool = False,
) -> Exportable:
    """A torchvision detector with random weights; see `export.families.torchvision_random`.

    is_narrow: with few proposals, one block in each stage of its ResNet, and thin heads for masks and keypoints, which
    is quick on a CPU, and to export.
    """
    torch.manual_seed(seed)
    make = getattr(torchvision.models.detection, name)
    model: Any = make(weights=None, weights_backbone=None, num_classes=num_classes + 1)
    if is_narrow:
        _make_narrow(model, num_classes + 1)
    names = tuple(f"class {index}" for index in range(num_classes))
    exportable_of(model, name, class_names=names, network_wh=network_wh)  # fixes the size
    pixels = some_images(2, network_wh, seed=seed + 1)
    randomise_weights(model, name, num_columns=num_classes + 1, pixels=pixels, background=background)
    return exportable_of(model, name, class_names=names, network_wh=network_wh)


def _make_narrow(model: Any, num_columns: int) -> None:
    body, heads = model.backbone.body, model.roi_heads
    for stage in ("layer1", "layer2", "layer3", "layer4"):
        body[stage] = body[stage][:1]
    heads.detections_per_img, model.rpn._post_nms_top_n["testing"] = 12, 60
    if heads.has_mask():
        heads.mask_head, heads.mask_predictor = MaskRCNNHeads(256, (32,), 1), MaskRCNNPredictor(32, 32, num_columns)
    if heads.has_keypoint():
        heads.keypoint_head, heads.keypoint_predictor = KeypointRCNNHeads(256, (32,)), KeypointRCNNPredictor(32, 17)
