"""NanoDet and PicoDet: their outputs → claims on a file, and candidates.

Generalised focal loss (https://arxiv.org/abs/2006.04388): each side of a box is a distribution over distances, in
strides, from the centre of its cell. NanoDet and NanoDet-Plus: https://github.com/RangiLyu/nanodet; PicoDet:
https://arxiv.org/abs/2111.00902.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from pipeline.detector.facts import ModelFacts, TensorFacts
from pipeline.detector.heads.activation import activated
from pipeline.detector.heads.claims import Claim, NotThisError
from pipeline.detector.heads.grid import check_cells, grid
from pipeline.detector.heads.hints import Hints
from pipeline.detector.heads.outputs import Outputs, boxes_to_network, output, refuse_not_finite, refuse_other_classes
from pipeline.detector.heads.recipes import IMAGENET_MEAN, IMAGENET_STD, Recipe
from pipeline.detector.heads.specs import network_wh, spec_for
from pipeline.picture.candidates import Candidates
from pipeline.picture.detector_spec import DetectorSpec

_NUM_STRIDES = {3: (8, 16, 32), 4: (8, 16, 32, 64)}
_DISTANCES = 8  # bins of each side's distribution
_NANODET = Recipe(
    "NanoDet's, BGR less its mean, letterbox centred, pad 0",
    colour="bgr",
    mean=IMAGENET_MEAN[::-1],
    std=IMAGENET_STD[::-1],
    pad_value=0,
)
_PICODET = Recipe(
    "PicoDet's, RGB less ImageNet's mean, stretched", mean=IMAGENET_MEAN, std=IMAGENET_STD, resize="stretch"
)


def nanodet(outputs: Outputs, spec: DetectorSpec, *, score_threshold: float, batch_index: int) -> Candidates:
    """Class scores `[B, N, C]` and distances `[B, N, 4 × 8]` of each stride, centres at (cell + 0.5) × stride - 0.5."""
    return _read(outputs, spec, score_threshold, batch_index, centre=0.5, shift=-0.5)


def nanodet_plus(outputs: Outputs, spec: DetectorSpec, *, score_threshold: float, batch_index: int) -> Candidates:
    """`[B, N, C + 4 × 8]` over all strides, centres at cell × stride."""
    return _read(outputs, spec, score_threshold, batch_index, centre=0.0, shift=0.0)


def picodet(outputs: Outputs, spec: DetectorSpec, *, score_threshold: float, batch_index: int) -> Candidates:
    """Class scores `[B, N, C]` and distances `[B, N, 4 × 8]` of each stride, centres at (cell + 0.5) × stride."""
    return _read(outputs, spec, score_threshold, batch_index, centre=0.5, shift=0.0)


def _read(
    outputs: Outputs, spec: DetectorSpec, score_threshold: float, batch_index: int, *, centre: float, shift: float
) -> Candidates:
    if len(spec.outputs) == 1:
        rows = output(outputs, spec)[batch_index]  # [N, C + 32]
        strides = _strides_of(len(rows), spec.network_wh) or _NUM_STRIDES[4]
        scores, distances = rows[:, : -4 * _DISTANCES], rows[:, -4 * _DISTANCES :]
    else:
        half = len(spec.outputs) // 2
        strides = _NUM_STRIDES[half]
        parts = [output(outputs, spec, index)[batch_index] for index in range(2 * half)]
        scores, distances = np.concatenate(parts[:half]), np.concatenate(parts[half:])  # [N, C], [N, 32]
    corners, sides = grid(spec.network_wh, strides)  # [N, 2], [N, 1]
    check_cells(len(scores), corners, spec)
    refuse_other_classes(scores.shape[1], spec)
    class_ids = scores.argmax(axis=1)  # [N]
    best = np.take_along_axis(scores, class_ids[:, None], axis=1)[:, 0].astype(np.float32)  # [N]
    refuse_not_finite(best, spec)
    chosen = np.flatnonzero(best >= np.float32(score_threshold))  # [M]
    corners, sides = corners[chosen], sides[chosen]  # [M, 2], [M, 1]
    shares = activated(distances[chosen].reshape(-1, 4, _DISTANCES), "softmax")  # [M, 4, 8]
    reach = (shares @ np.arange(_DISTANCES, dtype=np.float32)) * sides  # [M, 4]: left, top, right, bottom
    centres = (corners + centre) * sides + shift  # [M, 2]
    boxes = np.concatenate([centres - reach[:, :2], centres + reach[:, 2:]], axis=1)  # [M, 4]
    return Candidates(boxes_to_network(boxes, spec), best[chosen], class_ids[chosen].astype(np.int64))


@dataclass(frozen=True, slots=True)
class _Outputs:
    """Outputs that fit a head of this family by their sides, with the reason in words."""

    head: str
    num_classes: int
    names: tuple[str, ...]
    reason: str


def claims(facts: ModelFacts, hints: Hints) -> Iterable[Claim]:
    """A pair of outputs for each of three or four strides, told by their numbers of cells; or all in one output."""
    size_wh = network_wh(facts, hints)
    is_one = len(facts.outputs) == 1 and len(facts.outputs[0].shape) == 3
    outputs = _one_output(facts.outputs[0], size_wh, hints) if is_one else _output_pairs(facts, size_wh)
    if hints.head not in (None, outputs.head, "nanodet", "picodet"):
        return
    head = hints.head or outputs.head
    spec = spec_for(
        facts,
        hints,
        head=head,
        num_classes=outputs.num_classes,
        reason=f"{head}: {outputs.reason}",
        outputs=outputs.names,
        iou_threshold=0.6,
        recipe=_PICODET if head == "picodet" else _NANODET,
    )
    yield Claim(spec, _objection)


def _one_output(tensor: TensorFacts, size_wh: tuple[int, int], hints: Hints) -> _Outputs:
    _, rows, columns = tensor.shape
    if not _strides_of(rows, size_wh) or columns is None or columns <= 4 * _DISTANCES:
        raise NotThisError(f"nanodet_plus: one output [batch, cells of strides 8 to 64, classes + 32], not {tensor}")
    num_classes = columns - 4 * _DISTANCES
    if hints.head is None and hints.class_names is not None and len(hints.class_names) != num_classes:
        raise NotThisError(
            f"nanodet_plus: {columns} columns are 32 distances and {num_classes} classes, not "
            f"{len(hints.class_names)}; see --class-names",
            is_near=True,
        )
    reason = f"{tensor} has a row for each of {rows} cells, 32 of {columns} columns distances"
    return _Outputs("nanodet_plus", num_classes, (tensor.name,), reason)


def _output_pairs(facts: ModelFacts, size_wh: tuple[int, int]) -> _Outputs:
    pairs = _pairs(facts, size_wh)
    names = tuple(tensor.name for kind in zip(*pairs, strict=True) for tensor in kind)
    # NanoDet names its outputs; PicoDet's come out of Paddle with names of no meaning.
    is_nanodet = len(pairs) == 3 or any("dis_pred" in name for name in names)
    reason = f"class scores and 4 × 8 distances on {len(pairs)} strides"
    return _Outputs("nanodet" if is_nanodet else "picodet", pairs[0][0].shape[2] or 0, names, reason)


def _objection(outputs: Outputs, spec: DetectorSpec) -> str | None:
    """Distances are logits, which reach beyond 0..1; the last columns of other families are scores."""
    if len(spec.outputs) > 1:
        return None
    distances = output(outputs, spec)[..., -4 * _DISTANCES :]  # [B, N, 32]
    is_within = distances.min(initial=0) >= 0 and distances.max(initial=0) <= 1
    return "its last 32 columns lie within 0..1, as scores do and distances do not" if is_within else None


def _pairs(facts: ModelFacts, size: tuple[int, int]) -> list[tuple[TensorFacts, TensorFacts]]:
    """Class and distance outputs of each stride, the finest first."""
    strides = _NUM_STRIDES.get(len(facts.outputs) // 2)
    num_tables = sum(len(tensor.shape) == 3 for tensor in facts.outputs)
    if strides is None or not len(facts.outputs) == num_tables == 2 * len(strides):
        raise NotThisError(
            "nanodet: class scores and distances of three or four strides, [batch, cells, classes or 32]"
        )
    pairs = []
    for stride in strides:
        cells = -(-size[0] // stride) * -(-size[1] // stride)
        tensors = [tensor for tensor in facts.outputs if tensor.shape[1] == cells]
        distances = [tensor for tensor in tensors if tensor.shape[2] == 4 * _DISTANCES]
        classes = [tensor for tensor in tensors if tensor.shape[2] != 4 * _DISTANCES]
        if len(distances) != 1 or len(classes) != 1:
            raise NotThisError(
                f"nanodet: stride {stride} has {cells} cells, one output of classes and one of 32", is_near=True
            )
        pairs.append((classes[0], distances[0]))
    return pairs


def _strides_of(num_cells: int | None, size: tuple[int, int]) -> tuple[int, ...]:
    """The strides that have this number of cells in that size, or ()."""
    for strides in _NUM_STRIDES.values():
        if num_cells == sum(-(-size[0] // stride) * -(-size[1] // stride) for stride in strides):
            return strides
    return ()
