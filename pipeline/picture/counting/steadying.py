"""Steadying: the boxes of an object as detected → where it stands: calm, and complete where something hides its feet.

A detector draws the lower edge where an object can no longer be seen, a few pixels higher or lower in each frame. So
while something nearer is in front of it, an object keeps the height that it had in the clear, and all four sides go
through a fading-memory filter of position and velocity, which begins as a fit of a straight line (Brookner, "Tracking
and Kalman Filtering Made Easy", 1998, chapter 1).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.picture.counting.geometry import BoolArray, Points

IntRows = npt.NDArray[np.intp]

_LEAST_COVER = 0.3  # of an object's width, in front of which something nearer is
_REACH = 0.1  # of its height, below its lower edge: where that must begin at the latest
_EDGE_PX = 2.0  # an object that touches the picture's lower edge is cut off by it, and by nothing else
_HEIGHT_SECONDS = 0.2  # over which a height is smoothed
_RATE_SECONDS = 0.7  # over which the rate of its change is smoothed
_RATE_MEMORY_SECONDS = 1.0  # after which that rate is hardly to be relied on, once the object is hidden
_LONGEST_HIDDEN_SECONDS = 10.0  # after which the height that is seen counts


def are_hidden(boxes: Points, size_wh: tuple[int, int]) -> BoolArray:
    """Whose lower edge [N] something nearer may hide: a box of [N, 4] that reaches lower and lies in front of it."""
    left, top, right, bottom = boxes.T  # [N] each
    width, height = right - left, bottom - top
    across = np.minimum(right[:, None], right) - np.maximum(left[:, None], left)  # [N, N]
    is_in_front = (bottom > bottom[:, None]) & (top < (bottom + _REACH * height)[:, None])
    covers = is_in_front & (across > _LEAST_COVER * width[:, None])
    return np.asarray(covers.any(axis=1) & (bottom < size_wh[1] - _EDGE_PX), np.bool_)


class Steadying:
    """Remembers position, velocity and complete height of each object; has a row for each object.

    seconds: the memory of the filter, the time constant with which it forgets; 0: boxes stay as they are.
    """

    def __init__(self, seconds: float) -> None:
        self._memory_seconds = seconds
        self._boxes = np.zeros((0, 4))  # [T, 4]
        self._velocities = np.zeros((0, 4))  # [T, 4], pixels / s
        self._num_boxes = np.zeros(0, np.int64)  # [T], that the filter has seen
        self._heights = np.zeros(0)  # [T], complete; 0 for one that has not been in the clear yet
        self._rates = np.zeros(0)  # [T], of their change, 1 / s
        self._hidden_seconds = np.zeros(0)  # [T], since when the lower edge is hidden

    def grow(self, boxes: Points, is_hidden: BoolArray) -> None:
        """Add objects that are seen first with boxes [K, 4]."""
        num = len(boxes)
        self._boxes = np.concatenate([self._boxes, boxes])
        self._velocities = np.concatenate([self._velocities, np.zeros((num, 4))])
        self._num_boxes = np.concatenate([self._num_boxes, np.ones(num, np.int64)])
        self._heights = np.concatenate([self._heights, np.where(is_hidden, 0.0, boxes[:, 3] - boxes[:, 1])])
        self._rates = np.concatenate([self._rates, np.zeros(num)])
        self._hidden_seconds = np.concatenate([self._hidden_seconds, np.zeros(num)])

    def keep(self, is_kept: BoolArray) -> None:
        """Keep some of the rows [T]."""
        self._boxes, self._velocities = self._boxes[is_kept], self._velocities[is_kept]
        self._num_boxes, self._heights = self._num_boxes[is_kept], self._heights[is_kept]
        self._rates, self._hidden_seconds = self._rates[is_kept], self._hidden_seconds[is_kept]

    def move(
        self, rows: IntRows, boxes: Points, is_hidden: BoolArray, seconds: Points, size_wh: tuple[int, int]
    ) -> Points:
        """Where objects rows [K] with boxes [K, 4] stand: boxes [K, 4] within the picture; seconds [K] since before."""
        if not self._memory_seconds:
            return boxes
        complete = boxes.copy()
        complete[:, 3] = boxes[:, 1] + self._complete_heights(rows, boxes[:, 3] - boxes[:, 1], is_hidden, seconds)
        inside = self._filtered(rows, complete, seconds).clip(0, np.array(size_wh * 2))
        sizes = inside[:, 2:] - inside[:, :2]  # [K, 2]
        return np.where(sizes.min(axis=1, keepdims=True) > 0, inside, boxes)

    def _complete_heights(self, rows: IntRows, heights: Points, is_hidden: BoolArray, seconds: Points) -> Points:
        """The heights [K] of objects with all that is hidden of them, of visible heights [K]."""
        before, rates, hidden_before = self._heights[rows], self._rates[rows], self._hidden_seconds[rows]  # [K] each
        hidden = np.where(is_hidden, hidden_before + seconds, 0.0)
        expected = before * np.exp(rates * seconds)
        is_first = (hidden_before > 0) | (before <= 0) | (expected <= 0)  # sight in the clear
        smoothed = expected + (1 - np.exp(-seconds / _HEIGHT_SECONDS)) * (heights - expected)
        cleared = np.where(is_first, heights, smoothed)
        changes = ~is_first & (seconds > 0) & (cleared > 0)
        rate = np.log(np.divide(cleared, before, out=np.ones_like(before), where=changes))
        rate = np.divide(rate, seconds, out=rates.copy(), where=changes)
        rate = rates + (1 - np.exp(-seconds / _RATE_SECONDS)) * (rate - rates)
        complete = np.where(hidden < _LONGEST_HIDDEN_SECONDS, np.maximum(heights, expected), heights)
        remembered = np.where((before > 0) & (hidden < _LONGEST_HIDDEN_SECONDS), complete, 0.0)
        self._heights[rows] = np.where(is_hidden, remembered, cleared)
        self._rates[rows] = np.where(is_hidden, rates * np.exp(-seconds / _RATE_MEMORY_SECONDS), rate)
        self._hidden_seconds[rows] = hidden
        return np.where(is_hidden, complete, heights)

    def _filtered(self, rows: IntRows, boxes: Points, seconds: Points) -> Points:
        """The boxes [K, 4] that the filter has after boxes [K, 4]."""
        num = self._num_boxes[rows] + 1  # [K]
        fading = np.exp(-seconds / self._memory_seconds)  # [K], the weight of the box before beside this one
        gain = np.maximum(2 * (2 * num - 1) / (num * (num + 1)), 1 - fading**2)[:, None]
        velocity_gain = np.maximum(6 / (num * (num + 1)), (1 - fading) ** 2)[:, None]
        predicted = self._boxes[rows] + self._velocities[rows] * seconds[:, None]
        error = boxes - predicted
        change = np.divide(error, seconds[:, None], out=np.zeros_like(error), where=seconds[:, None] > 0)
        self._num_boxes[rows] = num
        self._velocities[rows] += velocity_gain * change
        self._boxes[rows] = predicted + gain * error
        return self._boxes[rows]
