"""Entries: the objects that a teacher follows → how long after it another run shows each for the first time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.picture.boxes import intersection_over_union
from pipeline.picture.detections import Detections

_SAME_IOU = 0.5


@dataclass(frozen=True, slots=True)
class Entries:
    """The objects that a teacher followed, and when another run showed them."""

    delays_seconds: tuple[float, ...]  # of those that it showed, in the order in which they came
    num_never: int  # that it did not show while the teacher followed them

    @property
    def num_objects(self) -> int:
        """How many objects the teacher followed."""
        return len(self.delays_seconds) + self.num_never

    def percentile_seconds(self, percent: float) -> float | None:
        """The delay that this share of all objects has at most; None without objects, and for one never shown."""
        if not self.num_objects:
            return None
        ordered = sorted(self.delays_seconds)
        rank = max(1, int(np.ceil(percent / 100 * self.num_objects - 1e-9)))  # the nearest rank
        return ordered[rank - 1] if rank <= len(ordered) else None


def entries_of(teacher: Sequence[Detections], shown: Sequence[Detections], times_seconds: Sequence[float]) -> Entries:
    """Compare two runs of the same frames.

    teacher: detections with `track_ids`, of which -1 counts for nothing. shown: what the other run shows; it shows an
    object of its class that it overlaps by IoU .5. times_seconds: media time of each frame.
    """
    began: dict[int, float] = {}
    delays: dict[int, float] = {}
    for followed, others, seconds in zip(teacher, shown, times_seconds, strict=True):
        assert followed.track_ids is not None
        overlap = intersection_over_union(followed.boxes_xyxy, others.boxes_xyxy)  # [N, M]
        same_class = followed.class_ids[:, None] == others.class_ids[None]  # [N, M]
        is_shown = ((overlap >= _SAME_IOU) & same_class).any(axis=1)  # [N]
        for track_id, is_there in zip(followed.track_ids.tolist(), is_shown.tolist(), strict=True):
            if track_id < 0:
                continue
            began.setdefault(track_id, seconds)
            if is_there:
                delays.setdefault(track_id, seconds - began[track_id])
    return Entries(
        tuple(delays[track_id] for track_id in began if track_id in delays), len(began.keys() - delays.keys())
    )
