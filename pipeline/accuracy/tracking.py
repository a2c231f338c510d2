"""Tracking: tracks and the objects of a video → how well they follow them, as HOTA, MOTA and IDF1 count it.

HOTA: Luiten et al., IJCV 2021, https://arxiv.org/abs/2009.07736. MOTA: Bernardin and Stiefelhagen 2008. IDF1: Ristani
et al. 2016, https://arxiv.org/abs/1609.01775. All are counted by Roboflow's trackers, whose numbers are TrackEval's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np

from pipeline.errors import ConfigError, MissingExtraError
from pipeline.picture.detections import Detections, IntArray

_Metrics = Mapping[str, Any]  # the numbers of trackers, which has no types, by their names

# From this overlap on a box counts as found in MOTA and IDF1.
_LEAST_IOU = 0.5
# Below it ByteTrack takes a detection for nothing at all.
_LEAST_SCORE = 0.1


@dataclass(frozen=True, slots=True)
class TrackingNumbers:
    """How well objects were followed: shares are at most 1, and MOTA may be negative."""

    hota: float  # the mean over IoU thresholds .05 to .95 of the geometric mean of:
    deta: float  # how well objects are detected
    assa: float  # how well the detections of an object are held together
    mota: float  # 1 - (misses + false alarms + id switches) / objects
    idf1: float  # F1 of boxes that bear the one right identity
    num_objects: int  # boxes in the truth
    num_identities: int  # that these belong to
    num_misses: int
    num_false_alarms: int
    num_id_switches: int


@dataclass(frozen=True, slots=True)
class TrackingAccuracy:
    """How well objects were followed, over all and by class id."""

    overall: TrackingNumbers | None  # None: there is no object
    classes: dict[int, TrackingNumbers]  # of classes that have objects


def tracking_accuracy(
    detections: Sequence[Detections],
    truths: Sequence[Detections],
    *,
    ignored: Sequence[Detections] | None = None,
) -> TrackingAccuracy:
    """Judge the tracks found in the frames of one video by the objects in it, frame by frame.

    An identity belongs to its class: a detection as another class is a miss and a false alarm. Scores do not matter.
    A detection where something `ignored` of its class is, and no object, does not count. Over all, each box weighs
    the same, whatever its class.
    Raises ConfigError where identities are missing or not unique in a frame, and MissingExtraError without trackers.
    """
    evaluation = _library("trackers.eval")
    for frame_index, (in_frame, truth) in enumerate(zip(detections, truths, strict=True)):
        _check_identities(in_frame, where=f"the detections of frame {frame_index}")
        _check_identities(truth, where=f"the truth of frame {frame_index}")
    if ignored is not None:
        detections = [_without_ignored(*frame, evaluation) for frame in zip(detections, truths, ignored, strict=True)]
    counts: list[tuple[_Metrics, _Metrics, _Metrics]] = []
    classes: dict[int, TrackingNumbers] = {}
    num_identities = 0
    for class_id in _class_ids([*detections, *truths]):
        count, num_in_class = _count(_of_class(detections, class_id), _of_class(truths, class_id), evaluation)
        counts.append(count)
        num_identities += num_in_class
        if num_in_class:
            classes[class_id] = _numbers(*count, num_identities=num_in_class)
    if not classes:
        return TrackingAccuracy(None, {})
    hota, clear, identity = map(list, zip(*counts, strict=True))
    overall = _numbers(
        evaluation.aggregate_hota_metrics(hota),
        evaluation.aggregate_clear_metrics(clear),
        evaluation.aggregate_identity_metrics(identity),
        num_identities=num_identities,
    )
    return TrackingAccuracy(overall, classes)


def with_track_ids(
    detections: Sequence[Detections], *, frames_per_second: float, score_threshold: float = 0.6
) -> list[Detections]:
    """Give the detections of one video's frames identities, by ByteTrack, class by class.

    From `score_threshold` on a detection starts a track; from .1 on it continues one. A detection of no track is left
    out, and so is the first of each track: a track is sure from its second frame on.
    Zhang et al., "ByteTrack", ECCV 2022, https://arxiv.org/abs/2110.06864.
    Raises MissingExtraError without trackers.
    """
    tracking = _library("trackers")
    track_ids = [np.full(len(in_frame), -1, np.int64) for in_frame in detections]  # -1: of no track
    for class_id in _class_ids(detections):
        num_tracks = 1 + max(int(ids.max(initial=-1)) for ids in track_ids)  # of the classes before
        tracker = tracking.ByteTrackTracker(
            frame_rate=frames_per_second,
            track_activation_threshold=score_threshold,
            high_conf_det_threshold=score_threshold,
        )
        for in_frame, ids in zip(detections, track_ids, strict=True):
            indices = np.flatnonzero((in_frame.class_ids == class_id) & (in_frame.scores >= _LEAST_SCORE))  # [M]
            untracked = in_frame.select(indices).to_supervision()
            untracked.data["index"] = indices
            tracked = tracker.update(untracked)  # [M] in another order
            if len(tracked):
                tracked = tracked[tracked.tracker_id >= 0]
                ids[tracked.data["index"]] = num_tracks + tracked.tracker_id
    return [
        replace(in_frame, track_ids=ids).select(ids >= 0) for in_frame, ids in zip(detections, track_ids, strict=True)
    ]


def _count(
    detections: Sequence[Detections], truths: Sequence[Detections], evaluation: ModuleType
) -> tuple[tuple[_Metrics, _Metrics, _Metrics], int]:
    """HOTA's, MOTA's and IDF1's numbers of one class, and how many identities it has."""
    overlaps = [
        evaluation.box_iou(truth.boxes_xyxy, in_frame.boxes_xyxy)  # [N, M]
        for truth, in_frame in zip(truths, detections, strict=True)
    ]
    true_ids = [_ids(truth) for truth in truths]
    tracks = true_ids, [_ids(in_frame) for in_frame in detections], overlaps
    count = (
        evaluation.compute_hota_metrics(*tracks),
        evaluation.compute_clear_metrics(*tracks, threshold=_LEAST_IOU),
        evaluation.compute_identity_metrics(*tracks, threshold=_LEAST_IOU),
    )
    return count, len(np.unique(np.concatenate(true_ids)))


def _numbers(hota: _Metrics, clear: _Metrics, identity: _Metrics, *, num_identities: int) -> TrackingNumbers:
    return TrackingNumbers(
        hota["HOTA"],
        hota["DetA"],
        hota["AssA"],
        clear["MOTA"],
        identity["IDF1"],
        clear["CLR_TP"] + clear["CLR_FN"],
        num_identities,
        clear["CLR_FN"],
        clear["CLR_FP"],
        clear["IDSW"],
    )


def _without_ignored(
    detections: Detections, truth: Detections, ignored: Detections, evaluation: ModuleType
) -> Detections:
    """As COCO does with crowds: it is enough that a box lies within an ignored one."""
    is_there = detections.class_ids[:, None] == truth.class_ids[None]  # [N, M]
    is_there &= evaluation.box_iou(detections.boxes_xyxy, truth.boxes_xyxy) >= _LEAST_IOU
    is_ignored = detections.class_ids[:, None] == ignored.class_ids[None]  # [N, K]
    is_ignored &= evaluation.box_ioa(detections.boxes_xyxy, ignored.boxes_xyxy) >= _LEAST_IOU
    return detections.select(is_there.any(axis=1) | ~is_ignored.any(axis=1))


def _check_identities(detections: Detections, *, where: str) -> None:
    if not len(detections):
        return
    if detections.track_ids is None:
        raise ConfigError(f"{where} must have track_ids to judge tracks by, got {len(detections)} boxes without")
    pairs, nums = np.unique(np.stack([detections.class_ids, detections.track_ids]), axis=1, return_counts=True)
    if (nums > 1).any():
        class_id, track_id = pairs[:, nums.argmax()]
        raise ConfigError(
            f"{where} must have each identity once, got {nums.max()} boxes of class {class_id} with track id {track_id}"
        )


def _class_ids(frames: Sequence[Detections]) -> list[int]:
    return sorted({int(class_id) for in_frame in frames for class_id in in_frame.class_ids})


def _of_class(frames: Sequence[Detections], class_id: int) -> list[Detections]:
    return [in_frame.select(in_frame.class_ids == class_id) for in_frame in frames]


def _ids(detections: Detections) -> IntArray:
    return np.zeros(0, np.int64) if detections.track_ids is None else detections.track_ids


def _library(name: str) -> ModuleType:
    """The heavy library, or a part of it, when it is needed."""
    try:
        return import_module(name)
    except ImportError as error:
        raise MissingExtraError('tracks need trackers: pip install "streamdet[measure]"') from error
