"""Fast R-CNN (2015): the feature map once, RoI pooling, one network for classes and boxes → trained as a whole.

Girshick, "Fast R-CNN", ICCV 2015.

Kept from the paper: the picture is enlarged before the convolutions, to a shorter side of 600 pixels there (section
5.2) and twice here, see `regions.enlarged`; RoI max pooling into 7 x 7 bins (2.1); samples of two pictures a batch, 64
proposals each, a quarter of IoU .5 and more, negatives of .1 to .5 (2.3); the loss of both tasks together, smooth L1
for the boxes of the true class (2.3), and gradients through the pooling into the convolutions, which SPP-Net lacks;
mirrored pictures.

Otherwise than in the paper: the map has stride 8 of the enlarged picture instead of 16, since an object of 16 pixels
would be two cells (2.2); one hidden layer of 128 instead of two of 4096; AdamW instead of SGD (2.3).
"""

from __future__ import annotations

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
    max_pooled,
)
from export.lineage.scenes import Scenes, World
from export.lineage.system import System, lineage_spec

SIDE = 7
_HIDDEN = 128
_RECIPE = Recipe(steps=1500, learning_rate=1.5e-3)  # each picture nine times
_PICTURES = 2  # of a batch
_SAMPLING = Sampling(size=64, positive_iou=0.5, negative_iou=(0.1, 0.5))


class FastRcnn(nn.Module):
    """Pixels float [N, 3, h, w] in -1..1, rois [N, P, 4] → logits [N * P, 1 + C], offsets [N * P, 4 * C]."""

    def __init__(self, backbone: Backbone, num_classes: int) -> None:
        super().__init__()
        self.convolutions = backbone.to_stride_8
        self.hide = nn.Sequential(nn.Linear(CHANNELS[0] * SIDE * SIDE, _HIDDEN), nn.ReLU(inplace=True))
        self.classify = nn.Linear(_HIDDEN, 1 + num_classes)
        self.regress = nn.Linear(_HIDDEN, 4 * num_classes)

    def forward(self, pixels: Tensor, rois: Tensor) -> tuple[Tensor, Tensor]:
        features = self.convolutions(enlarged(pixels)).float()  # [N, C, h / 4, w / 4]
        pooled = max_pooled(features, rois, ENLARGED / STRIDES[0], SIDE)
        hidden = self.hide(pooled.flatten(1))
        return self.classify(hidden), self.regress(hidden)


def train(scenes: Scenes, training: Training) -> FastRcnn:
    """One network, one loss, one stage."""
    backbone, chance = without_norms(pretrained(scenes, training)), training.chance()
    num_classes = len(scenes.world.class_names)
    proposed = ProposedScenes(scenes, training)
    network = FastRcnn(backbone, num_classes)

    def loss() -> Tensor:
        costs = []
        for index in chance.integers(0, len(scenes.examples), _PICTURES).tolist():
            pixels, sampled = proposed.mirrored_at_random(index, _SAMPLING, chance)
            logits, offsets = network(pixels, sampled.rois[None])
            costs.append(multi_task_loss(logits.float(), offsets.float(), sampled.labels, sampled.offsets))
        return torch.stack(costs).mean()

    training.learn("both tasks", network, loss, _RECIPE)
    return network


def multi_task_loss(logits: Tensor, offsets: Tensor, labels: Tensor, target_offsets: Tensor) -> Tensor:
    """Equation 1: log loss, and for objects smooth L1 of the offsets of their class, both over all samples.

    logits [R, 1 + C], offsets [R, 4 * C], labels [R], 0 the background, target_offsets [R, 4].
    """
    cost = F.cross_entropy(logits, labels)
    objects = torch.where(labels > 0)[0]
    by_class = offsets.view(len(offsets), -1, 4)[objects, labels[objects] - 1]  # [objects, 4]
    return cost + F.smooth_l1_loss(by_class, target_offsets[objects], reduction="sum") / max(len(labels), 1)


def exportable(network: nn.Module, world: World) -> Exportable:
    """The detector; its pooling is ONNX's MaxRoiPool."""
    spec = lineage_spec(world, FAST_R_CNN.title, num_rois=NUM_ROIS, iou_threshold=NMS_IOU)
    decode = RegionDecode(world.network_wh, len(world.class_names))
    return Exportable(network.eval(), decode.eval(), spec, reference=None)


FAST_R_CNN = System(
    name="fast-r-cnn",
    title="Fast R-CNN",
    year=2015,
    paper="Girshick, ICCV 2015, https://arxiv.org/abs/1504.08083",
    runs_on="features",
    train=train,
    exportable=exportable,
    needs=("backbone", "proposals"),
)
