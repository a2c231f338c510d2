"""Geometry of counting: crossings, polygons and homographies against exact fractions and OpenCV."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from pipeline.picture.counting.geometry import (
    clips_segment,
    crosses_itself,
    crossing_shares,
    distances_to_outline,
    inside_polygon,
)
from pipeline.picture.counting.homography import Homography, ground_points
from pipeline.picture.counting.shapes import Line, Zone, can_be_reached, is_in_picture, parse_coordinates
from tests.support.exact_crossings import Pair, exact_share


def test_crossings_on_a_grid_are_those_of_exact_fractions() -> None:
    rng = np.random.default_rng(1)
    points = rng.integers(0, 6, (4000, 4, 2))  # so few that ends, corners and points on the line are frequent
    points = points[(points[:, 2] != points[:, 3]).any(axis=1)]
    num_on_line = 0
    for before, after, start, end in points.tolist():
        exact = exact_share(tuple(before), tuple(after), tuple(start), tuple(end))
        starts, ends = np.array([[before]], float), np.array([[after]], float)
        share = crossing_shares(starts, ends, np.array([start], float), np.array([end], float))[0, 0]
        assert np.isnan(share) if exact is None else share == pytest.approx(float(exact))
        num_on_line += exact in (0, 1)
    assert num_on_line > 50


def test_no_way_through_a_grid_crosses_a_line_twice_in_the_same_direction() -> None:
    rng = np.random.default_rng(2)
    ways = rng.integers(0, 4, (200, 40, 2)).astype(float)
    start, end = np.array([[-9.0, 2.0]]), np.array([[9.0, 2.0]])
    for way in ways:
        passes = ~np.isnan(crossing_shares(way[:-1, None], way[1:, None], start, end))[:, 0]
        directions = np.sign(way[1:, 1] - way[:-1, 1])[passes]
        assert (directions[1:] == -directions[:-1]).all()


def test_inside_and_distance_are_those_of_opencv() -> None:
    rng = np.random.default_rng(3)
    angles = np.sort(rng.random((30, 7)) * 2 * np.pi, axis=1)
    radii = 20 + rng.random((30, 7)) * 80
    for angle, radius in zip(angles, radii, strict=True):
        polygon = np.rint(np.stack([100 + radius * np.cos(angle), 100 + radius * np.sin(angle)], axis=1))
        points = np.concatenate([rng.integers(0, 200, (200, 2)).astype(float), polygon])
        contour = polygon.astype(np.float32)
        expected = [cv2.pointPolygonTest(contour, (float(x), float(y)), True) for x, y in points]
        assert inside_polygon(points, polygon).tolist() == [distance >= 0 for distance in expected]
        assert np.allclose(distances_to_outline(points, polygon), np.abs(expected), atol=1e-3)


def test_nobody_is_inside_of_anything() -> None:
    polygon = np.array([[0.0, 0], [4, 0], [4, 4]])
    assert inside_polygon(np.zeros((0, 2)), polygon).shape == (0,)
    assert distances_to_outline(np.zeros((0, 2)), polygon).shape == (0,)


@pytest.mark.parametrize(
    ("polygon", "crosses"),
    [
        ([(0, 0), (4, 0), (4, 4), (0, 4)], False),
        ([(0, 0), (4, 4), (4, 0), (0, 4)], True),  # a bow tie
        ([(0, 0), (4, 0), (4, 4), (2, 0), (0, 4)], True),  # a corner on an edge
        ([(0, 0), (4, 0), (2, 0)], True),  # folded on itself
        ([(0, 0), (2, 0), (4, 0), (4, 4)], False),  # a point on a straight edge
        ([(0, 0), (4, 0), (4, 4), (2, 1), (0, 4)], False),  # hollow
        ([(0, 0), (1, 1), (2, 2)], True),  # no area
    ],
)
def test_a_polygon_that_crosses_or_touches_itself_is_recognised(polygon: list[Pair], crosses: bool) -> None:
    for shift in range(len(polygon)):
        turned = np.array(polygon[shift:] + polygon[:shift], float)
        assert crosses_itself(turned) == crosses
        assert crosses_itself(turned[::-1]) == crosses


def test_a_segment_is_clipped_as_opencv_does() -> None:
    rng = np.random.default_rng(4)
    for x1, y1, x2, y2 in rng.integers(-50, 150, (500, 4)).tolist():
        expected, *_ = cv2.clipLine((0, 0, 101, 61), (x1, y1), (x2, y2))
        clipped = clips_segment(
            np.array([x1, y1], float), np.array([x2, y2], float), np.zeros(2), np.array([100.0, 60])
        )
        near = min(
            abs((x2 - x1) * (y - y1) - (y2 - y1) * (x - x1)) / max(1, np.hypot(x2 - x1, y2 - y1))
            for x in (0, 100)
            for y in (0, 60)
        )
        assert clipped == expected or near < 1  # OpenCV rounds at corners


@pytest.mark.parametrize("relative", [False, True])
def test_a_homography_is_that_of_opencv(relative: bool) -> None:
    rng = np.random.default_rng(5)
    size = np.array((1280, 720))
    for _ in range(50):
        picture = (
            np.array([[0.2, 0.3], [0.8, 0.35], [0.95, 0.9], [0.05, 0.95]]) + rng.uniform(-0.05, 0.05, (4, 2))
        ) * size
        ground = np.array([[0, 20], [10, 20], [10, 0], [0, 0]]) + rng.uniform(-2, 2, (4, 2))
        written = picture / size if relative else picture
        rows = tuple(tuple(row) for row in np.append(written, ground, axis=1).tolist())
        matrix = Homography(rows).matrix((1280, 720))
        reference = cv2.getPerspectiveTransform(picture.astype(np.float32), ground.astype(np.float32))
        points = rng.uniform(picture.min(axis=0), picture.max(axis=0), (20, 2))
        expected = cv2.perspectiveTransform(points[None].astype(np.float64), reference)[0]
        assert np.allclose(ground_points(matrix, points), expected, atol=1e-3)
        assert np.allclose(ground_points(matrix, picture), ground)


def test_beyond_the_horizon_there_is_no_ground() -> None:
    rows = ((400, 400, 0, 30), (880, 400, 10, 30), (1280, 720, 10, 0), (0, 720, 0, 0))
    matrix = Homography(rows).matrix((1280, 720))
    vertical = ground_points(matrix, np.array([[640.0, 700], [640, 300], [640, 0]]))
    assert np.isfinite(vertical[0]).all()
    assert np.isnan(vertical[2]).all()


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (((0, 0, 0, 0),), "four rows"),
        (((0, 0, 0, 0), (1, 1, 1, 0), (2, 2, 1, 1), (0, 2, 0, 1)), "one line in the picture"),
        (((0, 0, 0, 0), (2, 0, 1, 0), (2, 2, 2, 0), (0, 2, 0, 1)), "one line on the ground"),
        (((0, 0, 0, 0), (2, 0, 1, 0), (2, 2, 2, np.nan), (0, 2, 0, 1)), "finite"),
    ],
)
def test_rows_that_are_no_homography_are_refused(
    rows: tuple[tuple[float, float, float, float], ...], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        Homography(rows)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("0,0,1", "pairs"),
        ("0,0,x,1", "'x'"),
        ("0,0,nan,1", "'nan'"),
        ("0,0,-1,1", "within the picture"),
        ("0,0,120%,1", "within the picture"),
        ("0,0.5,640,360", "all shares of the picture, 0 to 1, or all pixels"),
        (7, "commas"),
        ([True, 1, 0, 0], "'True'"),
    ],
)
def test_coordinates_that_cannot_be_are_refused(value: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_coordinates(value)


def test_shares_percentages_and_pixels_mean_the_same_line() -> None:
    for text in ("0,0.5,1,0.5", "0%,50%,100%,50%", "0,180,640,180"):
        assert Line("gate", parse_coordinates(text)).points((640, 360)).tolist() == [[0, 180], [640, 180]]


def test_shapes_that_count_nothing_are_refused() -> None:
    for ends, words in (((0.5, 0.5, 0.5, 0.5), "length"), ((0.0, 0.0), "two points")):
        with pytest.raises(ValueError, match=words):
            Line("gate", ends)
    for coordinates, words in (
        ((0.0, 0.0, 1.0, 1.0), "3 to 100 points"),
        ((0.0, 0.0, 1.0, 1.0, 1.0, 0.0, 0.0, 1.0), "cross"),
        ((0.0, 0.0, 1.0, 0.0, 1.0, 1.0, 0.0, 0.0), "twice"),
    ):
        with pytest.raises(ValueError, match=words):
            Zone("yard", coordinates)


def test_what_no_anchor_reaches_is_told_from_what_one_reaches() -> None:
    size, box = (640, 360), (60.0, 40.0)

    def reached(*coordinates: float, anchor: str = "bottom") -> bool:
        points = np.array(coordinates, float).reshape(-1, 2)
        assert is_in_picture(points, size)
        return can_be_reached(points, "centre" if anchor == "centre" else "bottom", size_wh=size, box_wh=box, margin=3)

    assert reached(0, 180, 640, 180)
    assert reached(20, 0, 20, 360) is False  # a box's centre is 30 pixels from the edge
    assert reached(0, 10, 640, 10) is False
    assert reached(0, 350, 640, 350)
    assert reached(0, 350, 640, 350, anchor="centre") is False
    assert reached(0, 359, 640, 359) is False
    assert reached(0, 0, 640, 0, 640, 360, 0, 360)  # all of the picture
    assert reached(0, 0, 20, 0, 20, 15) is False
    assert not is_in_picture(np.array([[700.0, 0], [700, 300]]), size)
