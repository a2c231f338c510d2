"""Track stage: the results of one source → the same with track ids, predictions of lost objects and their trails."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from pipeline.picture.detections import Detections, Result, TrackedCentres, Tracks
from pipeline.picture.suppression import SuppressionOptions
from pipeline.picture.tracking.tracker import NO_TRACK, Tracker, track_ids_of


class Track:
    """Follows the objects of one source, whose results come in order.

    make_tracker: makes a tracker that has seen nothing, for the source and for each further file that it reads.
    shown: which detections go on: those, and weaker ones that a confirmed track took.
    trail_seconds: how long a result remembers where the objects were; 0: no trails.
    """

    def __init__(
        self,
        make_tracker: Callable[[], Tracker],
        shown: Callable[[], SuppressionOptions],
        *,
        trail_seconds: float = 0.0,
    ) -> None:
        self._make_tracker = make_tracker
        self._tracker = make_tracker()
        self._source_id: str | None = None
        self._shown = shown
        self._trail_seconds = trail_seconds
        self._trail: deque[TrackedCentres] = deque()

    def process(self, result: Result) -> Iterable[Result]:
        """One Result; what is tracked is told by the frame's media time."""
        frame = result.frame
        if self._source_id not in (None, frame.source_id):  # the next file of a folder
            self._tracker = self._make_tracker()
            self._trail.clear()
        self._source_id = frame.source_id
        tracked = self._tracker.update(result.detections, frame.pts_seconds, frame.picture)
        track_ids = track_ids_of(tracked)
        thresholds = self._shown().thresholds_of(tracked.class_ids)  # [N]
        shown = tracked.select((track_ids != NO_TRACK) | (tracked.scores >= thresholds))
        predicted = self._tracker.predict(frame.pts_seconds)
        lost = ~np.isin(track_ids_of(predicted), track_ids) & _touches(predicted, frame.size_wh)
        tracks = Tracks(predicted.select(lost), self._trail_with(shown, frame.pts_seconds))
        return (replace(result, detections=shown, tracks=tracks),)

    def drain(self) -> Iterable[Result]:
        """Nothing is held."""
        return ()

    def close(self) -> None:
        """Nothing is held."""

    def _trail_with(self, detections: Detections, pts_seconds: float) -> tuple[TrackedCentres, ...]:
        if not self._trail_seconds:
            return ()
        trail = self._trail
        if trail and trail[-1].pts_seconds > pts_seconds:
            trail.clear()
        while trail and trail[0].pts_seconds < pts_seconds - self._trail_seconds:
            trail.popleft()
        tracked = detections.select(track_ids_of(detections) != NO_TRACK)
        boxes = tracked.boxes_xyxy
        centres = np.asarray((boxes[:, :2] + boxes[:, 2:]) / 2, np.float32)  # [K, 2]
        trail.append(TrackedCentres(pts_seconds, track_ids_of(tracked), centres))
        return tuple(trail)


def _touches(detections: Detections, size_wh: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Which boxes [N] are at least partly inside of the picture."""
    boxes = detections.boxes_xyxy
    return np.asarray(((boxes[:, 2:] > 0) & (boxes[:, :2] < size_wh)).all(axis=1), np.bool_)
