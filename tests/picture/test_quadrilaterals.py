"""Quadrilaterals: corners, bounds and overlaps are those of OpenCV and of a slow count of points."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.picture.boxes import intersection_over_union
from pipeline.picture.quadrilaterals import bounds_of, corners_of, quadrilateral_areas, quadrilateral_iou
from pipeline.picture.suppression import SuppressionMode, SuppressionOptions, suppress

Rotated = npt.NDArray[np.float32]  # [N, 5]: cx, cy, w, h, radians
RANDOM = np.random.default_rng(11)


def rotated_boxes(num: int, *, side: float = 40) -> Rotated:
    boxes = RANDOM.uniform([10, 10, 1, 1, -4], [50, 50, side, side, 4], (num, 5))
    boxes[::7, 4] = np.round(boxes[::7, 4] / (np.pi / 4)) * (np.pi / 4)  # parallel to each other or to the axes
    boxes[1::7, :4] = np.round(boxes[1::7, :4] / 10 + 1) * 10  # edges that coincide
    boxes[1::7, 4] = 0
    return boxes.astype(np.float32)


def corners(boxes: Rotated) -> npt.NDArray[np.float32]:
    return corners_of(
        np.concatenate([boxes[:, :2] - boxes[:, 2:4] / 2, boxes[:, :2] + boxes[:, 2:4] / 2], 1), boxes[:, 4]
    )


def iou_of_opencv(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> float:
    """Of convex corners [4, 2] each; `rotatedRectangleIntersection` drops corners that are close to others."""
    shared = max(0.0, cv2.intersectConvexConvex(a, b)[0])
    return float(shared / (cv2.contourArea(a) + cv2.contourArea(b) - shared))


def share_of_points(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32], steps: int = 200) -> float:
    """IoU of convex corners [4, 2] each by counting points of a grid."""
    low, high = (bounds_of(np.stack([a, b]))[:, part] for part in (slice(0, 2), slice(2, 4)))
    xs, ys = (np.linspace(low[:, axis].min(), high[:, axis].max(), steps) for axis in (0, 1))
    grid = np.stack(np.meshgrid(xs, ys), axis=-1).reshape(-1, 1, 2)

    def is_inside(shape: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
        edge, to_point = np.roll(shape, -1, axis=0) - shape, grid - shape
        side = edge[:, 0] * to_point[..., 1] - edge[:, 1] * to_point[..., 0]
        return np.asarray((side >= 0).all(axis=1) | (side <= 0).all(axis=1))

    in_a, in_b = is_inside(a), is_inside(b)
    return float((in_a & in_b).sum() / max(1, (in_a | in_b).sum()))


def test_corners_are_those_of_opencv() -> None:
    for row, ours in zip(boxes := rotated_boxes(50), corners(boxes), strict=True):
        cx, cy, width, height, angle = row.tolist()
        theirs = cv2.boxPoints(((cx, cy), (width, height), np.degrees(angle)))
        assert np.abs(ours[:, None] - theirs[None]).max(axis=2).min(axis=1).max() < 1e-3


def test_overlaps_are_those_of_opencv() -> None:
    a, b = corners(rotated_boxes(70)), corners(rotated_boxes(70)) * np.array([1.3, 0.8], np.float32)
    expected = np.array([[iou_of_opencv(one, other) for other in b] for one in a])
    np.testing.assert_allclose(quadrilateral_iou(a, b), expected, atol=1e-5)
    assert (expected > 0).mean() > 0.5


def test_overlaps_of_parallelograms_are_those_of_counted_points() -> None:
    stretched = np.array([1.7, 0.6], np.float32)
    a, b = corners(rotated_boxes(12)) * stretched, corners(rotated_boxes(12)) * stretched
    iou = quadrilateral_iou(a, b)
    for row, column in RANDOM.integers(0, 12, (20, 2)).tolist():
        assert iou[row, column] == pytest.approx(share_of_points(a[row], b[column]), abs=0.02)


@given(st.floats(-10, 10), st.floats(0.01, 1e4), st.floats(-5000, 5000), st.floats(0.5, 500), st.floats(0.5, 500))
def test_a_shape_overlaps_itself_wholly_however_its_corners_are_counted(
    angle: float, zoom: float, shift: float, width: float, height: float
) -> None:
    (shape,) = corners(np.array([[shift, -shift, width * zoom, height * zoom, angle]], np.float32))
    turned = [np.roll(order, step, axis=0) for order in (shape, shape[::-1]) for step in range(4)]
    if quadrilateral_areas(shape[None])[0] > 1:
        np.testing.assert_allclose(quadrilateral_iou(shape[None], np.stack(turned)), 1, atol=1e-4)
    nudged = shape + RANDOM.uniform(-1e-6, 1e-6, (4, 2)).astype(np.float32)
    assert quadrilateral_iou(shape[None], nudged[None])[0, 0] <= 1


def test_upright_boxes_overlap_as_boxes_do() -> None:
    boxes = np.concatenate([low := RANDOM.uniform(0, 50, (80, 2)), low + RANDOM.uniform(1, 30, (80, 2))], 1).astype("f")
    upright = corners_of(boxes, np.zeros(80, np.float32))
    np.testing.assert_allclose(bounds_of(upright), boxes, atol=1e-4)
    np.testing.assert_allclose(quadrilateral_iou(upright, upright), intersection_over_union(boxes, boxes), atol=1e-5)


def test_what_has_no_area_overlaps_nothing_and_none_has_no_pairs() -> None:
    shapes = corners(np.array([[10, 10, 0, 0, 1], [10, 10, 8, 0, 1], [10, 10, 8, 8, 1]], np.float32))
    assert quadrilateral_iou(shapes, shapes).tolist() == [[0, 0, 0], [0, 0, 0], [0, 0, pytest.approx(1)]]
    assert quadrilateral_iou(shapes[:0], shapes).shape == (0, 3)
    assert (bounds_of(shapes[:0]).shape, corners(np.zeros((0, 5), np.float32)).shape) == ((0, 4), (0, 4, 2))


def test_a_limit_changes_no_overlap_above_it() -> None:
    shapes = corners(rotated_boxes(90))
    exact, limited = quadrilateral_iou(shapes, shapes), quadrilateral_iou(shapes, shapes, above=0.4)
    assert np.array_equal(exact[exact > 0.4], limited[exact > 0.4])
    assert (limited[exact <= 0.4] <= 0.4).all()
    assert (limited == 0).sum() > (exact == 0).sum()


@pytest.mark.parametrize("mode", ["class-aware", "class-agnostic"])
@pytest.mark.parametrize("num", [0, 1, 300])
def test_oriented_nms_keeps_what_a_plain_loop_keeps(num: int, mode: SuppressionMode) -> None:
    boxes, scores = rotated_boxes(num), RANDOM.uniform(0, 1, num).astype(np.float32)
    class_ids = RANDOM.integers(0, 3, num)
    shapes = corners(boxes)
    options = SuppressionOptions(mode=mode, iou_threshold=0.3, score_threshold=0.1)
    kept, _ = suppress(bounds_of(shapes), scores, class_ids, options, corners=shapes)
    expected: list[int] = []
    for index in np.argsort(-scores, kind="stable").tolist():
        rivals = [other for other in expected if mode == "class-agnostic" or class_ids[other] == class_ids[index]]
        if scores[index] >= 0.1 and all(iou_of_opencv(shapes[index], shapes[other]) <= 0.3 for other in rivals):
            expected.append(index)
    assert kept.tolist() == expected


def test_crossed_strips_stay_although_their_bounds_are_the_same() -> None:
    shapes = corners(np.array([[50, 50, 90, 8, np.pi / 4], [50, 50, 90, 8, -np.pi / 4]], np.float32))
    scores, class_ids = np.array([0.9, 0.8], np.float32), np.zeros(2, np.int64)
    assert len(suppress(bounds_of(shapes), scores, class_ids)[0]) == 1
    assert len(suppress(bounds_of(shapes), scores, class_ids, corners=shapes)[0]) == 2
    modes: tuple[SuppressionMode, ...] = ("soft-linear", "soft-gaussian")
    for mode in modes:
        options = SuppressionOptions(mode=mode)
        kept, lowered = suppress(bounds_of(shapes), scores, class_ids, options, corners=shapes)
        assert (len(kept), lowered[1] > 0.79) == (2, True)


def test_corners_without_a_value_are_refused() -> None:
    shapes = corners(rotated_boxes(2))
    bounds = bounds_of(shapes)
    shapes[1, 2, 0] = np.nan
    with pytest.raises(ValueError, match="must be finite"):
        suppress(bounds, np.ones(2, np.float32), np.zeros(2, np.int64), corners=shapes)
