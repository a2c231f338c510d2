"""Exact crossings: a way and a line in whole numbers → where they cross, in fractions."""

from __future__ import annotations

from fractions import Fraction

Pair = tuple[int, int]


def exact_share(before: Pair, after: Pair, start: Pair, end: Pair) -> Fraction | None:
    """The crossing in exact numbers; a point on the line counts as to its right."""

    def side(point: Pair) -> int:
        return (end[0] - start[0]) * (point[1] - start[1]) - (end[1] - start[1]) * (point[0] - start[0])

    if (side(before) >= 0) == (side(after) >= 0):
        return None
    share = Fraction(side(before), side(before) - side(after))
    x, y = (before[axis] + share * (after[axis] - before[axis]) for axis in (0, 1))
    along = (x - start[0]) * (end[0] - start[0]) + (y - start[1]) * (end[1] - start[1])
    length = (end[0] - start[0]) ** 2 + (end[1] - start[1]) ** 2
    return share if 0 <= along <= length else None
