"""Parity: detections are matched as sets, and nothing is excused but what rounding decides."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipeline.picture.detections import Detections
from pipeline.picture.masks import Masks
from pipeline.picture.parity import FP16_BAR, FP32_BAR, Parity, compare

A = (0.0, 0.0, 100.0, 100.0, 0.9, 0)
FAR = (300.0, 300.0, 380.0, 360.0, 0.7, 1)
Row = tuple[float, float, float, float, float, int]


def detections(*rows: Row) -> Detections:
    table = np.array(rows, np.float64).reshape(-1, 6)  # [N, 6]
    return Detections(table[:, :4].astype(np.float32), table[:, 4].astype(np.float32), table[:, 5].astype(np.int64))


def parity_of(ours: tuple[Row, ...], theirs: tuple[Row, ...], *, iou_threshold: float | None = None) -> Parity:
    return compare([detections(*ours)], [detections(*theirs)], FP32_BAR, iou_threshold=iou_threshold)


def scored(row: Row, score: float) -> Row:
    return (*row[:4], score, row[5])


def test_a_detector_agrees_with_itself() -> None:
    parity = parity_of((A, FAR), (A, FAR))
    assert FP32_BAR.passed_by(parity)
    assert (parity.num_detections, parity.num_matched, parity.least_iou, parity.worst_image) == (4, 4, 1.0, None)


def test_the_order_of_ties_means_nothing() -> None:
    ties = tuple((10.0 * n, 0.0, 10.0 * n + 9, 9.0, 0.5, n % 2) for n in range(20))
    assert FP32_BAR.passed_by(parity_of(ties, ties[::-1]))


def test_doubles_of_one_box_are_matched_one_to_one() -> None:
    assert FP32_BAR.passed_by(parity_of((A, A), (A, A)))
    parity = parity_of((A, A), (A,))
    assert (parity.num_detections, parity.num_matched) == (3, 2)


def test_each_box_finds_the_nearest_of_several() -> None:
    near = (2.0, 0.0, 102.0, 100.0, 0.8, 0)
    assert FP32_BAR.passed_by(parity_of((A, near), (near, A)))


def test_what_scores_just_above_finds_its_partner_just_below() -> None:
    parity = parity_of((A, scored(FAR, 0.0501)), (A, scored(FAR, 0.0499)))
    assert FP32_BAR.passed_by(parity)
    assert parity.num_detections == 3  # the one below was not asked for


def test_what_neither_is_asked_for_does_not_count() -> None:
    parity = parity_of((A, scored(FAR, 0.045)), (A,))
    assert (parity.num_detections, parity.num_matched) == (2, 2)


def test_a_score_that_leaps_over_the_threshold_is_no_match() -> None:
    assert not FP32_BAR.passed_by(parity_of((A, scored(FAR, 0.055)), (A, scored(FAR, 0.045))))


def test_another_class_is_counted_as_a_flip() -> None:
    parity = parity_of((A, FAR), (A, (*FAR[:5], 0)))
    assert (parity.num_class_flips, parity.num_matched, parity.num_detections) == (1, 2, 4)
    assert not FP32_BAR.passed_by(parity)


@pytest.mark.parametrize(("difference", "passes"), [(0.0009, True), (0.0011, False)])
def test_scores_may_differ_by_no_more_than_the_bar_says(difference: float, passes: bool) -> None:
    parity = parity_of((A, scored(FAR, 0.7 + difference)), (A, FAR))
    assert FP32_BAR.passed_by(parity) is passes
    assert compare([detections(A, scored(FAR, 0.7 + difference))], [detections(A, FAR)], FP16_BAR).num_matched == 4
    assert parity.largest_score_difference == pytest.approx(difference, abs=1e-6)


@pytest.mark.parametrize(("shift", "passes"), [(0.4, True), (0.6, False)])
def test_boxes_may_move_by_no_more_than_the_bar_says(shift: float, passes: bool) -> None:
    moved = (shift, 0.0, 100.0 + shift, 100.0, 0.9, 0)  # IoU (100 - shift) / (100 + shift)
    parity = parity_of((moved,), (A,))
    assert FP32_BAR.passed_by(parity) is passes
    assert compare([detections(moved)], [detections(A)], FP16_BAR).num_matched == 2
    assert parity.least_iou == pytest.approx((100 - shift) / (100 + shift), abs=1e-5)


def half_of(row: Row, *, share: float, score: float) -> Row:
    """The left part of a box, whose IoU with it is that share."""
    return (row[0], row[1], row[0] + share * (row[2] - row[0]), row[3], score, row[5])


@pytest.mark.parametrize(("share", "is_excused"), [(0.5, True), (0.5005, True), (0.51, False), (0.6, False)])
def test_a_box_that_nms_took_by_a_hair_is_excused_and_no_other(share: float, is_excused: bool) -> None:
    weaker = half_of(A, share=share, score=0.8)
    for ours, theirs in (((A, weaker), (A,)), ((A,), (A, weaker))):
        parity = parity_of(ours, theirs, iou_threshold=0.5)
        assert FP32_BAR.passed_by(parity) is is_excused
        assert parity.num_on_edge == int(is_excused)
        assert not FP32_BAR.passed_by(parity_of(ours, theirs, iou_threshold=None))


def test_a_box_better_than_its_neighbour_cannot_have_been_taken_by_it() -> None:
    better = half_of(A, share=0.5, score=0.95)
    assert not FP32_BAR.passed_by(parity_of((A, better), (A,), iou_threshold=0.5))


def test_a_neighbour_of_another_class_takes_nothing_away() -> None:
    stranger = (*half_of(A, share=0.5, score=0.8)[:5], 1)
    assert not FP32_BAR.passed_by(parity_of((A, stranger), (A,), iou_threshold=0.5))


@pytest.mark.parametrize("iou_threshold", [0.45, 0.5, 0.7])
def test_what_stays_because_its_better_one_went_by_a_hair_is_excused_too(iou_threshold: float) -> None:
    """Here the second box stays and takes the third; there the first takes the second, and the third stays."""
    second = half_of(A, share=iou_threshold, score=0.8)
    third = half_of(second, share=iou_threshold + 0.04, score=0.7)
    parity = parity_of((A, second, FAR), (A, third, FAR), iou_threshold=iou_threshold)
    assert parity.num_on_edge == 2
    assert FP32_BAR.passed_by(parity)
    assert parity.least_iou == 1
    alone = parity_of((A, FAR), (A, third, FAR), iou_threshold=iou_threshold)  # nothing here could have taken it
    assert not FP32_BAR.passed_by(alone)


@pytest.mark.parametrize(
    ("theirs", "proposed", "is_excused"),
    [
        ((10.0, 0.0, 110.0, 100.0, 0.9, 0), ((10.0, 0.0, 110.0, 100.0, 0.9, 0),), True),
        ((10.0, 0.0, 110.0, 100.0, 0.9, 0), (), False),  # here nobody ever said so
        ((10.0, 0.0, 110.0, 100.0, 0.9, 0), ((13.0, 0.0, 113.0, 100.0, 0.9, 0),), False),
        ((10.0, 0.0, 110.0, 100.0, 0.9, 0), ((10.0, 0.0, 110.0, 100.0, 0.9, 1),), False),
        ((10.0, 0.0, 110.0, 100.0, 0.8, 0), ((10.0, 0.0, 110.0, 100.0, 0.8, 0),), False),  # no tie: A is better
        ((40.0, 0.0, 140.0, 100.0, 0.9, 0), ((40.0, 0.0, 140.0, 100.0, 0.9, 0),), False),  # A does not suppress it
    ],
)
def test_one_of_a_tie_that_nms_kept_instead_of_the_other_is_excused(
    theirs: Row, proposed: tuple[Row, ...], is_excused: bool
) -> None:
    parity = compare(
        [detections(A, FAR)],
        [detections(theirs, FAR)],
        FP32_BAR,
        iou_threshold=0.5,
        proposals=[detections(A, FAR, *proposed)],
    )
    assert FP32_BAR.passed_by(parity) is is_excused
    assert parity.num_on_edge == (2 if is_excused else 0)
    assert not FP32_BAR.passed_by(parity_of((A, FAR), (theirs, FAR), iou_threshold=0.5))


@pytest.mark.parametrize("shift", [3.0, 10.0, 20.0, 20.01])  # by a third of their sides, boxes overlap by 0.5
def test_a_shift_of_all_boxes_is_not_excused(shift: float) -> None:
    chance = np.random.default_rng(0)
    corners = chance.uniform(0, 500, (60, 2))
    rows = [
        (x, y, x + 60, y + 60, float(score), 0)
        for (x, y), score in zip(corners, chance.uniform(0.1, 1, 60), strict=True)
    ]
    shifted = [(x1 + shift, y1, x2 + shift, y2, score, kind) for x1, y1, x2, y2, score, kind in rows]
    parity = parity_of(tuple(rows), tuple(shifted), iou_threshold=0.5)
    assert (parity.num_matched, parity.num_on_edge, parity.num_detections) == (0, 0, 120)


@pytest.mark.parametrize("iou_threshold", [None, 0.5])
def test_nothing_found_by_either_agrees_and_shows_nothing(iou_threshold: float | None) -> None:
    parity = compare([Detections.empty()] * 3, [Detections.empty()] * 3, FP32_BAR, iou_threshold=iou_threshold)
    assert (parity.num_images, parity.num_detections, parity.matched_share) == (3, 0, 1.0)
    assert not FP32_BAR.passed_by(parity)


def test_no_images_show_nothing() -> None:
    assert not FP32_BAR.passed_by(compare([], [], FP32_BAR))


@pytest.mark.parametrize("iou_threshold", [None, 0.5])
def test_what_only_one_side_finds_has_no_partner(iou_threshold: float | None) -> None:
    for ours, theirs in (((A, FAR), ()), ((), (A, FAR))):
        parity = parity_of(ours, theirs, iou_threshold=iou_threshold)
        assert (parity.num_detections, parity.num_matched, parity.worst_image) == (2, 0, 0)
        assert not FP32_BAR.passed_by(parity)


def test_the_worst_image_is_the_one_that_misses_most() -> None:
    ours = [detections(A, FAR), detections(A), detections(A, FAR)]
    theirs = [detections(A, FAR), Detections.empty(), detections()]
    assert compare(ours, theirs, FP32_BAR).worst_image == 2


def test_other_numbers_of_images_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="zip"):
        compare([Detections.empty()], [], FP32_BAR)


def with_mask(num_columns: int) -> Detections:
    mask = np.zeros((1, 100, 100), bool)
    mask[:, :, :num_columns] = True
    return replace(detections(A), masks=Masks.of(mask))


@pytest.mark.parametrize(("num_columns", "passes"), [(100, True), (96, True), (90, False)])
def test_masks_must_cover_the_same(num_columns: int, passes: bool) -> None:
    parity = compare([with_mask(num_columns)], [with_mask(100)], FP32_BAR)
    assert FP32_BAR.passed_by(parity) is passes
    assert parity.least_mask_iou == pytest.approx(num_columns / 100)


def test_two_empty_masks_are_the_same() -> None:
    assert FP32_BAR.passed_by(compare([with_mask(0)], [with_mask(0)], FP32_BAR))


def with_points(num_moved: int, by: float) -> Detections:
    points = np.full((1, 20, 3), 50, np.float32)
    points[:, :num_moved, 0] += by
    return replace(detections(A), keypoints=points)


@pytest.mark.parametrize(
    ("num_moved", "by", "passes"),
    [(0, 0.0, True), (20, 2.5, True), (2, 40.0, True), (3, 40.0, False), (20, 3.5, False)],
)
def test_keypoints_must_lie_in_the_same_places_but_for_one_in_ten(num_moved: int, by: float, passes: bool) -> None:
    parity = compare([with_points(num_moved, by)], [with_points(0, 0)], FP32_BAR)
    assert FP32_BAR.passed_by(parity) is passes


def test_images_without_pairs_do_not_lower_what_masks_and_keypoints_come_to() -> None:
    both = replace(with_mask(100), keypoints=with_points(0, 0).keypoints)
    nothing = both.select(np.zeros(0, np.int64))
    parity = compare([both, nothing], [both, nothing], FP32_BAR)
    assert (parity.least_mask_iou, parity.least_points_share) == (1.0, 1.0)


def test_a_parity_says_in_words_what_was_compared() -> None:
    words = str(parity_of((A, half_of(A, share=0.5, score=0.8)), (A,), iou_threshold=0.5))
    assert words == (
        "2 of 2 detections in 1 images matched (100.00%), least IoU 1.00000, largest score difference 0, "
        "0 class flips, 1 on the edge of NMS"
    )


def test_what_a_full_list_may_have_cut_off_is_not_asked_for() -> None:
    last, other = scored(FAR, 0.3), (500.0, 0.0, 520.0, 20.0, 0.3, 1)
    full, cut = (A, last), (A, other)
    limited = compare([detections(*full)], [detections(*cut)], FP32_BAR, max_detections=2)
    assert FP32_BAR.passed_by(limited)
    assert (limited.num_detections, limited.num_matched, limited.num_on_edge) == (2, 2, 2)
    assert not FP32_BAR.passed_by(compare([detections(*full)], [detections(*cut)], FP32_BAR, max_detections=100))
    surer = (A, scored(other, 0.6))  # the limit takes the least sure, so that this one must have a partner
    assert not FP32_BAR.passed_by(compare([detections(*full)], [detections(*surer)], FP32_BAR, max_detections=2))


def test_lists_that_are_full_of_ties_are_compared_all_the_same() -> None:
    ties = tuple((10.0 * n, 0.0, 10.0 * n + 9, 9.0, 0.5, 0) for n in range(20))
    parity = compare([detections(*ties)], [detections(*ties[::-1])], FP32_BAR, max_detections=20)
    assert (parity.num_detections, parity.num_matched) == (40, 40)
