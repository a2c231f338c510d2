"""Stays: where objects are in two frames → who came into a zone, stayed in it for long, or left it, and when."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.picture.counting.geometry import (
    BoolArray,
    Points,
    crossing_shares,
    distances_to_outline,
    inside_polygon,
)

IntRows = npt.NDArray[np.intp]
_WIDEST_BAND = 0.25  # of a zone's shorter side, so that small zones can be entered


class Change(NamedTuple):
    """One object and one zone. position: of the object among those that moved."""

    position: int
    kind: Literal["entered", "left", "dwelt"]
    pts_seconds: float
    dwell_seconds: float | None = None  # left and dwelt


class Stays:
    """Remembers which objects are in one zone, and since when; has a row for each object.

    An object has entered or left when it is farther from the outline than its band; the time is that of its last
    passage through the outline.
    """

    def __init__(self, dwell_seconds: float | None) -> None:
        self._dwell_seconds = np.inf if dwell_seconds is None else dwell_seconds
        self.is_inside = np.zeros(0, np.bool_)  # [T]
        self.since_seconds = np.zeros(0)  # [T], media time at which the stay began
        self._was_inside = np.zeros(0, np.bool_)  # [T], in its last frame, within the band or not
        self._passed_seconds = np.zeros(0)  # [T], of the last passage through the outline
        self._has_dwelt = np.zeros(0, np.bool_)  # [T]

    def grow(self, points: Points, polygon: Points, seconds: Points) -> BoolArray:
        """Add objects, first seen at points [K, 2] and media times [K]; returns which of them are inside."""
        is_inside, num = inside_polygon(points, polygon), len(points)
        self.is_inside = np.concatenate([self.is_inside, is_inside])
        self._was_inside = np.concatenate([self._was_inside, is_inside])
        self.since_seconds = np.concatenate([self.since_seconds, seconds])
        self._passed_seconds = np.concatenate([self._passed_seconds, seconds])
        self._has_dwelt = np.concatenate([self._has_dwelt, np.zeros(num, np.bool_)])
        return is_inside

    def keep(self, is_kept: BoolArray) -> None:
        """Keep some of the rows [T]."""
        self.is_inside, self._was_inside = self.is_inside[is_kept], self._was_inside[is_kept]
        self.since_seconds, self._passed_seconds = self.since_seconds[is_kept], self._passed_seconds[is_kept]
        self._has_dwelt = self._has_dwelt[is_kept]

    def move(
        self, rows: IntRows, before: Points, after: Points, seconds: Points, bands: Points, polygon: Points
    ) -> list[Change]:
        """Move objects rows [K] from and to points [K, 2], at media times [K, 2], with bands [K] in pixels."""
        is_now, was = inside_polygon(after, polygon), self._was_inside[rows]
        share = _last_passage(before, after, polygon)  # [K]
        times = seconds[:, 0] + share * (seconds[:, 1] - seconds[:, 0])
        self._passed_seconds[rows] = np.where(is_now != was, times, self._passed_seconds[rows])
        self._was_inside[rows] = is_now
        widest = _WIDEST_BAND * float(np.ptp(polygon, axis=0).min())
        is_clear = distances_to_outline(after, polygon) > np.minimum(bands, widest)
        changes = is_clear & (is_now != self.is_inside[rows])
        changed = [self._change(index, rows[index], bool(is_now[index])) for index in np.flatnonzero(changes).tolist()]
        return changed + self._dwelt(rows, seconds[:, 1])

    def _change(self, index: int, row: int, is_inside: bool) -> Change:
        passed, began = float(self._passed_seconds[row]), float(self.since_seconds[row])
        self.is_inside[row], self._has_dwelt[row] = is_inside, False
        self.since_seconds[row] = passed
        return Change(index, "entered", passed) if is_inside else Change(index, "left", passed, passed - began)

    def _dwelt(self, rows: IntRows, now_seconds: Points) -> list[Change]:
        due = self.since_seconds[rows] + self._dwell_seconds  # [K]
        is_due = self.is_inside[rows] & ~self._has_dwelt[rows] & (now_seconds >= due)
        self._has_dwelt[rows] |= is_due
        seconds = float(self._dwell_seconds)
        return [Change(index, "dwelt", float(due[index]), seconds) for index in np.flatnonzero(is_due).tolist()]


def _last_passage(before: Points, after: Points, polygon: Points) -> Points:
    """The share of each way [K, 2] after which it goes through the outline for the last time; 1 where it does not."""
    shape = (len(before), len(polygon), 2)
    starts, ends = (np.broadcast_to(points[:, None], shape) for points in (before, after))
    shares = crossing_shares(starts, ends, polygon, np.roll(polygon, -1, axis=0))  # [K, P]
    last = np.where(np.isnan(shares), -1, shares).max(axis=1)
    return np.where(last < 0, 1.0, last)
