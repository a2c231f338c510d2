"""Boxes: overlaps, formats and pairs are those of an independent implementation."""

from __future__ import annotations

from itertools import product
from typing import get_args

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.picture.boxes import (
    BoxFormat,
    areas,
    convert,
    intersection_over_union,
    match_greedily,
    share_inside,
    turns,
)

Matrix = npt.NDArray[np.float32]

REPEATABLE = settings(deadline=None, derandomize=True)
BOX = np.array([[10.0, 20.0, 30.0, 50.0]])
SAME_BOX: dict[BoxFormat, list[float]] = {
    "xyxy": [10, 20, 30, 50],
    "yxyx": [20, 10, 50, 30],
    "cxcywh": [20, 35, 20, 30],
    "cycxhw": [35, 20, 30, 20],
    "xywh": [10, 20, 20, 30],
}


@pytest.mark.parametrize(("source", "target"), list(product(get_args(BoxFormat), repeat=2)))
def test_a_box_is_converted_from_every_format_to_every_format(source: BoxFormat, target: BoxFormat) -> None:
    assert convert(np.array([SAME_BOX[source]]), source, target).tolist() == [SAME_BOX[target]]
    assert convert(BOX[:0], source, target).shape == (0, 4)


@pytest.mark.parametrize("target", ["cxcywh", "xywh"])
def test_conversion_is_that_of_torchvision(target: BoxFormat) -> None:
    torch, ops = pytest.importorskip("torch"), pytest.importorskip("torchvision.ops")
    boxes = np.random.default_rng(0).random((50, 4)).astype(np.float32)
    boxes[:, 2:] += boxes[:, :2]
    converted = convert(boxes, "xyxy", target)
    assert converted.dtype == np.float32
    assert converted == pytest.approx(ops.box_convert(torch.from_numpy(boxes), "xyxy", target).numpy(), abs=1e-6)
    assert convert(converted, target, "xyxy") == pytest.approx(boxes, abs=1e-6)


def test_the_share_inside_is_of_the_first_box() -> None:
    boxes = np.array([[0, 0, 10, 10], [5, 5, 5, 9]], np.float32)
    assert areas(boxes).tolist() == [100, 0]
    shares = share_inside(boxes, np.array([[5, 0, 100, 100]], np.float32))
    assert shares.tolist() == [[0.5], [0.0]]  # a box without area is inside of nothing
    assert share_inside(boxes[:0], boxes).shape == (0, 2)


def test_two_boxes_without_area_have_no_overlap_and_match_nothing() -> None:
    point = np.array([[3, 3, 3, 3]], np.float32)
    overlap = intersection_over_union(point, point)
    assert np.isnan(overlap).all()
    assert len(match_greedily(overlap, at_least=0.0, by=(overlap,))[0]) == 0


@st.composite
def overlaps(draw: st.DrawFn) -> Matrix:
    """A coarse matrix, in which many overlaps are equal."""
    num_rows, num_columns = draw(st.integers(0, 6)), draw(st.integers(0, 6))
    values = draw(st.lists(st.integers(0, 4), min_size=num_rows * num_columns, max_size=num_rows * num_columns))
    return (np.array(values, np.float32) / 4).astype(np.float32).reshape(num_rows, num_columns)


@REPEATABLE
@given(overlaps())
def test_the_largest_overlap_that_is_left_matches(overlap: Matrix) -> None:
    left, expected = overlap.copy(), []
    while left.size and left.max() >= 0.5:
        row, column = np.unravel_index(int(left.argmax()), left.shape)
        expected.append((row, column))
        left[row], left[:, column] = -1, -1
    assert list(zip(*match_greedily(overlap, at_least=0.5, by=(overlap,)), strict=True)) == expected


@REPEATABLE
@given(overlaps(), st.lists(st.sampled_from([0.5, 0.7, 0.9]), min_size=6, max_size=6))
def test_the_best_score_takes_the_column_that_it_overlaps_most(overlap: Matrix, some_scores: list[float]) -> None:
    scores = np.array(some_scores[: len(overlap)], np.float32)
    free, expected = set(range(overlap.shape[1])), []
    for row in sorted(range(len(overlap)), key=lambda row: -scores[row]):
        best = max(sorted(free), key=lambda column: overlap[row, column], default=None)
        if best is not None and overlap[row, best] >= 0.5:
            free.remove(best)
            expected.append((row, best))
    assert list(zip(*match_greedily(overlap, at_least=0.5, by=(turns(scores), overlap)), strict=True)) == expected
