"""RPN: a feature map → the regions that may hold an object, by a network of two layers and anchors.

Ren et al. 2015, "Faster R-CNN" (https://arxiv.org/abs/1506.01497), section 3.1: in each place of the map nine anchors,
three sizes with three aspects; for each whether it is an object, and four deltas. Anchors learn an object from an IoU
of .7 on, or as its best, and background below .3 (3.1.2); 256 are drawn from a picture, at most half of them objects
(3.1.3); proposals are suppressed at an IoU of .7 (3.3). Here 64 are left of 300 instead of 300 of 6000, since a picture
of a quarter of the side has fewer places, and whether an anchor is an object is one sigmoid instead of two softmax
columns, as in later code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from export.examples import Example
from export.graph.ops import keep_best, take_rows
from export.lineage.anchors import grid_anchors, shapes_of
from export.lineage.assignment import Rule, Targets, drawn, stacked, targets_of
from export.lineage.backbone import Backbone
from export.lineage.box_coding import PLAIN, decode
from export.lineage.dense import by_anchor
from export.lineage.learning import pixels_of
from export.lineage.pyramid import FeaturePyramid

STRIDE, WIDTH = 8, 64
SIZES_PX, ASPECTS = (20.0, 45.0, 100.0), (0.4, 1.0, 2.0)
RULE = Rule(positive_iou=0.7, negative_iou=0.3, best_learns=True)
NUM_DRAWN = 256
NUM_BEFORE_NMS, NUM_PROPOSALS, NMS_IOU = 300, 64, 0.7
LEAST_SIDE_PX = 4.0
_BETA = 1 / 9  # where smooth L1 turns from square to linear, as in the authors' code


class ProposalNetwork(nn.Module):
    """Pixels float [N, 3, h, w] in -1..1 → map [N, WIDTH, h / 8, w / 8], RPN logits [N, A] and deltas [N, A, 4].

    The first stage; a system adds its second one.
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone
        self.pyramid = FeaturePyramid(WIDTH, num_merged=1)
        self.rpn = Rpn(WIDTH)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        (features,) = self.pyramid(self.backbone(pixels))
        return features, *self.rpn(features)


class Rpn(nn.Module):
    """A map [N, width, h / 8, w / 8] → objectness logits [N, A] and deltas [N, A, 4] of the anchors."""

    def __init__(self, width: int) -> None:
        super().__init__()
        num_shapes = len(SIZES_PX) * len(ASPECTS)
        self.slide = nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.ReLU(inplace=True))
        self.classify = nn.Conv2d(width, num_shapes, 1)
        self.locate = nn.Conv2d(width, num_shapes * 4, 1)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.slide(features)
        return by_anchor(self.classify(hidden), 1)[:, :, 0], by_anchor(self.locate(hidden), 4)


def anchors_of(network_wh: tuple[int, int]) -> Tensor:
    """All anchors xyxy [A, 4]."""
    return grid_anchors(network_wh, (STRIDE,), [shapes_of(SIZES_PX, ASPECTS)])


def proposals_of(logits: Tensor, deltas: Tensor, anchors: Tensor, network_wh: tuple[int, int]) -> Tensor:
    """The proposals xyxy [N, NUM_PROPOSALS, 4] of logits [N, A] and deltas [N, A, 4], best first, then rows of 0."""
    best = logits.topk(min(NUM_BEFORE_NMS, logits.shape[1]), dim=1)
    boxes = decode(take_rows(deltas, best.indices), anchors[best.indices], PLAIN, network_wh)
    has_size = ((boxes[..., 2:] - boxes[..., :2]) >= LEAST_SIDE_PX).all(dim=2)
    scores = torch.where(has_size, best.values.sigmoid(), -1.0)
    scores = torch.where(keep_best(boxes, scores, NMS_IOU, -0.5), scores, -1.0)
    kept = scores.topk(min(NUM_PROPOSALS, scores.shape[1]), dim=1)
    return torch.where(kept.values[:, :, None] >= 0, take_rows(boxes, kept.indices), 0.0)


@dataclass(frozen=True, slots=True)
class FirstStage:
    """What the first stage says of a batch."""

    features: Tensor  # [N, WIDTH, h / 8, w / 8]
    proposals: Tensor  # [N, NUM_PROPOSALS, 4], taken for given by the second stage: without a gradient
    loss: Tensor


def first_stage(network: ProposalNetwork, batch: Sequence[Example], anchors: Tensor) -> FirstStage:
    """Map, proposals and loss of the pictures of a batch, in which the network learns."""
    features, logits, deltas = (output.float() for output in network(pixels_of(one.pixels for one in batch)))
    targets = stacked([targets_of(example, anchors, RULE, PLAIN) for example in batch])
    with torch.no_grad():
        proposals = proposals_of(logits, deltas, anchors, batch[0].size_wh)
    return FirstStage(features, proposals, rpn_loss(logits, deltas, targets))


def rpn_loss(logits: Tensor, deltas: Tensor, targets: Targets) -> Tensor:
    """Equation 1 of logits [N, A] and deltas [N, A, 4], a mean over the anchors that are drawn."""
    chosen = torch.stack([drawn(labels, NUM_DRAWN, NUM_DRAWN // 2) for labels in targets.labels])  # bool [N, A]
    is_positive = chosen & targets.is_positive
    class_loss = F.binary_cross_entropy_with_logits(
        logits[chosen], targets.is_positive[chosen].float(), reduction="sum"
    )
    box_loss = F.smooth_l1_loss(deltas[is_positive], targets.deltas[is_positive], reduction="sum", beta=_BETA)
    return (class_loss + box_loss) / chosen.sum().clamp(min=1)
