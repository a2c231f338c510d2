"""Library trackers: SORT, OC-SORT and BoT-SORT of Roboflow's `trackers` behind the port: detections → track ids.

https://github.com/roboflow/trackers, Apache-2.0, version 2.6 or newer, which tracks in seconds.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np

from pipeline.errors import MissingExtraError
from pipeline.picture.detections import Detections, IntArray
from pipeline.picture.frame import Picture
from pipeline.picture.tracking.tracker import NO_TRACK, TrackerOptions

_MOST_NAMES = 2000  # of tracks, before those that have ended are forgotten
_FRAMES_PER_SECOND = 30.0  # to which the noise of the library's filters belongs

MakeOne = Callable[[ModuleType, TrackerOptions], Any]
"""The library → a tracker of it, which has no types."""


def sort(library: ModuleType, options: TrackerOptions) -> Any:
    """Bewley et al. 2016, https://arxiv.org/abs/1602.00763."""
    return library.SORTTracker(
        **_common(options),
        track_activation_threshold=options.start_score,
        minimum_iou_threshold=options.match_iou,
    )


def ocsort(library: ModuleType, options: TrackerOptions) -> Any:
    """Cao et al. 2023, https://arxiv.org/abs/2203.14360; every sure detection may begin a track."""
    return library.OCSORTTracker(
        **_common(options),
        high_conf_det_threshold=options.high_score,
        minimum_iou_threshold=options.match_iou,
    )


def botsort(library: ModuleType, options: TrackerOptions) -> Any:
    """Aharon et al. 2022, https://arxiv.org/abs/2206.14651; it compensates for the camera's motion."""
    return library.BoTSORTTracker(
        **_common(options),
        track_activation_threshold=options.start_score,
        high_conf_det_threshold=options.high_score,
        minimum_iou_threshold_first_assoc=options.match_iou,
        minimum_iou_threshold_second_assoc=options.low_match_iou,
        instant_first_frame_activation=False,
    )


def _common(options: TrackerOptions) -> Mapping[str, object]:
    return {"frame_rate": _FRAMES_PER_SECOND, "minimum_consecutive_frames": options.confirm_hits}


class LibraryTracker:
    """A `Tracker` made of the library's, one for each class where a track keeps its class.

    Raises MissingExtraError without `trackers`.
    """

    def __init__(self, make_one: MakeOne, options: TrackerOptions) -> None:
        try:
            self._library = import_module("trackers")
        except ImportError as error:
            raise MissingExtraError(
                'this tracker needs trackers: pip install "streamdet[track]"; bytetrack needs nothing more'
            ) from error
        self._make_one, self._options = make_one, options
        self._num_ids = 0
        self._forget()

    def _forget(self) -> None:
        self._pts_seconds: float | None = None
        self._of_class: dict[int, Any] = {}  # by class id; one for all, at 0, where a track may change its class
        self._ids: dict[tuple[int, int], int] = {}  # ours by class and the library's
        self._last: dict[int, tuple[float, int]] = {}  # score and class of the last detection, by our id

    def update(self, detections: Detections, pts_seconds: float, picture: Picture | None = None) -> Detections:
        """See `Tracker`."""
        if not math.isfinite(pts_seconds):
            raise ValueError(f"pts_seconds must be finite, got {pts_seconds}")
        if self._is_break(pts_seconds):
            self._forget()
        self._pts_seconds = pts_seconds
        groups = detections.class_ids if self._options.by_class else np.zeros(len(detections), np.int64)  # [N]
        track_ids = np.full(len(detections), NO_TRACK, np.int64)
        for group in {*self._of_class, *groups.tolist()}:
            chosen = np.flatnonzero((groups == group) & (detections.scores >= self._options.low_score))  # [M]
            track_ids[chosen] = self._update_group(group, detections.select(chosen), pts_seconds, picture)
        for track_id, score, class_id in zip(track_ids.tolist(), detections.scores, detections.class_ids, strict=True):
            if track_id != NO_TRACK:
                self._last[track_id] = float(score), int(class_id)
        self._forget_ended()
        return replace(detections, track_ids=track_ids)

    def predict(self, pts_seconds: float) -> Detections:
        """See `Tracker`."""
        elapsed = 0.0 if self._pts_seconds is None else max(0.0, pts_seconds - self._pts_seconds)
        rows: list[tuple[int, float, int]] = []
        boxes = []
        for group, tracker in self._of_class.items():
            for track in tracker.tracks:
                track_id = self._ids.get((group, track.tracker_id), NO_TRACK)
                if track_id != NO_TRACK:
                    rows.append((track_id, *self._last[track_id]))
                    boxes.append(_moved(track.state_estimator, elapsed))
        if not rows:
            return replace(Detections.empty(), track_ids=np.zeros(0, np.int64))
        track_ids, scores, class_ids = map(np.array, zip(*rows, strict=True))
        boxes_xyxy = np.array(boxes, np.float32).reshape(-1, 4)  # [K, 4]
        is_box = np.isfinite(boxes_xyxy).all(axis=1) & (boxes_xyxy[:, :2] < boxes_xyxy[:, 2:]).all(axis=1)
        return Detections(
            boxes_xyxy[is_box],
            scores.astype(np.float32)[is_box],
            class_ids.astype(np.int64)[is_box],
            track_ids=track_ids.astype(np.int64)[is_box],
        )

    def _forget_ended(self) -> None:
        """Keep no names of tracks that have ended, of which a camera sees many in a month."""
        if len(self._ids) > _MOST_NAMES:
            alive = {(group, track.tracker_id) for group, tracker in self._of_class.items() for track in tracker.tracks}
            self._ids = {key: track_id for key, track_id in self._ids.items() if key in alive}
            self._last = {track_id: self._last[track_id] for track_id in self._ids.values()}

    def _is_break(self, pts_seconds: float) -> bool:
        """Whether no track can go on: the library does not take time that goes back."""
        last = self._pts_seconds
        return last is not None and (pts_seconds < last or pts_seconds - last > self._options.memory_seconds)

    def _update_group(
        self, group: int, detections: Detections, pts_seconds: float, picture: Picture | None
    ) -> IntArray:
        """The track ids [M] of the detections of one class."""
        if group not in self._of_class:
            self._of_class[group] = self._new(group)
        untracked = detections.to_supervision()
        untracked.data["index"] = np.arange(len(detections))
        tracker = self._of_class[group]
        needs_picture = getattr(tracker, "enable_cmc", False) and picture is not None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # two frames of one time, which is ordinary here
            tracked = tracker.update(
                untracked, picture.pixels if needs_picture and picture else None, timestamp=pts_seconds
            )
        ids = np.full(len(detections), NO_TRACK, np.int64)
        if len(tracked):
            ids[tracked.data["index"]] = [self._id_of(group, number) for number in tracked.tracker_id.tolist()]
        return ids

    def _new(self, group: int) -> Any:
        """A tracker of the library, with the scores of its class."""
        scores = self._options.class_scores
        options = self._options
        if self._options.by_class and group in scores:
            options = replace(options, high_score=scores[group], start_score=scores[group])
        tracker = self._make_one(self._library, options)
        tracker.maximum_time_without_update = options.memory_seconds
        return tracker

    def _id_of(self, group: int, number: int) -> int:
        """Our id of a track of the library, from 1 on; the library counts from 0 in each of its trackers."""
        if number < 0:
            return NO_TRACK
        if (group, number) not in self._ids:
            self._num_ids += 1
            self._ids[group, number] = self._num_ids
        return self._ids[group, number]


def _moved(estimator: Any, seconds: float) -> Any:
    """The box [4] of one of the library's filters some seconds later."""
    if seconds > 0:
        estimator = copy.deepcopy(estimator)
        estimator.predict(seconds * _FRAMES_PER_SECOND, _FRAMES_PER_SECOND)
    return estimator.state_to_bbox()
