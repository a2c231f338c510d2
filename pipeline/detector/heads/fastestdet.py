"""FastestDet: one output → claims on a file, and candidates.

https://github.com/dog-qiuqiu/FastestDet: one box a cell of one grid, classes by softmax in the graph.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from pipeline.detector.facts import ModelFacts
from pipeline.detector.heads.claims import Claim, NotThisError
from pipeline.detector.heads.grid import grid
from pipeline.detector.heads.hints import Hints
from pipeline.detector.heads.outputs import Outputs, boxes_to_network, output, refuse_not_finite, refuse_other_classes
from pipeline.detector.heads.recipes import Recipe
from pipeline.detector.heads.specs import network_wh, spec_for
from pipeline.picture.candidates import Candidates
from pipeline.picture.detector_spec import DetectorSpec

_STRIDE = 16


def fastestdet(outputs: Outputs, spec: DetectorSpec, *, score_threshold: float, batch_index: int) -> Candidates:
    """`[B, 5 + C, h, w]`: objectness, tx, ty, tw, th, classes; the score is objectness^0.6 × class^0.4."""
    maps = output(outputs, spec)[batch_index].astype(np.float32)  # [5 + C, h, w]
    columns = maps.reshape(len(maps), -1)  # [5 + C, cells]
    refuse_other_classes(len(columns) - 5, spec)
    class_ids = columns[5:].argmax(axis=0)  # [cells]
    scores = columns[0] ** 0.6 * columns[5:].max(axis=0) ** 0.4  # [cells]
    refuse_not_finite(scores, spec)
    chosen = np.flatnonzero(scores >= np.float32(score_threshold))  # [M]
    corners, _ = grid((maps.shape[2], maps.shape[1]), (1,))  # [cells, 2]
    centres = (corners[chosen] + np.tanh(columns[1:3, chosen].T)) / (maps.shape[2], maps.shape[1])  # [M, 2], 0..1
    sizes = 1 / (1 + np.exp(-columns[3:5, chosen].T))  # [M, 2], 0..1
    boxes = np.concatenate([centres, sizes], axis=1)  # [M, 4]
    return Candidates(boxes_to_network(boxes, spec), scores[chosen].astype(np.float32), class_ids[chosen])


def claims(facts: ModelFacts, hints: Hints) -> Iterable[Claim]:
    """One output [B, 5 + C, h, w] with a cell for every 16 pixels."""
    if len(facts.outputs) != 1 or len(facts.outputs[0].shape) != 4:
        raise NotThisError("fastestdet: one output [batch, 5 + classes, height / 16, width / 16]")
    (tensor,) = facts.outputs
    _, channels, *cells = tensor.shape
    width, height = network_wh(facts, hints)
    if channels is None or channels <= 5 or cells != [height // _STRIDE, width // _STRIDE]:
        raise NotThisError(
            f"fastestdet: one output [batch, 5 + classes, {height // _STRIDE}, {width // _STRIDE}], not {tensor}",
            is_near=True,
        )
    spec = spec_for(
        facts,
        hints,
        head="fastestdet",
        num_classes=channels - 5,
        reason=f"fastestdet: {tensor} has a cell for every 16 pixels",
        recipe=Recipe("BGR 0..1, stretched", colour="bgr", resize="stretch"),
        outputs=(tensor.name,),
        box_format="cxcywh",
        boxes_are_normalised=True,
    )
    yield Claim(spec)
