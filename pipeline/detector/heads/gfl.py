"""How are NanoDet and PicoDet told and read?

Generalised focal loss (https://arxiv.org/abs/2006.04388): each side of a box is a distribution over distances, in
strides, from the centre of its cell. NanoDet and NanoDet-Plus: https://github.com/RangiLyu/nanodet; PicoDet:
https://arxiv.org/abs/2111.00902.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from pipeline.detector.facts import ModelFacts, TensorFacts
from pipeline.detector.heads.activation import activated
from pipeline.detector.heads.claims import IMAGENET_MEAN, IMAGENET_STD, Claim, Hints, NotThisError, network_wh, spec_for
from pipeline.detector.heads.grid import check_cells, grid
from pipeline.detector.heads.outputs import Outputs, boxes_to_network, output
from pipeline.picture.candidates import Candidates
from pipeline.picture.detector_spec import DetectorSpec

_NUM_STRIDES = {3: (8, 16, 32), 4: (8, 16, 32, 64)}
_DISTANCES = 8  # bins of each side's distribution
_NANODET: dict[str, Any] = {
    "recipe": "NanoDet's, BGR less its mean, letterbox centred, pad 0",
    "colour": "bgr",
    "mean": IMAGENET_MEAN[::-1],
    "std": (57.375, 57.12, 58.395),
    "pad_value": 0,
}
_PICODET: dict[str, Any] = {
    "recipe": "PicoDet's, RGB less ImageNet's mean, stretched",
    "mean": IMAGENET_MEAN,
    "std": IMAGENET_STD,
    "resize": "stretch",
}


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
        parts = [output(outputs, spec, place)[batch_index] for place in range(2 * half)]
        scores, distances = np.concatenate(parts[:half]), np.concatenate(parts[half:])  # [N, C], [N, 32]
    corners, sides = grid(spec.network_wh, strides)  # [N, 2], [N, 1]
    check_cells(len(scores), corners, spec)
    class_ids = scores.argmax(axis=1)  # [N]
    best = np.take_along_axis(scores, class_ids[:, None], axis=1)[:, 0].astype(np.float32)  # [N]
    chosen = np.flatnonzero(best >= np.float32(score_threshold))  # [M]
    corners, sides = corners[chosen], sides[chosen]  # [M, 2], [M, 1]
    shares = activated(distances[chosen].reshape(-1, 4, _DISTANCES), "softmax")  # [M, 4, 8]
    reach = (shares @ np.arange(_DISTANCES, dtype=np.float32)) * sides  # [M, 4]: left, top, right, bottom
    centres = (corners + centre) * sides + shift  # [M, 2]
    boxes = np.concatenate([centres - reach[:, :2], centres + reach[:, 2:]], axis=1)  # [M, 4]
    return Candidates(boxes_to_network(boxes, spec), best[chosen], class_ids[chosen].astype(np.int64))


def claims(facts: ModelFacts, hints: Hints) -> Iterable[Claim]:
    """A pair of outputs for each of three or four strides, told by their numbers of cells; or all in one output."""
    size = network_wh(facts, hints)
    if len(facts.outputs) == 1 and len(facts.outputs[0].shape) == 3:
        (whole,) = facts.outputs
        _, rows, columns = whole.shape
        strides = _strides_of(rows, size)
        if not strides or columns is None or columns <= 4 * _DISTANCES:
            raise NotThisError(f"nanodet_plus: one output [batch, cells of strides 8 to 64, classes + 32], not {whole}")
        if columns in (84, 85):
            raise NotThisError(f"nanodet_plus: {columns} columns are YOLO's 80 classes", is_near=False)
        num_classes, names = columns - 4 * _DISTANCES, (whole.name,)
        heads, reason = (
            ("nanodet_plus",),
            f"{whole} has a row for each of {rows} cells, 32 of {columns} columns distances",
        )
    else:
        pairs = _pairs(facts, size)
        num_classes, names = (
            pairs[0][0].shape[2] or 0,
            tuple(each.name for kind in zip(*pairs, strict=True) for each in kind),
        )
        # NanoDet names its outputs; PicoDet's come out of Paddle with names of no meaning.
        is_named = any("dis_pred" in name for name in names)
        heads = ("nanodet",) if is_named or len(pairs) == 3 else ("picodet",)
        reason = f"class scores and 4 × 8 distances on {len(pairs)} strides"
    for head in heads:
        if hints.head in (None, head, "nanodet", "picodet"):
            head = hints.head or head
            recipe = _PICODET if head == "picodet" else _NANODET
            yield Claim(
                spec_for(
                    facts,
                    hints,
                    head=head,
                    num_classes=num_classes,
                    reason=f"{head}: {reason}",
                    outputs=names,
                    iou_threshold=0.6,
                    **recipe,
                )
            )


def _pairs(facts: ModelFacts, size: tuple[int, int]) -> list[tuple[TensorFacts, TensorFacts]]:
    """Class and distance outputs of each stride, the finest first."""
    strides = _NUM_STRIDES.get(len(facts.outputs) // 2)
    if strides is None or len(facts.outputs) != 2 * len(strides) or any(len(each.shape) != 3 for each in facts.outputs):
        raise NotThisError(
            "nanodet: class scores and distances of three or four strides, [batch, cells, classes or 32]"
        )
    pairs = []
    for stride in strides:
        cells = -(-size[0] // stride) * -(-size[1] // stride)
        here = [each for each in facts.outputs if each.shape[1] == cells]
        distances = [each for each in here if each.shape[2] == 4 * _DISTANCES]
        classes = [each for each in here if each.shape[2] != 4 * _DISTANCES]
        if len(distances) != 1 or len(classes) != 1:
            raise NotThisError(
                f"nanodet: stride {stride} has {cells} cells, one output of classes and one of 32", is_near=True
            )
        pairs.append((classes[0], distances[0]))
    return pairs


def _strides_of(num_cells: int | None, size: tuple[int, int]) -> tuple[int, ...]:
    """The strides that have so many cells in that size, or none."""
    for strides in _NUM_STRIDES.values():
        if num_cells == sum(-(-size[0] // stride) * -(-size[1] // stride) for stride in strides):
            return strides
    return ()
