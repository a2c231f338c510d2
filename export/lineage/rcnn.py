"""R-CNN (2014): proposals, cut out and warped to one size → a convolutional network on each crop.

Girshick et al., "Rich feature hierarchies for accurate object detection and semantic segmentation", CVPR 2014.

Kept from the paper: selective search (section 2.1); crops stretched to the network's input with context around them
(appendix A: 16 of 227 pixels); a network that was trained to classify is fine-tuned on warped proposals, positives from
an IoU of .5 on, a quarter of each batch (2.3); a linear regression for each class moves the boxes, from features of
proposals with an IoU of .6 and more (appendix C).

Otherwise than in the paper: crops of 64 x 64 pixels; the softmax of fine-tuning classifies, instead of SVMs trained
afterwards, which gave the authors 3.3 more points of mAP (appendix B); 600 proposals instead of 2000.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from export.exportable import Exportable
from export.graph.ops import pool_regions
from export.lineage.backbone import CHANNELS, CROP_PX, Backbone, pretrained, without_norms
from export.lineage.learning import Recipe, Training
from export.lineage.regions import NMS_IOU, NUM_ROIS, ProposedScenes, RegionDecode, Sampling, fit_regressors
from export.lineage.scenes import Scenes, World
from export.lineage.system import System, lineage_spec

_CONTEXT = CROP_PX / (CROP_PX - 2 * 16 / 227 * CROP_PX)  # a crop's side over its proposal's
_SAMPLES = 2  # bilinear samples a pixel of the crop, each way
_FEATURES = CHANNELS[-1] * (CROP_PX // 32) ** 2
_RECIPE = Recipe(steps=350, learning_rate=1e-3, share=0.8)
_PICTURES = 2  # of a batch
_REGRESSOR_IOU = 0.6


class Rcnn(nn.Module):
    """Pixels float [N, 3, h, w] in -1..1, rois [N, P, 4] → logits [N * P, 1 + C], offsets [N * P, 4 * C]."""

    def __init__(self, backbone: Backbone, num_classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.classify = nn.Linear(_FEATURES, 1 + num_classes)
        self.regress = nn.Linear(_FEATURES, 4 * num_classes)

    def forward(self, pixels: Tensor, rois: Tensor) -> tuple[Tensor, Tensor]:
        features = self.features(pixels, rois)
        return self.classify(features), self.regress(features)

    def features(self, pixels: Tensor, rois: Tensor) -> Tensor:
        """The features [N * P, D] of the crops."""
        centres, halves = (rois[..., :2] + rois[..., 2:]) / 2, (rois[..., 2:] - rois[..., :2]) / 2 * _CONTEXT
        regions = torch.cat([centres - halves, centres + halves], dim=2)
        levels = torch.where(rois[:, :, 2] > rois[:, :, 0], 0, -1)  # [N, P], -1 for the padding
        crops = pool_regions([pixels], regions, levels, [1.0], CROP_PX, _SAMPLES)
        return cast(Tensor, self.backbone(crops)[-1].flatten(1))


def train(scenes: Scenes, training: Training) -> Rcnn:
    """Fine-tune on warped proposals; then the regressors, in one step."""
    backbone, chance = without_norms(pretrained(scenes, training)), training.chance()
    num_classes = len(scenes.world.class_names)
    proposed = ProposedScenes(scenes, training)
    network = Rcnn(backbone, num_classes)
    network.regress.requires_grad_(False)

    def loss() -> Tensor:
        costs = []
        for index in chance.integers(0, len(scenes.examples), _PICTURES).tolist():
            pixels, sampled = proposed.mirrored_at_random(index, Sampling(size=32), chance)
            logits = network.classify(network.features(pixels, sampled.rois[None]))
            costs.append(F.cross_entropy(logits.float(), sampled.labels))
        return torch.stack(costs).mean()

    training.learn("fine-tuning on crops", network, loss, _RECIPE)
    with torch.inference_mode():
        rows = []
        for index, _ in training.steps("box regressors", len(scenes.examples), share=0.2):
            sampled = proposed.positives(index, _REGRESSOR_IOU)
            features = network.features(proposed.pixels(index), sampled.rois[None])
            rows.append((features, sampled.offsets, sampled.labels))
        features, offsets, labels = (torch.cat(column) for column in zip(*rows, strict=True))
    weights, biases = fit_regressors(features.clone(), offsets.clone(), labels.clone(), num_classes)
    network.regress.weight.data, network.regress.bias.data = weights, biases
    return network


def exportable(network: nn.Module, world: World) -> Exportable:
    """The detector; its crops are cut in the graph."""
    spec = lineage_spec(world, R_CNN.title, num_rois=NUM_ROIS, iou_threshold=NMS_IOU)
    decode = RegionDecode(world.network_wh, len(world.class_names))
    return Exportable(network.eval(), decode.eval(), spec, reference=None)


R_CNN = System(
    name="r-cnn",
    title="R-CNN",
    year=2014,
    paper="Girshick et al., CVPR 2014, https://arxiv.org/abs/1311.2524",
    runs_on="crops",
    train=train,
    exportable=exportable,
    needs=("backbone", "proposals"),
)
