"""Crossings: where objects are in two frames → which of them crossed which line, in which direction, and when."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.picture.counting.geometry import BoolArray, Points, crossing_shares, signed_distances

IntRows = npt.NDArray[np.intp]


class Crossing(NamedTuple):
    """One object through one line. position: of the object among those that moved."""

    position: int
    line: int
    is_in: bool
    pts_seconds: float


class Crossings:
    """Remembers on which side of each line every object is; has a row for each object.

    An object changes sides when it is farther from the line than its band, so that one that trembles on the line does
    not cross it again and again. It has crossed the line if its way there went through the segment, once more in this
    direction than in the other; the time is that of the last passage in this direction.
    """

    def __init__(self, num_lines: int) -> None:
        self._is_right = np.zeros((0, num_lines), np.bool_)  # [T, L], the side on which an object is
        self._net = np.zeros((0, num_lines), np.int64)  # [T, L], passages to the right less those to the left, since
        self._seconds = np.zeros((0, num_lines, 2))  # [T, L, 2], media time of the last passage to the left, the right

    def grow(self, points: Points, starts: Points, ends: Points) -> None:
        """Add objects, at points [K, L, 2] of which each line [L, 2] looks at its own."""
        is_right = signed_distances(points, starts, ends) >= 0
        self._is_right = np.concatenate([self._is_right, is_right])
        self._net = np.concatenate([self._net, np.zeros(is_right.shape, np.int64)])
        self._seconds = np.concatenate([self._seconds, np.zeros((*is_right.shape, 2))])

    def reshaped(self, columns: Sequence[int | None], points: Points, starts: Points, ends: Points) -> Crossings:
        """The same objects at other lines [L].

        columns: the line before that each goes on; None: it is new, and objects are on its sides by their points
        [T, L, 2].
        """
        other = Crossings(len(columns))
        other.grow(points, starts, ends)
        for column, old in enumerate(columns):
            if old is not None:
                other._is_right[:, column], other._net[:, column] = self._is_right[:, old], self._net[:, old]
                other._seconds[:, column] = self._seconds[:, old]
        return other

    def keep(self, is_kept: BoolArray) -> None:
        """Keep some of the rows [T]."""
        self._is_right, self._net, self._seconds = self._is_right[is_kept], self._net[is_kept], self._seconds[is_kept]

    def move(
        self, rows: IntRows, before: Points, after: Points, seconds: Points, bands: Points, lines: Points
    ) -> list[Crossing]:
        """Move objects rows [K] from and to points [K, L, 2], at media times [K, 2], with bands [K] in pixels.

        lines: [L, 2, 2], starts and ends.
        """
        starts, ends = lines[:, 0], lines[:, 1]
        share = crossing_shares(before, after, starts, ends)  # [K, L]
        distance = signed_distances(after, starts, ends)  # [K, L]
        is_right, passes = distance >= 0, ~np.isnan(share)
        times = seconds[:, :1] + share * (seconds[:, 1:] - seconds[:, :1])  # [K, L]
        for side in (0, 1):
            is_towards = passes & (is_right == bool(side))
            self._seconds[rows, :, side] = np.where(is_towards, times, self._seconds[rows, :, side])
        net = self._net[rows] + np.where(passes, np.where(is_right, 1, -1), 0)  # [K, L]
        is_clear = np.abs(distance) > bands[:, None]
        changes = is_clear & (is_right != self._is_right[rows])
        is_crossed = changes & np.where(is_right, net > 0, net < 0)
        self._is_right[rows] = np.where(is_clear, is_right, self._is_right[rows])
        self._net[rows] = np.where(is_clear, 0, net)
        times = self._seconds[rows[:, None], np.arange(lines.shape[0]), is_right.astype(int)]  # [K, L]
        return [
            Crossing(position, line, bool(is_right[position, line]), float(times[position, line]))
            for position, line in np.argwhere(is_crossed).tolist()
        ]
