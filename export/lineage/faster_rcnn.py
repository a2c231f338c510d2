"""Faster R-CNN (2015): one feature map for two networks, one that proposes regions and one that classifies them.

Ren et al., "Faster R-CNN: Towards Real-Time Object Detection with Region Proposal Networks", NIPS 2015
(https://arxiv.org/abs/1506.01497).

Kept from the paper: the region proposal network and its training (section 3.1, see `rpn`); a Fast R-CNN on the same map
that takes its proposals (3.2, see `region_heads`); a box for each class, suppressed class by class.

Otherwise than in the paper: both learn at once, proposals taken for given, which the paper names "approximate joint
training" (3.2) and the authors' Python code does, instead of in four turns; the map has stride 8 instead of 16, as the
pictures are a third as high, and is the finest of a pyramid (Lin et al. 2017), since this backbone's own map of that
stride sees little around an object; RoIAlign instead of RoI max pooling; AdamW instead of momentum; four pictures a
step instead of one; the backbone starts from crops of the same streets instead of ImageNet (3.1.3).
"""

from __future__ import annotations

from torch import Tensor, nn

from export.exportable import Exportable
from export.graph.ops import best_pairs, take_rows
from export.lineage.assignment import Rule
from export.lineage.backbone import Backbone, pretrained
from export.lineage.box_coding import SCALED, decode
from export.lineage.learning import Recipe, Training
from export.lineage.region_heads import RegionHead, pooled, pooled_to_learn, region_loss, sample
from export.lineage.rpn import STRIDE, WIDTH, ProposalNetwork, anchors_of, first_stage, proposals_of
from export.lineage.scenes import Scenes, World
from export.lineage.system import System, lineage_spec

REGION_RULE = Rule(positive_iou=0.5, negative_iou=0.5)
RECIPE = Recipe(steps=1500, learning_rate=1e-3)
BATCH_SIZE = 4
MAX_CANDIDATES = 200


class FasterRcnn(ProposalNetwork):
    """A `ProposalNetwork`, and the `head` of the second stage, which the decoder shares."""

    def __init__(self, backbone: Backbone, num_classes: int) -> None:
        super().__init__(backbone)
        self.head = RegionHead(WIDTH, num_classes, num_boxes=num_classes)


class FasterDecode(nn.Module):
    """The outputs of a `FasterRcnn` → proposals → the best K pairs of a proposal and a class, before NMS.

    Returns boxes xyxy [N, K, 4], scores [N, K] that are 0 for padding, class ids [N, K].
    """

    def __init__(self, head: RegionHead, network_wh: tuple[int, int]) -> None:
        super().__init__()
        self.head, self.network_wh = head, network_wh
        self.anchors: Tensor
        self.register_buffer("anchors", anchors_of(network_wh))

    def forward(self, features: Tensor, logits: Tensor, deltas: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        proposals = proposals_of(logits, deltas, self.anchors, self.network_wh)  # [N, R, 4]
        class_logits, box_deltas = self.head(pooled(features, proposals, 1 / STRIDE))
        num_proposals, num_classes = proposals.shape[1], class_logits.shape[1] - 1
        is_real = proposals[:, :, 2:3] > proposals[:, :, 0:1]  # [N, R, 1]
        class_scores = class_logits.softmax(dim=1)[:, 1:].reshape(-1, num_proposals, num_classes) * is_real
        scores, rows, class_ids = best_pairs(class_scores, MAX_CANDIDATES)  # [N, K]
        own = take_rows(box_deltas.reshape(-1, num_proposals * num_classes, 4), rows * num_classes + class_ids)
        return decode(own, take_rows(proposals, rows), SCALED, self.network_wh), scores, class_ids


def train(scenes: Scenes, training: Training) -> FasterRcnn:
    """Both stages at once."""
    backbone, chance = pretrained(scenes, training), training.chance()
    network = FasterRcnn(backbone, len(scenes.world.class_names))
    anchors = anchors_of(scenes.world.network_wh)

    def loss_of_batch() -> Tensor:
        batch = scenes.batch(BATCH_SIZE, chance)
        first = first_stage(network, batch, anchors)
        drawn = sample(batch, list(first.proposals), REGION_RULE, SCALED)
        logits, deltas = network.head(pooled_to_learn(first.features, drawn.regions, 1 / STRIDE))
        return first.loss + region_loss(logits.float(), deltas.float(), drawn.labels, drawn.deltas)

    training.learn("both stages", network, loss_of_batch, RECIPE)
    return network


def exportable(network: nn.Module, world: World) -> Exportable:
    """The detector, with the suppression of its detections by the pipeline."""
    assert isinstance(network, FasterRcnn)
    decode_all = FasterDecode(network.head, world.network_wh)
    return Exportable(network.eval(), decode_all.eval(), lineage_spec(world, FASTER_R_CNN.title), reference=None)


FASTER_R_CNN = System(
    name="faster-r-cnn",
    title="Faster R-CNN",
    year=2015,
    paper="Ren et al., NIPS 2015, https://arxiv.org/abs/1506.01497",
    runs_on="features",
    train=train,
    exportable=exportable,
    needs=("backbone",),
)
