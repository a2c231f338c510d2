"""Drawing: everything is where it belongs, readable, and inside the picture."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from pipeline.picture.coco import COCO_80
from pipeline.picture.colours import class_colour, track_colour
from pipeline.picture.detections import Attribute, Detections, Result, TrackedCentres, Tracks
from pipeline.picture.drawing import MOST_PLATE_BYTES, draw_result
from pipeline.picture.frame import Frame, PixelArray
from pipeline.picture.i420 import I420, yuv_of
from pipeline.picture.look import Look
from pipeline.picture.masks import Masks

NAMES = ("person", "car")


def result_of(rows: list[tuple[float, float, float, float, float, int]], canvas: PixelArray, **more: object) -> Result:
    table = np.array(rows, np.float32).reshape(-1, 6)
    found = Detections(table[:, :4], table[:, 4].copy(), table[:, 5].astype(np.int64), **more)  # type: ignore[arg-type]
    return Result(Frame.from_pixels(canvas), found, NAMES)


def drawn(rows: list[tuple[float, float, float, float, float, int]], size_wh: tuple[int, int]) -> PixelArray:
    canvas = np.zeros((size_wh[1], size_wh[0], 3), np.uint8)
    draw_result(canvas, result_of(rows, canvas))
    return canvas


def test_a_box_is_drawn_in_its_class_colour_and_nowhere_else() -> None:
    canvas = np.zeros((120, 200, 3), np.uint8)
    draw_result(canvas, result_of([(50, 40, 150, 100, 0.9, 1)], canvas), labels=False)
    inked = np.argwhere(canvas.any(axis=2))
    assert tuple(canvas[40, 100]) == class_colour("car")
    assert not canvas[60:80, 70:130].any()
    assert (inked.min(axis=0) >= [39, 49]).all()
    assert (inked.max(axis=0) <= [100, 150]).all()


def test_a_label_stands_above_its_box_and_inside_where_there_is_no_room() -> None:
    assert drawn([(50, 60, 150, 100, 0.9, 1)], (200, 120))[45:58, 50:80].any()
    assert drawn([(50, 0, 150, 100, 0.9, 1)], (200, 120))[3:14, 54:80].any()


def test_labels_of_boxes_in_one_place_do_not_cover_each_other() -> None:
    rows = [(50.0, 60.0, 150.0, 100.0, 0.9, 1), (50.0, 60.0, 150.0, 100.0, 0.8, 0)]
    both = drawn(rows, (200, 140))
    colours = {tuple(pixel) for pixel in both.reshape(-1, 3)}
    assert {class_colour("car"), class_colour("person")} <= colours
    for row, name in ((0, "car"), (1, "person")):
        alone = drawn([rows[row]], (200, 140))
        num_alone = (alone == class_colour(name)).all(axis=2).sum()
        num_both = (both == class_colour(name)).all(axis=2).sum()
        assert num_both >= 0.4 * num_alone


def test_a_class_has_the_same_colour_in_every_run_and_no_two_of_coco_share_one() -> None:
    assert class_colour("person") == (76, 17, 212)
    assert class_colour("forklift") == (212, 35, 17)
    assert len({class_colour(name) for name in COCO_80}) == 80


@pytest.mark.parametrize("size_wh", [(1, 1), (16, 16), (17, 3), (640, 360), (1921, 1081)])
def test_awkward_boxes_and_pictures_are_survived(size_wh: tuple[int, int]) -> None:
    width, height = size_wh
    rows = [
        (0.0, 0.0, float(width), float(height), 1.0, 0),
        (-50.0, -50.0, -10.0, -10.0, 0.5, 1),
        (width - 1.0, height - 1.0, width + 90.0, height + 90.0, 0.5, 1),
        (3.0, 3.0, 3.0, 3.0, 0.5, 10**6),
        (3.0, 3.0, 4.0, 4.0, 0.5, 0),
        (-1e9, -1e9, 1e9, 1e9, 0.5, 0),
    ]
    canvas = np.zeros((height, width, 3), np.uint8)
    draw_result(canvas, result_of(rows, canvas), overlay=["FPS 29.7 · latency 35 ms", "dropped 0"])
    assert canvas.shape == (height, width, 3)


def test_nothing_found_leaves_the_picture_as_it_is() -> None:
    assert not drawn([], (64, 64)).any()


def test_a_box_outside_the_picture_leaves_no_label_in_it() -> None:
    assert not drawn([(-90, -90, -50, -50, 0.9, 0), (64, 10, 90, 30, 0.9, 0)], (64, 64)).any()


def test_masks_keypoints_and_tracks_are_drawn() -> None:
    canvas = np.zeros((200, 300, 3), np.uint8)
    mask = np.zeros((1, 200, 300), np.bool_)
    mask[0, 120:130, 120:130] = True
    more = {
        "masks": Masks.of(mask),
        "keypoints": np.array([[[200, 150, 0.9], [220, 150, 0.1], [np.nan, 1, 0.9], [1e12, 1, 0.9]]], np.float32),
        "track_ids": np.array([7], np.int64),
    }
    draw_result(canvas, result_of([(100, 100, 250, 180, 0.9, 0)], canvas, **more))
    assert canvas[125, 125].any()
    assert tuple(canvas[150, 200]) == class_colour("person")
    assert not canvas[150, 220].any()


def test_the_overlay_darkens_its_ground_and_stays_on_top_left() -> None:
    canvas = np.full((360, 640, 3), 200, np.uint8)
    draw_result(canvas, result_of([], canvas), overlay=["FPS 30.0"])
    assert canvas[:40, :120].min() < 80
    assert canvas[:40, :120].max() > 240
    assert (canvas[100:] == 200).all()


def test_a_label_in_the_corner_makes_way_for_the_overlay() -> None:
    rows = [(0.0, 20.0, 200.0, 300.0, 0.9, 1)]
    canvas = np.zeros((360, 640, 3), np.uint8)
    draw_result(canvas, result_of(rows, canvas))
    alone = (canvas == class_colour("car")).all(axis=2).sum()
    canvas[:] = 0
    draw_result(canvas, result_of(rows, canvas), overlay=["FPS 29.7 · latency 35 ms · dropped 0"])
    assert (canvas == class_colour("car")).all(axis=2).sum() >= 0.85 * alone
    assert (canvas[:18, :120] >= 250).any(), "the overlay is whole"


def followed(canvas: PixelArray, track_id: int = 7, **predicted: object) -> Result:
    """A car that is followed, came from the left, and another that is lost."""
    ids = np.array([track_id], np.int64)
    result = result_of([(100, 40, 140, 80, 0.9, 1)], canvas, track_ids=ids)
    trail = tuple(
        TrackedCentres(number / 10, ids, np.array([[20 + 10 * number, 60]], np.float32)) for number in range(11)
    )
    lost = result_of([(20, 90, 60, 115, 0.9, 0)], canvas, track_ids=np.array([3], np.int64)).detections
    return replace(result, tracks=Tracks(lost, trail))


def test_an_object_that_is_followed_has_a_trail_that_fades_and_a_lost_one_a_dashed_box() -> None:
    canvas = np.zeros((120, 200, 3), np.uint8)
    draw_result(canvas, followed(canvas), labels=False)
    along = canvas[60, 20:98].max(axis=1).astype(int)
    assert along[-1] > along[40] > along[4] > 0
    dashes = canvas[90, 20:60].any(axis=1)
    assert 0.3 < dashes.mean() < 0.8
    assert tuple(canvas[90, 20]) == class_colour("person")
    assert canvas[89:91, 58:61].any()  # a corner has a dash
    plain = np.zeros_like(canvas)
    draw_result(plain, replace(followed(canvas), tracks=None), labels=False)
    assert not plain[60, 20:98].any()
    without = np.zeros_like(canvas)
    draw_result(without, followed(canvas), labels=False, predicted=False)
    assert not without[88:120, :65].any()


def test_colours_go_by_track_where_that_is_wanted_and_no_number_is_drawn_where_there_is_none() -> None:
    canvas = np.zeros((120, 200, 3), np.uint8)
    draw_result(canvas, followed(canvas), labels=False, look=Look(colour_by="track"))
    assert tuple(canvas[40, 120]) == track_colour(7) != class_colour("car")
    named, nameless, untracked = (np.zeros_like(canvas) for _ in range(3))
    draw_result(named, replace(followed(canvas), tracks=None))
    draw_result(nameless, replace(followed(canvas, -1), tracks=None), look=Look(colour_by="track"))
    draw_result(untracked, result_of([(100, 40, 140, 80, 0.9, 1)], canvas))
    np.testing.assert_array_equal(nameless, untracked)
    assert (named != untracked).any()
    assert len({track_colour(number) for number in range(100)}) == 100


def test_tracks_on_planes_are_those_on_pixels() -> None:
    canvas, planes = np.zeros((120, 200, 3), np.uint8), I420.empty((200, 120), "bt601")
    luma, *chroma = planes.yuv
    luma[:] = 16
    for plane in chroma:
        plane[:] = 128
    new = followed(canvas, 8)
    without_way = replace(new, tracks=Tracks(Detections.empty(), followed(canvas).tracks.trail))  # type: ignore[union-attr]
    for target in (canvas, planes):
        draw_result(target, followed(canvas), labels=False)
        draw_result(target, without_way, labels=False)
    difference = np.abs(planes.yuv[0].astype(int) - yuv_of(canvas, "bt601")[..., 0])
    assert difference.max() <= 3


def test_tracks_outside_of_the_picture_are_not_drawn() -> None:
    canvas, plain = np.zeros((120, 200, 3), np.uint8), np.zeros((120, 200, 3), np.uint8)
    result = followed(canvas)
    assert result.tracks is not None
    trail = tuple(frame._replace(centres_xy=frame.centres_xy * 1e6) for frame in result.tracks.trail)
    lost = replace(result.tracks.predicted, boxes_xyxy=result.tracks.predicted.boxes_xyxy + 1e6)
    draw_result(canvas, replace(result, tracks=Tracks(lost, trail)), labels=False)
    draw_result(plain, replace(result, tracks=None), labels=False)
    np.testing.assert_array_equal(canvas, plain)


def test_what_a_second_model_says_stands_behind_the_label_on_a_ground_of_its_own() -> None:
    def label(**more: object) -> PixelArray:
        canvas = np.zeros((120, 300, 3), np.uint8)
        draw_result(canvas, result_of([(50, 60, 150, 100, 0.9, 1)], canvas, **more))
        return canvas[45:59]

    plain, named, empty = label(), label(attributes=((Attribute("red", 0.5),),)), label(attributes=((),))
    end = int(np.flatnonzero(plain.any(axis=(0, 2)))[-1]) + 1
    assert np.array_equal(plain, empty)
    assert np.array_equal(plain[:, :end], named[:, :end])
    assert named[:, end + 4 : end + 20].any()
    assert not (named[:, end : end + 60] == class_colour("car")).all(axis=2).any()


def test_texts_that_are_new_all_the_time_do_not_fill_the_memory() -> None:
    names = tuple(f"a thing that has the number {number}" for number in range(80))
    canvas, planes = np.zeros((64, 64, 3), np.uint8), np.zeros((96, 64), np.uint8)
    pictures: list[PixelArray | I420] = [canvas, I420(planes, "bt601"), I420(planes, "bt709")]
    look = Look(text_size=60)
    tracemalloc.start()  # which counts NumPy's pixels, too
    try:
        for number in range(len(names)):
            detections = Detections(np.array([[8, 8, 40, 40]], np.float32), np.ones(1, np.float32), np.array([number]))
            for picture in pictures:
                draw_result(picture, Result(Frame.from_pixels(canvas), detections, names), scores=False, look=look)
        num_bytes = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert num_bytes < 1.05 * MOST_PLATE_BYTES  # and a few names and colours
