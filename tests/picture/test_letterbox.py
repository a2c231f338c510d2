"""Letterbox: boxes come back to where they were, for every aspect ratio."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.picture.letterbox import Letterbox, ResizeMode

REPEATABLE = settings(deadline=None, derandomize=True)
SIZES = st.tuples(st.integers(1, 5000), st.integers(1, 5000))
NETWORK_SIZES = st.tuples(st.integers(16, 1500), st.integers(16, 1500))
MODES = st.sampled_from(["letterbox-center", "letterbox-topleft", "stretch"])


@REPEATABLE
@given(SIZES, NETWORK_SIZES, MODES, st.tuples(*[st.floats(0, 1)] * 4))
def test_a_box_comes_back_within_half_a_pixel(
    source_wh: tuple[int, int],
    network_wh: tuple[int, int],
    mode: ResizeMode,
    shares: tuple[float, float, float, float],
) -> None:
    letterbox = Letterbox.fit(source_wh, network_wh, mode)
    box = np.array([shares], np.float32) * np.array(source_wh * 2, np.float32)
    returned = letterbox.boxes_to_source(letterbox.boxes_to_network(box))
    assert np.abs(returned - box).max() <= 0.5


@REPEATABLE
@given(SIZES, NETWORK_SIZES, MODES)
def test_the_whole_source_is_the_whole_content_and_lies_inside_the_network(
    source_wh: tuple[int, int], network_wh: tuple[int, int], mode: ResizeMode
) -> None:
    letterbox = Letterbox.fit(source_wh, network_wh, mode)
    box = letterbox.boxes_to_network(np.array([[0, 0, *source_wh]], np.float32))[0]
    right, bottom = letterbox.pad_left + letterbox.content_wh[0], letterbox.pad_top + letterbox.content_wh[1]
    assert box == pytest.approx([letterbox.pad_left, letterbox.pad_top, right, bottom], abs=1e-2)
    assert right <= network_wh[0]
    assert bottom <= network_wh[1]
    assert network_wh[0] == letterbox.content_wh[0] or network_wh[1] == letterbox.content_wh[1]


@REPEATABLE
@given(SIZES, NETWORK_SIZES)
def test_a_letterbox_keeps_the_aspect_ratio_up_to_the_rounding_of_a_pixel(
    source_wh: tuple[int, int], network_wh: tuple[int, int]
) -> None:
    letterbox = Letterbox.fit(source_wh, network_wh, "letterbox-center")
    scale = min(network_wh[0] / source_wh[0], network_wh[1] / source_wh[1])
    for source, content in zip(source_wh, letterbox.content_wh, strict=True):
        assert content == 1 or abs(content - source * scale) <= 0.5


def test_full_hd_lies_in_the_middle_of_a_square() -> None:
    letterbox = Letterbox.fit((1920, 1080), (640, 640), "letterbox-center")
    assert (letterbox.content_wh, letterbox.pad_left, letterbox.pad_top) == ((640, 360), 0, 140)
    boxes = letterbox.boxes_to_source(np.array([[320, 320, 640, 500]], np.float32))
    assert boxes.tolist() == [[960, 540, 1920, 1080]]


def test_a_top_left_letterbox_has_its_padding_right_and_below() -> None:
    letterbox = Letterbox.fit((500, 375), (416, 416), "letterbox-topleft")
    assert (letterbox.content_wh, letterbox.pad_left, letterbox.pad_top) == ((416, 312), 0, 0)


def test_the_spare_pixel_of_an_odd_padding_goes_right_and_below() -> None:
    letterbox = Letterbox.fit((100, 51), (100, 100), "letterbox-center")
    assert letterbox.pad_top == 24


def test_stretch_fills_the_network_and_scales_each_axis_by_itself() -> None:
    letterbox = Letterbox.fit((200, 100), (100, 100), "stretch")
    assert letterbox.scale_xy == (0.5, 1.0)


def test_boxes_are_clipped_to_the_source() -> None:
    letterbox = Letterbox.fit((640, 360), (640, 640), "letterbox-center")
    boxes = letterbox.boxes_to_source(np.array([[-10, 100, 700, 600]], np.float32))
    assert boxes.tolist() == [[0, 0, 640, 360]]


def test_no_boxes_stay_no_boxes() -> None:
    letterbox = Letterbox.fit((640, 360), (640, 640), "letterbox-center")
    assert letterbox.boxes_to_source(np.zeros((0, 4), np.float32)).shape == (0, 4)


def test_a_picture_without_pixels_is_refused() -> None:
    with pytest.raises(ValueError, match=r"at least 1 x 1, got source \(0, 5\)"):
        Letterbox.fit((0, 5), (640, 640), "stretch")


@pytest.mark.parametrize("network_wh", [(640, 640), (1, 1), (5000, 3)])
def test_in_graph_leaves_a_picture_as_it_is(network_wh: tuple[int, int]) -> None:
    letterbox = Letterbox.fit((321, 241), network_wh, "in-graph")
    assert letterbox.network_wh == letterbox.content_wh == (321, 241)
    assert (letterbox.pad_left, letterbox.pad_top, letterbox.scale_xy) == (0, 0, (1.0, 1.0))
    assert letterbox.content_window == (slice(0, 241), slice(0, 321))
    box = np.array([[1.5, 2.5, 300, 240]], np.float32)
    assert letterbox.boxes_to_source(box).tolist() == box.tolist()


@REPEATABLE
@given(SIZES, NETWORK_SIZES, st.one_of(MODES, st.just("in-graph")), st.tuples(*[st.floats(-1, 2)] * 4))
def test_points_come_back_as_the_corners_of_boxes_do(
    source_wh: tuple[int, int],
    network_wh: tuple[int, int],
    mode: ResizeMode,
    shares: tuple[float, float, float, float],
) -> None:
    letterbox = Letterbox.fit(source_wh, network_wh, mode)
    box = np.array([shares], np.float32) * np.array(network_wh * 2, np.float32)  # [1, 4]
    scores = np.array([[[0.25], [0.75]]], np.float32)
    points = letterbox.points_to_source(np.concatenate([box.reshape(1, 2, 2), scores], axis=2))
    assert points.dtype == np.float32
    assert points[..., :2].reshape(1, 4) == pytest.approx(letterbox.boxes_to_source(box, clip=False), rel=1e-5)
    assert points[..., 2].tolist() == [[0.25, 0.75]]


def test_no_points_stay_no_points() -> None:
    letterbox = Letterbox.fit((640, 360), (640, 640), "letterbox-center")
    assert letterbox.points_to_source(np.zeros((0, 17, 3), np.float32)).shape == (0, 17, 3)


def test_boxes_are_not_clipped_where_that_is_asked() -> None:
    letterbox = Letterbox.fit((640, 360), (640, 640), "letterbox-center")
    boxes = letterbox.boxes_to_source(np.array([[-10, 100, 700, 600]], np.float32), clip=False)
    assert boxes.tolist() == [[-10, -40, 700, 460]]
