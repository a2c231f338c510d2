"""YOLO (2016): one grid → in every cell a few boxes, how sure they are of an object, and its class, in one pass.

Redmon et al., "You Only Look Once", CVPR 2016 (https://arxiv.org/abs/1506.02640), in the form of its second version,
"YOLO9000" (Redmon and Farhadi, CVPR 2017, https://arxiv.org/abs/1612.08242): the first one's cell has one class and
two boxes of any shape, and loses small objects that stand close together (its section 2.4), which a street is full of.

Kept from the second paper: one grid; five prior shapes by k-means with 1 - IoU as distance ("Dimension Clusters");
centres by a sigmoid within their own cell, sides as multiples of the prior's ("Direct location prediction"); the
passthrough of a finer map, whose cells are stacked as channels ("Fine-Grained Features"). From the first: sums of
squared errors, where the coordinates count 5 times and boxes without an object .5 times (section 2.2); the score that
is learnt is the IoU of the predicted box; the box whose prior fits an object best, in the cell of its centre, is
responsible for it. From both: a score is that times the class's; boxes without an object cost nothing where they
overlap one by more than .6, as in the authors' darknet.

Otherwise than in the papers: the grid has stride 16 instead of 32, as the pictures have three quarters of the sides and
smaller objects; the coarser map is enlarged and stacked too, since this backbone's finer ones see little around them;
classes are learnt by cross entropy, whose gradient darknet's softmax has; AdamW; one size of input instead of
several ("Multi-Scale Training"); the backbone starts from crops of the same streets instead of ImageNet ("Stronger").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import box_iou

from export.examples import Example
from export.exportable import Exportable
from export.families.demo_network import convolution
from export.families.two_stage import clip_to_image
from export.graph.ops import best_pairs, take_rows
from export.lineage.anchors import grid_anchors
from export.lineage.backbone import CHANNELS, Backbone, pretrained
from export.lineage.dense import MAX_CANDIDATES, by_anchor
from export.lineage.learning import Recipe, Training, pixels_of
from export.lineage.scenes import Scenes, World
from export.lineage.system import System, lineage_spec

STRIDE = 16
NUM_PRIORS = 5
COORDINATES_COUNT, NO_OBJECT_COUNTS = 5.0, 0.5  # λ of the first paper's section 2.2
OVERLAP_IOU = 0.6
LARGEST_LOG_RATIO = 4.0
WIDTH = 128
RECIPE = Recipe(steps=1500)
BATCH_SIZE = 8
_ROUNDS = 50  # of k-means, at most


class Yolo(nn.Module):
    """Pixels float [N, 3, h, w] in -1..1 → predictions [N, A, 5 + C]: shift x, y, log sides, surety, class logits.

    A runs over rows, columns and priors. priors_wh: [5, 2] in network pixels.
    """

    def __init__(self, backbone: Backbone, num_classes: int, priors_wh: Tensor) -> None:
        super().__init__()
        self.num_values = 5 + num_classes
        self.backbone = backbone
        self.priors_wh: Tensor
        self.register_buffer("priors_wh", priors_wh)
        fine, middle, coarse = CHANNELS
        self.layers = nn.Sequential(
            convolution(4 * fine + middle + coarse, WIDTH),
            convolution(WIDTH, WIDTH, kernel=3),
            nn.Conv2d(WIDTH, len(priors_wh) * self.num_values, 1),
        )

    def forward(self, pixels: Tensor) -> tuple[Tensor]:
        fine, middle, coarse = self.backbone(pixels)
        enlarged = F.interpolate(coarse, size=middle.shape[2:], mode="nearest")
        stacked = torch.cat([F.pixel_unshuffle(fine, 2), middle, enlarged], dim=1)
        return (by_anchor(self.layers(stacked), self.num_values),)


def prior_shapes(sides_wh: Tensor, num_priors: int = NUM_PRIORS) -> Tensor:
    """The width and height [num_priors, 2] of clusters of boxes [N, 2], smallest first: k-means by IoU, from quantiles.

    Fewer boxes than priors, also none, give priors that are doublings of the others.
    """
    by_area = sides_wh[sides_wh.prod(dim=1).argsort()]
    if len(by_area) < num_priors:
        first = by_area if len(by_area) else sides_wh.new_tensor([[16.0, 16.0]])
        more = [first[-1:] * 2**doublings for doublings in range(1, num_priors)]
        return torch.cat([first, *more])[:num_priors]
    means = by_area[torch.linspace(0, len(by_area) - 1, 2 * num_priors + 1)[1::2].round().long()]
    for _ in range(_ROUNDS):
        cluster = shape_iou(by_area, means).argmax(dim=1)  # [N]
        moved = torch.stack(
            [by_area[cluster == i].mean(dim=0) if (cluster == i).any() else means[i] for i in range(num_priors)]
        )
        if torch.equal(moved, means):
            break
        means = moved
    return means[means.prod(dim=1).argsort()]


def shape_iou(sides_wh: Tensor, others_wh: Tensor) -> Tensor:
    """The IoU [N, M] of boxes with one centre, from their sides [N, 2] and [M, 2]."""
    shared = torch.minimum(sides_wh[:, None], others_wh).prod(dim=2)
    return shared / (sides_wh.prod(dim=1)[:, None] + others_wh.prod(dim=1) - shared)


@dataclass(frozen=True, slots=True)
class Responsible:
    """The predictions that answer for the objects of a picture, R of them, and what they learn."""

    rows: Tensor  # int64 [R], into the A predictions
    boxes_xyxy: Tensor  # [R, 4]
    class_ids: Tensor  # int64 [R]


def responsible(example: Example, priors_wh: Tensor) -> Responsible:
    """In the cell of an object's centre, the prior of the most similar shape.

    Of two objects with one such prior the later one has it, as in darknet.
    """
    boxes = torch.from_numpy(example.boxes_xyxy)
    columns, num_rows = (-(-side // STRIDE) for side in example.size_wh)
    centres = ((boxes[:, :2] + boxes[:, 2:]) / 2 / STRIDE).long()  # [N, 2]
    cells = centres[:, 1].clamp(0, num_rows - 1) * columns + centres[:, 0].clamp(0, columns - 1)
    rows = cells * len(priors_wh) + shape_iou(boxes[:, 2:] - boxes[:, :2], priors_wh).argmax(dim=1)
    objects = {row: index for index, row in enumerate(rows.tolist())}  # the later one stays
    chosen = torch.tensor(list(objects.values()), dtype=torch.int64)
    return Responsible(rows[chosen], boxes[chosen], torch.from_numpy(example.class_ids)[chosen])


def boxes_of(predictions: Tensor, references: Tensor) -> Tensor:
    """The boxes xyxy [..., 4] of predictions [..., 5 + C]; references [..., 4] are the priors in their cells.

    Only the sigmoid of the first two and the exponents of the next two move a box: the centre stays in its cell.
    """
    centre = (references[..., :2] + references[..., 2:]) / 2 + (predictions[..., :2].sigmoid() - 0.5) * STRIDE
    ratio = torch.exp(predictions[..., 2:4].clamp(max=LARGEST_LOG_RATIO))
    half = (references[..., 2:] - references[..., :2]) * ratio / 2
    return torch.cat([centre - half, centre + half], dim=-1)


def references_of(network_wh: tuple[int, int], priors_wh: Tensor) -> Tensor:
    """The priors in the centres of all cells, xyxy [A, 4]."""
    return grid_anchors(network_wh, (STRIDE,), [[(w, h) for w, h in priors_wh.tolist()]])


def loss_of(predictions: Tensor, references: Tensor, priors_wh: Tensor, batch: Sequence[Example]) -> Tensor:
    """The loss of predictions [N, A, 5 + C]: the sums of a picture's squared errors, the mean of all pictures."""
    costs = [_loss_of_one(one, references, priors_wh, example) for one, example in zip(predictions, batch, strict=True)]
    return torch.stack(costs).mean()


def _loss_of_one(predictions: Tensor, references: Tensor, priors_wh: Tensor, example: Example) -> Tensor:
    own, surety = responsible(example, priors_wh), predictions[:, 4].sigmoid()
    chosen, boxes = predictions[own.rows], boxes_of(predictions, references).detach()
    counts = torch.ones_like(surety)
    others = torch.from_numpy(np.concatenate([example.boxes_xyxy, example.ignored_xyxy]))
    if len(others):
        counts[box_iou(boxes, others).amax(dim=1) > OVERLAP_IOU] = 0
        ignored = torch.from_numpy(example.ignored_xyxy)
        if len(ignored):
            counts[box_iou(references, ignored).amax(dim=1) > OVERLAP_IOU] = 0
    counts[own.rows] = 0
    no_object = (counts * surety**2).sum()
    overlap = torch.diagonal(box_iou(boxes[own.rows], own.boxes_xyxy))  # [R]
    is_object = ((surety[own.rows] - overlap) ** 2).sum()
    centres = ((chosen[:, :2].sigmoid() - _shift(own, references)) ** 2).sum()
    sides = ((chosen[:, 2:4] - _log_sides(own, references)) ** 2).sum()
    classes = F.cross_entropy(chosen[:, 5:], own.class_ids, reduction="sum")
    return COORDINATES_COUNT * (centres + sides) + is_object + NO_OBJECT_COUNTS * no_object + classes


def _shift(own: Responsible, references: Tensor) -> Tensor:
    """The centres [R, 2] of the objects within their cells, 0..1."""
    priors = references[own.rows]
    return (own.boxes_xyxy[:, :2] + own.boxes_xyxy[:, 2:] - priors[:, :2] - priors[:, 2:]) / 2 / STRIDE + 0.5


def _log_sides(own: Responsible, references: Tensor) -> Tensor:
    """The logarithms [R, 2] of the objects' sides in sides of their priors."""
    priors = references[own.rows]
    return torch.log((own.boxes_xyxy[:, 2:] - own.boxes_xyxy[:, :2]) / (priors[:, 2:] - priors[:, :2]))


class YoloDecode(nn.Module):
    """Predictions [N, A, 5 + C] → the best K boxes [N, K, 4], scores [N, K] and class ids [N, K], before NMS."""

    def __init__(self, network_wh: tuple[int, int], priors_wh: Tensor) -> None:
        super().__init__()
        self.network_wh = network_wh
        self.references: Tensor
        self.register_buffer("references", references_of(network_wh, priors_wh))

    def forward(self, predictions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        class_scores = predictions[:, :, 4:5].sigmoid() * predictions[:, :, 5:].softmax(dim=2)  # [N, A, C]
        scores, rows, class_ids = best_pairs(class_scores, MAX_CANDIDATES)
        boxes = boxes_of(take_rows(predictions, rows), self.references[rows])
        return clip_to_image(boxes, self.network_wh), scores, class_ids


def train(scenes: Scenes, training: Training) -> Yolo:
    """Priors from the objects of the scenes, then the grid."""
    backbone, chance = pretrained(scenes, training), training.chance()
    boxes = torch.from_numpy(np.concatenate([example.boxes_xyxy for example in scenes.examples]))
    priors_wh = prior_shapes(boxes[:, 2:] - boxes[:, :2])
    network = Yolo(backbone, len(scenes.world.class_names), priors_wh)
    references = references_of(scenes.world.network_wh, priors_wh)

    def loss_of_batch() -> Tensor:
        batch = scenes.batch(BATCH_SIZE, chance)
        (predictions,) = network(pixels_of(example.pixels for example in batch))
        return loss_of(predictions.float(), references, priors_wh, batch)

    training.learn("grid", network, loss_of_batch, RECIPE)
    return network


def exportable(network: nn.Module, world: World) -> Exportable:
    """The detector, with suppression by the pipeline."""
    assert isinstance(network, Yolo)
    decode = YoloDecode(world.network_wh, network.priors_wh)
    return Exportable(network.eval(), decode.eval(), lineage_spec(world, YOLO.title), reference=None)


YOLO = System(
    name="yolo",
    title="YOLO",
    year=2016,
    paper="Redmon and Farhadi, CVPR 2017, https://arxiv.org/abs/1612.08242",
    runs_on="grid",
    train=train,
    exportable=exportable,
    needs=("backbone",),
)
