"""Zone tally: who is in a zone, who came and went → its counts, and whether their number is news."""

from __future__ import annotations

import math
from collections import Counter as Tally
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from pipeline.picture.counting.counts import ZoneCounts
from pipeline.picture.counting.geometry import Points
from pipeline.picture.counting.shapes import Zone
from pipeline.picture.counting.stays import Stays


@dataclass(slots=True)
class ZoneTally:
    """A zone, with who is in it and what has been counted; the number of objects is news when it has held."""

    shape: Zone
    stays: Stays
    polygon: Points = field(default_factory=lambda: np.zeros((0, 2)))
    appeared: Tally[str] = field(default_factory=Tally)
    entered: Tally[str] = field(default_factory=Tally)
    left: Tally[str] = field(default_factory=Tally)
    dwell_sum: float = 0.0
    longest_dwell: float = 0.0
    _num: int = 0  # objects inside
    _num_since: float = -math.inf  # media time
    _announced: int = 0
    _announced_at: float = -math.inf

    def end_stay(self, class_name: str, dwell_seconds: float) -> None:
        """An object has left."""
        self.left[class_name] += 1
        self.dwell_sum += dwell_seconds
        self.longest_dwell = max(self.longest_dwell, dwell_seconds)

    def is_news(self, num: int, pts_seconds: float, hold_seconds: float, cooldown_seconds: float) -> bool:
        """Whether a number of objects has held for long enough, and the last that was news is long enough ago."""
        if num != self._num:
            self._num, self._num_since = num, pts_seconds
        if pts_seconds < max(self._num_since, self._announced_at):  # the media time has gone back
            self._num_since, self._announced_at = pts_seconds, -math.inf
        holds = pts_seconds - self._num_since >= hold_seconds
        rests = pts_seconds - self._announced_at >= cooldown_seconds
        if num == self._announced or not (holds and rests):
            return False
        self._announced, self._announced_at = num, pts_seconds
        return True

    def counts(self, inside: Mapping[str, int]) -> ZoneCounts:
        """What has been counted. inside: the objects that are in it, by class."""
        num_stays = self.left.total()
        return ZoneCounts(
            self.shape.name,
            self.polygon,
            dict(inside),
            dict(self.appeared),
            dict(self.entered),
            dict(self.left),
            self.dwell_sum / num_stays if num_stays else None,
            self.longest_dwell if num_stays else None,
        )
