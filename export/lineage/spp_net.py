"""SPP-Net (2014): the picture's feature map once, pooled over each proposal at three levels → a classifier of features.

He et al., "Spatial Pyramid Pooling in Deep Convolutional Networks for Visual Recognition", ECCV 2014.

Kept from the paper: the convolutions run once a picture instead of once a crop (section 4.1), on an enlarged picture
(4.1, "we resize the image such that min(w, h) = s"; here twice, see `regions.enlarged`); a proposal is pooled by
maximum into 4 x 4, 2 x 2 and 1 x 1 bins, whatever its size (2.2); the convolutions stay as pretraining left them, only
what follows the pooling learns (4.1: "we fine-tune only the fully-connected layers"); a regression for each class moves
the boxes (4.1).

Otherwise than in the paper: levels 1, 2, 4 instead of 1, 2, 3, 6 (as the lecture has it); one scale of the picture
(4.3 compares it with five: 1.2 points less); one hidden layer of 256 and softmax instead of two of 4096 and SVMs (4.1);
corners are rounded to the nearest cell, instead of up on the left and down on the right (appendix A).
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from export.exportable import Exportable
from export.lineage.backbone import CHANNELS, STRIDES, Backbone, pretrained, without_norms
from export.lineage.learning import Recipe, Training
from export.lineage.regions import (
    ENLARGED,
    NMS_IOU,
    NUM_ROIS,
    ProposedScenes,
    RegionDecode,
    Sampling,
    enlarged,
    fit_regressors,
    max_pooled,
)
from export.lineage.scenes import Scenes, World
from export.lineage.system import System, lineage_spec

LEVELS = (1, 2, 4)
_FEATURES = CHANNELS[0] * sum(level * level for level in LEVELS)
_HIDDEN = 256
_RECIPE = Recipe(steps=1600, learning_rate=1e-3, share=0.7)
_PICTURES = 4  # of a batch
_REGRESSOR_IOU = 0.6


class SppNet(nn.Module):
    """Pixels float [N, 3, h, w] in -1..1, rois [N, P, 4] → logits [N * P, 1 + C], offsets [N * P, 4 * C]."""

    def __init__(self, backbone: Backbone, num_classes: int) -> None:
        super().__init__()
        self.convolutions = backbone.to_stride_8
        self.hide = nn.Sequential(nn.Linear(_FEATURES, _HIDDEN), nn.ReLU(inplace=True))
        self.classify = nn.Linear(_HIDDEN, 1 + num_classes)
        self.regress = nn.Linear(_FEATURES, 4 * num_classes)

    def forward(self, pixels: Tensor, rois: Tensor) -> tuple[Tensor, Tensor]:
        pooled = self.pooled(self.features(pixels), rois)
        return self.classify(self.hide(pooled)), self.regress(pooled)

    def features(self, pixels: Tensor) -> Tensor:
        """The feature map [N, C, h/4, w/4] of the enlarged picture."""
        return cast(Tensor, self.convolutions(enlarged(pixels)))

    def pooled(self, features: Tensor, rois: Tensor) -> Tensor:
        """The spatial pyramid [N * P, D] of a feature map, at rois [N, P, 4] in pixels of the input."""
        pools = [max_pooled(features, rois, ENLARGED / STRIDES[0], level).flatten(1) for level in LEVELS]
        return torch.cat(pools, dim=1)


def train(scenes: Scenes, training: Training) -> SppNet:
    """Feature maps once for all; then what follows the pooling, and the regressors in one step."""
    backbone, chance = without_norms(pretrained(scenes, training)), training.chance()
    num_classes = len(scenes.world.class_names)
    proposed = ProposedScenes(scenes, training)
    network = SppNet(backbone, num_classes).eval()
    with torch.no_grad():
        steps = training.steps("feature maps", len(scenes.examples), share=0.2)
        maps = [network.features(proposed.pixels(index)) for index, _ in steps]
    head = nn.ModuleList([network.hide, network.classify])

    def loss() -> Tensor:
        costs = []
        for index in chance.integers(0, len(maps), _PICTURES).tolist():
            sampled = proposed.sample(index, Sampling(), chance)
            with torch.no_grad():
                pooled = network.pooled(maps[index], sampled.rois[None])
            costs.append(F.cross_entropy(network.classify(network.hide(pooled)).float(), sampled.labels))
        return torch.stack(costs).mean()

    training.learn("layers behind the pooling", head, loss, _RECIPE)
    rows = []
    for index, _ in training.steps("box regressors", len(maps), share=0.1):
        sampled = proposed.positives(index, _REGRESSOR_IOU)
        rows.append((network.pooled(maps[index], sampled.rois[None]), sampled.offsets, sampled.labels))
    features, offsets, labels = (torch.cat(column) for column in zip(*rows, strict=True))
    network.regress.weight.data, network.regress.bias.data = fit_regressors(features, offsets, labels, num_classes)
    return network.eval()


def exportable(network: nn.Module, world: World) -> Exportable:
    """The detector; its pooling is ONNX's MaxRoiPool."""
    spec = lineage_spec(world, SPP_NET.title, num_rois=NUM_ROIS, iou_threshold=NMS_IOU)
    decode = RegionDecode(world.network_wh, len(world.class_names))
    return Exportable(network.eval(), decode.eval(), spec, reference=None)


SPP_NET = System(
    name="spp-net",
    title="SPP-Net",
    year=2014,
    paper="He et al., ECCV 2014, https://arxiv.org/abs/1406.4729",
    runs_on="features",
    train=train,
    exportable=exportable,
    needs=("backbone", "proposals"),
)
