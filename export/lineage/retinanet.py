"""RetinaNet (2017): a feature pyramid → all anchors classified at once, by a loss that easy background cannot drown.

Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017 (https://arxiv.org/abs/1708.02002).

Kept from the paper: the focal loss with γ = 2 and α = .25, over all anchors, divided by the number of positive ones
(section 5.1); the prior π = .01 in the classifier's bias (3.3, 4.1); a pyramid, nine anchors a cell (three sizes a
third of an octave apart, three aspects), subnets that are shared by all levels and not with each other (4); anchors
learn an object from an IoU of .5 on, background below .4 (4); plain box deltas, smooth L1, one sigmoid a class.

Otherwise than in the paper: two convolutions in a subnet instead of four, 64 wide instead of 256 (4); levels 3 to 6
instead of 3 to 7, with anchors of 2.5 strides instead of four, as the pictures have a quarter of the side (4); AdamW
instead of momentum, and eight pictures a step; the backbone starts from crops of the same streets instead of ImageNet
(4.1). An object without an anchor of
IoU .5 is learnt by its best one, which the paper leaves out; with few and small objects it counts.
"""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn

from export.exportable import Exportable
from export.lineage.anchors import grid_anchors, shapes_of
from export.lineage.assignment import NOT_COUNTED, Rule, Targets, stacked, targets_of
from export.lineage.backbone import STRIDES, Backbone, pretrained
from export.lineage.box_coding import PLAIN
from export.lineage.dense import AnchorDecode, of_levels
from export.lineage.learning import Recipe, Training, pixels_of
from export.lineage.pyramid import FeaturePyramid
from export.lineage.scenes import Scenes, World
from export.lineage.system import System, lineage_spec

LEVEL_STRIDES = (*STRIDES, 64)
ANCHOR_STRIDES = 2.5  # the side of a level's smallest anchor
ANCHOR_SCALES = (1.0, 2 ** (1 / 3), 2 ** (2 / 3))
ANCHOR_ASPECTS = (0.4, 1.0, 2.0)
RULE = Rule(positive_iou=0.5, negative_iou=0.4, best_learns=True)
FOCUS, BALANCE, PRIOR = 2.0, 0.25, 0.01  # γ, α, π
WIDTH = 64
RECIPE = Recipe(steps=1200)
BATCH_SIZE = 8
_BETA = 0.11  # where smooth L1 turns from square to linear, as in the authors' Detectron


def anchors_of(network_wh: tuple[int, int]) -> Tensor:
    """All anchors xyxy [A, 4]."""
    sizes = [[ANCHOR_STRIDES * stride * scale for scale in ANCHOR_SCALES] for stride in LEVEL_STRIDES]
    return grid_anchors(network_wh, LEVEL_STRIDES, [shapes_of(level, ANCHOR_ASPECTS) for level in sizes])


class RetinaNet(nn.Module):
    """Pixels float [N, 3, h, w] in -1..1 → class logits [N, A, C] and deltas [N, A, 4]."""

    def __init__(self, backbone: Backbone, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        num_shapes = len(ANCHOR_SCALES) * len(ANCHOR_ASPECTS)
        self.backbone = backbone
        self.pyramid = FeaturePyramid(WIDTH, num_coarser=len(LEVEL_STRIDES) - len(STRIDES))
        self.classify = subnet(num_shapes * num_classes, bias=-math.log((1 - PRIOR) / PRIOR))
        self.locate = subnet(num_shapes * 4, bias=0.0)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        levels = self.pyramid(self.backbone(pixels))
        heads = [self.classify] * len(levels), [self.locate] * len(levels)
        return of_levels(heads[0], levels, self.num_classes), of_levels(heads[1], levels, 4)


def subnet(num_outputs: int, *, bias: float) -> nn.Sequential:
    """Two convolutions and the last, whose outputs begin near its bias."""
    last = nn.Conv2d(WIDTH, num_outputs, 3, padding=1)
    nn.init.normal_(last.weight, std=0.01)
    nn.init.constant_(last.bias, bias)  # type: ignore[arg-type]
    layers = [layer for _ in range(2) for layer in (nn.Conv2d(WIDTH, WIDTH, 3, padding=1), nn.ReLU(inplace=True))]
    return nn.Sequential(*layers, last)


def focal_loss(logits: Tensor, is_object: Tensor, *, focus: float = FOCUS) -> Tensor:
    """The focal loss of each logit (equation 5), with is_object 0 or 1 of equal shape."""
    score = logits.sigmoid()
    score_of_truth = score * is_object + (1 - score) * (1 - is_object)
    balance = BALANCE * is_object + (1 - BALANCE) * (1 - is_object)
    cost = F.binary_cross_entropy_with_logits(logits, is_object, reduction="none")
    return balance * (1 - score_of_truth) ** focus * cost


def loss_of(logits: Tensor, deltas: Tensor, targets: Targets, *, focus: float = FOCUS) -> Tensor:
    """The loss of logits [N, A, C] and deltas [N, A, 4]: both sums, divided by the number of positive anchors."""
    is_positive, counts = targets.is_positive, targets.labels != NOT_COUNTED  # [N, A]
    one_hot = F.one_hot(targets.labels.clamp(min=0), 1 + logits.shape[2])[:, :, 1:].float()  # [N, A, C]
    class_loss = focal_loss(logits[counts], one_hot[counts], focus=focus).sum()
    box_loss = F.smooth_l1_loss(deltas[is_positive], targets.deltas[is_positive], reduction="sum", beta=_BETA)
    return (class_loss + box_loss) / is_positive.sum().clamp(min=1)


def train(scenes: Scenes, training: Training) -> RetinaNet:
    """All anchors of all levels."""
    backbone, chance = pretrained(scenes, training), training.chance()
    network = RetinaNet(backbone, len(scenes.world.class_names))
    anchors = anchors_of(scenes.world.network_wh)

    def loss_of_batch() -> Tensor:
        batch = scenes.batch(BATCH_SIZE, chance)
        logits, deltas = network(pixels_of(example.pixels for example in batch))
        targets = stacked([targets_of(example, anchors, RULE, PLAIN) for example in batch])
        return loss_of(logits.float(), deltas.float(), targets)

    training.learn("all anchors", network, loss_of_batch, RECIPE)
    return network


def exportable(network: nn.Module, world: World) -> Exportable:
    """The detector, with suppression by the pipeline."""
    decode = AnchorDecode(anchors_of(world.network_wh), world.network_wh, PLAIN, has_background=False)
    return Exportable(network.eval(), decode.eval(), lineage_spec(world, RETINANET.title), reference=None)


RETINANET = System(
    name="retinanet",
    title="RetinaNet",
    year=2017,
    paper="Lin et al., ICCV 2017, https://arxiv.org/abs/1708.02002",
    runs_on="anchors",
    train=train,
    exportable=exportable,
    needs=("backbone",),
)
