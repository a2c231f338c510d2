"""Interpolation: objects between two frames against straight lines, and what happens to those in one of them alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from pipeline.picture.boxes import intersection_over_union
from pipeline.picture.detections import Detections
from pipeline.picture.gate.interpolation import Moment, Span
from pipeline.picture.masks import Masks
from tests.support.walking_boxes import walking_boxes

SIZE_WH = (640, 480)


Boxes = Sequence[Sequence[float]] | npt.NDArray[np.float64]


def detections(boxes: Boxes, *, class_ids: list[int] | None = None) -> Detections:
    array = np.asarray(boxes, np.float32).reshape(-1, 4)
    ids = np.asarray(class_ids or [0] * len(array), np.int64)
    return Detections(array, np.linspace(0.9, 0.5, len(array), dtype=np.float32), ids)


def at_rest(boxes: Boxes, seconds: float) -> Moment:
    return Moment.at_rest(detections(boxes), seconds)


@pytest.mark.parametrize("seed", range(5))
def test_sides_that_move_in_straight_lines_are_where_they_were(seed: int) -> None:
    random = np.random.default_rng(seed)
    cells = random.permutation(20)[: random.integers(1, 9)]  # one object in each, so that none is another's neighbour
    left_top = np.stack([cells % 5 * 120, cells // 5 * 110], axis=1) + 30.0
    first = np.concatenate([left_top, left_top + random.uniform(20, 50, (len(cells), 2))], axis=1)
    last = first + random.uniform(-9, 9, first.shape)
    order = random.permutation(len(cells))
    span = Span(at_rest(first, 2.0), Moment.at_rest(detections(last).select(order), 3.0))
    for seconds in random.uniform(2, 3, 10):
        expected = [np.interp(seconds, (2.0, 3.0), sides) for sides in zip(first.ravel(), last.ravel(), strict=True)]
        got = span.at(seconds, SIZE_WH)
        by_left_top = sorted(got.boxes_xyxy.tolist())
        assert np.allclose(by_left_top, sorted(np.reshape(expected, (-1, 4)).tolist()), atol=1e-3)
        assert got.carried is not None
        assert got.carried.all()
        assert (np.diff(got.scores) <= 0).all()


def test_the_ends_of_a_span_are_the_frames_themselves() -> None:
    span = Span(at_rest([[10, 10, 50, 90]], 0.0), at_rest([[20, 10, 64, 90]], 1.0))
    assert span.at(0.0, SIZE_WH).boxes_xyxy.tolist() == [[10, 10, 50, 90]]
    assert span.at(1.0, SIZE_WH).boxes_xyxy.tolist() == [[20, 10, 64, 90]]
    assert span.at(-5.0, SIZE_WH).boxes_xyxy.tolist() == [[10, 10, 50, 90]]
    same_time = Span(at_rest([[10, 10, 50, 90]], 0.0), at_rest([[20, 10, 64, 90]], 0.0))
    assert same_time.at(0.0, SIZE_WH).boxes_xyxy.tolist() == [[10, 10, 50, 90]]


def test_what_is_in_one_frame_alone_is_shown_in_the_half_that_is_nearer_to_it() -> None:
    goes, comes = [100.0, 100.0, 140.0, 200.0], [400.0, 50.0, 480.0, 100.0]
    span = Span(at_rest([goes], 0.0), at_rest([comes], 1.0))
    shown = {seconds: span.at(seconds, SIZE_WH).boxes_xyxy.tolist() for seconds in (0.1, 0.5, 0.6, 0.9)}
    assert shown == {0.1: [goes], 0.5: [goes], 0.6: [comes], 0.9: [comes]}


def test_an_object_that_goes_moves_on_as_it_did_before() -> None:
    before = at_rest([[100, 100, 140, 200]], 0.0).followed_by(detections([[110, 100, 150, 200]]), 1.0)
    span = Span(before, Moment.at_rest(Detections.empty(), 2.0))
    assert span.at(1.5, SIZE_WH).boxes_xyxy.tolist() == [[115, 100, 155, 200]]
    assert len(span.at(1.6, SIZE_WH)) == 0


@pytest.mark.parametrize("num", [0, 1])
def test_frames_with_no_object_and_with_one(num: int) -> None:
    one = detections([[10, 10, 50, 90]] * num)
    empty = Moment.at_rest(Detections.empty(), 1.0)
    before = Moment.at_rest(one, 0.0)
    assert len(Span(before, empty).at(0.2, SIZE_WH)) == num
    assert len(Span(before, empty).at(0.8, SIZE_WH)) == 0
    assert len(Span(empty, Moment.at_rest(one, 2.0)).at(1.8, SIZE_WH)) == num
    assert len(before.predicted(5.0, SIZE_WH)) == num
    assert len(empty.followed_by(one, 2.0).velocities) == num


def test_another_class_is_another_object() -> None:
    span = Span(at_rest([[10, 10, 50, 90]], 0.0), Moment.at_rest(detections([[10, 10, 50, 90]], class_ids=[1]), 1.0))
    assert span.at(0.4, SIZE_WH).class_ids.tolist() == [0]
    assert span.at(0.6, SIZE_WH).class_ids.tolist() == [1]


def test_two_that_pass_each_other_keep_their_ways_once_their_velocity_is_known() -> None:
    right, left = [[100, 100, 140, 200], [110, 100, 150, 200]], [[150, 100, 190, 200], [140, 100, 180, 200]]
    before = at_rest([right[0], left[0]], 0.0).followed_by(detections([right[1], left[1]]), 0.1)
    after = Moment.at_rest(detections([[150, 100, 190, 200], [100, 100, 140, 200]]), 0.5)  # they have passed
    middle = sorted(Span(before, after).at(0.3, SIZE_WH).boxes_xyxy[:, 0].tolist())
    assert middle == [120, 130]  # 110 → 150 and 140 → 100, and neither has turned back
    assert before.velocities[:, 0].tolist() == pytest.approx([100, -100], abs=1e-3)


def test_a_fast_object_that_no_longer_overlaps_itself_is_the_same_one_if_it_is_about_as_large() -> None:
    before = at_rest([[100, 100, 140, 200]], 0.0)
    assert Span(before, at_rest([[150, 100, 190, 200]], 1.0)).at(0.5, SIZE_WH).boxes_xyxy.tolist() == [
        [125, 100, 165, 200]
    ]
    larger = [150.0, 100.0, 290.0, 300.0]
    assert Span(before, at_rest([larger], 1.0)).at(0.6, SIZE_WH).boxes_xyxy.tolist() == [larger]


def test_a_prediction_goes_on_with_constant_velocity_for_a_second_and_ends_at_the_edge() -> None:
    moment = at_rest([[100, 100, 140, 200], [580, 10, 600, 40], [0, 0, 5, 5]], 0.0).followed_by(
        detections([[110, 102, 150, 202], [600, 10, 620, 40], [0, 0, 5, 5]]), 0.5
    )
    boxes = {seconds: moment.predicted(0.5 + seconds, SIZE_WH).boxes_xyxy.tolist() for seconds in (0.0, 0.5, 1.0, 9.0)}
    assert boxes[0.0] == [[110, 102, 150, 202], [600, 10, 620, 40], [0, 0, 5, 5]]
    assert boxes[0.5] == [[120, 104, 160, 204], [620, 10, 640, 40], [0, 0, 5, 5]]
    assert boxes[1.0] == [[130, 106, 170, 206], [0, 0, 5, 5]] == boxes[9.0]


def test_boxes_without_area_are_no_trouble() -> None:
    flat = [[10.0, 10.0, 10.0, 10.0], [50.0, 50.0, 50.0, 60.0]]
    moment = at_rest(flat, 0.0).followed_by(detections(flat), 1.0)
    assert len(Span(at_rest(flat, 0.0), moment).at(0.5, SIZE_WH)) == 2
    assert np.isfinite(moment.velocities).all()


def test_keypoints_corners_and_masks_move_and_grow_with_their_box() -> None:
    pixels = np.zeros((1, 48, 64), np.bool_)
    pixels[0, 10:20, 10:14] = True
    first = replace(
        detections([[10, 10, 20, 20]]),
        keypoints=np.array([[[12, 15, 0.5]]], np.float32),
        corners=np.array([[[10, 15], [15, 10], [20, 15], [15, 20]]], np.float32),
        masks=Masks.of(pixels),
    )
    last = replace(first, boxes_xyxy=np.array([[14, 10, 34, 20]], np.float32))
    got = Span(Moment.at_rest(first, 0.0), Moment.at_rest(last, 1.0)).at(0.5, (64, 48))
    assert got.boxes_xyxy.tolist() == [[12, 10, 27, 20]]
    assert got.keypoints is not None
    assert got.keypoints.tolist() == [[[15, 15, 0.5]]]
    assert got.corners is not None
    assert got.corners.tolist() == [[[12, 15], [19.5, 10], [27, 15], [19.5, 20]]]
    assert got.masks is not None
    rows, columns = np.nonzero(got.masks[0])
    assert (columns.min(), columns.max() + 1, rows.min(), rows.max() + 1) == (12, 18, 10, 20)


@pytest.mark.parametrize("shift", [-100, -12, 45, 100])
def test_a_mask_that_leaves_the_picture_is_cut_off(shift: int) -> None:
    first = replace(detections([[10, 10, 20, 20]]), masks=Masks.of(np.ones((1, 48, 64), np.bool_)))
    moment = Moment(first, 0.0, np.full((1, 4), shift, np.float32))
    for part in (moment.predicted(1.0, (64, 48)).masks, moment.predicted(0.5, (64, 48)).masks):
        assert part is not None
        assert part.shape[1:] == (48, 64)


def test_random_walks_are_nearer_to_their_interpolation_than_to_a_prediction_and_to_the_frame_before() -> None:
    kept = {"interpolated": 0, "predicted": 0, "as before": 0}
    for seed in range(6):
        frames, before = walking_boxes(seed, speed=6.0), None
        for index in range(0, len(frames) - 4, 4):
            first, last = (replace(frames[number], track_ids=None) for number in (index, index + 4))
            before = Moment.at_rest(first, index) if before is None else before.followed_by(first, index)
            span = Span(before, Moment.at_rest(last, index + 4))
            for number in range(index + 1, index + 4):
                ways = {
                    "interpolated": span.at(number, (2000, 2000)),
                    "predicted": before.predicted(number, (2000, 2000)),
                    "as before": first,
                }
                for name, shown in ways.items():
                    overlap = intersection_over_union(frames[number].boxes_xyxy, shown.boxes_xyxy)
                    kept[name] += int((overlap.max(axis=1, initial=0) >= 0.75).sum())
    assert kept["interpolated"] > 1.15 * kept["predicted"]
    assert kept["interpolated"] > 1.5 * kept["as before"]
