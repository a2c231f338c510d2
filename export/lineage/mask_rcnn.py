"""Mask R-CNN (2017): Faster R-CNN, and a small network that says for each cell of a box whether it is the object.

He et al., "Mask R-CNN", ICCV 2017 (https://arxiv.org/abs/1703.06870).

Kept from the paper: a mask of 28 x 28 for each class, by convolutions and one that doubles the side, on regions pooled
to 14 x 14 by RoIAlign (section 3 and figure 4, right); a sigmoid in each cell and binary cross-entropy of the true
class alone, so that classes do not compete (3); masks learnt from positive regions, their target the object's mask cut
out by the region (3.1); at test masks of what is left after NMS, of the class that the box branch names (3.1);
pictures mirrored and changed no further (3.1).

Otherwise than in the paper: the boxes are this line's Faster R-CNN, with its deviations; two convolutions of 64 in the
mask head instead of four of 256 (figure 4); 50 detections get a mask instead of 100 (3.1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import roi_align

from export.examples import Example
from export.exportable import Exportable
from export.graph.ops import keep_best, take_rows
from export.lineage.backbone import Backbone, pretrained
from export.lineage.box_coding import SCALED
from export.lineage.faster_rcnn import REGION_RULE, FasterDecode, FasterRcnn
from export.lineage.learning import Recipe, Training
from export.lineage.region_heads import Sample, pooled, pooled_to_learn, region_loss, sample
from export.lineage.rpn import STRIDE, WIDTH, anchors_of, first_stage
from export.lineage.scenes import Scenes, World
from export.lineage.system import System, lineage_spec

POOLED_SIDE, MASK_SIDE = 14, 28
NMS_IOU, NUM_DETECTIONS = 0.5, 50
RECIPE = Recipe(steps=1500, learning_rate=1e-3)
BATCH_SIZE = 4


class MaskHead(nn.Module):
    """Pooled regions [R, width, 14, 14] → logits [R, C, 28, 28] of the cells of a mask of each class."""

    def __init__(self, width: int, num_classes: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Conv2d(width, width, 3, padding=1), nn.ReLU(inplace=True)),
            *(nn.Conv2d(width, width, 3, padding=1), nn.ReLU(inplace=True)),
            *(nn.ConvTranspose2d(width, width, 2, stride=2), nn.ReLU(inplace=True)),
            nn.Conv2d(width, num_classes, 1),
        )

    def forward(self, regions: Tensor) -> Tensor:
        return cast(Tensor, self.layers(regions))


class MaskRcnn(FasterRcnn):
    """A `FasterRcnn` with the `mask_head`, which the decoder shares too."""

    def __init__(self, backbone: Backbone, num_classes: int) -> None:
        super().__init__(backbone, num_classes)
        self.mask_head = MaskHead(WIDTH, num_classes)


class MaskDecode(nn.Module):
    """The outputs of a `MaskRcnn` → the detections after NMS, with their masks.

    Returns boxes xyxy [N, K, 4], scores [N, K] that are 0 for padding, class ids [N, K], and masks [N, K, 28, 28] in
    0..1, stretched over their boxes.
    """

    def __init__(self, network: MaskRcnn, network_wh: tuple[int, int]) -> None:
        super().__init__()
        self.detect, self.mask_head = FasterDecode(network.head, network_wh), network.mask_head

    def forward(self, features: Tensor, logits: Tensor, deltas: Tensor) -> tuple[Tensor, ...]:
        boxes, scores, class_ids = self.detect(features, logits, deltas)  # [N, M, 4], [N, M], [N, M]
        # Moved apart by class, so that one suppression serves all classes.
        apart = boxes + class_ids[:, :, None] * 2.0 * max(self.detect.network_wh)
        best = torch.where(keep_best(apart, scores, NMS_IOU, 0.0), scores, 0.0).topk(NUM_DETECTIONS, dim=1)
        boxes = take_rows(boxes, best.indices) * (best.values > 0)[:, :, None]
        class_ids = class_ids.gather(1, best.indices)  # [N, K]
        mask_logits = self.mask_head(pooled(features, boxes, 1 / STRIDE, POOLED_SIDE))  # [N * K, C, 28, 28]
        own = class_ids.reshape(-1, 1, 1, 1).expand(-1, 1, MASK_SIDE, MASK_SIDE)
        masks = mask_logits.gather(1, own).sigmoid().reshape(-1, NUM_DETECTIONS, MASK_SIDE, MASK_SIDE)
        return boxes, best.values, class_ids, masks


def train(scenes: Scenes, training: Training) -> MaskRcnn:
    """Boxes and masks at once. The scenes must have maps of their objects."""
    backbone, chance = pretrained(scenes, training), training.chance()
    network = MaskRcnn(backbone, len(scenes.world.class_names))
    anchors = anchors_of(scenes.world.network_wh)

    def loss_of_batch() -> Tensor:
        batch = mirrored_batch(scenes, BATCH_SIZE, chance)
        first = first_stage(network, batch, anchors)
        drawn = sample(batch, list(first.proposals), REGION_RULE, SCALED)
        logits, deltas = network.head(pooled_to_learn(first.features, drawn.regions, 1 / STRIDE))
        of_boxes = region_loss(logits.float(), deltas.float(), drawn.labels, drawn.deltas)
        return first.loss + of_boxes + mask_loss(network.mask_head, first.features, batch, drawn)

    training.learn("boxes and masks", network, loss_of_batch, RECIPE)
    return network


def mirrored_batch(scenes: Scenes, size: int, chance: np.random.Generator) -> list[Example]:
    """Some of the pictures, chosen at random, half of them mirrored."""
    chosen = [scenes.examples[index] for index in chance.integers(0, len(scenes.examples), size)]
    return [_mirrored(example) if chance.random() < 0.5 else example for example in chosen]


def _mirrored(example: Example) -> Example:
    width = example.size_wh[0]
    boxes, ignored = (
        np.stack([width - b[:, 2], b[:, 1], width - b[:, 0], b[:, 3]], axis=1)
        for b in (example.boxes_xyxy, example.ignored_xyxy)
    )
    assert example.object_map is not None, "Mask R-CNN learns from scenes with maps of their objects"
    return replace(
        example,
        pixels=np.ascontiguousarray(example.pixels[:, ::-1]),
        boxes_xyxy=boxes,
        ignored_xyxy=ignored,
        object_map=np.ascontiguousarray(example.object_map[:, ::-1]),
    )


def mask_loss(head: MaskHead, features: Tensor, batch: Sequence[Example], drawn: Sample) -> Tensor:
    """The binary cross-entropy of the masks of the true classes, a mean over the cells of all positive regions."""
    rows = [ids >= 0 for ids in drawn.object_ids]
    regions = [boxes[is_positive] for boxes, is_positive in zip(drawn.regions, rows, strict=True)]
    if not any(map(len, regions)):
        return features.new_zeros(())
    targets = torch.cat(
        [
            mask_targets(example, boxes, ids[is_positive])
            for example, boxes, ids, is_positive in zip(batch, regions, drawn.object_ids, rows, strict=True)
        ]
    )
    logits = head(pooled_to_learn(features, regions, 1 / STRIDE, POOLED_SIDE)).float()  # [S, C, 28, 28]
    own = logits[torch.arange(len(logits)), drawn.labels[drawn.labels > 0] - 1]
    return F.binary_cross_entropy_with_logits(own, targets)


def mask_targets(example: Example, regions: Tensor, object_ids: Tensor) -> Tensor:
    """How much of each cell of regions [P, 4] is their object, of ids [P]: [P, 28, 28] in 0..1."""
    assert example.object_map is not None, "Mask R-CNN learns from scenes with maps of their objects"
    object_map = torch.from_numpy(example.object_map.astype(np.int64))
    masks = (object_map[None] == 1 + object_ids[:, None, None]).float()  # [P, h, w]
    numbered = torch.cat([torch.arange(len(regions))[:, None].float(), regions], dim=1)
    return cast(Tensor, roi_align(masks[:, None], numbered, MASK_SIDE)[:, 0])


def exportable(network: nn.Module, world: World) -> Exportable:
    """The detector; NMS is inside, since masks are made of what it leaves."""
    assert isinstance(network, MaskRcnn)
    spec = lineage_spec(world, MASK_R_CNN.title, needs_nms=False, iou_threshold=NMS_IOU, max_detections=NUM_DETECTIONS)
    return Exportable(
        network.eval(),
        MaskDecode(network, world.network_wh).eval(),
        spec,
        reference=None,
        more_outputs=("masks",),
        inner_iou_threshold=NMS_IOU,
    )


MASK_R_CNN = System(
    name="mask-r-cnn",
    title="Mask R-CNN",
    year=2017,
    paper="He et al., ICCV 2017, https://arxiv.org/abs/1703.06870",
    runs_on="features",
    train=train,
    exportable=exportable,
    needs=("backbone",),
)
