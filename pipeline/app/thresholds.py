"""Thresholds: a configuration and a model's spec → the options of suppression, with nothing left open."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

from pipeline.app.config.detection import DetectionConfig
from pipeline.app.config.source import SourceConfig
from pipeline.app.config.track import TrackConfig
from pipeline.errors import ConfigError
from pipeline.picture.detector_spec import DetectorSpec
from pipeline.picture.suppression import SuppressionOptions
from pipeline.picture.tracking.tracker import TrackerOptions

_T = TypeVar("_T", int, float)


def suppression_options(detection: DetectionConfig, spec: DetectorSpec, *, prefix: str = "") -> SuppressionOptions:
    """What a run applies: the configuration's values, and the spec's where it has none.

    prefix: of the keys in errors. Raises ConfigError for a class that the model does not know.
    """
    own = spec.suppression
    return SuppressionOptions(
        mode=detection.suppression,
        iou_threshold=_given(detection.iou_threshold, own.iou_threshold),
        score_threshold=_given(detection.score_threshold, own.score_threshold),
        class_thresholds={
            class_id: threshold
            for name, threshold in detection.class_score_thresholds.items()
            for class_id in class_ids_of(name, spec, f"{prefix}detection.class_score_thresholds")
        },
        max_detections=_given(detection.max_detections, own.max_detections),
        keep_class_ids=frozenset(
            class_id
            for name in detection.classes
            for class_id in class_ids_of(name, spec, f"{prefix}detection.classes")
        )
        or None,
    )


def suppression_of_sources(
    detection: DetectionConfig, sources: Mapping[str, SourceConfig], spec: DetectorSpec
) -> dict[str, SuppressionOptions]:
    """What is applied to the frames of each source that has settings of its own, by the source's name.

    Raises ConfigError for a class that the model does not know.
    """
    return {
        name: suppression_options(source.detection(detection), spec, prefix=f"{name}: ")
        for name, source in sources.items()
        if source.has_own_detection
    }


def tracked_options(track: TrackConfig, shown: SuppressionOptions) -> SuppressionOptions:
    """What NMS leaves to a tracker: where something is tracked, weaker detections than those that are shown."""
    if track.kind is None:
        return shown
    return replace(
        shown,
        score_threshold=min(shown.score_threshold, track.low_score),
        class_thresholds={class_id: min(score, track.low_score) for class_id, score in shown.class_thresholds.items()},
    )


def tracker_options(track: TrackConfig, shown: SuppressionOptions) -> TrackerOptions:
    """What a tracker applies to a source: the configuration's values, and the thresholds of what is shown."""
    high = _given(track.high_score, shown.score_threshold)
    return TrackerOptions(
        high_score=high,
        low_score=track.low_score,
        start_score=_given(track.start_score, high),
        class_scores=shown.class_thresholds if track.high_score is None and track.start_score is None else {},
        match_iou=track.match_iou,
        low_match_iou=track.low_match_iou,
        confirm_hits=track.confirm_hits,
        memory_seconds=track.memory_s,
        rejoins=track.rejoins,
        by_class=track.by_class,
    )


def _given(value: _T | None, default: _T) -> _T:
    return default if value is None else value


def class_ids_of(name: str, spec: DetectorSpec, key: str) -> list[int]:
    """The ids of every class of that name, which some files have twice; key: of the configuration, for the error.

    A name is looked for as it is, then in any case; a number that is the name of no class is an id.
    """
    class_ids = [class_id for class_id, class_name in enumerate(spec.class_names) if class_name == name]
    if class_ids:
        return class_ids
    if name.isdecimal():
        return [_class_id(int(name), spec, key)]
    names = {class_name for class_name in spec.class_names if class_name.casefold() == name.casefold()}
    if len(names) > 1:
        raise ConfigError(f"{key}: {name!r} must be one of {', '.join(sorted(names))}, which the model tells apart")
    class_ids = [class_id for class_id, class_name in enumerate(spec.class_names) if class_name in names]
    if not class_ids:
        similar = difflib.get_close_matches(name, spec.class_names, n=1)
        hint = f"did you mean {similar[0]!r}?" if similar else f"it knows {', '.join(spec.class_names[:10])} …"
        raise ConfigError(f"{key}: the model has no class {name!r}; {hint}")
    return class_ids


def _class_id(class_id: int, spec: DetectorSpec, key: str) -> int:
    if class_id >= len(spec.class_names):
        raise ConfigError(f"{key}: a class id of the model must be at most {len(spec.class_names) - 1}, got {class_id}")
    return class_id
