"""Packing: all that has changed is in the packed image, once, and boxes come back to where they were."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.picture.candidates import Candidates
from pipeline.picture.gate.packing import Packer, Packing, Size, placed
from pipeline.picture.gate.regions import cells_of, regions_of
from pipeline.picture.letterbox import Letterbox, ResizeMode

NETWORK_WH = (416, 416)
CANVASES = ((160, 256), (224, 128), (224, 256), (416, 288), (416, 416))
NO_OBJECTS = np.zeros((0, 4), np.float32)
MODES: tuple[ResizeMode, ...] = ("letterbox-center", "letterbox-topleft")


def packing_of(
    cells: np.ndarray, size_wh: Size, mode: ResizeMode = "letterbox-center", objects: np.ndarray = NO_OBJECTS
) -> Packing:
    packing = Packer(NETWORK_WH, CANVASES).pack(cells, Letterbox.fit(size_wh, NETWORK_WH, mode), objects)
    assert packing is not None
    return packing


def overlaps(boxes: np.ndarray) -> bool:
    """Whether two of some rectangles [R, 4] overlap."""
    low = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    areas = np.clip(high - low, 0, None).prod(axis=2)
    return bool((areas - np.diag(np.diag(areas))).any())


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("seed", range(12))
def test_every_changed_cell_is_in_one_part_and_parts_lie_apart(seed: int, mode: ResizeMode) -> None:
    random = np.random.default_rng(seed)
    size_wh = [(1920, 1080), (1080, 1920), (640, 640), (321, 241)][seed % 4]
    down, across = (90, 160) if size_wh[0] >= size_wh[1] else (160, 90)
    cells = np.zeros((down, across), np.bool_)
    for _ in range(random.integers(1, 5)):
        row, column = random.integers(0, (down, across))
        cells[row : row + random.integers(1, 12), column : column + random.integers(1, 12)] = True
    packing = packing_of(cells, size_wh, mode)
    windows = np.array([[p.window.left, p.window.top, p.window.right, p.window.bottom] for p in packing.parts])
    images = np.array(
        [[p.left, p.top, p.left + p.window.size_wh[0], p.top + p.window.size_wh[1]] for p in packing.parts]
    )
    assert not (windows % 32).any()
    assert not (images % 32).any()
    assert not overlaps(windows)
    assert not overlaps(images)
    assert images.min() >= 0
    assert (images[:, 2:] <= packing.canvas_wh).all()
    rows, columns = np.nonzero(cells)
    middles = np.stack([(columns + 0.5) / across * size_wh[0], (rows + 0.5) / down * size_wh[1]], axis=1)
    boxes = packing.letterbox.boxes_to_network(np.tile(middles, 2).astype(np.float32))[:, :2]
    is_inside = (boxes[:, None] >= windows[None, :, :2]) & (boxes[:, None] < windows[None, :, 2:])
    assert (is_inside.all(axis=2).sum(axis=1) == 1).all()


@pytest.mark.parametrize("seed", range(8))
def test_boxes_in_the_parts_come_back_and_others_are_left_out(seed: int) -> None:
    random = np.random.default_rng(seed)
    cells = np.zeros((90, 160), np.bool_)
    cells[10:20, 10:20] = cells[60:70, 120:150] = True
    packing = packing_of(cells, (1920, 1080))
    assert len(packing.parts) == 2, "they are cheaper apart"
    expected, packed = [], []
    for _ in range(20):
        part = packing.parts[random.integers(2)]
        low, high = np.zeros(2), np.array(part.window.size_wh)
        corners = np.sort(random.uniform(low, high, (2, 2)), axis=0)  # inside of the part
        expected.append((corners + np.array((part.window.left, part.window.top))).reshape(4))
        packed.append((corners + np.array((part.left, part.top))).reshape(4))
    packed.append(np.array([packing.canvas_wh[0] - 2, packing.canvas_wh[1] - 2, *packing.canvas_wh]))  # of no part
    numbers = np.arange(21)
    candidates = Candidates(
        np.array(packed, np.float32),
        (numbers / 100).astype(np.float32),
        numbers,
        keypoints=np.array(packed, np.float32)[:, None, :3],
    )
    back = packing.letterboxed(candidates)
    order = np.argsort(back.class_ids)
    assert back.class_ids[order].tolist() == list(range(20))
    np.testing.assert_allclose(back.boxes_xyxy[order], expected, atol=1e-3)
    np.testing.assert_allclose(back.scores[order], numbers[:20] / 100, atol=1e-6)
    assert back.keypoints is not None
    np.testing.assert_allclose(back.keypoints[order, 0, :2], np.array(expected)[:, :2], atol=1e-3)


def test_a_network_without_a_candidate_gives_none() -> None:
    cells = np.zeros((90, 160), np.bool_)
    cells[10:20, 10:20] = True
    empty = Candidates(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))
    assert len(packing_of(cells, (1920, 1080)).letterboxed(empty).scores) == 0


def test_an_object_of_which_a_part_moves_is_looked_at_as_a_whole() -> None:
    cells = np.zeros((90, 160), np.bool_)
    cells[40:44, 80:84] = True
    person = np.array([[900, 200, 1100, 900], [0, 0, 100, 100]], np.float32)  # the second has not changed
    (alone,) = packing_of(cells, (1920, 1080)).regions_xyxy.tolist()
    (grown,) = packing_of(cells, (1920, 1080), objects=person).regions_xyxy.tolist()
    assert alone[1] > 200
    assert grown[0] < 900
    assert grown[1] < 200
    assert grown[2] > 1100
    assert grown[3] > 900


def test_where_all_has_changed_no_smaller_image_does() -> None:
    letterbox = Letterbox.fit((1920, 1080), NETWORK_WH, "letterbox-center")
    assert Packer(NETWORK_WH, CANVASES[:3]).pack(np.ones((90, 160), np.bool_), letterbox, NO_OBJECTS) is None


@pytest.mark.parametrize("size_wh", [(1, 1), (1, 300), (300, 1), (7, 5)])
def test_pictures_of_a_few_pixels_are_packed(size_wh: Size) -> None:
    cells = np.ones((min(90, size_wh[1]), min(160, size_wh[0])), np.bool_)
    letterbox = Letterbox.fit(size_wh, NETWORK_WH, "letterbox-topleft")
    packing = Packer(NETWORK_WH, CANVASES).pack(cells, letterbox, NO_OBJECTS)
    assert packing is not None
    assert packing.regions_xyxy.tolist() == [[0, 0, *size_wh]]


def test_the_smallest_image_that_holds_the_parts_is_taken() -> None:
    assert placed([(64, 64), (64, 64)], (160, 64)) == [(0, 0), (96, 0)]  # a stride apart
    assert placed([(64, 64), (64, 64)], (128, 64)) is None
    assert placed([(32, 32), (96, 64)], (128, 128)) == [(0, 96), (0, 0)]  # the largest first
    assert placed([], (32, 32)) == []
    assert placed([(64, 32)], (32, 64)) is None


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("seed", range(20))
def test_one_part_is_as_large_as_its_image_as_far_as_the_picture_goes(seed: int, mode: ResizeMode) -> None:
    """What is seen around an object costs nothing there, and grey would be in its place."""
    random = np.random.default_rng(seed)
    size_wh = [(1920, 1080), (1080, 1920), (768, 432)][seed % 3]
    cells = np.zeros((90, 160) if size_wh[0] >= size_wh[1] else (160, 90), np.bool_)
    row, column = (int(random.integers(0, side)) for side in cells.shape)
    cells[row : row + 6, column : column + 6] = True
    canvases = CANVASES if size_wh[0] >= size_wh[1] else tuple((height, width) for width, height in CANVASES)
    letterbox = Letterbox.fit(size_wh, NETWORK_WH, mode)
    packing = Packer(NETWORK_WH, canvases).pack(cells, letterbox, NO_OBJECTS)
    assert packing is not None
    (part,) = packing.parts
    window = part.window
    spans = [(window.left, window.right), (window.top, window.bottom)]
    pads = (letterbox.pad_left, letterbox.pad_top)
    for (begin, end), side, pad, length in zip(spans, packing.canvas_wh, pads, letterbox.content_wh, strict=True):
        first, last = pad // 32 * 32, min(416, -(-(pad + length) // 32) * 32)
        assert first <= begin < end <= last
        assert end - begin == min(side, last - first)


def test_many_specks_become_one_region() -> None:
    cells = np.zeros((90, 160), np.bool_)
    cells[::20, ::20] = True
    (region,) = regions_of(cells, (160, 90), objects_xyxy=NO_OBJECTS, least_side=2, padding=1)
    assert (region.left, region.top, region.right, region.bottom) == (0, 0, 160, 90)
    assert regions_of(np.zeros((9, 16), np.bool_), (160, 90), objects_xyxy=NO_OBJECTS, least_side=2, padding=1) == ()


def test_cells_of_a_box_are_those_that_it_touches() -> None:
    assert cells_of((11.9, 0, 24.1, 12), (1920, 1080), (90, 160)) == (slice(0, 1), slice(0, 3))
    assert cells_of((-50, -50, -10, 5000), (1920, 1080), (90, 160)) == (slice(0, 90), slice(0, 0))
