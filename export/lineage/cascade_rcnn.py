"""Cascade R-CNN (2018): three heads in a row, each taking the boxes of the one before and asking for a better fit.

Cai and Vasconcelos, "Cascade R-CNN: Delving into High Quality Object Detection", CVPR 2018
(https://arxiv.org/abs/1712.00726).

Kept from the paper: three stages that learn from IoUs of .5, .6 and .7 on, each from samples of the boxes that the
one before makes, so that there are enough of a good fit (sections 4.2, 4.3); one box whatever the class (4.1), whose
deltas are normalised more from stage to stage, as they get smaller (4.1, with the numbers of the authors' code); the
mean of the three heads' scores (the authors' code).

Otherwise than in the paper: the first stage, and what comes before it, is this line's Faster R-CNN, with its
deviations; each head scores the boxes that it is given instead of the last ones; the losses of the stages count 1, .5
and .25, as in the authors' later code, instead of equally (4.3).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from export.exportable import Exportable
from export.graph.ops import best_pairs, take_rows
from export.lineage.assignment import Rule
from export.lineage.backbone import Backbone, pretrained
from export.lineage.box_coding import SCALED, Weights, decode
from export.lineage.faster_rcnn import MAX_CANDIDATES
from export.lineage.learning import Recipe, Training
from export.lineage.region_heads import RegionHead, pooled, pooled_to_learn, region_loss, sample
from export.lineage.rpn import STRIDE, WIDTH, ProposalNetwork, anchors_of, first_stage, proposals_of
from export.lineage.scenes import Scenes, World
from export.lineage.system import System, lineage_spec

STAGE_IOUS = (0.5, 0.6, 0.7)
STAGE_WEIGHTS: tuple[Weights, ...] = (SCALED, (20.0, 20.0, 10.0, 10.0), (30.0, 30.0, 15.0, 15.0))
STAGE_COUNTS = (1.0, 0.5, 0.25)  # of the losses
RECIPE = Recipe(steps=1500, learning_rate=1e-3)
BATCH_SIZE = 4


class CascadeRcnn(ProposalNetwork):
    """A `ProposalNetwork`, and the three `heads` of the stages after it, which the decoder shares."""

    def __init__(self, backbone: Backbone, num_classes: int) -> None:
        super().__init__(backbone)
        self.heads = nn.ModuleList([RegionHead(WIDTH, num_classes, num_boxes=1) for _ in STAGE_IOUS])


class CascadeDecode(nn.Module):
    """The outputs of a `CascadeRcnn` → proposals, moved three times → the best K pairs of a box and a class.

    Returns boxes xyxy [N, K, 4], scores [N, K] that are 0 for padding, class ids [N, K], before NMS.
    """

    def __init__(self, heads: nn.ModuleList, network_wh: tuple[int, int]) -> None:
        super().__init__()
        self.heads, self.network_wh = heads, network_wh
        self.anchors: Tensor
        self.register_buffer("anchors", anchors_of(network_wh))

    def forward(self, features: Tensor, logits: Tensor, deltas: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        proposals = proposals_of(logits, deltas, self.anchors, self.network_wh)  # [N, R, 4]
        is_real = proposals[:, :, 2:3] > proposals[:, :, 0:1]  # [N, R, 1]
        boxes, logits_of_heads = moved(features, proposals, self.heads, self.network_wh)
        class_scores = torch.stack(logits_of_heads).softmax(dim=2).mean(dim=0)[:, 1:]  # [N * R, C]
        class_scores = class_scores.reshape(-1, proposals.shape[1], class_scores.shape[1]) * is_real
        scores, rows, class_ids = best_pairs(class_scores, MAX_CANDIDATES)  # [N, K]
        return take_rows(boxes[-1], rows), scores, class_ids


def moved(
    features: Tensor, proposals: Tensor, heads: nn.ModuleList, network_wh: tuple[int, int]
) -> tuple[list[Tensor], list[Tensor]]:
    """The proposals [N, R, 4] and the boxes [N, R, 4] after each head; rows of zeros stay so.

    And the class logits [N * R, 1 + C] of each head, for the boxes that it was given.
    """
    boxes, logits_of_heads = [proposals], []
    for head, weights in zip(heads, STAGE_WEIGHTS, strict=True):
        logits, deltas = head(pooled(features, boxes[-1], 1 / STRIDE))
        boxes.append(decode(deltas.float().reshape(proposals.shape), boxes[-1], weights, network_wh))
        logits_of_heads.append(logits)
    return boxes, logits_of_heads


def train(scenes: Scenes, training: Training) -> CascadeRcnn:
    """All stages at once, each from the boxes that the one before makes."""
    backbone, chance, network_wh = pretrained(scenes, training), training.chance(), scenes.world.network_wh
    network = CascadeRcnn(backbone, len(scenes.world.class_names))
    anchors = anchors_of(network_wh)

    def loss_of_batch() -> Tensor:
        batch = scenes.batch(BATCH_SIZE, chance)
        first = first_stage(network, batch, anchors)
        with torch.no_grad():
            boxes_of_stages, _ = moved(first.features, first.proposals, network.heads, network_wh)
        costs = [first.loss]
        for index, head in enumerate(network.heads):
            rule = Rule(positive_iou=STAGE_IOUS[index], negative_iou=STAGE_IOUS[index])
            drawn = sample(batch, list(boxes_of_stages[index]), rule, STAGE_WEIGHTS[index])
            logits, deltas = head(pooled_to_learn(first.features, drawn.regions, 1 / STRIDE))
            own = region_loss(logits.float(), deltas.float(), drawn.labels, drawn.deltas)
            costs.append(STAGE_COUNTS[index] * own)
        return torch.stack(costs).sum()

    training.learn("all stages", network, loss_of_batch, RECIPE)
    return network


def exportable(network: nn.Module, world: World) -> Exportable:
    """The detector, with the suppression of its detections by the pipeline."""
    assert isinstance(network, CascadeRcnn)
    decode_all = CascadeDecode(network.heads, world.network_wh)
    return Exportable(network.eval(), decode_all.eval(), lineage_spec(world, CASCADE_R_CNN.title), reference=None)


CASCADE_R_CNN = System(
    name="cascade-r-cnn",
    title="Cascade R-CNN",
    year=2018,
    paper="Cai and Vasconcelos, CVPR 2018, https://arxiv.org/abs/1712.00726",
    runs_on="features",
    train=train,
    exportable=exportable,
    needs=("backbone",),
)
