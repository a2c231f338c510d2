"""Tiling: tiles cover the picture, and an object is counted once, as a slow reference counts it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pipeline.picture.detections import Detections
from pipeline.picture.letterbox import Letterbox
from pipeline.picture.masks import Masks
from pipeline.picture.suppression import SuppressionOptions
from pipeline.picture.tiling import MOST_TILES, NEEDED_PX, Tile, Tiling, merge_tiles

Box = tuple[float, float, float, float]

LEFT, RIGHT = Tile(0, 0, 120, 100, (200, 100)), Tile(80, 0, 200, 100, (200, 100))
WHOLE = Tile(0, 0, 200, 100, (200, 100))


def boxes_of(*rows: tuple[Box, float, int]) -> Detections:
    return Detections(
        np.array([row[0] for row in rows], np.float32).reshape(-1, 4),
        np.array([row[1] for row in rows], np.float32),
        np.array([row[2] for row in rows], np.int64),
    )


def merged(*pairs: tuple[Tile, Detections], **options: object) -> list[tuple[list[float], float]]:
    """Boxes in the picture's pixels and scores."""
    tiles, detections = zip(*pairs, strict=True)
    kept = merge_tiles(tiles, detections, SuppressionOptions(**options))  # type: ignore[arg-type]
    return list(zip(kept.boxes_xyxy.tolist(), np.round(kept.scores.astype(float), 4).tolist(), strict=True))


@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 7), st.integers(1, 7), st.floats(0, 0.9), st.booleans())
def test_tiles_of_one_size_cover_every_pixel_and_overlap_as_much_as_they_should(
    width: int, height: int, rows: int, columns: int, overlap: float, has_whole: bool
) -> None:
    tiles = Tiling((rows, columns), overlap=overlap, has_whole=has_whole).tiles((width, height))
    times_seen = np.zeros((height, width), int)
    parts = tiles[:-1] if has_whole and len(tiles) > 1 else tiles
    for tile in parts:
        assert times_seen[tile.window].shape == tile.size_wh[::-1]
        times_seen[tile.window] += 1
    assert times_seen.min() >= 1
    assert len({tile.size_wh for tile in parts}) == 1
    assert len(set(tiles)) == len(tiles) <= rows * columns + has_whole
    assert tiles[-1].is_whole or not has_whole
    lefts = sorted({tile.left for tile in parts})
    side = parts[0].size_wh[0]
    assert all(left + side - after >= overlap * side - 1.5 for left, after in pairwise(lefts))


@given(st.integers(64, 4000), st.integers(64, 4000), st.floats(8, 100), st.floats(0, 0.5))
def test_the_smallest_object_has_enough_pixels_in_every_tile_of_as_few_as_can_be(
    width: int, height: int, smallest_px: float, overlap: float
) -> None:
    network_wh = (640, 384)
    tiling = Tiling(None, overlap=overlap, has_whole=False, smallest_px=smallest_px, network_wh=network_wh)
    sides = np.ceil(np.array([width, height]) * NEEDED_PX / smallest_px / np.array(network_wh) / (1 - overlap))
    assume(sides.prod() < MOST_TILES)  # as many as that, or fewer
    rows, columns = tiling.grid_of((width, height))
    tile = tiling.tiles((width, height))[0]
    scale = Letterbox.fit(tile.size_wh, network_wh, "letterbox-center").scale_xy
    assert min(scale) * smallest_px >= NEEDED_PX * 0.97  # tiles are whole pixels
    if columns > 1:
        wider = Tiling((rows, columns - 1), overlap=overlap, has_whole=False).tiles((width, height))[0]
        assert network_wh[0] / wider.size_wh[0] * smallest_px < NEEDED_PX * 1.01


def test_a_grid_of_one_is_the_picture_itself() -> None:
    assert Tiling((1, 1)).tiles((200, 100)) == (WHOLE,)
    detections = boxes_of(((1, 2, 30, 40), 0.9, 0), ((2, 2, 30, 40), 0.8, 0))
    kept = merge_tiles((WHOLE,), [detections], SuppressionOptions())
    assert kept.boxes_xyxy.tolist() == detections.boxes_xyxy.tolist()


def test_an_object_in_the_overlap_of_two_tiles_is_one_object() -> None:
    pair = (LEFT, boxes_of(((90, 10, 110, 40), 0.7, 1))), (RIGHT, boxes_of(((11, 10, 31, 40), 0.8, 1)))
    assert merged(*pair) == [([91, 10, 111, 40], 0.8)]
    other_class = (LEFT, boxes_of(((90, 10, 110, 40), 0.7, 2)))
    assert len(merged(other_class, pair[1])) == 2
    assert len(merged(other_class, pair[1], mode="class-agnostic")) == 1


def test_a_part_that_an_inner_edge_cut_gives_way_to_the_object_that_another_tile_has() -> None:
    cut = (LEFT, boxes_of(((95, 10, 119.5, 60), 0.9, 0)))  # left quarter of the object
    complete = (RIGHT, boxes_of(((15, 10, 110, 60), 0.6, 0)))
    assert merged(cut, complete) == [([95, 10, 190, 60], 0.6)]
    assert merged(cut, (RIGHT, Detections.empty())) == [([95, 10, 119.5, 60], 0.9)]
    assert merged(cut, (WHOLE, boxes_of(((95, 10, 190, 60), 0.6, 0)))) == [([95, 10, 190, 60], 0.6)]


def test_a_box_at_the_border_of_the_picture_is_not_cut_and_a_doubtful_one_removes_none() -> None:
    at_border = (LEFT, boxes_of(((0, 10, 20, 60), 0.5, 0)))
    around_it = (WHOLE, boxes_of(((0, 0, 90, 100), 0.9, 0)))
    assert len(merged(at_border, around_it)) == 2
    cut = (LEFT, boxes_of(((95, 10, 120, 60), 0.9, 0)))
    assert len(merged(cut, (RIGHT, boxes_of(((15, 10, 110, 60), 0.1, 0))))) == 2


def test_a_cut_object_is_not_a_part_of_a_smaller_one_before_it() -> None:
    bus = (LEFT, boxes_of(((20, 10, 120, 90), 0.9, 0)))
    car = (RIGHT, boxes_of(((5, 50, 25, 70), 0.9, 0)))
    assert len(merged(bus, car)) == 2


def test_boxes_of_one_tile_are_never_rivals() -> None:
    twins = boxes_of(((10, 10, 50, 50), 0.9, 0), ((11, 10, 51, 50), 0.8, 0))
    assert len(merged((LEFT, twins), (RIGHT, Detections.empty()))) == 2


def test_no_detections_and_too_many() -> None:
    nothing = (LEFT, Detections.empty()), (RIGHT, Detections.empty())
    assert merged(*nothing) == []
    many = boxes_of(*(((10.0 * i, 0, 10.0 * i + 5, 5), 0.1 + 0.05 * i, 0) for i in range(8)))
    kept = merged((LEFT, many), nothing[1], max_detections=3)
    assert [score for _, score in kept] == pytest.approx([0.45, 0.4, 0.35])


def test_masks_and_points_move_with_their_boxes() -> None:
    box = boxes_of(((15, 10, 40, 60), 0.9, 0))
    masks, points = np.zeros((1, 100, 120), np.bool_), np.array([[[20, 30, 0.8]]], np.float32)
    masks[0, 10:60, 15:40] = True
    detections = Detections(box.boxes_xyxy, box.scores, box.class_ids, Masks.of(masks), points)
    kept = merge_tiles((LEFT, RIGHT), [Detections.empty(), detections], SuppressionOptions())
    assert kept.keypoints is not None
    assert kept.keypoints.tolist() == [[[100, 30, pytest.approx(0.8)]]]
    assert kept.masks is not None
    assert kept.masks.shape == (1, 100, 200)
    rows, columns = np.nonzero(kept.masks[0])
    assert (columns.min(), rows.min(), columns.max(), rows.max()) == (95, 10, 119, 59)


def overlap(a: Sequence[float], b: Sequence[float]) -> float:
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))


def area(box: Sequence[float]) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def by_hand(rows: list[tuple[Sequence[float], float, int, int, bool]], iou_threshold: float) -> set[int]:
    """The rows of box, score, class, tile and whether it is cut that stay, one pair after another."""

    def is_part(cut: int) -> bool:
        box, score, kind, tile, is_cut = rows[cut]
        return is_cut and any(
            not other_cut
            and other_tile != tile
            and other_kind == kind
            and overlap(box, other) >= 0.6 * area(box)
            and other_score >= 0.25 * score
            for other, other_score, other_kind, other_tile, other_cut in rows
        )

    kept: set[int] = set()
    for index in sorted(range(len(rows)), key=lambda row: -rows[row][1]):
        box, _, kind, tile, _ = rows[index]
        rivals = [rows[k] for k in kept if rows[k][2] == kind and rows[k][3] != tile]
        shared = [(overlap(box, rival[0]), area(box) + area(rival[0])) for rival in rivals]
        if not is_part(index) and not any(both / (sum_ - both) > iou_threshold for both, sum_ in shared):
            kept.add(index)
    return kept


@pytest.mark.parametrize("seed", range(20))
def test_random_boxes_are_merged_as_a_slow_reference_merges_them(seed: int) -> None:
    random = np.random.default_rng(seed)
    tiles = Tiling((2, 2), overlap=0.3).tiles((200, 150))
    detections, rows = [], []
    for number, tile in enumerate(tiles):
        width, height = tile.size_wh
        corners = np.sort(random.integers(0, (width, height), (12, 2, 2)), axis=1)  # [12, 2, 2]
        boxes = (corners.reshape(12, 4) + np.array([0, 0, 1, 1])).astype(np.float32)
        scores, classes = random.permutation(12).astype(np.float32) / 50 + 0.1 + number / 500, random.integers(0, 2, 12)
        detections.append(Detections(boxes, scores.astype(np.float32), classes.astype(np.int64)))
        offset = np.array([tile.left, tile.top] * 2)
        for box, score, kind in zip(boxes, scores, classes, strict=True):
            tolerance = np.maximum(0.02 * np.array([width, height] * 2), 1)
            inner = [tile.left > 0, tile.top > 0, tile.right < 200, tile.bottom < 150]
            ends = np.abs(box - [0, 0, width, height]) <= tolerance
            rows.append(((box + offset).tolist(), float(score), int(kind), number, bool((ends & inner).any())))
    kept = merge_tiles(tiles, detections, SuppressionOptions(iou_threshold=0.4))
    expected = by_hand(rows, 0.4)
    assert 5 < len(expected) <= len(rows)
    ours = {(*box, round(score, 5)) for box, score in zip(kept.boxes_xyxy.tolist(), kept.scores.tolist(), strict=True)}
    assert ours == {(*rows[index][0], round(float(np.float32(rows[index][1])), 5)) for index in expected}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"grid": (0, 2)}, "1 to 256 tiles, got 0x2"),
        ({"grid": (99, 99)}, "got 99x99"),
        ({"grid": (2, 2), "overlap": 0.95}, "overlap must lie within"),
        ({"grid": (2, 2), "overlap": float("nan")}, "overlap must lie within"),
        ({"grid": None}, "a grid, or the size of the smallest object"),
        ({"grid": (2, 2), "smallest_px": 3}, "and not both"),
        ({"grid": None, "smallest_px": float("nan")}, "more than 0 pixels"),
    ],
)
def test_a_tiling_that_cannot_be_is_refused(settings: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Tiling(**settings)  # type: ignore[arg-type]
