"""Boxes: arrays of boxes → their areas, overlaps, other formats, and one-to-one pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
Real = TypeVar("Real", np.float32, np.float64)

Indices = npt.NDArray[np.intp]

BoxFormat = Literal["xyxy", "yxyx", "cxcywh", "cycxhw", "xywh"]
"""The order of a box's four numbers; c is a centre, w and h are sides, xywh starts with the left top corner."""

_SWAPPED = {"yxyx": "xyxy", "cycxhw": "cxcywh"}  # the same format with y before x


def areas(boxes_xyxy: FloatArray) -> FloatArray:
    """The areas [...] of boxes [..., 4]."""
    return np.asarray((boxes_xyxy[..., 2] - boxes_xyxy[..., 0]) * (boxes_xyxy[..., 3] - boxes_xyxy[..., 1]), np.float32)


@np.errstate(invalid="ignore", divide="ignore", over="ignore")
def intersection_over_union(a_xyxy: FloatArray, b_xyxy: FloatArray) -> FloatArray:
    """IoU [N, M] of boxes [N, 4] and [M, 4]; NaN for two boxes that both have no area."""
    overlap = _intersections(a_xyxy, b_xyxy)  # [N, M]
    return np.asarray(overlap / (areas(a_xyxy)[:, None] + areas(b_xyxy)[None] - overlap), np.float32)


def share_inside(boxes_xyxy: FloatArray, others_xyxy: FloatArray) -> FloatArray:
    """The share [N, M] of the area of boxes [N, 4] that lies inside of others [M, 4]; 0 for a box without area."""
    overlap, area = _intersections(boxes_xyxy, others_xyxy), areas(boxes_xyxy)[:, None]  # [N, M], [N, 1]
    return np.asarray(np.divide(overlap, area, out=np.zeros_like(overlap), where=area > 0), np.float32)


def convert(boxes: npt.NDArray[Real], source: BoxFormat, target: BoxFormat) -> npt.NDArray[Real]:
    """Boxes [N, 4] of one format in another, of the same dtype.

    >>> convert(np.array([[10.0, 20.0, 4.0, 2.0]]), "cxcywh", "xyxy").tolist()
    [[8.0, 19.0, 12.0, 21.0]]
    """
    return boxes if source == target else _from_xyxy(_to_xyxy(boxes, source), target)


def match_greedily(
    overlap: FloatArray, *, at_least: float, by: Sequence[npt.NDArray[np.floating]]
) -> tuple[Indices, Indices]:
    """One-to-one pairs of rows and columns [P], [P] of an overlap matrix [N, M], in the order in which they match.

    Pairs that overlap by less than `at_least`, or by NaN, never match. Of two pairs that share a row or a column, the
    one with the larger key in `by` matches. `by` holds arrays that broadcast to [N, M], the most important first; of
    pairs that are equal in all of them, the one with the lower row matches, then the one with the lower column.

    >>> overlap = np.array([[0.9, 0.8], [0.8, 0.1]], np.float32)
    >>> [indices.tolist() for indices in match_greedily(overlap, at_least=0.5, by=[overlap])]
    [[0], [0]]
    """
    rows, columns = np.nonzero(overlap >= at_least)  # [Q], [Q]
    keys = [-np.broadcast_to(key, overlap.shape)[rows, columns] for key in reversed(by)]  # [Q] each
    free_rows, free_columns = np.ones(overlap.shape[0], np.bool_), np.ones(overlap.shape[1], np.bool_)
    matched: list[int] = []
    for pair in np.lexsort(keys).tolist():
        if free_rows[rows[pair]] and free_columns[columns[pair]]:
            free_rows[rows[pair]] = free_columns[columns[pair]] = False
            matched.append(pair)
    return rows[matched], columns[matched]


def turns(scores: FloatArray) -> npt.NDArray[np.float64]:
    """A key [N, 1] for `match_greedily` that lets rows choose in turns: the best score first, of equal ones the first.

    Unlike the scores themselves it has no ties, in which the overlaps would decide between rows.
    """
    key = np.empty((len(scores), 1), np.float64)
    key[np.argsort(-scores, kind="stable"), 0] = -np.arange(len(scores))
    return key


def _intersections(a_xyxy: FloatArray, b_xyxy: FloatArray) -> FloatArray:
    """The areas [N, M] that boxes [N, 4] and [M, 4] share."""
    a, b = a_xyxy[:, None], b_xyxy[None]  # [N, 1, 4], [1, M, 4]
    width = np.minimum(a[..., 2], b[..., 2]) - np.maximum(a[..., 0], b[..., 0])  # [N, M]
    height = np.minimum(a[..., 3], b[..., 3]) - np.maximum(a[..., 1], b[..., 1])  # [N, M]
    overlap: FloatArray = np.maximum(width, 0) * np.maximum(height, 0)  # [N, M]
    return overlap


def _to_xyxy(boxes: npt.NDArray[Real], source: str) -> npt.NDArray[Real]:
    if source in _SWAPPED:
        boxes, source = boxes[:, [1, 0, 3, 2]], _SWAPPED[source]
    first, second = boxes[:, :2], boxes[:, 2:]  # [N, 2], [N, 2]
    if source == "cxcywh":
        halves = second / 2
        return np.concatenate([first - halves, first + halves], axis=1)
    return np.concatenate([first, first + second], axis=1) if source == "xywh" else boxes


def _from_xyxy(boxes: npt.NDArray[Real], target: str) -> npt.NDArray[Real]:
    top_left, bottom_right = boxes[:, :2], boxes[:, 2:]  # [N, 2], [N, 2]
    order = [1, 0, 3, 2] if target in _SWAPPED else [0, 1, 2, 3]
    target = _SWAPPED.get(target, target)
    if target == "cxcywh":
        boxes = np.concatenate([(top_left + bottom_right) / 2, bottom_right - top_left], axis=1)
    elif target == "xywh":
        boxes = np.concatenate([top_left, bottom_right - top_left], axis=1)
    return boxes[:, order]
