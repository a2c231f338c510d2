"""Quadrilaterals: oriented boxes → their corners, the bounds of these, and their overlaps.

Corners [N, 4, 2] are x, y in the order in which they follow each other along the edge. What a letterbox makes of an
oriented box is a rectangle; what a stretched picture makes of it is a parallelogram, which an angle cannot express.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.picture.boxes import FloatArray

_Points = npt.NDArray[np.float64]  # [..., 2]
_Float64s = npt.NDArray[np.float64]
_Complexes = npt.NDArray[np.complex128]
_Mask = npt.NDArray[np.bool_]
_ROUNDING = 1e-12  # of a cross product, relative to its vectors
_MOST_PAIRS = 16_384  # at once, so that they stay in the cache


def corners_of(boxes_xyxy: FloatArray, angles: FloatArray) -> FloatArray:
    """Corners [N, 4, 2] of boxes [N, 4] turned about their centres by angles [N] in radians, clockwise on the screen.

    >>> corners_of(np.array([[0, 0, 4, 2]], np.float32), np.array([np.pi / 2], np.float32)).round(3).tolist()
    [[[3.0, -1.0], [3.0, 3.0], [1.0, 3.0], [1.0, -1.0]]]
    """
    boxes = boxes_xyxy.astype(np.float64)  # [N, 4]
    centres, halves = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2  # [N, 2], [N, 2]
    cosine, sine = np.cos(angles.astype(np.float64)), np.sin(angles.astype(np.float64))  # [N], [N]
    along = np.stack([cosine, sine], axis=1) * halves[:, :1]  # [N, 2], half of the width
    across = np.stack([-sine, cosine], axis=1) * halves[:, 1:]  # [N, 2], half of the height
    corners = [centres - along - across, centres + along - across, centres + along + across, centres - along + across]
    return np.stack(corners, axis=1).astype(np.float32)


def bounds_of(corners: FloatArray) -> FloatArray:
    """The smallest upright boxes xyxy [N, 4] around corners [N, 4, 2]."""
    return np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)


def quadrilateral_areas(corners: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """The areas [N] of quadrilaterals by their corners [N, 4, 2]."""
    return np.abs(_signed_areas(corners.astype(np.float64)))


def quadrilateral_iou(
    a_corners: FloatArray, b_corners: FloatArray, *, where: _Mask | None = None, above: float = 0.0
) -> FloatArray:
    """Exact IoU [N, M] of convex quadrilaterals [N, 4, 2] and [M, 4, 2]; 0 where they do not overlap.

    where: the pairs [N, M] that matter, others are 0. above: pairs whose bounds and areas rule out more are 0 too.

    >>> square = np.array([[[0, 0], [2, 0], [2, 2], [0, 2]]], np.float32)
    >>> diamond = np.array([[[1, 0], [2, 1], [1, 2], [0, 1]]], np.float32)
    >>> quadrilateral_iou(square, diamond).tolist()
    [[0.5]]
    """
    a, b = _counterclockwise(a_corners), _counterclockwise(b_corners)  # [N, 4, 2], [M, 4, 2]
    a_areas, b_areas = quadrilateral_areas(a), quadrilateral_areas(b)  # [N], [M]
    most = np.minimum(_shared_bounds(a, b), np.minimum(a_areas[:, None], b_areas[None]))  # [N, M], of shared area
    # 1 in a million for rounding: a pair at the limit is measured.
    is_near = (most > 0) & (most * (1 + 1e-6) > above * (a_areas[:, None] + b_areas[None] - most))
    rows, columns = np.nonzero(is_near if where is None else is_near & where)  # [P], [P]
    iou = np.zeros(most.shape, np.float32)
    for start in range(0, len(rows), _MOST_PAIRS):
        row, column = rows[start : start + _MOST_PAIRS], columns[start : start + _MOST_PAIRS]
        shared = np.minimum(_shared_areas(a[row], b[column]), most[row, column])  # [P]
        iou[row, column] = shared / (a_areas[row] + b_areas[column] - shared)
    return iou


def _counterclockwise(corners: FloatArray) -> _Points:
    """The same corners [N, 4, 2] in double precision, in the order in which the shoelace formula is positive."""
    points = corners.astype(np.float64)
    is_turned = _signed_areas(points) < 0
    points[is_turned] = points[is_turned, ::-1]
    return points


def _signed_areas(polygons: _Points) -> _Float64s:
    """Areas [P] of polygons [P, V, 2] by the shoelace formula; relative to a corner, so that large ones cancel less."""
    points = polygons - polygons[:, :1]
    following = np.roll(points, -1, axis=1)
    return np.asarray((points[..., 0] * following[..., 1] - points[..., 1] * following[..., 0]).sum(axis=1) / 2)


def _shared_bounds(a: _Points, b: _Points) -> _Float64s:
    """The areas [N, M] that the bounds of [N, 4, 2] and [M, 4, 2] share."""
    right_bottom = np.minimum(a.max(axis=1)[:, None], b.max(axis=1)[None])  # [N, M, 2]
    left_top = np.maximum(a.min(axis=1)[:, None], b.min(axis=1)[None])  # [N, M, 2]
    return np.asarray(np.maximum(right_bottom - left_top, 0).prod(axis=2))


def _shared_areas(a: _Points, b: _Points) -> _Float64s:
    """The areas [P] that pairs of quadrilaterals [P, 4, 2] share: one is clipped by the four edges of the other.

    Sutherland and Hodgman 1974, https://doi.org/10.1145/360767.360802.
    """
    origin = b[:, :1]
    polygons, edges = _complex(a - origin), _complex(b - origin)  # [P, 4], [P, 4]
    for index in range(4):
        polygons = _clipped(polygons, edges[:, index : index + 1], edges[:, [(index + 1) % 4]])
    relative = polygons - polygons[:, :1]
    return np.asarray(np.abs(_cross(relative, np.roll(relative, -1, axis=1)).sum(axis=1)) / 2)


def _clipped(polygons: _Complexes, start: _Complexes, end: _Complexes) -> _Complexes:
    """The part of convex polygons [P, V] on the left of lines from [P, 1] to [P, 1]: [P, V + 1].

    A line adds one corner at most; the first one fills what is left over.
    """
    side = _cross(end - start, polygons - start)  # [P, V], above 0 on the left
    # Corners on the line but for rounding are on its left, so that it never seems to cross the edge four times.
    tolerance = _ROUNDING * np.abs(end - start) * np.abs(polygons - start).max(axis=1, keepdims=True)  # [P, 1]
    is_inside = side >= -tolerance
    crosses = is_inside != np.roll(is_inside, -1, axis=1)  # [P, V]
    following_side, following = np.roll(side, -1, axis=1), np.roll(polygons, -1, axis=1)
    share = np.divide(side, side - following_side, out=np.zeros_like(side), where=crosses)
    crossings = polygons + np.clip(share, 0, 1) * (following - polygons)
    num_pairs, num_corners = side.shape
    both = np.stack([polygons, crossings], axis=2).reshape(num_pairs, -1)  # [P, 2 V], along the edge
    stays = np.stack([is_inside, crosses], axis=2).reshape(num_pairs, -1)  # [P, 2 V]
    order = np.argsort(~stays, axis=1, kind="stable")[:, : num_corners + 1]
    kept = np.take_along_axis(both, order, axis=1)  # [P, V + 1]
    is_left_over = np.arange(num_corners + 1) >= stays.sum(axis=1)[:, None]
    return np.where(is_left_over, kept[:, :1], kept)


def _complex(points: _Points) -> _Complexes:
    """Points [..., 2] as x + y i, of which numpy moves both parts at once."""
    return np.ascontiguousarray(points).view(np.complex128)[..., 0]


def _cross(a: _Complexes, b: _Complexes) -> _Float64s:
    """The cross products of vectors [...] and [...]; above 0 where b is on the left of a."""
    return np.asarray(a.real * b.imag - a.imag * b.real)
