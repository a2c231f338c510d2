"""EfficientDet (2020): RetinaNet with a pyramid whose maps are mixed both ways, by weights that are learnt.

Tan, Pang and Le, "EfficientDet: Scalable and Efficient Object Detection", CVPR 2020 (https://arxiv.org/abs/1911.09070).

Kept from the paper: the BiFPN, a way down and a way up through the levels, repeated, with an edge from the input of a
level to its output (section 3.2); fast normalised fusion of what meets, by weights that are at least 0 and divided by
their sum and .0001 (3.3); separable convolutions with batch norm behind each fusion and in the subnets (3.3);
nine anchors a cell and the focal loss with γ = 1.5 and α = .25 (5.1).

Otherwise than in the paper: levels 3 to 6 instead of 3 to 7, 64 wide, two repetitions and two layers in the subnets,
about as its D0 (table 1), with norms that all levels share; the shared tiny backbone instead of EfficientNet-B0 (4.1),
so that there is one size and no compound scaling (4.2); ReLU6 instead of swish (5.1); AdamW; no average of the weights.
Anchors, their assignment and the loss's division are RetinaNet's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from export.exportable import Exportable
from export.families.demo_network import convolution, separable
from export.lineage.assignment import stacked, targets_of
from export.lineage.backbone import CHANNELS, Backbone, pretrained
from export.lineage.box_coding import PLAIN
from export.lineage.dense import AnchorDecode, of_levels
from export.lineage.learning import Recipe, Training, pixels_of
from export.lineage.retinanet import ANCHOR_ASPECTS, ANCHOR_SCALES, LEVEL_STRIDES, PRIOR, RULE, anchors_of, loss_of
from export.lineage.scenes import Scenes, World
from export.lineage.system import System, lineage_spec

FOCUS = 1.5  # γ
WIDTH, NUM_REPETITIONS = 64, 2
EPSILON = 1e-4
RECIPE = Recipe(steps=1200)
BATCH_SIZE = 8


class Fusion(nn.Module):
    """Maps of one size → their mean by learnt weights, then a separable convolution."""

    def __init__(self, num_inputs: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.ones(num_inputs))
        self.mix = separable(WIDTH, WIDTH)

    def forward(self, *maps: Tensor) -> Tensor:
        mixed: Tensor = self.mix(fused(maps, self.weights))
        return mixed


def fused(maps: Sequence[Tensor], weights: Tensor) -> Tensor:
    """Fast normalised fusion (section 3.3): maps of one shape, weights [maps], of which negative ones count as 0."""
    shares = weights.relu() / (weights.relu().sum() + EPSILON)
    return torch.stack([share * level for share, level in zip(shares, maps, strict=True)]).sum(dim=0)


class BiFpn(nn.Module):
    """Levels [N, WIDTH, h, w], the finest first → as many of the same shapes, mixed from coarse to fine and back."""

    def __init__(self, num_levels: int) -> None:
        super().__init__()
        self.down = nn.ModuleList([Fusion(2) for _ in range(num_levels - 1)])
        self.up = nn.ModuleList([Fusion(3) for _ in range(num_levels - 2)])
        self.last = Fusion(2)

    def forward(self, levels: Sequence[Tensor]) -> list[Tensor]:
        between = [levels[-1]]
        for fuse, level in zip(reversed(self.down), reversed(levels[:-1]), strict=True):
            between.insert(0, fuse(level, F.interpolate(between[0], size=level.shape[2:], mode="nearest")))
        outputs = [between[0]]
        for fuse, level, middle in zip(self.up, levels[1:-1], between[1:-1], strict=True):
            outputs.append(fuse(level, middle, shrunk(outputs[-1])))
        return [*outputs, self.last(levels[-1], shrunk(outputs[-1]))]


def shrunk(level: Tensor) -> Tensor:
    """A map of half the size, rounded up, by the largest of 3 x 3 cells."""
    return F.max_pool2d(level, 3, stride=2, padding=1)


class EfficientDet(nn.Module):
    """Pixels float [N, 3, h, w] in -1..1 → class logits [N, A, C] and deltas [N, A, 4]."""

    def __init__(self, backbone: Backbone, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        num_shapes, num_levels = len(ANCHOR_SCALES) * len(ANCHOR_ASPECTS), len(LEVEL_STRIDES)
        self.backbone = backbone
        self.narrow = nn.ModuleList([convolution(channels, WIDTH) for channels in (*CHANNELS, CHANNELS[-1])])
        self.mix = nn.ModuleList([BiFpn(num_levels) for _ in range(NUM_REPETITIONS)])
        self.classify = subnet(num_shapes * num_classes, bias=-math.log((1 - PRIOR) / PRIOR))
        self.locate = subnet(num_shapes * 4, bias=0.0)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        maps = self.backbone(pixels)
        levels = [narrow(level) for narrow, level in zip(self.narrow, (*maps, shrunk(maps[-1])), strict=True)]
        for mix in self.mix:
            levels = mix(levels)
        heads = [self.classify] * len(levels), [self.locate] * len(levels)
        return of_levels(heads[0], levels, self.num_classes), of_levels(heads[1], levels, 4)


def subnet(num_outputs: int, *, bias: float) -> nn.Sequential:
    """Two separable convolutions and the last, whose outputs begin near its bias."""
    last = nn.Conv2d(WIDTH, num_outputs, 1)
    nn.init.normal_(last.weight, std=0.01)
    nn.init.constant_(last.bias, bias)  # type: ignore[arg-type]
    return nn.Sequential(separable(WIDTH, WIDTH), separable(WIDTH, WIDTH), last)


def train(scenes: Scenes, training: Training) -> EfficientDet:
    """All anchors of all levels."""
    backbone, chance = pretrained(scenes, training), training.chance()
    network = EfficientDet(backbone, len(scenes.world.class_names))
    anchors = anchors_of(scenes.world.network_wh)

    def loss_of_batch() -> Tensor:
        batch = scenes.batch(BATCH_SIZE, chance)
        logits, deltas = network(pixels_of(example.pixels for example in batch))
        targets = stacked([targets_of(example, anchors, RULE, PLAIN) for example in batch])
        return loss_of(logits.float(), deltas.float(), targets, focus=FOCUS)

    training.learn("all anchors", network, loss_of_batch, RECIPE)
    return network


def exportable(network: nn.Module, world: World) -> Exportable:
    """The detector, with suppression by the pipeline."""
    decode = AnchorDecode(anchors_of(world.network_wh), world.network_wh, PLAIN, has_background=False)
    return Exportable(network.eval(), decode.eval(), lineage_spec(world, EFFICIENTDET.title), reference=None)


EFFICIENTDET = System(
    name="efficientdet",
    title="EfficientDet",
    year=2020,
    paper="Tan, Pang and Le, CVPR 2020, https://arxiv.org/abs/1911.09070",
    runs_on="anchors",
    train=train,
    exportable=exportable,
    needs=("backbone",),
)
