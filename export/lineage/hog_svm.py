"""HOG + SVM (2005): windows of every place and scale → their gradients' histograms → one linear classifier a shape.

Dalal and Triggs, "Histograms of Oriented Gradients for Human Detection", CVPR 2005. One graph: a pyramid of the
picture, HOG of each level, and the SVM as a convolution over the blocks, which slides its window as the paper does.

Kept from the paper: the descriptor (`hog`), a linear SVM with hinge loss, a margin around the object in the window
(section 6.4), and the search for hard negatives: all training pictures are scanned with the first classifier, and it is
trained again with its false alarms (section 4).

Otherwise than in the paper: vehicles too, with one or two window shapes a class, as a bus from the side looks unlike
one from ahead (the paper has one shape, 64 x 128, and people alone; components are Felzenszwalb's, PAMI 2010); the
margin is one cell instead of two, as the pictures are small; levels of the pyramid differ by a factor of 2^(1/3),
coarser than theirs, for speed; positives are the pyramid's own best windows instead of cut-out people; margins become
scores by a logistic curve on pictures that the SVM has not seen (Platt 1999), so that classes compare.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import batched_nms, box_iou

from export.examples import Example
from export.exportable import Exportable
from export.graph.ops import best_pairs
from export.lineage.hog import BLOCK_CHANNELS, CELL_PX, Hog
from export.lineage.learning import Training
from export.lineage.scenes import Scenes, World
from export.lineage.system import System, lineage_spec

LEVEL_SCALES = tuple(2 ** (1 - level / 3) for level in range(10))  # of the network's pixels: 2, 1.59, … 0.25
MARGIN_CELLS = 1  # of a window, around its object
PAD_CELLS = 2  # around the picture, so that windows reach over its edge
MAX_CANDIDATES = 500

POSITIVE_IOU, NEGATIVE_IOU, IGNORED_IOU = 0.65, 0.3, 0.3
RANDOM_NEGATIVES, HARD_NEGATIVES = 12, 16  # of a picture and shape
_HARD_MARGIN = -1.0  # a negative that scores less costs nothing
_SVM_DECAY, _SVM_STEPS, _SVM_RATE = 1e-4, 300, 0.02
_CALIBRATING_SHARE = 0.2  # of the pictures
_NMS_IOU = 0.5
_CELLS_WH = {
    "person": ((2, 5),),
    "car": ((4, 3), (5, 2)),
    "bus": ((5, 4), (7, 3)),
    "truck": ((5, 4), (7, 4)),
}
_ANY_CELLS_WH = ((4, 4),)  # of other classes
FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Shape:
    """A window: its class, and the size of the object in it, in cells."""

    class_id: int
    cells_wh: tuple[int, int]

    @property
    def blocks_wh(self) -> tuple[int, int]:
        """The blocks in the window."""
        width, height = (cells + 2 * MARGIN_CELLS - 1 for cells in self.cells_wh)
        return width, height


class Pyramid(nn.Module):
    """Pixels float [N, 3, h, w], whole numbers in 0..255 → the HOG blocks of each level."""

    def __init__(self, network_wh: tuple[int, int]) -> None:
        super().__init__()
        self.hog = Hog()
        width, height = network_wh
        self.sizes_wh = [(round(width * scale), round(height * scale)) for scale in LEVEL_SCALES]
        self.halvings = [max(0, math.ceil(-math.log2(scale) - 1e-9)) for scale in LEVEL_SCALES]
        self.resize = nn.ModuleList(
            [
                nn.Sequential(Resample(height >> halvings, level_h, dim=2), Resample(width >> halvings, level_w, dim=3))
                for (level_w, level_h), halvings in zip(self.sizes_wh, self.halvings, strict=True)
            ]
        )

    def forward(self, pixels: Tensor) -> list[Tensor]:
        octaves, levels = [pixels], list[Tensor]()
        for halvings, resize in zip(self.halvings, self.resize, strict=True):
            while len(octaves) <= halvings:  # halve first: bilinear looks at two pixels only
                octaves.append(F.avg_pool2d(octaves[-1], 2))
            level = resize(octaves[halvings])
            levels.append(self.hog(F.pad(level, (PAD_CELLS * CELL_PX,) * 4, mode="replicate")))
        return levels


class Resample(nn.Module):
    """Resizes one side of [N, 3, h, w], bilinear at half-pixel centres, with weights in 64ths.

    So all sums of whole pixels are exact in float32, and every runtime gets the same picture. With other weights a
    level of one colour had gradients of 1e-6, and normalising made large numbers of them.
    """

    def __init__(self, source: int, target: int, *, dim: int) -> None:
        super().__init__()
        self.dim = dim
        position = ((torch.arange(target, dtype=torch.float64) + 0.5) * (source / target) - 0.5).clamp(0, source - 1)
        before = position.floor().long()
        shape = [target if side == dim else 1 for side in range(4)]
        self.before: Tensor
        self.after: Tensor
        self.weights: Tensor
        self.register_buffer("before", before)
        self.register_buffer("after", (before + 1).clamp(max=source - 1))
        self.register_buffer("weights", (((position - before) * 64).round() / 64).float().view(shape))

    def forward(self, pixels: Tensor) -> Tensor:
        low, high = (pixels.index_select(self.dim, indices) for indices in (self.before, self.after))
        return low + (high - low) * self.weights


class HogSvm(nn.Module):
    """Pixels float [N, 3, h, w] in 0..255 → the margins [N, A] of all windows, by level, shape, row and column."""

    def __init__(self, shapes: tuple[Shape, ...], network_wh: tuple[int, int]) -> None:
        super().__init__()
        self.shapes, self.network_wh = shapes, network_wh
        self.pyramid = Pyramid(network_wh)
        self.classifiers = nn.ModuleList([nn.Conv2d(BLOCK_CHANNELS, 1, shape.blocks_wh[::-1]) for shape in shapes])
        self.slopes: Tensor
        self.offsets: Tensor
        self.register_buffer("slopes", torch.ones(len(shapes)))
        self.register_buffer("offsets", torch.zeros(len(shapes)))

    def forward(self, pixels: Tensor) -> tuple[Tensor]:
        return (self.margins(self.pyramid(pixels)),)

    def margins(self, levels: list[Tensor]) -> Tensor:
        """The margins [N, A] of the windows over blocks of each level."""
        maps = [classifier(level) for level in levels for classifier in self.classifiers]
        return torch.cat([scores.flatten(1) for scores in maps], dim=1)

    def grids(self) -> Iterator[tuple[int, int, int, int]]:
        """Level, shape, rows and columns of each map of windows, in the order of the margins."""
        for level, (level_w, level_h) in enumerate(self.pyramid.sizes_wh):
            columns, rows = (side // CELL_PX + 2 * PAD_CELLS - 1 for side in (level_w, level_h))
            for index, shape in enumerate(self.shapes):
                width, height = shape.blocks_wh
                yield level, index, rows - height + 1, columns - width + 1

    def windows(self) -> tuple[Tensor, Tensor]:
        """The objects' boxes xyxy [A, 4] in network pixels, and shapes [A], of all windows."""
        boxes, shape_ids = [], []
        for level, index, rows, columns in self.grids():
            level_wh, (width, height) = self.pyramid.sizes_wh[level], self.shapes[index].cells_wh
            y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
            corner = torch.stack([x, y], dim=2).reshape(-1, 2).float() + MARGIN_CELLS - PAD_CELLS  # [cells, 2]
            corners = torch.cat([corner, corner + torch.tensor([width, height])], dim=1) * CELL_PX
            shrinks = [network / level for network, level in zip(self.network_wh, level_wh, strict=True)]
            boxes.append(corners * torch.tensor(shrinks * 2))
            shape_ids.append(torch.full((rows * columns,), index))
        return torch.cat(boxes), torch.cat(shape_ids)


class HogDecode(nn.Module):
    """Margins [N, A] → the best windows: boxes [N, K, 4], scores [N, K], class ids [N, K], before NMS."""

    def __init__(self, network: HogSvm, *, max_candidates: int = MAX_CANDIDATES) -> None:
        super().__init__()
        self.max_candidates = max_candidates
        boxes, shape_ids = network.windows()
        class_ids = torch.tensor([shape.class_id for shape in network.shapes])[shape_ids]
        width, height = network.network_wh
        buffers = {
            "boxes": torch.minimum(boxes.clamp(min=0), torch.tensor([width, height] * 2)),
            "class_ids": class_ids,
            "slopes": network.slopes[shape_ids],
            "offsets": network.offsets[shape_ids],
        }
        for name, values in buffers.items():
            self.register_buffer(name, values)

    def forward(self, margins: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        scores = (margins * self.slopes + self.offsets).sigmoid()  # type: ignore[operator]
        best, windows, _ = best_pairs(scores[:, :, None], self.max_candidates)  # [N, K]
        return self.boxes[windows], best, self.class_ids[windows]  # type: ignore[index]


def shapes_of(world: World) -> tuple[Shape, ...]:
    """The windows of the classes; a square one for a class that is not of the streets."""
    return tuple(
        Shape(class_id, cells_wh)
        for class_id, name in enumerate(world.class_names)
        for cells_wh in _CELLS_WH.get(name, _ANY_CELLS_WH)
    )


def train(scenes: Scenes, training: Training) -> HogSvm:
    """Random negatives, two rounds of hard ones, and a logistic curve over the margins."""
    chance = training.chance()
    network = HogSvm(shapes_of(scenes.world), scenes.world.network_wh).eval()
    num_calibrating = max(1, round(_CALIBRATING_SHARE * len(scenes.examples)))
    learning, calibrating = scenes.examples[num_calibrating:], scenes.examples[:num_calibrating]
    collected = Collected(network)
    for number, part in enumerate(("positives and random negatives", "hard negatives", "hard negatives again")):
        order = chance.permutation(len(learning))
        for step, _ in training.steps(part, len(learning), share=0.28):
            collected.add(learning[order[step]], chance if number == 0 else None)
        for index in range(len(network.shapes)):
            collected.fit(index)
    calibrate(network, (calibrating[step] for step, _ in training.steps("scores", len(calibrating), share=0.08)))
    return network


class Collected:
    """The windows of which the classifiers learn, as rows of numbers, by shape; positives once, negatives in rounds."""

    def __init__(self, network: HogSvm) -> None:
        self.network = network
        self.boxes, self.shape_ids = network.windows()
        self.grids = list(network.grids())
        self.starts = np.cumsum([0, *(rows * columns for _, _, rows, columns in self.grids)])
        self.positives: list[list[Tensor]] = [[] for _ in network.shapes]
        self.negatives: list[list[Tensor]] = [[] for _ in network.shapes]

    @torch.no_grad()
    def add(self, example: Example, chance: np.random.Generator | None) -> None:
        """The windows of a picture: positives and random negatives, or, without chance, the hardest negatives."""
        levels = self.network.pyramid(pixels_of(example))
        margins = None if chance is not None else self.network.margins(levels)[0]
        ignored = torch.from_numpy(example.ignored_xyxy)
        is_ignored = _best_iou(self.boxes, ignored) >= IGNORED_IOU  # [A]
        for index, shape in enumerate(self.network.shapes):
            members = torch.where(self.shape_ids == index)[0]
            objects = torch.from_numpy(example.boxes_xyxy[example.class_ids == shape.class_id])
            iou = box_iou(objects, self.boxes[members])  # [objects, M]
            best = iou.max(dim=0).values if len(objects) else torch.zeros(len(members))
            negatives = members[(best < NEGATIVE_IOU) & ~is_ignored[members]]
            if chance is not None:
                good = (iou >= POSITIVE_IOU) & (iou >= iou.amax(dim=1, keepdim=True) - 0.08)
                self._keep(self.positives[index], levels, members[good.any(dim=0)])
                chosen = negatives[torch.from_numpy(chance.integers(0, len(negatives), RANDOM_NEGATIVES))]
            else:
                assert margins is not None
                hardest = margins[negatives].topk(min(HARD_NEGATIVES, len(negatives)))
                chosen = negatives[hardest.indices[hardest.values > _HARD_MARGIN]]
            self._keep(self.negatives[index], levels, chosen)

    def _keep(self, rows: list[Tensor], levels: list[Tensor], windows: Tensor) -> None:
        for window in windows.tolist():
            grid = int(np.searchsorted(self.starts, window, side="right")) - 1
            level, index, _, columns = self.grids[grid]
            row, column = divmod(window - int(self.starts[grid]), columns)
            width, height = self.network.shapes[index].blocks_wh
            rows.append(levels[level][0, :, row : row + height, column : column + width].flatten().half())

    def fit(self, index: int) -> None:
        """Train one classifier: the mean hinge loss of both sides together, and the square of the weights.

        A shape without an object in the data says no to every window.
        """
        classifier = self.network.classifiers[index]
        assert isinstance(classifier, nn.Conv2d)
        assert classifier.bias is not None
        if not self.positives[index]:
            nn.init.zeros_(classifier.weight)
            nn.init.constant_(classifier.bias, -10.0)
            return
        rows = torch.stack(self.positives[index] + self.negatives[index]).float()  # [R, 36 * blocks]
        signs = torch.ones(len(rows))
        signs[len(self.positives[index]) :] = -1
        weight, bias = linear_svm(rows, signs)
        classifier.weight.data, classifier.bias.data = weight.view_as(classifier.weight), bias.view(1)


def linear_svm(rows: Tensor, signs: Tensor, *, decay: float = _SVM_DECAY) -> tuple[Tensor, Tensor]:
    """Weights [D] and bias [1] of the soft margin: least mean of max(0, 1 - sign * margin), rows [R, D], signs ±1 [R].

    Equal weight for both signs, however many there are of each.
    """
    weight, bias = torch.zeros(rows.shape[1], requires_grad=True), torch.zeros(1, requires_grad=True)
    is_positive = signs > 0
    share = torch.where(is_positive, 0.5 / is_positive.sum().clamp(min=1), 0.5 / (~is_positive).sum().clamp(min=1))
    optimiser = torch.optim.Adam([weight, bias], lr=_SVM_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, _SVM_STEPS)
    for _ in range(_SVM_STEPS):
        hinge = (1 - signs * (rows @ weight + bias)).clamp(min=0)
        loss = (share * hinge).sum() + decay * (weight * weight).sum()
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
    return weight.detach(), bias.detach()


@torch.no_grad()
def calibrate(network: HogSvm, examples: Iterator[Example]) -> None:
    """Set the logistic curve of each shape by what its detections in these pictures turn out to be."""
    boxes, shape_ids = network.windows()
    margins: list[list[Tensor]] = [[] for _ in network.shapes]
    is_right: list[list[Tensor]] = [[] for _ in network.shapes]
    for example in examples:
        scores = network(pixels_of(example))[0][0]  # [A]
        candidates = torch.where(scores > _HARD_MARGIN)[0]
        kept = candidates[batched_nms(boxes[candidates], scores[candidates], shape_ids[candidates], _NMS_IOU)]
        for index, shape in enumerate(network.shapes):
            chosen = kept[shape_ids[kept] == index]
            objects = torch.from_numpy(example.boxes_xyxy[example.class_ids == shape.class_id])
            counts = _best_iou(boxes[chosen], torch.from_numpy(example.ignored_xyxy)) < IGNORED_IOU
            margins[index].append(scores[chosen][counts])
            is_right[index].append((_best_iou(boxes[chosen], objects) >= 0.5)[counts])
    for index in range(len(network.shapes)):
        curve = logistic_curve(torch.cat(margins[index]), torch.cat(is_right[index]))
        network.slopes[index], network.offsets[index] = curve


def logistic_curve(margins: Tensor, is_right: Tensor) -> tuple[float, float]:
    """Slope and offset whose logistic curve tells best how often a margin [R] is right [R], after Platt 1999.

    With his priors, so that few or equal answers give no vertical curve.
    """
    num_right = int(is_right.sum())
    num_wrong = len(is_right) - num_right
    high, low = (num_right + 1) / (num_right + 2), 1 / (num_wrong + 2)
    targets = torch.where(is_right, high, low)
    curve = torch.tensor([1.0, -1.0], requires_grad=True)
    with torch.enable_grad():
        optimiser = torch.optim.LBFGS([curve], max_iter=100, line_search_fn="strong_wolfe")

        def loss() -> Tensor:
            optimiser.zero_grad()
            cost = F.binary_cross_entropy_with_logits(margins * curve[0] + curve[1], targets)
            cost.backward()  # type: ignore[no-untyped-call]
            return cost

        if len(margins):
            optimiser.step(loss)  # type: ignore[no-untyped-call]
    slope, offset = curve.tolist()
    return max(slope, 0.1), offset


def pixels_of(example: Example) -> Tensor:
    """float [1, 3, h, w] in 0..255."""
    return torch.from_numpy(example.pixels).permute(2, 0, 1)[None].float()


def _best_iou(boxes: Tensor, others: Tensor) -> Tensor:
    """The largest IoU of each box [A, 4] with any of the others [B, 4]; 0 without others."""
    return box_iou(boxes, others).max(dim=1).values if len(others) else torch.zeros(len(boxes))


def exportable(network: nn.Module, world: World) -> Exportable:
    """The detector, with suppression by the pipeline."""
    assert isinstance(network, HogSvm)
    spec = lineage_spec(world, HOG_SVM.title, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    return Exportable(network.eval(), HogDecode(network).eval(), spec, reference=None)


HOG_SVM = System(
    name="hog-svm",
    title="HOG + SVM",
    year=2005,
    paper="Dalal and Triggs, CVPR 2005, https://doi.org/10.1109/CVPR.2005.177",
    runs_on="windows",
    train=train,
    exportable=exportable,
)
