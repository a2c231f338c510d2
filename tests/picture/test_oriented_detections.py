"""Oriented detections: their corners go wherever their boxes go."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from pipeline.accuracy.classes import in_classes_of_data
from pipeline.picture.detections import Detections, Result
from pipeline.picture.drawing import draw_result
from pipeline.picture.frame import Frame
from pipeline.picture.i420 import I420
from pipeline.picture.parity import FP32_BAR, compare
from pipeline.picture.quadrilaterals import bounds_of, corners_of
from pipeline.picture.suppression import SuppressionOptions
from pipeline.picture.tiling import Tile, merge_tiles
from pipeline.picture.tracking.bytetrack import ByteTrack
from pipeline.picture.tracking.tracker import TrackerOptions

OPTIONS = SuppressionOptions(iou_threshold=0.5)
BOX = np.array([[40, 60, 160, 80]], np.float32)


def oriented(*angles: float, shift: tuple[float, float] = (0, 0)) -> Detections:
    """One box turned by each angle, the surest first."""
    corners = corners_of(np.repeat(BOX, len(angles), axis=0), np.array(angles, np.float32)) + np.array(
        shift, np.float32
    )
    scores = np.linspace(0.9, 0.6, len(angles)).astype(np.float32)
    return Detections(bounds_of(corners), scores, np.zeros(len(angles), np.int64), corners=corners)


def corners(detections: Detections) -> npt.NDArray[np.float32]:
    assert detections.corners is not None
    return detections.corners


def test_selected_detections_keep_their_corners() -> None:
    detections = oriented(0.2, 0.9, 1.4)
    np.testing.assert_array_equal(corners(detections.select(np.array([2, 0]))), corners(detections)[[2, 0]])
    assert corners(detections.select(np.zeros(3, np.bool_))).shape == (0, 4, 2)
    renumbered = in_classes_of_data(detections, np.array([5]))
    np.testing.assert_array_equal(corners(renumbered), corners(detections))
    assert renumbered.class_ids.tolist() == [5, 5, 5]


@pytest.mark.parametrize("wrong", [np.zeros((2, 4, 2)), np.zeros((1, 5)), np.full((1, 4, 2), np.nan)])
def test_corners_of_another_number_shape_or_without_a_value_are_refused(wrong: npt.NDArray[np.float64]) -> None:
    with pytest.raises(ValueError, match="corners must"):
        replace(oriented(0.2), corners=wrong.astype(np.float32))


def test_a_tracker_leaves_corners_as_they_are() -> None:
    detections = oriented(0.5)
    tracked = ByteTrack(TrackerOptions(confirm_hits=1)).update(detections, 0.0)
    np.testing.assert_array_equal(corners(tracked), corners(detections))


def test_tiles_put_corners_where_they_are_in_the_picture_and_merge_by_them() -> None:
    left, right = Tile(0, 0, 300, 200, (400, 200)), Tile(100, 0, 400, 200, (400, 200))
    seen_left = oriented(0.5, -0.5, shift=(100, 20))
    seen_right = oriented(0.5, shift=(0, 20))
    merged = merge_tiles((left, right), (seen_left, replace(seen_right, scores=np.array([0.5], "f"))), OPTIONS)
    np.testing.assert_allclose(corners(merged), corners(seen_left))
    (alone,) = corners(merge_tiles((left, right), (seen_left.select(np.array([], np.int64)), seen_right), OPTIONS))
    np.testing.assert_allclose(alone, corners(seen_left)[0], atol=1e-4)


def test_detectors_agree_only_where_their_boxes_are_turned_alike() -> None:
    ours = oriented(0.6)
    assert FP32_BAR.passed_by(compare([ours], [ours], FP32_BAR))
    others = {"counted from another corner": np.roll(corners(ours), 1, axis=1), "mirrored": corners(oriented(-0.6))}
    agrees = {
        name: FP32_BAR.passed_by(compare([ours], [replace(ours, corners=other)], FP32_BAR))
        for name, other in others.items()
    }
    assert agrees == {"counted from another corner": True, "mirrored": False}
    thin = np.array([[0, 0, 100, 0.4]], np.float32)
    pair = [corners_of(thin, np.array([angle], np.float32)) for angle in (0.6, -0.6)]
    sides = [replace(ours, boxes_xyxy=bounds_of(pair[0]), corners=shape) for shape in pair]
    assert not FP32_BAR.passed_by(compare(sides[:1], sides[1:], FP32_BAR))


def test_supervision_has_corners_where_its_annotators_look_for_them() -> None:
    supervision = pytest.importorskip("supervision")
    detections = oriented(0.5, 1.0)
    theirs = detections.to_supervision()
    np.testing.assert_array_equal(theirs.data["xyxyxyxy"], corners(detections))
    drawn = supervision.OrientedBoxAnnotator().annotate(np.zeros((200, 200, 3), np.uint8), theirs)
    assert drawn.any()


@pytest.mark.parametrize("on_planes", [False, True])
def test_an_oriented_box_is_drawn_along_its_edge_and_not_along_its_bounds(on_planes: bool) -> None:
    result = Result(Frame.from_pixels(np.zeros((140, 200, 3), np.uint8)), oriented(0.6), ("ship",))
    target = I420.empty((200, 140), "bt601") if on_planes else np.zeros((140, 200, 3), np.uint8)
    ground = target.to_bgr() if isinstance(target, I420) else target.copy()
    draw_result(target, result, labels=False)
    drawn = target.to_bgr() if isinstance(target, I420) else target
    is_drawn = np.abs(drawn.astype(int) - ground).max(axis=2) > 30
    on_edge = np.zeros((140, 200), np.uint8)
    cv2.polylines(on_edge, [np.rint(corners(result.detections)[0]).astype(np.int32)], True, 1, 1)
    near_edge = cv2.dilate(on_edge, np.ones((7, 7), np.uint8))
    assert is_drawn[on_edge == 1].mean() > 0.95
    assert not is_drawn[near_edge == 0].any()


def test_an_oriented_box_that_leaves_the_picture_is_drawn_as_far_as_it_goes() -> None:
    frame = Frame.from_pixels(np.zeros((50, 60, 3), np.uint8))
    far = replace(oriented(0.6), corners=np.array([[[-1e9, 20], [30, -1e9], [1e9, 25], [30, 1e9]]], np.float32))
    assert Result(frame, far, ("ship",)).plot().shape == (50, 60, 3)
    assert Result(frame, oriented(0.6, shift=(-90, -30)), ("ship",)).plot(labels=False).any()
