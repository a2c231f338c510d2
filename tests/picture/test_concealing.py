"""Concealing: what lies in an area cannot be told any more, in pixels and in planes, and all else stays."""

from __future__ import annotations

import itertools

import av
import numpy as np
import pytest

from pipeline.picture.concealing import Area, ConcealedPicture, Manner, areas_around
from pipeline.picture.frame import ArrayPicture
from pipeline.sources.video.picture import VideoPicture
from tests.support.pictures import difference, noise, smooth

MANNERS: tuple[Manner, Manner] = ("blur", "pixelate")


def window(array: np.ndarray, area: Area) -> np.ndarray:
    return array[area.top : area.bottom, area.left : area.right]


@pytest.mark.parametrize("manner", MANNERS)
@pytest.mark.parametrize("size", [(128, 64), (6, 6), (9, 40), (1, 3)])
def test_nothing_is_left_but_the_averages_of_few_cells(manner: Manner, size: tuple[int, int]) -> None:
    """Two pictures whose 64 cells have the same averages, one of them flat there, look the same afterwards."""
    pixels = noise(200, 100)
    area = Area(20, 10, 20 + size[0], 10 + size[1], manner)
    hidden = window(ConcealedPicture(ArrayPicture(pixels), [area]).pixels, area)
    cells = [min(max(1, side // 4), 8) for side in size]
    flat = pixels.copy()
    columns, rows = (np.linspace(0, side, num + 1) for side, num in zip(size, cells, strict=True))
    if all(side % num == 0 for side, num in zip(size, cells, strict=True)):
        for top, bottom in itertools.pairwise(rows):
            for left, right in itertools.pairwise(columns):
                cell = window(flat, Area(int(20 + left), int(10 + top), int(20 + right), int(10 + bottom), manner))
                cell[:] = np.rint(cell.mean(axis=(0, 1)))
        of_flat = window(ConcealedPicture(ArrayPicture(flat), [area]).pixels, area)
        assert np.abs(of_flat.astype(int) - hidden).max() <= 2
    if manner == "pixelate":
        assert len(np.unique(hidden.reshape(-1, 3), axis=0)) <= cells[0] * cells[1] <= 64


@pytest.mark.parametrize("manner", MANNERS)
def test_all_else_stays_and_the_source_is_not_touched(manner: Manner) -> None:
    pixels = noise(90, 70)
    before, area = pixels.copy(), Area(10, 20, 60, 50, manner)
    picture = ConcealedPicture(ArrayPicture(pixels), [area])
    inside = np.zeros((70, 90), np.bool_)
    window(inside, area)[:] = True
    assert np.array_equal(pixels, before)
    assert np.array_equal(picture.pixels[~inside], pixels[~inside])
    assert (picture.copy_pixels() == picture.pixels).all()
    assert difference(picture.resized((90, 70), colour="rgb")[..., ::-1], picture.pixels) == 0
    assert not picture.pixels.flags.writeable
    assert np.array_equal(ConcealedPicture(ArrayPicture(pixels), []).pixels, pixels)


@pytest.mark.parametrize("manner", MANNERS)
def test_planes_of_a_video_are_concealed_as_its_pixels_are(manner: Manner) -> None:
    pixels = smooth(160, 96)
    pixels[30:70:2, 40:100] = 255 - pixels[30:70:2, 40:100]
    video = VideoPicture(av.VideoFrame.from_ndarray(pixels, format="bgr24").reformat(format="yuv420p"))
    area = Area(36, 26, 104, 74, manner)
    picture = ConcealedPicture(video, [area])
    planes = picture.copy_i420()
    assert planes is not None
    assert difference(planes.to_bgr(), picture.pixels) < 3
    luma = window(planes.yuv[0], area).astype(int)
    assert np.abs(np.diff(luma, axis=0)).max() < 40  # stripes of up to 255 levels
    assert difference(window(planes.to_bgr(), area), window(pixels, area)) > 20
    assert picture.size_wh == (160, 96)
    assert picture.pixel_aspect == 1
    assert ConcealedPicture(ArrayPicture(pixels), [area]).copy_i420() is None


def test_areas_have_a_margin_even_corners_and_stay_within_the_picture() -> None:
    boxes = np.array([[20, 10, 40, 50], [-5, -5, 7, 9], [90, 60, 130, 99], [300, 300, 310, 310]], np.float32)
    areas = areas_around(boxes, ["blur"] * 4, (101, 71), margin=0.1)
    assert areas == [(18, 6, 42, 54, "blur"), (0, 0, 10, 12, "blur"), (86, 56, 101, 71, "blur")]
    assert areas_around(np.zeros((0, 4), np.float32), [], (10, 10), margin=0.1) == []
