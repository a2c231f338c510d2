"""ByteTrack: the ids of another implementation, in time that is measured in seconds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.picture.detections import Detections
from pipeline.picture.tracking.box_filters import boxes_of, correct, new_filters, predict
from pipeline.picture.tracking.bytetrack import ByteTrack
from pipeline.picture.tracking.tracker import TrackerOptions, track_ids_of
from pipeline.sources.street.traffic import TrafficOptions, TrafficSource
from tests.support.walking_boxes import walking_boxes

RATE = 30.0
OPTIONS = TrackerOptions(
    high_score=0.5,
    low_score=0.0,
    start_score=0.6,
    low_match_iou=0.1,
    memory_seconds=0.51,
    by_class=False,
    rejoins=False,
)


def ids_of_ours(frames: list[Detections], options: TrackerOptions = OPTIONS) -> list[list[int]]:
    tracker = ByteTrack(options)
    return [
        track_ids_of(tracker.update(replace(frame, track_ids=None), number / RATE)).tolist()
        for number, frame in enumerate(frames)
    ]


def ids_of_library(frames: list[Detections]) -> list[list[int]]:
    trackers = pytest.importorskip("trackers")
    tracker = trackers.ByteTrackTracker(
        frame_rate=RATE, track_activation_threshold=0.6, high_conf_det_threshold=0.5, minimum_iou_threshold=0.1
    )
    tracker.maximum_time_without_update = 0.51  # a whole number of frames would end a track as rounding has it
    ids = []
    for number, frame in enumerate(frames):
        detections = replace(frame, track_ids=None).to_supervision()
        detections.data["index"] = np.arange(len(frame))
        tracked = tracker.update(detections, timestamp=number / RATE)
        in_order = np.full(len(frame), -1)
        if len(tracked):
            in_order[tracked.data["index"]] = tracked.tracker_id
        ids.append(in_order.tolist())
    return ids


def renamed(ids: list[list[int]]) -> list[list[int]]:
    """The same ids, numbered in the order in which they come."""
    names: dict[int, int] = {-1: -1}
    return [[names.setdefault(number, len(names)) for number in in_frame] for in_frame in ids]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 25), st.floats(0, 12))
def test_the_ids_are_those_of_the_library_on_random_walks(seed: int, num_objects: int, speed: float) -> None:
    frames = walking_boxes(seed, num_objects=num_objects, num_frames=40, side=400, speed=speed)
    assert renamed(ids_of_ours(frames)) == renamed(ids_of_library(frames))


def test_the_ids_are_those_of_the_library_on_drawn_traffic() -> None:
    rng, source = np.random.default_rng(3), TrafficSource(TrafficOptions(seed=3))
    frames = []
    for index in range(90):
        truth = source.truth(index)
        scores = rng.uniform(0.2, 1, len(truth)).astype(np.float32)
        boxes = truth.boxes_xyxy + rng.normal(0, 1, (len(truth), 4)).astype(np.float32)
        frames.append(replace(truth, boxes_xyxy=boxes, scores=scores).select(rng.random(len(truth)) > 0.1))
    assert max(map(max, ids_of_ours(frames))) > 5
    assert renamed(ids_of_ours(frames)) == renamed(ids_of_library(frames))


def boxes_at(*lefts: float, score: float = 0.9, class_id: int = 0) -> Detections:
    """Boxes of 40 × 40."""
    boxes = np.array([[left, 10, left + 40, 50] for left in lefts], np.float32).reshape(-1, 4)
    return Detections(boxes, np.full(len(boxes), score, np.float32), np.full(len(boxes), class_id, np.int64))


def followed(*sights: tuple[float, Detections], **options: float) -> list[list[int]]:
    """The ids of detections at some seconds."""
    tracker = ByteTrack(replace(TrackerOptions(), **options))  # type: ignore[arg-type]
    return [track_ids_of(tracker.update(detections, seconds)).tolist() for seconds, detections in sights]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0, 0.3), min_size=1, max_size=6))
def test_a_gap_moves_a_box_as_far_into_however_many_parts_it_is_divided(parts: list[float]) -> None:
    once = new_filters(np.array([[10, 20, 50, 90]]))
    for number in range(3):
        predict(once, 1 / 30)
        correct(once, np.array([0]), np.array([[12, 21, 52, 93]]) + 3 * number)
    divided = once.copy()
    predict(once, sum(parts))
    for part in parts:
        predict(divided, part)
    np.testing.assert_allclose(boxes_of(divided), boxes_of(once), rtol=1e-9, atol=1e-9)
    for filters in (once, divided):
        assert (filters[:, 8] * filters[:, 10] >= filters[:, 9] ** 2).all()  # a covariance


@pytest.mark.parametrize("every", [2, 5, 10])
def test_a_filter_of_rarer_frames_is_one_that_counts_frames(every: int) -> None:
    """So at each constant rate it is as calm as the library's."""
    rng = np.random.default_rng(every)
    rare, counted = (new_filters(np.array([[10.0, 20, 50, 90]])) for _ in range(2))
    for _ in range(12):
        predict(rare, every / 30)
        predict(counted, 1 / 30)
        np.testing.assert_allclose(boxes_of(rare), boxes_of(counted), rtol=1e-9)
        if rng.random() < 0.8:
            box = boxes_of(rare) + rng.normal(0, 9, (1, 4))
            correct(rare, np.array([0]), box)
            correct(counted, np.array([0]), box)


def test_a_filter_is_the_full_filter_of_eight_numbers() -> None:
    rng = np.random.default_rng(1)
    filters = new_filters(np.array([[10.0, 20, 50, 90]]))
    state, covariance = np.array([10.0, 20, 50, 90, 0, 0, 0, 0]), np.eye(8)
    motion, sight = np.eye(8) + np.eye(8, k=4), np.eye(4, 8)
    for _ in range(20):
        predict(filters, 1 / 30)
        state, covariance = motion @ state, motion @ covariance @ motion.T + 0.01 * np.eye(8)
        if rng.random() < 0.7:
            box = state[:4] + rng.normal(0, 2, 4)
            correct(filters, np.array([0]), box[None])
            gain = covariance @ sight.T @ np.linalg.inv(sight @ covariance @ sight.T + 0.1 * np.eye(4))
            state, covariance = state + gain @ (box - sight @ state), covariance - gain @ sight @ covariance
        np.testing.assert_allclose(boxes_of(filters)[0], state[:4])
        np.testing.assert_allclose(filters[0, [8, 9, 10]], [covariance[0, 0], covariance[0, 4], covariance[4, 4]])


def test_a_track_has_an_id_from_the_second_sight_on_and_a_false_alarm_has_none() -> None:
    once = followed((0, boxes_at(0)), (0.03, boxes_at(2, 300)), (0.07, boxes_at(4)), (0.1, boxes_at(6, 301)))
    assert once == [[-1], [1, -1], [1], [1, -1]]
    assert followed((0, boxes_at(0, 200)), (0.03, boxes_at(201, 2)), confirm_hits=1) == [[1, 2], [2, 1]]


@pytest.mark.parametrize("rate", [5, 30, 240])
def test_an_object_that_was_away_for_less_than_the_memory_has_its_id_again_at_any_rate(rate: int) -> None:
    sights = [(number / rate, boxes_at(0)) for number in range(4)]
    last = sights[-1][0]
    soon, late = (last + 0.9, boxes_at(0)), (last + 1.1, boxes_at(0))
    assert followed(*sights, soon, memory_seconds=1)[-1] == [1]
    assert followed(*sights, late, (late[0] + 1 / rate, boxes_at(0)), memory_seconds=1)[-2:] == [[-1], [2]]


def test_a_gap_moves_the_prediction_as_far_as_its_time_says() -> None:
    sights = [(number / 30, boxes_at(6 * number)) for number in range(10)]
    after = (9 / 30 + 0.5, boxes_at(6 * 9 + 6 * 15))  # 2 boxes further on
    assert followed(*sights, after)[-1] == [1]
    tracker = ByteTrack()
    for seconds, detections in sights:
        tracker.update(detections, seconds)
    assert tracker.predict(after[0]).boxes_xyxy == pytest.approx(after[1].boxes_xyxy, abs=3)
    assert tracker.predict(after[0]).track_ids == np.array([1])


def test_an_object_that_leaves_its_own_box_between_two_frames_is_followed_at_a_low_rate_only() -> None:
    def ids(rate: float, step: float) -> list[list[int]]:
        return followed(*[(number / rate, boxes_at(step * number)) for number in range(3)])

    assert ids(3, 45) == [[-1], [1], [1]]
    assert ids(30, 45) == [[-1], [-1], [-1]]  # as the library has it
    assert ids(3, 100) == [[-1], [-1], [-1]]  # further than half of its size beyond


def test_a_box_that_overlaps_is_nearer_than_one_that_is_reached_by_widening() -> None:
    assert followed((0, boxes_at(0, 300)), (0.3, boxes_at(45, 5, 300)))[-1] == [-1, 1, 2]


def test_time_that_goes_back_ends_all_tracks_and_no_id_comes_again() -> None:
    assert followed(*[(second, boxes_at(0)) for second in (8, 8.03, 1, 1.03)]) == [[-1], [1], [-1], [2]]


def test_an_unsure_detection_continues_a_track_and_begins_none() -> None:
    sure, unsure, noise = boxes_at(0), boxes_at(1, score=0.2), boxes_at(0, score=0.05)
    assert followed((0, sure), (0.03, sure), (0.07, unsure), (0.1, noise)) == [[-1], [1], [1], [-1]]
    assert followed((0, unsure), (0.03, unsure), (0.07, unsure)) == [[-1]] * 3


def test_a_track_keeps_its_class_unless_it_may_change() -> None:
    cars, truck = [(0, boxes_at(0)), (0.03, boxes_at(0))], (0.07, boxes_at(1, class_id=1))
    assert followed(*cars, truck)[-1] == [-1]
    assert followed(*cars, truck, by_class=False)[-1] == [1]


def test_a_class_may_have_a_threshold_of_its_own() -> None:
    options = TrackerOptions(class_scores={1: 0.2})
    tracker = ByteTrack(options)
    ids = [track_ids_of(tracker.update(boxes_at(0, score=0.3, class_id=1), second)).tolist() for second in (0, 0.03)]
    assert ids == [[-1], [1]]


def test_nothing_and_boxes_without_area_are_ordinary() -> None:
    point = Detections(np.full((2, 4), 5, np.float32), np.ones(2, np.float32), np.zeros(2, np.int64))
    tracker = ByteTrack()
    for number in range(4):
        assert track_ids_of(tracker.update(point, number / 30)).tolist() == [-1, -1]
        assert len(tracker.update(Detections.empty(), number / 30)) == 0
    assert len(tracker.predict(1.0)) == 0


def test_a_time_that_is_not_a_number_is_refused() -> None:
    with pytest.raises(ValueError, match="pts_seconds must be finite, got nan"):
        ByteTrack().update(Detections.empty(), float("nan"))
    with pytest.raises(ValueError, match=r"match_iou must lie within \[0, 1\], got 2"):
        TrackerOptions(match_iou=2)
    with pytest.raises(ValueError, match="memory_seconds finite and at least 0, got 2 and inf"):
        TrackerOptions(memory_seconds=float("inf"))
