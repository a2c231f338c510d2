"""Speeds: where objects are on the ground, frame by frame → how fast they are, in metres a second."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.picture.counting.geometry import BoolArray, Points

_SMOOTHED_OVER_SECONDS = 0.5


class Speeds:
    """Velocities of objects, smoothed exponentially over half a second of media time; has a row for each object."""

    def __init__(self) -> None:
        self._velocity = np.zeros((0, 2))  # [T, 2], metres a second; NaN: not known
        self._age_seconds = np.zeros(0)  # [T], of what the velocity is the mean of

    def grow(self, num: int) -> None:
        """Add objects, whose speeds are not known yet."""
        self._velocity = np.concatenate([self._velocity, np.full((num, 2), np.nan)])
        self._age_seconds = np.concatenate([self._age_seconds, np.zeros(num)])

    def keep(self, is_kept: BoolArray) -> None:
        """Keep some of the rows [T]."""
        self._velocity, self._age_seconds = self._velocity[is_kept], self._age_seconds[is_kept]

    def move(self, rows: npt.NDArray[np.intp], before: Points, after: Points, elapsed_seconds: Points) -> None:
        """Move objects rows [K] from and to points [K, 2] in metres, NaN where there is no ground, in so much time."""
        has_moved = (elapsed_seconds > 0) & ~np.isnan(before + after).any(axis=1)
        rows, elapsed = rows[has_moved], elapsed_seconds[has_moved]
        measured = (after - before)[has_moved] / elapsed[:, None]
        self._age_seconds[rows] += elapsed
        weight = np.maximum(-np.expm1(-elapsed / _SMOOTHED_OVER_SECONDS), elapsed / self._age_seconds[rows])[:, None]
        old = np.where(np.isnan(self._velocity[rows]), measured, self._velocity[rows])
        self._velocity[rows] = old + weight * (measured - old)

    def of(self, rows: npt.NDArray[np.intp]) -> Points:
        """Metres a second [K] of objects; NaN: not known."""
        velocity = self._velocity[rows]  # [K, 2]
        return np.asarray(np.hypot(velocity[:, 0], velocity[:, 1]))
