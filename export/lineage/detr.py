"""DETR (2020): a set of learnt queries looks at the whole picture → a set of objects, each once, without NMS.

Carion et al., "End-to-End Object Detection with Transformers", ECCV 2020 (https://arxiv.org/abs/2005.12872).

Kept from the paper: the set loss, by the best one-to-one match of queries and objects (section 3.1, equations 1 and 2,
and appendix A.2: class probability, 5 times L1 and 2 times generalised IoU; "no object" counts a tenth); a transformer
without causal mask whose every attention adds positions to its queries and keys, sines and cosines for the picture and
learnt ones for the objects (3.2, appendix A.3); the loss after every decoder layer, with shared heads (3.2); boxes as
centre and size by a sigmoid, relative to the picture, from three layers (3.2).

Otherwise than in the paper: a query is a learnt point of the picture instead of free numbers, and a centre is
relative to it, as in Conditional DETR (Meng et al., ICCV 2021), which learnt faster in short trials here; in the file
both are constants. Two layers of the encoder and three of the decoder, 128 wide, instead of six and six,
256 wide; 25 queries instead of 100 (4); norms before the layers instead of after them, an option of the authors' code,
as it learns faster; no dropout (appendix A.4), as the network is small; a map of stride 16, as the paper's DC5 has (4),
with the coarser map enlarged and stacked; queries without an object that lie on one which counts neither way cost
nothing; one learning rate for all (A.4); the backbone starts from crops of the same streets instead of ImageNet.

The paper trains for 300 epochs, three days on 16 V100 (4): it does not get there in minutes. `train` goes on from the
weights beside this file, which `python -m export.train_detr` has made of 240 streets in half an hour of one core.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn
from torchvision.ops import box_convert, box_iou, generalized_box_iou

from export.examples import Example
from export.exportable import Exportable
from export.families.two_stage import clip_to_image
from export.graph.ops import take_rows
from export.lineage.assignment import IGNORED_IOU
from export.lineage.backbone import CHANNELS, Backbone, pretrained
from export.lineage.learning import Recipe, Training, pixels_of
from export.lineage.scenes import STREET_CLASSES, STREET_WH, Scenes, World
from export.lineage.system import System, lineage_spec

NUM_QUERIES = 25
WIDTH, NUM_HEADS, INNER_WIDTH = 128, 4, 256
ENCODER_LAYERS, DECODER_LAYERS = 2, 3
L1_COUNTS, GIOU_COUNTS, NO_OBJECT_COUNTS = 5.0, 2.0, 0.1
WEIGHTS = Path(__file__).parent / "detr.npz"  # in float16
FROM_SCRATCH = Recipe(steps=12_000, learning_rate=5e-4)
RECIPE = Recipe(steps=300, learning_rate=1e-4)  # from the weights that ship
BATCH_SIZE = 8
_TEMPERATURE = 10_000.0  # of the sines, as in "Attention Is All You Need"


class Attention(nn.Module):
    """Queries [N, Q, WIDTH], keys and values [N, T, WIDTH] → [N, Q, WIDTH], by NUM_HEADS heads."""

    def __init__(self) -> None:
        super().__init__()
        self.to_query, self.to_key, self.to_value, self.out = (nn.Linear(WIDTH, WIDTH) for _ in range(4))

    def forward(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        heads = (
            layer(x).unflatten(2, (NUM_HEADS, -1)).transpose(1, 2)  # [N, heads, T, WIDTH / heads]
            for layer, x in ((self.to_query, queries), (self.to_key, keys), (self.to_value, values))
        )
        mixed: Tensor = self.out(F.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2))
        return mixed


class Inner(nn.Sequential):
    """The two linear layers behind an attention, for each token by itself."""

    def __init__(self) -> None:
        super().__init__(nn.Linear(WIDTH, INNER_WIDTH), nn.ReLU(inplace=True), nn.Linear(INNER_WIDTH, WIDTH))


class EncoderLayer(nn.Module):
    """Tokens of the picture [N, T, WIDTH] look at one another; positions [T, WIDTH]."""

    def __init__(self) -> None:
        super().__init__()
        self.attention, self.inner = Attention(), Inner()
        self.norms = nn.ModuleList([nn.LayerNorm(WIDTH) for _ in range(2)])

    def forward(self, tokens: Tensor, positions: Tensor) -> Tensor:
        x = self.norms[0](tokens)
        tokens = tokens + self.attention(x + positions, x + positions, x)
        changed: Tensor = tokens + self.inner(self.norms[1](tokens))
        return changed


class DecoderLayer(nn.Module):
    """Objects [N, Q, WIDTH] look at one another, then at the picture's tokens [N, T, WIDTH]."""

    def __init__(self) -> None:
        super().__init__()
        self.among, self.at_picture, self.inner = Attention(), Attention(), Inner()
        self.norms = nn.ModuleList([nn.LayerNorm(WIDTH) for _ in range(3)])

    def forward(self, objects: Tensor, queries: Tensor, tokens: Tensor, positions: Tensor) -> Tensor:
        x = self.norms[0](objects)
        objects = objects + self.among(x + queries, x + queries, x)
        objects = objects + self.at_picture(self.norms[1](objects) + queries, tokens + positions, tokens)
        changed: Tensor = objects + self.inner(self.norms[2](objects))
        return changed


class Detr(nn.Module):
    """Pixels float [N, 3, h, w] in -1..1 → logits [N, Q, C + 1], "no object" last, and boxes [N, Q, 4] in 0..1.

    Boxes are centre x, centre y, width, height, relative to the picture. `layers` has both after every decoder layer.
    """

    def __init__(self, backbone: Backbone, num_classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.narrow = nn.Conv2d(sum(CHANNELS[1:]), WIDTH, 1)
        self.encoder = nn.ModuleList([EncoderLayer() for _ in range(ENCODER_LAYERS)])
        self.decoder = nn.ModuleList([DecoderLayer() for _ in range(DECODER_LAYERS)])
        self.points = nn.Parameter(torch.logit(first_points()))  # before the sigmoid
        self.to_queries = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU(inplace=True), nn.Linear(WIDTH, WIDTH))
        self.norms = nn.ModuleList([nn.LayerNorm(WIDTH) for _ in range(2)])  # of encoder and decoder
        self.classify = nn.Linear(WIDTH, num_classes + 1)
        hidden = [layer for _ in range(2) for layer in (nn.Linear(WIDTH, WIDTH), nn.ReLU(inplace=True))]
        self.locate = nn.Sequential(*hidden, nn.Linear(WIDTH, 4))

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        return self.layers(pixels)[-1]

    def layers(self, pixels: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Logits and boxes after every decoder layer."""
        _, middle, coarse = self.backbone(pixels)
        enlarged = F.interpolate(coarse, size=middle.shape[2:], mode="nearest")
        tokens = self.narrow(torch.cat([middle, enlarged], dim=1)).flatten(2).transpose(1, 2)  # [N, T, WIDTH]
        positions = sine_positions(middle.shape[2], middle.shape[3])
        for encode in self.encoder:
            tokens = encode(tokens, positions)
        tokens = self.norms[0](tokens)
        queries = self.to_queries(sines_of(self.points.sigmoid()))  # [Q, WIDTH]
        objects, outputs = torch.zeros_like(queries).expand(tokens.shape[0], -1, -1), []
        for decode in self.decoder:
            objects = decode(objects, queries, tokens, positions)
            normed = self.norms[1](objects)
            boxes = self.locate(normed)
            centres, sides = boxes[..., :2] + self.points, boxes[..., 2:]
            outputs.append((self.classify(normed), torch.cat([centres, sides], dim=2).sigmoid()))
        return outputs


def first_points() -> Tensor:
    """Where the queries begin: the middles of 5 x 5 parts of the picture, x and y in 0..1, [Q, 2]."""
    side = math.isqrt(NUM_QUERIES)
    middles = (torch.arange(side) + 0.5) / side
    return torch.cartesian_prod(middles, middles).flip(1)


def sine_positions(num_rows: int, num_columns: int) -> Tensor:
    """The positions [rows * columns, WIDTH] of a map's cells."""
    rows, columns = ((torch.arange(num) + 1) / num for num in (num_rows, num_columns))
    return sines_of(torch.cartesian_prod(rows, columns).flip(1))


def sines_of(points: Tensor) -> Tensor:
    """Points [P, 2], x and y in 0..1 → [P, WIDTH] sines and cosines, half of them of the row, half of the column."""
    quarter = WIDTH // 4
    rates = _TEMPERATURE ** (-torch.arange(quarter) / quarter)
    angles = points.flip(1)[:, :, None] * 2 * math.pi * rates  # [P, 2, quarter]
    return torch.cat([angles.sin(), angles.cos()], dim=2).flatten(1)


@dataclass(frozen=True, slots=True)
class Objects:
    """The ground truth of a picture as DETR learns it, boxes relative to the picture."""

    boxes_cxcywh: Tensor  # [M, 4]
    class_ids: Tensor  # int64 [M]
    ignored_xyxy: Tensor  # [I, 4]

    @classmethod
    def of(cls, example: Example) -> Objects:
        """That of an example; of more objects than queries the largest."""
        size = torch.tensor(example.size_wh * 2, dtype=torch.float32)
        boxes = box_convert(torch.from_numpy(example.boxes_xyxy) / size, "xyxy", "cxcywh")
        largest = boxes[:, 2:].prod(dim=1).argsort(descending=True)[:NUM_QUERIES]
        class_ids = torch.from_numpy(example.class_ids)
        return cls(boxes[largest], class_ids[largest], torch.from_numpy(example.ignored_xyxy) / size)


@torch.no_grad()
def matched(logits: Tensor, boxes: Tensor, objects: Objects) -> tuple[Tensor, Tensor]:
    """The queries and their objects, int64 [M] each, whose total cost is least (equation 1).

    logits [Q, C + 1] and boxes cxcywh [Q, 4] of one picture.
    """
    probabilities = logits.softmax(dim=1)[:, objects.class_ids]  # [Q, M]
    distance = torch.cdist(boxes, objects.boxes_cxcywh, p=1)
    overlap = generalized_box_iou(*(box_convert(b, "cxcywh", "xyxy") for b in (boxes, objects.boxes_cxcywh)))
    cost = L1_COUNTS * distance - probabilities - GIOU_COUNTS * overlap
    queries, chosen = linear_sum_assignment(cost.numpy())
    return torch.from_numpy(queries), torch.from_numpy(chosen)


def set_loss(logits: Tensor, boxes: Tensor, objects: Sequence[Objects]) -> Tensor:
    """The Hungarian loss (equation 2) of logits [N, Q, C + 1] and boxes cxcywh [N, Q, 4], a mean over all objects."""
    no_object = logits.shape[2] - 1
    labels = torch.full(logits.shape[:2], no_object)
    own, truth = [], []
    for index, one in enumerate(objects):
        queries, chosen = matched(logits[index], boxes[index], one)
        labels[index, _over(boxes[index], one.ignored_xyxy)] = -1
        labels[index, queries] = one.class_ids[chosen]
        own.append(boxes[index, queries])
        truth.append(one.boxes_cxcywh[chosen])
    weights = torch.ones(no_object + 1)
    weights[no_object] = NO_OBJECT_COUNTS
    class_loss = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), weights, ignore_index=-1)
    mine, theirs = torch.cat(own), torch.cat(truth)  # [M of all, 4]
    overlap = torch.diagonal(generalized_box_iou(*(box_convert(b, "cxcywh", "xyxy") for b in (mine, theirs))))
    box_loss = L1_COUNTS * (mine - theirs).abs().sum() + GIOU_COUNTS * (1 - overlap).sum()
    return class_loss + box_loss / max(len(mine), 1)


@torch.no_grad()
def _over(boxes_cxcywh: Tensor, ignored_xyxy: Tensor) -> Tensor:
    """Which boxes [Q, 4] lie on an ignored object [I, 4]."""
    if not len(ignored_xyxy):
        return torch.zeros(len(boxes_cxcywh), dtype=torch.bool)
    is_over: Tensor = box_iou(box_convert(boxes_cxcywh, "cxcywh", "xyxy"), ignored_xyxy).amax(dim=1) >= IGNORED_IOU
    return is_over


class DetrDecode(nn.Module):
    """Logits [N, Q, C + 1] and boxes [N, Q, 4] → boxes xyxy [N, Q, 4], scores [N, Q] best first, class ids [N, Q].

    Nothing is suppressed: the queries have agreed among themselves.
    """

    def __init__(self, network_wh: tuple[int, int]) -> None:
        super().__init__()
        self.network_wh = network_wh
        self.size: Tensor
        self.register_buffer("size", torch.tensor(network_wh * 2, dtype=torch.float32))

    def forward(self, logits: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        scores, class_ids = logits.softmax(dim=2)[:, :, :-1].max(dim=2)  # [N, Q]
        best = scores.topk(scores.shape[1], dim=1)
        centre, half = boxes[..., :2], boxes[..., 2:] / 2
        corners = torch.cat([centre - half, centre + half], dim=2) * self.size
        return (
            clip_to_image(take_rows(corners, best.indices), self.network_wh),
            best.values,
            class_ids.gather(1, best.indices),
        )


def train(scenes: Scenes, training: Training) -> Detr:
    """A while more from the weights that ship; from scratch in another world than theirs, or without them."""
    if WEIGHTS.exists() and scenes.world == World(STREET_CLASSES, STREET_WH):
        network, recipe = with_weights(scenes, weights_in(WEIGHTS)), RECIPE
    else:
        network, recipe = untrained(scenes, training), FROM_SCRATCH
    learn(network, scenes, training, recipe)
    return network


def untrained(scenes: Scenes, training: Training) -> Detr:
    """A network of which the backbone alone has learnt something."""
    backbone = pretrained(scenes, training)
    torch.manual_seed(training.seed)
    return Detr(backbone, len(scenes.world.class_names))


def with_weights(scenes: Scenes, weights: dict[str, Tensor]) -> Detr:
    """A network with weights as `weights_in` reads them."""
    network = Detr(Backbone(), len(scenes.world.class_names))
    network.load_state_dict(weights)
    return network


def learn(network: Detr, scenes: Scenes, training: Training, recipe: Recipe) -> None:
    """Train a network in place, by the set loss after every decoder layer."""
    chance = training.chance()

    def loss_of_batch() -> Tensor:
        batch = scenes.batch(BATCH_SIZE, chance)
        objects = [Objects.of(example) for example in batch]
        layers = network.layers(pixels_of(example.pixels for example in batch))
        return torch.stack([set_loss(logits.float(), boxes.float(), objects) for logits, boxes in layers]).sum()

    training.learn("queries", network, loss_of_batch, recipe)


def weights_in(path: Path) -> dict[str, Tensor]:
    """The weights in a file of `packed` ones, in float32."""
    with np.load(path) as kept:
        arrays = {name: torch.from_numpy(kept[name]) for name in kept.files}
    return {name: array.float() if array.is_floating_point() else array for name, array in arrays.items()}


def packed(network: Detr) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.generic]]]:
    """The weights of a network as arrays for `numpy.savez`, in float16; `weights_in` reads them back."""
    weights = {name: tensor.cpu() for name, tensor in network.state_dict().items()}
    return {name: (t.half() if t.is_floating_point() else t).numpy() for name, t in weights.items()}


def exportable(network: nn.Module, world: World) -> Exportable:
    """The detector, which needs no suppression."""
    spec = lineage_spec(world, DETR.title, needs_nms=False, max_detections=NUM_QUERIES)
    return Exportable(network.eval(), DetrDecode(world.network_wh).eval(), spec, reference=None)


DETR = System(
    name="detr",
    title="DETR",
    year=2020,
    paper="Carion et al., ECCV 2020, https://arxiv.org/abs/2005.12872",
    runs_on="queries",
    train=train,
    exportable=exportable,
    needs=("backbone",),
)
