"""SSD (2016): maps of several strides, default boxes in every cell → all of them classified and corrected in one pass.

Liu et al., ECCV 2016 (https://arxiv.org/abs/1512.02325).

Kept from the paper: each map of the backbone, and coarser ones behind it, predicts boxes of its own sizes, without a
way back from coarse maps to fine ones (section 2.1); default boxes whose sizes grow evenly from map to map, with
several aspects and one more square between two sizes (2.2, "Choosing scales"); a box learns an object from an IoU of .5
on, and the best box of an object in any case (2.2, "Matching"); one softmax over background and classes, smooth L1
(equations 1 to 3); of the negatives the hardest, three for each positive (2.2, "Hard negative mining").

Otherwise than in the paper: four maps instead of six, as the pictures are small; a 3 x 3 convolution with ReLU before
each predictor, as the backbone is shallow where its map is finest (3 has VGG-16 there, scaled by an L2 norm);
AdamW instead of momentum; the backbone starts from crops of the same streets instead of ImageNet (3); no random
crops of a least IoU (2.2, "Data augmentation").
"""

from __future__ import annotations

import math

from torch import Tensor, nn

from export.exportable import Exportable
from export.families.demo_network import convolution
from export.lineage.anchors import Shapes, grid_anchors, shapes_of
from export.lineage.assignment import Rule, stacked, targets_of
from export.lineage.backbone import CHANNELS, STRIDES, Backbone, pretrained
from export.lineage.box_coding import SCALED
from export.lineage.dense import AnchorDecode, of_levels
from export.lineage.learning import Recipe, Training, pixels_of
from export.lineage.scenes import Scenes, World
from export.lineage.system import System, lineage_spec
from export.train_demo import multibox_loss

LEVEL_STRIDES = (*STRIDES, 64)
SIZES_PX = (20.0, 56.0, 92.0, 128.0)  # of the square default box of each map
NEXT_SIZE_PX = 164.0
ASPECTS = (1.0, 2.0, 1 / 2, 3.0, 1 / 3)
RULE = Rule(positive_iou=0.5, negative_iou=0.5, best_learns=True)
WIDTH = 64
RECIPE = Recipe(steps=1500)
BATCH_SIZE = 8


def default_boxes(network_wh: tuple[int, int]) -> Tensor:
    """All default boxes xyxy [A, 4], six in a cell."""
    shapes: list[Shapes] = []
    for size, larger in zip(SIZES_PX, (*SIZES_PX[1:], NEXT_SIZE_PX), strict=True):
        shapes.append([*shapes_of([size], ASPECTS), *shapes_of([math.sqrt(size * larger)], [1.0])])
    return grid_anchors(network_wh, LEVEL_STRIDES, shapes)


class Ssd(nn.Module):
    """Pixels float [N, 3, h, w] in -1..1 → logits [N, A, 1 + C], background first, and deltas [N, A, 4]."""

    def __init__(self, backbone: Backbone, num_classes: int) -> None:
        super().__init__()
        self.num_columns = 1 + num_classes
        self.backbone = backbone
        self.to_stride_64 = convolution(CHANNELS[-1], CHANNELS[-1], kernel=3, stride=2)
        channels, num_shapes = (*CHANNELS, CHANNELS[-1]), len(ASPECTS) + 1
        self.before = nn.ModuleList([convolution(inputs, WIDTH, kernel=3) for inputs in channels])
        self.classify = nn.ModuleList([nn.Conv2d(WIDTH, num_shapes * self.num_columns, 3, padding=1) for _ in channels])
        self.locate = nn.ModuleList([nn.Conv2d(WIDTH, num_shapes * 4, 3, padding=1) for _ in channels])

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        maps = self.backbone(pixels)
        levels = [
            before(level) for before, level in zip(self.before, (*maps, self.to_stride_64(maps[-1])), strict=True)
        ]
        return of_levels(list(self.classify), levels, self.num_columns), of_levels(list(self.locate), levels, 4)


def train(scenes: Scenes, training: Training) -> Ssd:
    """All default boxes, of the negatives the hardest."""
    backbone, chance = pretrained(scenes, training), training.chance()
    network = Ssd(backbone, len(scenes.world.class_names))
    boxes = default_boxes(scenes.world.network_wh)

    def loss_of_batch() -> Tensor:
        batch = scenes.batch(BATCH_SIZE, chance)
        logits, deltas = network(pixels_of(example.pixels for example in batch))
        targets = stacked([targets_of(example, boxes, RULE, SCALED) for example in batch])
        return multibox_loss(logits.float(), deltas.float(), targets.labels, targets.deltas)

    training.learn("default boxes", network, loss_of_batch, RECIPE)
    return network


def exportable(network: nn.Module, world: World) -> Exportable:
    """The detector, with suppression by the pipeline."""
    decode = AnchorDecode(default_boxes(world.network_wh), world.network_wh, SCALED, has_background=True)
    return Exportable(network.eval(), decode.eval(), lineage_spec(world, SSD.title), reference=None)


SSD = System(
    name="ssd",
    title="SSD",
    year=2016,
    paper="Liu et al., ECCV 2016, https://arxiv.org/abs/1512.02325",
    runs_on="anchors",
    train=train,
    exportable=exportable,
    needs=("backbone",),
)
