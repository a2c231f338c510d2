"""Entries: how long after a teacher another run shows each object for the first time."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.measure.entries import Entries, entries_of
from pipeline.picture.detections import Detections


def frame(*objects: tuple[int, float, int]) -> Detections:
    """Objects as track id, left side and class, all 10 pixels wide and high."""
    boxes = np.array([[left, 0, left + 10, 10] for _, left, _ in objects], np.float32).reshape(-1, 4)
    ids, class_ids = ([row[column] for row in objects] for column in (0, 2))
    scores = np.full(len(objects), 0.9, np.float32)
    return Detections(boxes, scores, np.array(class_ids, np.int64), track_ids=np.array(ids, np.int64))


def test_an_object_is_shown_when_a_box_of_its_class_overlaps_it() -> None:
    teacher = [frame((1, 0, 0)), frame((1, 4, 0), (2, 50, 1)), frame((1, 8, 0), (2, 50, 1)), frame((2, 50, 1))]
    shown = [frame(), frame((-1, 0, 0), (-1, 50, 0)), frame((-1, 8, 0)), frame((-1, 52, 1))]
    entries = entries_of(teacher, shown, [0.0, 0.1, 0.2, 0.35])
    assert entries.delays_seconds == pytest.approx((0.2, 0.25))
    assert entries.num_never == 0


def test_an_object_that_is_shown_when_it_has_left_is_never_shown() -> None:
    assert entries_of([frame((1, 0, 0)), frame()], [frame(), frame((-1, 0, 0))], [0.0, 0.1]) == Entries((), 1)


def test_detections_of_no_track_and_frames_without_objects_count_for_nothing() -> None:
    entries = entries_of([frame((-1, 0, 0)), frame()], [frame(), frame()], [0.0, 0.1])
    assert entries == Entries((), 0)
    assert entries.percentile_seconds(50) is None


def test_percentiles_are_of_all_objects_those_that_are_never_shown_last() -> None:
    entries = Entries(tuple(number / 10 for number in range(19)), 1)
    assert entries.percentile_seconds(50) == 0.9
    assert entries.percentile_seconds(95) == 1.8
    assert entries.percentile_seconds(100) is None
    assert Entries((0.4,), 0).percentile_seconds(95) == 0.4
