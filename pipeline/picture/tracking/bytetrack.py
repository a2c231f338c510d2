"""ByteTrack: detections of one source's frames → track ids, with all tracks in arrays.

Zhang et al., "ByteTrack: Multi-Object Tracking by Associating Every Detection Box", ECCV 2022,
https://arxiv.org/abs/2110.06864. Sure detections are matched with the predictions of all tracks first, then the
unsure ones with the tracks that are left. It gives the ids of Roboflow's `trackers`, up to their names, where frames
come at 30 a second, and differs on purpose in that

* time is seconds of media time, so that a gap moves a prediction as far as the frames that it lacks would have;
* after a gap of more than 1/15 s, sure detections that are left are matched once more with boxes that are widened on
  all sides (Yang et al., "C-BIoU", WACV 2023, https://arxiv.org/abs/2211.14317), because fast objects move on by more
  than their size before their velocity is known;
* a track that is confirmed where a lost one must be by its motion and size goes on with its id, with `rejoins`;
* a detection below `low_score` is ignored, as in the paper;
* a track keeps its class, unless `by_class` is off; and
* with `confirm_hits` of 1 a track has its id from its first detection on, not from its second.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from pipeline.picture.detections import Detections, IntArray
from pipeline.picture.frame import Picture
from pipeline.picture.tracking.assignment import Indices, assign
from pipeline.picture.tracking.box_filters import (
    NUM_COLUMNS,
    Float64Array,
    boxes_of,
    correct,
    new_filters,
    predict,
)
from pipeline.picture.tracking.rejoining import Motions
from pipeline.picture.tracking.tracker import NO_TRACK, TrackerOptions

_CLOCK_ERROR_SECONDS = 1e-6  # media times are rounded to it

# After a gap, boxes are widened by a share of their size on each side.
_OVERLAPPING_SECONDS = 1 / 15  # so long an object nearly always overlaps itself
_WIDENING_PER_SECOND = 0.9
_MOST_WIDENING = 0.5

BoolArray = npt.NDArray[np.bool_]


class ByteTrack:
    """A `Tracker` that needs no more than numpy."""

    def __init__(self, options: TrackerOptions | None = None) -> None:
        self._options = options or TrackerOptions()
        self._num_ids = 0
        self._forget()

    def _forget(self) -> None:
        self._pts_seconds: float | None = None
        self._filters = np.zeros((0, NUM_COLUMNS))  # [T, 11]
        self._seen_seconds = np.zeros(0)  # [T], media time of the last detection
        self._scores = np.zeros(0, np.float32)  # [T], of the last detection
        # [T, 3]: track id, class id, detections in consecutive frames.
        self._facts = np.zeros((0, 3), np.int64)
        self._motions = Motions()

    def update(self, detections: Detections, pts_seconds: float, picture: Picture | None = None) -> Detections:
        """See `Tracker`."""
        widening = self._move_on(pts_seconds)
        scores = detections.scores
        high_scores, start_scores = _thresholds(self._options, detections.class_ids)  # [N], [N]
        is_high = scores >= high_scores
        is_low = ~is_high & (scores >= np.float32(self._options.low_score))
        track_of = np.full(len(detections), -1, np.intp)  # [N], the row of the track that took it
        is_free = np.ones(len(self._filters), np.bool_)  # [T]
        rounds = [(is_high, self._options.match_iou, 0.0), (is_low, self._options.low_match_iou, 0.0)]
        if widening > 0:
            rounds.append((is_high, self._options.match_iou, widening))
        for is_chosen, least_iou, by_share in rounds:
            chosen = np.flatnonzero(is_chosen & (track_of < 0))
            rows, columns = self._matched(np.flatnonzero(is_free), detections, chosen, least_iou, by_share)
            track_of[columns] = rows
            is_free[rows] = False
        self._take(detections, track_of)
        self._begin(detections, np.flatnonzero(is_high & (track_of < 0) & (scores >= start_scores)), track_of)
        is_unseen = np.concatenate([is_free, np.zeros(len(self._filters) - len(is_free), np.bool_)])
        self._confirm(track_of[track_of >= 0], np.flatnonzero(is_unseen))
        self._drop_unconfirmed(is_unseen, track_of)
        track_ids = np.full(len(detections), NO_TRACK, np.int64)
        has_track = track_of >= 0
        track_ids[has_track] = self._facts[track_of[has_track], 0]
        return replace(detections, track_ids=track_ids)

    def predict(self, pts_seconds: float) -> Detections:
        """See `Tracker`."""
        is_confirmed = self._facts[:, 0] != NO_TRACK
        filters = self._filters[is_confirmed]  # [K, 11], a copy
        if self._pts_seconds is not None:
            predict(filters, max(0.0, pts_seconds - self._pts_seconds))
        boxes = boxes_of(filters).astype(np.float32)
        facts = self._facts[is_confirmed]
        predicted = Detections(boxes, self._scores[is_confirmed], facts[:, 1].copy(), track_ids=facts[:, 0].copy())
        return predicted.select((boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1]))

    def _move_on(self, pts_seconds: float) -> float:
        """Predict every track for that time, and end those that were not seen for too long.

        Returns the share of their size by which boxes are widened after a gap as long as that before this time.
        """
        if not math.isfinite(pts_seconds):
            raise ValueError(f"pts_seconds must be finite, got {pts_seconds}")
        if self._pts_seconds is not None and pts_seconds < self._pts_seconds:
            self._forget()
        gap_seconds = 0.0 if self._pts_seconds is None else pts_seconds - self._pts_seconds
        if gap_seconds > 0:
            predict(self._filters, gap_seconds)
        self._pts_seconds = pts_seconds
        limit = pts_seconds - self._options.memory_seconds - _CLOCK_ERROR_SECONDS
        self._keep(self._seen_seconds >= limit)
        return min(_MOST_WIDENING, _WIDENING_PER_SECOND * max(0.0, gap_seconds - _OVERLAPPING_SECONDS))

    def _matched(
        self, tracks: Indices, detections: Detections, chosen: Indices, least_iou: float, widening: float
    ) -> tuple[Indices, Indices]:
        """The tracks [P] and the detections [P] that match, of some tracks and some detections.

        widening: the share of their width or height by which boxes grow on each side before they are compared.
        """
        if not (len(tracks) and len(chosen)):
            return tracks[:0], chosen[:0]
        overlap = _overlap(
            _widened(boxes_of(self._filters)[tracks], widening), _widened(detections.boxes_xyxy[chosen], widening)
        )  # [T, M]
        if self._options.by_class:
            overlap[self._facts[tracks, 1][:, None] != detections.class_ids[chosen]] = 0
        rows, columns = assign(overlap)
        is_enough = overlap[rows, columns] >= least_iou
        return tracks[rows[is_enough]], chosen[columns[is_enough]]

    def _take(self, detections: Detections, track_of: Indices) -> None:
        """Let every track that has a detection see it."""
        pts_seconds = self._pts_seconds
        assert pts_seconds is not None
        matched = np.flatnonzero(track_of >= 0)  # [P]
        rows = track_of[matched]
        correct(self._filters, rows, detections.boxes_xyxy[matched])
        self._seen_seconds[rows] = pts_seconds
        self._scores[rows] = detections.scores[matched]
        self._facts[rows, 1] = detections.class_ids[matched]
        self._facts[rows, 2] += 1
        self._motions.take(rows, detections.boxes_xyxy[matched], pts_seconds)

    def _drop_unconfirmed(self, is_unseen: BoolArray, track_of: Indices) -> None:
        """End the tracks that were not seen before they were confirmed; the rows of the others change."""
        is_kept = ~is_unseen | (self._facts[:, 0] != NO_TRACK)
        if not is_kept.all():
            has_track = track_of >= 0
            track_of[has_track] = (np.cumsum(is_kept) - 1)[track_of[has_track]]
            self._keep(is_kept)

    def _begin(self, detections: Detections, chosen: Indices, track_of: Indices) -> None:
        """A new track for each of the chosen detections."""
        if not len(chosen):
            return
        first, pts_seconds = len(self._filters), self._pts_seconds
        assert pts_seconds is not None
        self._filters = np.concatenate([self._filters, new_filters(detections.boxes_xyxy[chosen])])
        self._seen_seconds = np.concatenate([self._seen_seconds, np.full(len(chosen), pts_seconds)])
        self._motions.grow(detections.boxes_xyxy[chosen], pts_seconds)
        self._scores = np.concatenate([self._scores, detections.scores[chosen]])
        facts = np.full((len(chosen), 3), NO_TRACK, np.int64)
        facts[:, 1], facts[:, 2] = detections.class_ids[chosen], 1
        self._facts = np.concatenate([self._facts, facts])
        track_of[chosen] = np.arange(first, len(self._filters))

    def _confirm(self, seen: Indices, unseen: Indices) -> None:
        """Give the seen tracks that have been seen often enough an id: that of a lost one, or a new one, from 1 on."""
        confirmed = seen[(self._facts[seen, 2] >= self._options.confirm_hits) & (self._facts[seen, 0] == NO_TRACK)]
        if self._options.rejoins and len(confirmed):
            self._rejoin(unseen[self._facts[unseen, 0] != NO_TRACK], confirmed)
        nameless = confirmed[self._facts[confirmed, 0] == NO_TRACK]
        self._facts[nameless, 0] = self._num_ids + 1 + np.arange(len(nameless))
        self._num_ids += len(nameless)

    def _rejoin(self, lost: Indices, new: Indices) -> None:
        """Let new tracks take over the ids of lost ones, which are dropped then."""
        is_alike = self._facts[lost, 1][:, None] == self._facts[new, 1]  # [L, K]
        lost, new = self._motions.pairs(lost, new, is_alike | (not self._options.by_class))
        self._facts[new, 0] = self._facts[lost, 0]
        self._facts[lost, 0] = NO_TRACK

    def _keep(self, is_kept: BoolArray) -> None:
        if not is_kept.all():
            self._filters, self._seen_seconds = self._filters[is_kept], self._seen_seconds[is_kept]
            self._scores, self._facts = self._scores[is_kept], self._facts[is_kept]
            self._motions.keep(is_kept)


def _thresholds(options: TrackerOptions, class_ids: IntArray) -> tuple[npt.NDArray[np.float32], ...]:
    """The high scores [N] and the start scores [N] of detections; float32 like scores."""
    high = np.full(len(class_ids), options.high_score, np.float32)
    start = np.full(len(class_ids), options.start_score, np.float32)
    for class_id, score in options.class_scores.items():
        high[class_ids == class_id] = start[class_ids == class_id] = score
    return high, start


def _widened(boxes_xyxy: npt.NDArray[np.floating], share: float) -> Float64Array:
    """Boxes [N, 4] that are larger by a share of their width and height on each side; float64."""
    boxes = boxes_xyxy.astype(np.float64)
    if share:
        margin = share * (boxes[:, 2:] - boxes[:, :2])  # [N, 2]
        boxes[:, :2] -= margin
        boxes[:, 2:] += margin
    return boxes


def _overlap(predicted_xyxy: Float64Array, detected_xyxy: Float64Array) -> Float64Array:
    """IoU [T, M] of boxes [T, 4] and [M, 4]; 0 where there is nothing to divide, as of boxes turned inside out."""
    a, b = predicted_xyxy.T[:, :, None], detected_xyxy.T[:, None]  # [4, T, 1], [4, 1, M]
    width = np.minimum(a[2], b[2]) - np.maximum(a[0], b[0])  # [T, M]
    height = np.minimum(a[3], b[3]) - np.maximum(a[1], b[1])  # [T, M]
    np.maximum(width, 0, out=width)
    width *= np.maximum(height, 0, out=height)  # the intersection
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - width
    overlap: Float64Array = np.divide(width, union, out=np.zeros_like(width), where=union > 0)
    return overlap
