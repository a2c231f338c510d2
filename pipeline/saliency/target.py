"""Target: the object to explain, and detections in a changed picture → how much of it is still detected."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.picture.boxes import FloatArray, intersection_over_union
from pipeline.picture.detections import Detections


@dataclass(frozen=True, slots=True)
class Target:
    """One object that a detector sees: its box [4] xyxy in pixels of the picture, and its class."""

    box_xyxy: FloatArray
    class_id: int

    def similarity(self, detections: Detections) -> float:
        """How much of it is among detections, 0..1: the largest IoU × score of its class, 0 where there is none.

        D-RISE's pairwise similarity (section 3.3, equations 5 to 8), where a detector returns one class and its score
        instead of a vector of class probabilities and an objectness.

        >>> target = Target(np.array([0, 0, 10, 10], np.float32), class_id=2)
        >>> half = Detections(np.array([[0, 0, 10, 5]], np.float32), np.array([0.5], np.float32), np.array([2]))
        >>> target.similarity(half), target.similarity(Detections.empty())
        (0.25, 0.0)
        """
        rivals = detections.select(detections.class_ids == self.class_id)
        if not len(rivals):
            return 0.0
        overlaps = intersection_over_union(self.box_xyxy[None], rivals.boxes_xyxy)[0]  # [R]
        return float(np.max(np.nan_to_num(overlaps) * rivals.scores))  # NaN: two boxes without area
