"""Keypoints: the points of COCO's persons, by name, and the limbs that join them.

https://cocodataset.org/#format-data. COCO counts from 1 in its `skeleton`, here it is from 0.
"""

from __future__ import annotations

COCO_POINTS = (
    "nose",
    *("left_eye", "right_eye"),
    *("left_ear", "right_ear"),
    *("left_shoulder", "right_shoulder"),
    *("left_elbow", "right_elbow"),
    *("left_wrist", "right_wrist"),
    *("left_hip", "right_hip"),
    *("left_knee", "right_knee"),
    *("left_ankle", "right_ankle"),
)
COCO_EDGES = (
    *((15, 13), (13, 11), (16, 14), (14, 12), (11, 12), (5, 11), (6, 12), (5, 6), (5, 7), (6, 8), (7, 9), (8, 10)),
    *((1, 2), (0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6)),
)
"""Pairs of indices into `COCO_POINTS`."""


SURE_SCORE = 0.3
"""The score from which on a point is drawn, and labelled as there."""


def point_names(num_points: int) -> tuple[str, ...]:
    """COCO's names for 17 points; `point 1` and so on for another number, about which nothing is known."""
    if num_points == len(COCO_POINTS):
        return COCO_POINTS
    return tuple(f"point {number}" for number in range(1, num_points + 1))
