"""Rejoining: an object that comes back from behind something has its number again, and nothing else has it."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.picture.detections import Detections
from pipeline.picture.tracking.bytetrack import ByteTrack
from pipeline.picture.tracking.tracker import TrackerOptions, track_ids_of

RATE = 30
SPEED = 4.0  # pixels a frame
WH = (40.0, 80.0)
WALL = (300.0, 420.0)  # x of what hides everything behind it


def visible_box(number: int, *, wh: tuple[float, float] = WH, late: float = 0.0) -> list[float] | None:
    """What a detector sees of an object that walks behind the wall: nothing, where most of it is hidden."""
    left = 120 + SPEED * number - late
    right = left + wh[0]
    if WALL[0] <= left and right <= WALL[1]:
        return None
    seen_left = WALL[1] if WALL[0] <= left < WALL[1] else left
    seen_right = WALL[0] if WALL[0] < right <= WALL[1] else right
    return [seen_left, 100.0, seen_right, 100 + wh[1]] if seen_right - seen_left >= 0.6 * wh[0] else None


def ids_of(boxes: list[list[float] | None], class_ids: list[int], options: TrackerOptions, rate: int) -> list[int]:
    """The ids of an object that is alone, in the order in which it has them."""
    tracker, ids = ByteTrack(options), []
    for number, (box, class_id) in enumerate(zip(boxes, class_ids, strict=True)):
        rows = np.array([] if box is None else [box], np.float32).reshape(-1, 4)
        num = len(rows)
        detections = Detections(rows, np.full(num, 0.9, np.float32), np.full(num, class_id, np.int64))
        ids += track_ids_of(tracker.update(detections, number / rate)).tolist()
    return list(dict.fromkeys(number for number in ids if number != -1))


@pytest.mark.parametrize("confirm_hits", [1, 2, 4])
@pytest.mark.parametrize("every", [1, 2, 3])
def test_one_that_walked_behind_a_wall_has_its_number_again(every: int, confirm_hits: int) -> None:
    boxes = [visible_box(number) for number in range(0, 110, every)]
    assert sum(box is None for box in boxes) >= 18 // every
    options = TrackerOptions(confirm_hits=confirm_hits)
    assert ids_of(boxes, [0] * len(boxes), options, RATE // every) == [1]


def test_without_it_that_is_another_object() -> None:
    boxes = [visible_box(number) for number in range(110)]
    assert ids_of(boxes, [0] * 110, TrackerOptions(rejoins=False), RATE) == [1, 2]


@pytest.mark.parametrize(
    ("wh", "late", "class_id", "memory_seconds"),
    [
        ((90.0, 80.0), 0.0, 0, 2.0),
        ((40.0, 170.0), 0.0, 0, 2.0),
        (WH, -160.0, 0, 2.0),
        (WH, 0.0, 1, 2.0),
        (WH, 0.0, 0, 0.4),
    ],
    ids=["too wide", "too high", "too far", "of another class", "after the memory"],
)
def test_one_that_cannot_be_it_has_a_number_of_its_own(
    wh: tuple[float, float], late: float, class_id: int, memory_seconds: float
) -> None:
    first = [visible_box(number) for number in range(46)]
    after = [visible_box(number) if wh == WH and not late else None for number in range(46, 78)]
    last = [visible_box(number, wh=wh, late=late) for number in range(78, 120)]
    class_ids = [0] * 46 + [class_id] * 74
    options = TrackerOptions(memory_seconds=memory_seconds)
    assert ids_of([*first, *after, *last], class_ids, options, RATE) == [1, 2]


def test_of_two_that_come_back_each_has_its_own_number() -> None:
    tracker, ids_by_height = ByteTrack(TrackerOptions()), dict[float, set[int]]()
    for number in range(110):
        low, high = visible_box(number), visible_box(number, late=6)
        boxes = [box for box in (low, high and [high[0], high[1] + 60, high[2], high[3] + 60]) if box]
        scores, class_ids = np.full(len(boxes), 0.9, np.float32), np.zeros(len(boxes), np.int64)
        tracked = tracker.update(
            Detections(np.array(boxes, np.float32).reshape(-1, 4), scores, class_ids), number / RATE
        )
        for box, track_id in zip(boxes, track_ids_of(tracked).tolist(), strict=True):
            ids_by_height.setdefault(box[1], set()).add(track_id)
    assert [ids - {-1} for ids in ids_by_height.values()] == [{1}, {2}]


def test_an_empty_box_is_no_reason_to_stop() -> None:
    boxes: list[list[float] | None] = [[50.0, 50.0, 90.0, 130.0]] * 6 + [None] * 6 + [[60.0, 60.0, 60.0, 60.0]] * 2
    for first in (boxes, boxes[::-1]):
        with np.errstate(all="raise"):
            assert ids_of(first, [0] * 14, TrackerOptions(confirm_hits=1), RATE)[0] == 1
