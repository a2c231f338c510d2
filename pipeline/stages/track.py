"""Track stage: the results of one source → the same with track ids, predictions of lost objects and their trails."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from pipeline.picture.detections import Detections, IntArray, Result, TrackedCentres, Tracks
from pipeline.picture.suppression import SuppressionOptions
from pipeline.picture.tracking.tracker import NO_TRACK, Tracker, track_ids_of


class Track:
    """Follows the objects of one source, whose results come in order.

    make_tracker: makes a tracker that has seen nothing, for the source and for each further file that it reads.
    shown: which detections go on: those, and weaker ones of a confirmed track.
    sure_share: in [0, 1]; a weaker one goes on only while at least that share of its track's detections are not weak,
        since what is weak most of the time is often a false alarm. Its object is predicted meanwhile.
    trail_seconds: how long a result remembers where the objects were; 0: no trails.
    """

    def __init__(
        self,
        make_tracker: Callable[[], Tracker],
        shown: Callable[[], SuppressionOptions],
        *,
        sure_share: float = 0.5,
        trail_seconds: float = 0.0,
    ) -> None:
        self._make_tracker = make_tracker
        self._tracker = make_tracker()
        self._source_id: str | None = None
        self._shown = shown
        self._sure_share = sure_share
        self._counts: dict[int, tuple[int, int]] = {}  # detections of a track that are not weak, and all; by its id
        self._trail_seconds = trail_seconds
        self._trail: deque[TrackedCentres] = deque()

    def process(self, result: Result) -> Iterable[Result]:
        """One Result; what is tracked is told by the frame's media time."""
        frame = result.frame
        if self._source_id not in (None, frame.source_id):  # the next file of a folder
            self._tracker = self._make_tracker()
            self._trail.clear()
            self._counts.clear()
        self._source_id = frame.source_id
        tracked = self._tracker.update(result.detections, frame.pts_seconds, frame.picture)
        track_ids = track_ids_of(tracked)
        thresholds = self._shown().thresholds_of(tracked.class_ids)  # [N]
        is_sure = tracked.scores >= thresholds  # [N]
        predicted = self._tracker.predict(frame.pts_seconds)
        self._count(track_ids, is_sure, alive=track_ids_of(predicted))
        shown = tracked.select(is_sure | self._is_mostly_sure(track_ids))
        lost = ~np.isin(track_ids_of(predicted), track_ids_of(shown)) & _touches(predicted, frame.size_wh)
        tracks = Tracks(predicted.select(lost), self._trail_with(shown, frame.pts_seconds))
        return (replace(result, detections=shown, tracks=tracks),)

    def drain(self) -> Iterable[Result]:
        """Nothing is held."""
        return ()

    def close(self) -> None:
        """Nothing is held."""

    def _count(self, track_ids: IntArray, is_sure: npt.NDArray[np.bool_], *, alive: IntArray) -> None:
        """Count the detections of this frame, and forget the tracks that are no longer alive."""
        self._counts = {track_id: self._counts[track_id] for track_id in alive.tolist() if track_id in self._counts}
        has_track = track_ids != NO_TRACK
        for track_id, sure in zip(track_ids[has_track].tolist(), is_sure[has_track].tolist(), strict=True):
            num_sure, num_all = self._counts.get(track_id, (0, 0))
            self._counts[track_id] = num_sure + sure, num_all + 1

    def _is_mostly_sure(self, track_ids: IntArray) -> npt.NDArray[np.bool_]:
        """Which detections [N] have a track of which `sure_share` is not weak."""
        pairs = (self._counts.get(track_id, (0, 1)) for track_id in track_ids.tolist())
        is_mostly = [num_sure >= self._sure_share * num_all for num_sure, num_all in pairs]
        return np.asarray((track_ids != NO_TRACK) & np.array(is_mostly, np.bool_), np.bool_)

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
