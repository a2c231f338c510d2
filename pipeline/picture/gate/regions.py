"""Regions: the cells of a frame that have changed → rectangles of the frame around them, in its pixels."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.picture.boxes import FloatArray
from pipeline.picture.gate.change import Cells
from pipeline.picture.tiling import Tile

_APART = 1.15  # two rectangles become one where that one is not larger than both together, by so much
_PADDED_SHARE = 0.15  # of a rectangle's longer side, on every side: a network wants to see around an object

_JOINING = np.ones((7, 7), np.uint8)  # cells: parts that are less than this apart are one
_MOST_PARTS = 16

_Rectangles = npt.NDArray[np.float64]


def cells_of(box_xyxy: Sequence[float], size_wh: tuple[int, int], shape: tuple[int, int]) -> tuple[slice, slice]:
    """The rows and columns of the cells [h, w] that a box touches, in pixels of a frame of that size; maybe none."""
    (width, height), (num_down, num_across) = size_wh, shape
    left, top, right, bottom = box_xyxy
    columns = _span(left * num_across / width, right * num_across / width, num_across)
    return _span(top * num_down / height, bottom * num_down / height, num_down), columns


def regions_of(
    cells: Cells, size_wh: tuple[int, int], *, objects_xyxy: FloatArray, least_side: float, padding: float
) -> tuple[Tile, ...]:
    """Rectangles that cover all changed cells [h, w], and each object [N, 4] that one of them touches, as a whole.

    size_wh: of the frame. objects_xyxy: in its pixels, which the rectangles are too. least_side: of a rectangle, where
    the frame is as large. padding: beyond the cells, at least; more beside a large rectangle.
    """
    boxes = _merged(_components(cells, size_wh), _APART)
    boxes = _merged(_grown(boxes, objects_xyxy.astype(np.float64)), _APART)
    if not len(boxes):
        return ()
    sides = boxes[:, 2:] - boxes[:, :2]  # [R, 2]
    around = np.maximum(padding, _PADDED_SHARE * sides.max(axis=1, keepdims=True))  # [R, 1]
    around = np.maximum(around, (least_side - sides) / 2)  # [R, 2]
    padded = np.concatenate([boxes[:, :2] - around, boxes[:, 2:] + around], axis=1)  # [R, 4]
    return tuple(_tile(box, size_wh) for box in _merged(_inside(padded, size_wh), _APART).tolist())


def _span(begin: float, end: float, num: int) -> slice:
    """The cells from the one in which something begins to the one in which it ends, of `num`."""
    return slice(max(0, min(num, int(np.floor(begin)))), max(0, min(num, int(np.ceil(end)))))


def _components(cells: Cells, size_wh: tuple[int, int]) -> _Rectangles:
    """The bounds [R, 4] of the connected parts, in pixels; of all together where there are too many."""
    joined = cv2.morphologyEx(cells.astype(np.uint8), cv2.MORPH_CLOSE, _JOINING)  # an object is seldom one piece
    num, _, stats, _ = cv2.connectedComponentsWithStats(joined, connectivity=8)
    bounds = np.asarray(stats[1:num, :4], np.float64)  # left, top, width and height
    bounds[:, 2:] += bounds[:, :2]
    if len(bounds) > _MOST_PARTS:
        bounds = np.concatenate([bounds[:, :2].min(axis=0), bounds[:, 2:].max(axis=0)])[None]
    scale = np.array(size_wh, np.float64) / cells.shape[::-1]
    return bounds * np.tile(scale, 2)


def _grown(boxes: _Rectangles, objects: _Rectangles) -> _Rectangles:
    """The boxes [R, 4], each with the objects [N, 4] that it touches."""
    grown = boxes.copy()
    for row, box in enumerate(boxes):
        touched = objects[((objects[:, :2] < box[2:]) & (objects[:, 2:] > box[:2])).all(axis=1)]
        if len(touched):
            grown[row, :2] = np.minimum(box[:2], touched[:, :2].min(axis=0))
            grown[row, 2:] = np.maximum(box[2:], touched[:, 2:].max(axis=0))
    return grown


def _merged(boxes: _Rectangles, apart: float) -> _Rectangles:
    """Fewer boxes [R, 4] that cover the same: pairs that are hardly smaller apart than together are put together."""
    rows = boxes.tolist()
    index = 0
    while index < len(rows):
        left, top, right, bottom = rows[index]
        for other in range(index + 1, len(rows)):
            a, b, c, d = rows[other]
            union = (min(left, a), min(top, b), max(right, c), max(bottom, d))
            if _area(union) <= apart * (_area(rows[index]) + _area(rows[other])):
                rows[index] = list(union)
                del rows[other]
                index = -1  # the larger one may touch those before it
                break
        index += 1
    return np.array(rows, np.float64).reshape(-1, 4)


def _area(box: Sequence[float]) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _inside(boxes: _Rectangles, size_wh: tuple[int, int]) -> _Rectangles:
    """The boxes [R, 4] moved into the frame as far as they go, and cut where they are larger."""
    limits = np.array(size_wh, np.float64)
    moved = np.maximum(0, -boxes[:, :2]) - np.maximum(0, boxes[:, 2:] - limits)  # [R, 2]
    moved = np.where((boxes[:, :2] < 0) & (boxes[:, 2:] > limits), 0, moved)
    return np.asarray(np.clip(boxes + np.tile(moved, 2), 0, np.tile(limits, 2)), np.float64)


def _tile(box: Sequence[float], size_wh: tuple[int, int]) -> Tile:
    left, top, right, bottom = box
    return Tile(int(left), int(top), min(size_wh[0], -int(-right // 1)), min(size_wh[1], -int(-bottom // 1)), size_wh)
