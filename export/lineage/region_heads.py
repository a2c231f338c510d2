"""Region heads: a feature map and regions → what each region is, and a better box; learnt from samples of regions.

The second stage of Faster, Mask and Cascade R-CNN, after Fast R-CNN (Girshick 2015, https://arxiv.org/abs/1504.08083):
samples of 64 regions of a picture, a quarter of them objects at most (section 2.3), log loss and smooth L1 (equation
1), one hidden layer of 128 instead of two of 4096. Regions are pooled by RoIAlign (He et al. 2017,
https://arxiv.org/abs/1703.06870, section 3) of 7 x 7 cells with two samples each way, instead of by RoI max pooling:
its bins, rounded to whole cells, are too coarse where an object has two of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import roi_align

from export.examples import Example
from export.graph.ops import pool_regions
from export.lineage.assignment import Rule, Targets, drawn, targets_of
from export.lineage.box_coding import Weights

SIDE, SAMPLES = 7, 2
NUM_DRAWN = 64
_HIDDEN = 128


class RegionHead(nn.Module):
    """Pooled regions [R, width, 7, 7] → logits [R, 1 + C], background first, and deltas [R, boxes * 4].

    num_boxes: C for a box of each class, as in Fast R-CNN; 1 for the same box whatever the class.
    """

    def __init__(self, width: int, num_classes: int, *, num_boxes: int) -> None:
        super().__init__()
        self.hide = nn.Sequential(nn.Flatten(), nn.Linear(width * SIDE * SIDE, _HIDDEN), nn.ReLU(inplace=True))
        self.classify = nn.Linear(_HIDDEN, 1 + num_classes)
        self.locate = nn.Linear(_HIDDEN, 4 * num_boxes)

    def forward(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.hide(pooled)
        return self.classify(hidden), self.locate(hidden)


@dataclass(frozen=True, slots=True)
class Sample:
    """Regions of several pictures, drawn to learn from; S of all pictures together."""

    regions: list[Tensor]  # [R_i, 4] of picture i
    labels: Tensor  # int64 [S], 0 background, 1 + class
    deltas: Tensor  # [S, 4], 0 for background
    object_ids: list[Tensor]  # int64 [R_i], into the picture's objects; -1 for background


def sample(batch: Sequence[Example], regions: Sequence[Tensor], rule: Rule, weights: Weights) -> Sample:
    """A sample of the regions [R_i, 4] of each picture, and of the objects' own boxes, which join them.

    Rows of zeros, which pad regions, are left out.
    """
    chosen: list[tuple[Tensor, Targets, Tensor]] = []
    for example, proposed in zip(batch, regions, strict=True):
        real = proposed[proposed[:, 2] > proposed[:, 0]]
        candidates = torch.cat([torch.from_numpy(example.boxes_xyxy), real])
        targets = targets_of(example, candidates, rule, weights)
        chosen.append((candidates, targets, drawn(targets.labels, NUM_DRAWN, NUM_DRAWN // 4)))
    return Sample(
        [candidates[rows] for candidates, _, rows in chosen],
        torch.cat([targets.labels[rows] for _, targets, rows in chosen]),
        torch.cat([targets.deltas[rows] for _, targets, rows in chosen]),
        [targets.object_ids[rows] for _, targets, rows in chosen],
    )


def pooled_to_learn(features: Tensor, regions: list[Tensor], scale: float, side: int = SIDE) -> Tensor:
    """The regions of each picture, pooled from its map with a gradient: [S, width, side, side]."""
    return cast(Tensor, roi_align(features, regions, side, scale, SAMPLES))


def pooled(features: Tensor, regions: Tensor, scale: float, side: int = SIDE) -> Tensor:
    """The same for regions [N, R, 4] of a fixed number, in an exported graph: [N * R, …]; rows of zeros give zeros."""
    levels = torch.where(regions[..., 2] > regions[..., 0], 0, -1)
    return cast(Tensor, pool_regions([features], regions, levels, [scale], side, SAMPLES))


def region_loss(logits: Tensor, deltas: Tensor, labels: Tensor, target_deltas: Tensor) -> Tensor:
    """Equation 1 of Fast R-CNN, a mean over the sample: logits [S, 1 + C], deltas [S, boxes * 4], labels [S].

    Smooth L1 is of the deltas of the true class where each class has its own.
    """
    objects = torch.where(labels > 0)[0]
    by_class = deltas.view(len(deltas), -1, 4)
    columns = labels[objects] - 1 if by_class.shape[1] > 1 else torch.zeros_like(objects)
    box_loss = F.smooth_l1_loss(by_class[objects, columns], target_deltas[objects], reduction="sum")
    return (F.cross_entropy(logits, labels, reduction="sum") + box_loss) / max(len(labels), 1)
