"""Tracker: the port between whatever follows objects and the rest; detections and media time → track ids."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from pipeline.picture.detections import Detections, IntArray
from pipeline.picture.frame import Picture

NO_TRACK = -1
"""The track id of a detection that belongs to no confirmed track."""


@dataclass(frozen=True, slots=True)
class TrackerOptions:
    """When tracks begin, match and end; scores and IoU in [0, 1]. Raises ValueError for values that cannot work."""

    high_score: float = 0.5  # detections from this score on are matched first, and may begin a track
    low_score: float = 0.1  # below it a detection is ignored; between the two it may only continue a track
    start_score: float = 0.5  # from this score on a detection that matches nothing begins a track
    class_scores: Mapping[int, float] = field(default_factory=dict)  # instead of high_score and start_score, by class
    match_iou: float = 0.1  # a detection that overlaps a prediction by less is not matched
    low_match_iou: float = 0.1  # the same of one below high_score
    confirm_hits: int = 2  # detections in consecutive frames that confirm a track, the first included
    memory_seconds: float = 2.0  # of media time, for which an unseen confirmed track is kept
    rejoins: bool = True  # whether a track that begins where a lost one must be goes on with its id; ByteTrack only
    by_class: bool = True  # whether a track keeps its class; otherwise it may go on as another

    def __post_init__(self) -> None:
        for name in ("high_score", "low_score", "start_score", "match_iou", "low_match_iou"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie within [0, 1], got {getattr(self, name)}")
        if self.confirm_hits < 1 or not (self.memory_seconds >= 0 and math.isfinite(self.memory_seconds)):
            raise ValueError(
                "confirm_hits must be at least 1 and memory_seconds finite and at least 0, "
                f"got {self.confirm_hits} and {self.memory_seconds}"
            )


class Tracker(Protocol):
    """Follows the objects of one source. It has state, so its frames come in order, from one thread at a time."""

    def update(self, detections: Detections, pts_seconds: float, picture: Picture | None = None) -> Detections:
        """The same detections in the same order, with `track_ids` [N]: -1 where no confirmed track took one.

        pts_seconds: media time. Where it goes back, or on by more than the memory, all tracks end; ids are never used
        again. picture: for a tracker that compensates for the camera's motion. Raises ValueError for a time that is
        not finite.
        """

    def predict(self, pts_seconds: float) -> Detections:
        """Where the confirmed tracks are at that time, not before that of the last update; nothing is changed.

        Box, score and class of a track are those of its last detection, the box moved on. Boxes may lie outside of the
        picture; those that would be empty are left out.
        """


def track_ids_of(detections: Detections) -> IntArray:
    """The track ids [N] of detections that a tracker has seen."""
    assert detections.track_ids is not None, "a tracker gives every detection a track id"
    return detections.track_ids
