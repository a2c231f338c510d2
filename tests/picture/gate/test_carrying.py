"""Carrying: parts that were looked at decide about their objects, and no other object is lost or doubled."""

from __future__ import annotations

import numpy as np

from pipeline.picture.detections import Detections
from pipeline.picture.gate.carrying import merged

SIZE_WH = (1000, 600)
LEFT_HALF = np.array([[0, 0, 500, 600]], np.float32)


def objects(*rows: tuple[float, float, float, float, int], score: float = 0.8) -> Detections:
    """Boxes with their classes."""
    table = np.array(rows, np.float32).reshape(-1, 5)
    return Detections(table[:, :4].copy(), np.full(len(rows), score, np.float32), table[:, 4].astype(np.int64))


def result(new: Detections, before: Detections, regions: np.ndarray = LEFT_HALF) -> list[tuple[list[float], bool]]:
    together = merged(new, before, regions, SIZE_WH)
    assert together.carried is not None
    return list(zip(together.boxes_xyxy.tolist(), together.carried.tolist(), strict=True))


def test_objects_outside_of_the_parts_are_carried() -> None:
    assert result(objects(), objects((700, 100, 800, 300, 0))) == [([700, 100, 800, 300], True)]


def test_an_object_that_a_part_no_longer_shows_is_gone() -> None:
    assert result(objects(), objects((100, 100, 200, 300, 0))) == []


def test_an_object_that_moved_inside_a_part_is_the_new_one() -> None:
    assert result(objects((150, 100, 250, 300, 0)), objects((100, 100, 200, 300, 0))) == [([150, 100, 250, 300], False)]


def test_a_box_at_an_inner_edge_is_dropped_and_the_object_that_it_is_a_piece_of_confirmed() -> None:
    piece = objects((400, 100, 500, 300, 0))
    assert result(piece, objects()) == []
    assert result(piece, objects((380, 100, 540, 300, 0))) == [([380, 100, 540, 300], True)]
    assert result(piece, objects((380, 100, 540, 300, 7))) == []  # mostly looked at, and of another class


def test_a_box_at_the_border_of_the_frame_is_not_cut() -> None:
    assert result(objects((0, 0, 100, 600, 0)), objects()) == [([0, 0, 100, 600], False)]


def test_an_object_half_outside_is_not_doubled() -> None:
    before, again = objects((440, 100, 640, 300, 0)), objects((430, 100, 495, 300, 0), (400, 100, 490, 300, 1))
    assert result(again, before) == [
        ([400, 100, 490, 300], False),  # of another class
        ([440, 100, 640, 300], True),  # of which the other is a piece
    ]
    assert result(objects((420, 100, 498 - 2, 300, 0)), objects((425, 100, 510, 300, 0)))[0][1] is False


def test_the_best_come_first_and_nothing_gives_nothing() -> None:
    together = merged(
        objects((10, 10, 50, 50, 0), score=0.5), objects((700, 0, 800, 99, 0), score=0.9), LEFT_HALF, SIZE_WH
    )
    assert together.scores.tolist() == [np.float32(0.9), np.float32(0.5)]
    assert result(objects(), objects()) == []
    assert result(objects(), objects((1, 1, 5, 5, 0)), np.zeros((0, 4), np.float32)) == [([1, 1, 5, 5], True)]
