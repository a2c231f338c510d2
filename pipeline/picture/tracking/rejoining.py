"""Rejoining: tracks that were lost and tracks that begin → which of them are the same object, by motion and size.

An overlap with the box that a filter predicts does not bring an object back that was hidden for long: its box shrank
while something moved in front of it, and the filter took that for motion. So where an object goes is read off its
centres over half a second, and its size off the box at the beginning of that time.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.picture.tracking.assignment import Indices, assign
from pipeline.picture.tracking.box_filters import Float64Array

_SPAN_SECONDS = 0.25  # between two remembered boxes; a velocity is that over one to two of them
_FARTHEST = 1.2  # of an object's size, each way: between where it must be and where a new track begins
_FARTHEST_PER_SECOND = 0.3
_LARGEST_RATIO = 0.7  # of the sizes of both, as a natural logarithm
_SMALLEST_PX = 1e-3  # of a box that is empty
_SIZE_WEIGHT = 0.5  # of a difference in size beside one in position


class Motions:
    """Where the object of each track was up to half a second ago; has a row for each track."""

    def __init__(self) -> None:
        self._boxes = np.zeros((0, 3, 4))  # [T, 3, 4]: remembered first, then, and last
        self._seconds = np.zeros((0, 3))  # [T, 3], media times of these

    def grow(self, boxes_xyxy: npt.NDArray[np.floating], seconds: float) -> None:
        """Add tracks that begin with boxes [K, 4]."""
        self._boxes = np.concatenate([self._boxes, np.repeat(boxes_xyxy[:, None], 3, axis=1)])
        self._seconds = np.concatenate([self._seconds, np.full((len(boxes_xyxy), 3), seconds)])

    def keep(self, is_kept: npt.NDArray[np.bool_]) -> None:
        """Keep some of the rows [T]."""
        self._boxes, self._seconds = self._boxes[is_kept], self._seconds[is_kept]

    def take(self, rows: Indices, boxes_xyxy: npt.NDArray[np.floating], seconds: float) -> None:
        """Move tracks rows [K] on to boxes [K, 4]."""
        is_due = seconds - self._seconds[rows, 1] >= _SPAN_SECONDS
        due = rows[is_due]
        self._boxes[due, 0], self._seconds[due, 0] = self._boxes[due, 1], self._seconds[due, 1]
        self._boxes[due, 1], self._seconds[due, 1] = self._boxes[due, 2], self._seconds[due, 2]
        self._boxes[rows, 2], self._seconds[rows, 2] = boxes_xyxy, seconds

    def pairs(self, lost: Indices, new: Indices, is_alike: npt.NDArray[np.bool_]) -> tuple[Indices, Indices]:
        """The lost tracks [P] and the new ones [P] that are one object, of rows lost [L] and new [K].

        is_alike: [L, K], which may be one.
        """
        distance, gap_seconds = self._distances(lost, new)  # [L, K], [L, K]
        ratio = self._ratios(lost, new)  # [L, K]
        farthest = _FARTHEST + _FARTHEST_PER_SECOND * gap_seconds
        fits = is_alike & (gap_seconds > 0) & (distance <= farthest) & (ratio <= _LARGEST_RATIO)
        similarity = 1 / (1 + distance / farthest + _SIZE_WEIGHT * ratio)
        rows, columns = assign(np.where(fits, similarity, 0.0))
        return lost[rows], new[columns]

    def _distances(self, lost: Indices, new: Indices) -> tuple[Float64Array, Float64Array]:
        """How far new tracks began from where lost ones were then, in sizes of these, and after how many seconds."""
        before, last = _centres(self._boxes[lost, 0]), _centres(self._boxes[lost, 2])  # [L, 2], [L, 2]
        elapsed = (self._seconds[lost, 2] - self._seconds[lost, 0])[:, None]  # [L, 1]
        velocity = np.divide(last - before, elapsed, out=np.zeros_like(last), where=elapsed > 0)
        gap = self._seconds[new, 0] - self._seconds[lost, 2][:, None]  # [L, K]
        expected = last[:, None] + velocity[:, None] * gap[..., None]  # [L, K, 2]
        errors = np.abs(_centres(self._boxes[new, 0]) - expected) / _sizes(self._boxes[lost, 0])[:, None]
        return errors.max(axis=-1), gap

    def _ratios(self, lost: Indices, new: Indices) -> Float64Array:
        """The larger of the ratios of widths and of heights [L, K], as a natural logarithm."""
        ratios = np.log(_sizes(self._boxes[new, 0]) / _sizes(self._boxes[lost, 0])[:, None])  # [L, K, 2]
        return np.asarray(np.abs(ratios).max(axis=-1))


def _centres(boxes_xyxy: Float64Array) -> Float64Array:
    return (boxes_xyxy[..., :2] + boxes_xyxy[..., 2:]) / 2


def _sizes(boxes_xyxy: Float64Array) -> Float64Array:
    return np.maximum(boxes_xyxy[..., 2:] - boxes_xyxy[..., :2], _SMALLEST_PX)
