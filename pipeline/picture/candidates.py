"""Candidates: the boxes that a network proposes in one image, before suppression."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.picture.detections import FloatArray, IntArray


@dataclass(frozen=True, slots=True)
class Candidates:
    """The boxes of one image that reach the score threshold, in network pixels."""

    boxes_xyxy: FloatArray  # [M, 4], x right, y down
    scores: FloatArray  # [M]
    class_ids: IntArray  # [M], index into DetectorSpec.class_names
    box_masks: FloatArray | None = None  # [M, h, w] in 0..1, each stretched over its box
    keypoints: FloatArray | None = None  # [M, points, 3]: x, y in network pixels, score
    mask_weights: FloatArray | None = None  # [M, K]: how much of each prototype is in the logits of a mask
    corners: FloatArray | None = None  # [M, 4, 2] in network pixels, of oriented boxes, whose bounds the boxes are
    prototypes: npt.NDArray[np.generic] | None = None  # [K, h, w], fractions, stretched over the network's input

    def select(self, chosen: npt.NDArray[np.bool_] | IntArray) -> Candidates:
        """The candidates that a mask [M] or an index array picks, in that order."""
        return Candidates(
            self.boxes_xyxy[chosen],
            self.scores[chosen],
            self.class_ids[chosen],
            None if self.box_masks is None else self.box_masks[chosen],
            None if self.keypoints is None else self.keypoints[chosen],
            None if self.mask_weights is None else self.mask_weights[chosen],
            None if self.corners is None else self.corners[chosen],
            self.prototypes,
        )
