"""Drawn counts: lines, arrows, zones and numbers, on pixels and on planes."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from pipeline.picture.counting.counts import Counts, LineCounts, ZoneCounts
from pipeline.picture.counting.drawn import line_in_words, zone_in_words
from pipeline.picture.detections import Detections, Result
from pipeline.picture.drawing import draw_result
from pipeline.picture.frame import Frame
from pipeline.picture.i420 import I420

GATE = LineCounts("gate", np.array([[20.0, 60], [220, 60]]), {"car": 2, "person": 1}, {"car": 4})
YARD = ZoneCounts(
    "yard", np.array([[40.0, 90], [200, 90], [200, 140], [40, 140]]), {"car": 3}, {}, {}, {}, None, None
)  # fmt: skip
GREY = np.full((160, 240, 3), 90, np.uint8)


def drawn(*shapes: LineCounts | ZoneCounts) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    lines = tuple(shape for shape in shapes if isinstance(shape, LineCounts))
    zones = tuple(shape for shape in shapes if isinstance(shape, ZoneCounts))
    result = Result(Frame.from_pixels(GREY), Detections.empty(), ("car",), counting=Counts(lines, zones))
    return result.plot()


def amber(pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    return np.asarray((pixels == (0, 200, 255)).all(axis=-1))


def test_a_line_has_its_arrow_on_the_side_that_is_in_and_its_numbers_on_the_other() -> None:
    is_drawn = amber(drawn(GATE))
    assert is_drawn[60, 25:215].all()
    below, above = is_drawn[66:], is_drawn[:54]
    assert below[:, 110:130].any()
    assert below.sum() < 200 < above.sum()  # an arrow, a plate with words
    turned = amber(drawn(LineCounts("gate", GATE.points_xy[::-1].copy(), {}, {})))
    assert turned[:54].sum() < 200 < turned[66:].sum()


def test_a_zone_is_tinted_and_outlined_and_leaves_the_rest_alone() -> None:
    pixels = drawn(YARD).astype(int)
    assert 4 < np.abs(pixels[120, 100] - 90).max() < 20
    assert np.abs(pixels[120, 40] - 90).max() > 60
    assert (pixels[70:80, 210:] == 90).all()


def test_words_are_totals_of_all_classes() -> None:
    assert (line_in_words(GATE), zone_in_words(YARD)) == ("gate in 3 out 4", "yard 3")


@pytest.mark.parametrize(
    "points", [[[-500.0, 30], [900, 30]], [[-50.0, -50], [-10, -10]], [[230.0, 150], [239, 159]], [[0.0, 0], [0, 160]]]
)
def test_a_shape_that_is_partly_or_wholly_outside_is_drawn_as_far_as_it_is_inside(points: list[list[float]]) -> None:
    line, zone = np.array(points), np.array([*points, [points[0][0] + 7, points[0][1] + 40]])
    drawn(LineCounts("gate", line, {}, {}), ZoneCounts("yard", zone, {}, {}, {}, {}, None, None))
    planes = I420(np.full((240, 240), 128, np.uint8), "bt601")
    counting = Counts((LineCounts("gate", line, {}, {}),), (ZoneCounts("yard", zone, {}, {}, {}, {}, None, None),))
    draw_result(planes, Result(Frame.from_pixels(GREY), Detections.empty(), (), counting=counting))


def test_planes_show_the_same_as_pixels() -> None:
    counting = Counts((GATE,), (YARD,))
    result = Result(Frame.from_pixels(GREY), Detections.empty(), ("car",), counting=counting)
    planes = I420(np.ascontiguousarray(cv2.cvtColor(GREY, cv2.COLOR_BGR2YUV_I420)), "bt601")
    draw_result(planes, result)
    difference = np.abs(planes.to_bgr().astype(int) - result.plot().astype(int)).mean(axis=-1)
    assert np.median(difference) < 4
    assert (difference > 40).mean() < 0.03  # edges, whose colours have half the resolution
