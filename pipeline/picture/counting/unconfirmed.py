"""Unconfirmed: detections that have no track id yet, frame by frame → where and when a new track was seen first."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.picture.boxes import intersection_over_union
from pipeline.picture.counting.geometry import Points
from pipeline.picture.tracking.assignment import assign

_LEAST_IOU = 0.1  # as the trackers' `match_iou`: a track that is not confirmed has no velocity to be predicted with

Ids = npt.NDArray[np.int64]
Rows = npt.NDArray[np.intp]


class Unconfirmed:
    """Remembers the detections of the last frame that no confirmed track took, with the first sight of each.

    A tracker gives an id only to a track that it has confirmed, and drops one that is not seen in the next frame
    before that; so what an object did before it had its id is in consecutive frames.
    """

    def __init__(self) -> None:
        self._remember(np.zeros((0, 4)), np.zeros(0, np.int64), np.zeros((0, 4)), np.zeros(0))

    def first_sights(self, boxes: Points, class_ids: Ids, pts_seconds: float) -> tuple[Points, Points]:
        """Boxes [K, 4] and media times [K] at which new tracks were seen first, whose boxes are [K, 4] in this frame.

        Their own, where no unconfirmed detection of their class in the frame before overlaps them. Each goes to one.
        """
        first_boxes, first_seconds = boxes.copy(), np.full(len(boxes), pts_seconds)
        old, new = self._pairs(boxes, class_ids)
        first_boxes[new], first_seconds[new] = self._first_boxes[old], self._first_seconds[old]
        self._keep(np.delete(np.arange(len(self._boxes)), old))
        return first_boxes, first_seconds

    def move_on(self, boxes: Points, class_ids: Ids, pts_seconds: float) -> None:
        """Go on to this frame, with the boxes [U, 4] of its detections that have no track id."""
        first_boxes, first_seconds = self.first_sights(boxes, class_ids, pts_seconds)
        self._remember(boxes, class_ids, first_boxes, first_seconds)

    def forget(self) -> None:
        """Where the media time goes back, or the source is another one."""
        self._keep(np.zeros(0, np.intp))

    def _keep(self, rows: Rows) -> None:
        self._remember(self._boxes[rows], self._class_ids[rows], self._first_boxes[rows], self._first_seconds[rows])

    def _remember(self, boxes: Points, class_ids: Ids, first_boxes: Points, first_seconds: Points) -> None:
        self._boxes, self._class_ids = boxes, class_ids  # [U, 4] and [U], in the last frame
        self._first_boxes, self._first_seconds = first_boxes, first_seconds  # [U, 4] and [U]

    def _pairs(self, boxes: Points, class_ids: Ids) -> tuple[Rows, Rows]:
        """The remembered [P] and the present boxes [P] that are of one object."""
        overlap = intersection_over_union(self._boxes.astype(np.float32), boxes.astype(np.float32))  # [U, K]
        overlap[(self._class_ids[:, None] != class_ids) | (overlap < _LEAST_IOU)] = 0
        return assign(overlap)
