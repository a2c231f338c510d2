"""Strokes: segments cover the pixels that they should, as much as they should, wherever they go."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.picture.canvas import Canvas
from pipeline.picture.strokes import Strokes, inked_pixels

SIZE_WH = (60, 40)
points = st.tuples(st.floats(-20, 80), st.floats(-20, 60))


def strokes_of(*segments: tuple[tuple[float, float], tuple[float, float]], opacities: object = (1, 1)) -> Strokes:
    ends = np.array(segments, np.float64).reshape(-1, 2, 2)
    pairs = np.broadcast_to(np.array(opacities, np.float64), (len(ends), 2))
    return Strokes(ends[:, 0], ends[:, 1], pairs, np.full((len(ends), 3), 255, np.uint8))


def coverage_of(strokes: Strokes, thickness: float) -> npt.NDArray[np.float32]:
    picture = np.zeros(SIZE_WH[::-1], np.float32)
    pixels = inked_pixels(strokes, thickness, SIZE_WH)
    picture[pixels.rows, pixels.columns] = pixels.opacities
    return picture


def painted(start: npt.NDArray[np.float64], end: npt.NDArray[np.float64], thickness: float) -> npt.NDArray[np.float64]:
    """The share of each pixel that lies in the rectangle of a line, by OpenCV at 16 times the size."""
    along = (end - start) / np.hypot(*(end - start))
    side = np.array([-along[1], along[0]]) * thickness / 2
    corners = np.array([start - side, end - side, end + side, start + side]) * 16 - 0.5
    large = np.zeros((SIZE_WH[1] * 16, SIZE_WH[0] * 16), np.uint8)
    cv2.fillPoly(large, [np.rint(corners * 16).astype(np.int32)], 1, shift=4)
    return np.asarray(large.reshape(SIZE_WH[1], 16, SIZE_WH[0], 16).mean(axis=(1, 3)))


@given(points, points, st.sampled_from([1.0, 2.0, 3.5, 6.0]))
def test_a_line_covers_what_its_rectangle_covers_but_for_its_ends(
    start: tuple[float, float], end: tuple[float, float], thickness: float
) -> None:
    if np.hypot(end[0] - start[0], end[1] - start[1]) < 1:
        return
    drawn = coverage_of(strokes_of((start, end)), thickness)
    expected = painted(np.array(start), np.array(end), thickness)
    rows, columns = np.indices(expected.shape) + 0.5
    ends = np.array([start, end])
    from_ends = np.hypot(columns[..., None] - ends[:, 0], rows[..., None] - ends[:, 1]).min(axis=-1)
    assert np.abs(drawn - expected)[from_ends > thickness + 1].max(initial=0) < 0.3
    assert not drawn[(expected == 0) & (from_ends > thickness + 1)].max(initial=0) > 0.3


def test_a_line_along_an_axis_covers_whole_pixels() -> None:
    expected = np.zeros(SIZE_WH[::-1], np.float32)
    expected[9:11, 5:25] = 1
    np.testing.assert_array_equal(coverage_of(strokes_of(((5, 10), (25, 10))), 2), expected)
    expected[:] = 0
    expected[5:25, 9:11] = 1
    np.testing.assert_array_equal(coverage_of(strokes_of(((10, 25), (10, 5))), 2), expected)


def test_opacity_goes_from_the_start_to_the_end() -> None:
    row = coverage_of(strokes_of(((0, 10), (60, 10)), opacities=(0, 1)), 2)[9]
    np.testing.assert_allclose(row, (np.arange(60) + 0.5) / 60, atol=1e-6)


def test_no_gap_and_no_notch_is_between_segments_of_one_line() -> None:
    xs = np.linspace(3.2, 55.7, 30)
    line = [((x, 20 + x / 7), (after, 20 + after / 7)) for x, after in pairwise(xs)]
    pieces = coverage_of(strokes_of(*line), 3)
    single = coverage_of(strokes_of((line[0][0], line[-1][1])), 3)
    assert np.abs(pieces - single).max() < 0.2


@pytest.mark.parametrize(
    "segments",
    [
        [],
        [((1e9, 1e9), (-1e9, -1e9))],
        [((30, 20), (30, 20))],
        [((-5, -5), (-5, -5))],
        [((-1e12, 20), (1e12, 20.5)), ((100, 0), (100, 40)), ((0, 0), (0, 0))],
    ],
)
def test_awkward_segments_stay_within_the_picture(
    segments: list[tuple[tuple[float, float], tuple[float, float]]],
) -> None:
    pixels = inked_pixels(strokes_of(*segments), 2, SIZE_WH)
    assert (pixels.columns >= 0).all()
    assert (pixels.columns < 60).all()
    assert (pixels.rows >= 0).all()
    assert (pixels.rows < 40).all()
    assert len(pixels.rows) < 60 * 40 * 3


def test_what_is_drawn_twice_is_mixed_once() -> None:
    picture = np.zeros((40, 60, 3), np.uint8)
    Canvas(picture).strokes(strokes_of(((0, 10), (60, 10)), ((60, 10), (0, 10)), opacities=(0.5, 0.5)), 2)
    assert set(np.unique(picture[9:11]).tolist()) == {128}
