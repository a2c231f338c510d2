"""Plane geometry: points, ways and polygons in a picture → sides, crossings and distances.

x right, y down. The right side of a way is positive, and a point on it counts as positive, so that a way through a
vertex or along a line crosses it once or not at all, never twice.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Points = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


def signed_distances(points: Points, starts: Points, ends: Points) -> Points:
    """Distances [..., L] of points [..., L, 2] to the infinite lines through starts [L, 2] and ends [L, 2]."""
    along = ends - starts  # [L, 2]
    off = points - starts  # [..., L, 2]
    return np.asarray(_cross(along, off) / np.hypot(along[:, 0], along[:, 1]))


def crossing_shares(before: Points, after: Points, starts: Points, ends: Points) -> Points:
    """The share of each way from `before` to `after` [..., L, 2] after which it crosses a segment [L, 2]; NaN: not."""
    d_before = signed_distances(before, starts, ends)  # [..., L]
    d_after = signed_distances(after, starts, ends)  # [..., L]
    changes_side = (d_before >= 0) != (d_after >= 0)
    share = np.divide(d_before, d_before - d_after, out=np.zeros_like(d_before), where=changes_side)
    way = after - before  # [..., L, 2]
    start_side, end_side = _cross(way, starts - before), _cross(way, ends - before)  # [..., L], sides of the way
    reaches = np.sign(start_side) * np.sign(end_side) <= 0
    return np.where(changes_side & reaches, share, np.nan)


def distances_to_outline(points: Points, polygon: Points) -> Points:
    """Distances [K] of points [K, 2] to the nearest edge of a polygon [P, 2]."""
    starts, along = polygon, np.roll(polygon, -1, axis=0) - polygon  # [P, 2], [P, 2]
    off = points[:, None] - starts  # [K, P, 2]
    position = np.clip((off * along).sum(axis=-1) / (along**2).sum(axis=-1), 0, 1)  # [K, P]
    nearest = off - position[..., None] * along  # [K, P, 2]
    return np.asarray(np.hypot(nearest[..., 0], nearest[..., 1]).min(axis=1))


def inside_polygon(points: Points, polygon: Points) -> BoolArray:
    """Which points [K, 2] are in a polygon [P, 2] or on its outline (even-odd rule, a ray to the right)."""
    ends = np.roll(polygon, -1, axis=0)
    y = points[:, 1, None]  # [K, 1]
    spans = (polygon[:, 1] > y) != (ends[:, 1] > y)  # [K, P]
    rise = ends[:, 1] - polygon[:, 1]  # [P]
    share = np.divide(y - polygon[:, 1], rise, out=np.zeros(spans.shape), where=spans)  # [K, P]
    is_right = polygon[:, 0] + share * (ends[:, 0] - polygon[:, 0]) > points[:, 0, None]  # [K, P]
    is_odd = np.count_nonzero(spans & is_right, axis=1) % 2 == 1
    return np.asarray(is_odd | (distances_to_outline(points, polygon) == 0), np.bool_)


def crosses_itself(polygon: Points) -> bool:
    """Whether two edges of a polygon [P, 2] that are not neighbours have a point in common, or neighbours overlap."""
    ends = np.roll(polygon, -1, axis=0)
    edges = list(zip(polygon.tolist(), ends.tolist(), strict=True))
    num = len(edges)
    for first in range(num):
        for second in range(first + 1, num):
            is_next, is_previous = second == first + 1, first == 0 and second == num - 1
            if is_next or is_previous:
                shared, *others = (edges[second][0], edges[first][0], edges[second][1])
                if is_previous:
                    shared, *others = (edges[first][0], edges[first][1], edges[second][0])
                if _turn(others[0], shared, others[1]) == 0 and _is_between(shared, others):
                    return True
            elif _touch(edges[first], edges[second]):
                return True
    return False


def clips_segment(start: Points, end: Points, low: Points, high: Points) -> bool:
    """Whether a segment from start [2] to end [2] has a point in the rectangle low [2] to high [2] (Liang, Barsky)."""
    if (low > high).any():
        return False
    way = end - start
    first, last = 0.0, 1.0
    for axis in (0, 1):
        if way[axis] == 0:
            if not low[axis] <= start[axis] <= high[axis]:
                return False
            continue
        shares = sorted(((low[axis] - start[axis]) / way[axis], (high[axis] - start[axis]) / way[axis]))
        first, last = max(first, shares[0]), min(last, shares[1])
    return first <= last


def _cross(a: Points, b: Points) -> Points:
    """The cross products [...] of vectors [..., 2]: positive where b points to the right of a."""
    return np.asarray(a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0])


_Point = list[float]


def _turn(a: _Point, b: _Point, c: _Point) -> float:
    """Positive where a, b, c turn right, 0 where they are on one line."""
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


def _is_between(shared: _Point, others: list[_Point]) -> bool:
    """Whether two neighbours on one line leave their shared vertex in the same direction."""
    (a, b), (x, y) = others, shared
    return (a[0] - x) * (b[0] - x) + (a[1] - y) * (b[1] - y) > 0


def _touch(one: tuple[_Point, _Point], other: tuple[_Point, _Point]) -> bool:
    (a, b), (c, d) = one, other
    turns = (_turn(a, b, c), _turn(a, b, d), _turn(c, d, a), _turn(c, d, b))
    if turns[0] * turns[1] < 0 and turns[2] * turns[3] < 0:
        return True
    on_edge = ((turns[0], a, b, c), (turns[1], a, b, d), (turns[2], c, d, a), (turns[3], c, d, b))
    return any(turn == 0 and _in_box(start, end, point) for turn, start, end, point in on_edge)


def _in_box(start: _Point, end: _Point, point: _Point) -> bool:
    return all(min(start[axis], end[axis]) <= point[axis] <= max(start[axis], end[axis]) for axis in (0, 1))
