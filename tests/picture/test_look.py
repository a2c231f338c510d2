"""Looks: themes and box styles differ, on pixels as on planes, and sizes are those that are chosen."""

from __future__ import annotations

from itertools import combinations, product
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import pytest

from pipeline.picture.choices import BoxStyle, ThemeName
from pipeline.picture.detections import Detections, Result
from pipeline.picture.drawing import draw_result
from pipeline.picture.frame import Frame, PixelArray
from pipeline.picture.i420 import I420, yuv_of
from pipeline.picture.look import THEMES, Look

GREY = 90
THEME_NAMES, BOX_STYLES = get_args(ThemeName), get_args(BoxStyle)
TILTED = np.array([[[60, 30], [150, 50], [140, 95], [50, 75]]], np.float32)
AWKWARD = np.array(
    [[0, 0, 200, 120], [-1e9, -1e9, 1e9, 1e9], [5, 5, 5, 5], [3, 3, 4, 4], [199, 119, 300, 300], [-9, -9, 2, 2]],
    np.float32,
)


def result_of(boxes: npt.NDArray[np.float32], corners: npt.NDArray[np.float32] | None = None) -> Result:
    num = len(boxes)
    detections = Detections(boxes, np.full(num, 0.8, np.float32), np.arange(num) % 2, corners=corners)
    return Result(Frame.from_pixels(np.full((120, 200, 3), GREY, np.uint8)), detections, ("person", "car"))


def drawn(look: Look, *, corners: npt.NDArray[np.float32] | None = None, labels: bool = False) -> PixelArray:
    boxes = np.array([[50, 40, 150, 100]], np.float32) if corners is None else np.array([[50, 30, 150, 95]], np.float32)
    return result_of(boxes, corners).plot(look=look, labels=labels)


@pytest.mark.parametrize("corners", [None, TILTED])
def test_every_theme_and_every_style_of_box_looks_different(corners: npt.NDArray[np.float32] | None) -> None:
    looks = [Look(theme=theme) for theme in THEME_NAMES] + [Look(box_style=style) for style in BOX_STYLES[1:]]
    pictures = [drawn(look, corners=corners, labels=True) for look in looks]
    for a, b in combinations(pictures, 2):
        assert (np.abs(a.astype(int) - b).max(axis=2) > 10).sum() > 100
    assert set(THEMES) == set(THEME_NAMES)


def test_corners_leave_the_sides_open_and_rounded_boxes_cut_the_corners() -> None:
    box, corners, rounded = ((drawn(Look(box_style=style)) != GREY).any(axis=2) for style in BOX_STYLES)
    assert box[40, 50:150].all()
    assert corners[40, 50:60].all()
    assert corners[40, 141:150].all()
    assert not corners[40, 75:125].any()
    assert not corners[65:75, 50].any()
    assert rounded[40, 90:110].all()
    assert rounded[65:75, 50].all()
    assert not rounded[39:41, 49:51].any()


@pytest.mark.parametrize("style", BOX_STYLES)
def test_an_oriented_box_has_the_style_too(style: Any) -> None:
    inked = (drawn(Look(box_style=style), corners=TILTED) != GREY).any(axis=2)
    corner, middle = (30, 60), (40, 105)
    assert inked[corner] == (style != "rounded")
    assert inked[middle[0] - 2 : middle[0] + 3, middle[1]].any() == (style != "corners")


def test_lines_and_text_have_the_size_that_is_chosen_and_otherwise_grow_with_the_picture() -> None:
    for width in (1, 4, 9):
        column = (drawn(Look(line_width=width))[:, 100] != GREY).any(axis=1)
        assert column.sum() == 2 * width
    heights = [
        int((drawn(Look(text_size=size), labels=True)[:, 60] != GREY).any(axis=1)[:100].sum()) for size in (12, 24)
    ]
    assert heights[1] - heights[0] >= 12
    assert Look().thickness((1920, 1080)) == 3 < Look().thickness((3840, 2160)) == 6
    assert (
        Look().text_px((640, 360))
        < Look().text_px((1920, 1080))
        == 20
        < Look(theme="high-contrast").text_px((1920, 1080))
    )


@pytest.mark.parametrize(("theme", "style"), [*product(THEME_NAMES, BOX_STYLES)])
def test_planes_show_what_pixels_show_whatever_the_boxes(theme: Any, style: Any) -> None:
    for boxes, corners in ((AWKWARD, None), (np.array([[50, 30, 150, 95]], np.float32), TILTED), (AWKWARD[:0], None)):
        result = result_of(boxes, corners)
        canvas, planes = result.frame.picture.copy_pixels(), I420.empty((200, 120), "bt601")
        luma, *chroma = planes.yuv
        luma[:] = yuv_of(canvas, "bt601")[..., 0]
        for plane in chroma:
            plane[:] = 128
        for target in (canvas, planes):
            draw_result(target, result, look=Look(theme=theme, box_style=style))
        assert np.abs(planes.yuv[0].astype(int) - yuv_of(canvas, "bt601")[..., 0]).max() <= 4
        assert len(boxes) == 0 or (canvas != GREY).any()


def test_without_boxes_labels_remain_and_masks() -> None:
    result = result_of(np.array([[50, 40, 150, 100]], np.float32))
    canvas = result.frame.picture.copy_pixels()
    draw_result(canvas, result, boxes=False)
    assert not (canvas[45:] != GREY).any()
    assert (canvas[:40] != GREY).any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"theme": "neon"}, "theme must be one of plain, colour-blind, .*, got 'neon'"),
        ({"box_style": "round"}, "box_style must be one of box, corners, rounded, got 'round'"),
        ({"colour_by": None}, "colour_by must be one of class, track, got None"),
        ({"line_width": 0}, "line_width must be at least 1 pixel, got 0"),
    ],
)
def test_a_look_that_there_is_not_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Look(**options)
