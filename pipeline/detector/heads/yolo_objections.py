"""YOLO's objections: a network's outputs and a reading of them → what in the values speaks against it, or None."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

import numpy as np

from pipeline.detector.heads.extra_values import looks_like_angles
from pipeline.detector.heads.outputs import Outputs, output
from pipeline.detector.heads.yolo import rows_of
from pipeline.picture.detector_spec import DetectorSpec

_ORIENTED = "it looks like a model of oriented boxes"
_POSE = "it looks like a pose model"


def queries_objection(outputs: Outputs, spec: DetectorSpec) -> str | None:
    """Why the rows are not the queries of a DETR-like model, with boxes in 0..1; None if they may be."""
    rows = output(outputs, spec)  # [B, Q, 4 + C]
    if rows[..., :4].min(initial=0) < -0.5 or rows[..., :4].max(initial=0) > 1.5:
        return f"its boxes reach {np.abs(rows[..., :4]).max():g}, which is not 0..1"
    if np.median(rows[..., 4:].max(axis=-1)) > 0.5:
        return "more than half of its rows are sure of a class, which queries are not"
    return None if rows[..., :4].any() else "its boxes are all 0, as padding is"


def classes_objection(outputs: Outputs, spec: DetectorSpec, *, is_turned: bool) -> str | None:
    """What speaks for keypoints or an angle in the columns that would be scores of classes."""
    values = output(outputs, spec)
    columns = np.moveaxis(values, 1, -1) if not is_turned else values  # [B, N, 4 + C]
    scores = columns[..., 4 : 4 + len(spec.class_names)].reshape(-1, len(spec.class_names))  # [B × N, C]
    if not len(scores) or spec.class_names == ():
        return None
    beyond = (scores.max(axis=0) > 1.001) | (scores.min(axis=0) < -0.001)  # [C]
    reason = None if spec.has_angles else looks_like_angles(scores[:, -1], scores[:, :-1])
    if reason is not None:
        return f"{_ORIENTED}: its last column {reason}"
    if len(beyond) >= 3 and beyond[1:].any() and not beyond[0] and np.abs(scores).max() > 2:
        return (
            f"{_POSE}: its columns from the {int(np.argmax(beyond)) + 5}th on reach {scores.max():.3g}, as keypoints do"
        )
    return None


def angles_objection(outputs: Outputs, spec: DetectorSpec, *, is_turned: bool) -> str | None:
    """What speaks against an angle behind the scores of classes, where no metadata says that it is one."""
    values = output(outputs, spec)
    columns = np.moveaxis(values, 1, -1) if not is_turned else values  # [B, N, 5 + C]
    rows = columns.reshape(-1, columns.shape[-1])[:, 4:]
    if looks_like_angles(rows[:, -1], rows[:, :-1]) is None:
        return "its last column does not look like angles"
    return None


def number_objection(
    outputs: Outputs, spec: DetectorSpec, *, cells: Collection[int], num_a_cell: Literal[1, 3]
) -> str | None:
    """A graph that leaves the number of boxes open shows it when it is run."""
    num, other = rows_of(outputs, spec).shape[1], 4 - num_a_cell
    if num % other == 0 and num // other in cells and (num % num_a_cell or num // num_a_cell not in cells):
        return f"it has {num} boxes, {other} for each cell"
    return None


def decoding_objection(outputs: Outputs, spec: DetectorSpec, *, cells: Collection[int], is_v6: bool) -> str | None:
    """What speaks against boxes that are decoded in the graph, with YOLOX's objectness or YOLOv6's."""
    number = number_objection(outputs, spec, cells=cells, num_a_cell=1)
    if number is not None:
        return number
    rows = rows_of(outputs, spec)  # [B, N, 5 + C]
    if rows[..., 2:4].min(initial=0) < 0 or np.ptp(rows[..., 0]) < spec.network_wh[0] / 2:
        return "its boxes are offsets from their cells"
    are_corners = np.mean((rows[..., 2:4] >= rows[..., :2]).all(axis=-1)) > 0.95
    if are_corners and spec.box_format not in ("xyxy", "yxyx"):
        return "its boxes are corners; see --box-format"
    if np.all(rows[..., 4] == 1) != is_v6:
        return f"its objectness is {'not ' if is_v6 else ''}1 throughout, as YOLOv6 has it"
    return None


def first_class_objection(outputs: Outputs, spec: DetectorSpec) -> str | None:
    """Why the fifth column is not the first class of a decoded YOLO; None if it may be."""
    rows = output(outputs, spec)  # [B, N, 4 + C]
    if rows[..., 2:4].min(initial=0) < 0 or np.ptp(rows[..., 0]) < spec.network_wh[0] / 2:
        return "its boxes are offsets from their cells"
    return "its first class would be sure of every box" if np.all(rows[..., 4] == 1) else None
