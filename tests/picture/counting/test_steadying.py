"""Steadying: boxes that tremble or lose their lower edge stand where the object does, and nothing else moves."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.picture.counting.counter import Counter, CounterOptions
from pipeline.picture.counting.event import Event
from pipeline.picture.counting.geometry import Points
from pipeline.picture.counting.shapes import Line
from pipeline.picture.counting.steadying import Steadying, are_hidden
from pipeline.picture.detections import Detections
from pipeline.picture.frame import Frame

SIZE_WH = (640, 360)
LINE = Line("path", (0.0, 200.0, 640.0, 200.0))
RATE = 30


def steadied(boxes: Points, seconds: Points, *, memory: float, hidden: Points | None = None) -> Points:
    """The boxes [F, 4] of one object, in the picture."""
    steadying, is_hidden = Steadying(memory), np.zeros(len(boxes)) if hidden is None else hidden
    steadying.grow(boxes[:1], is_hidden[:1] > 0)
    rows = np.zeros(1, np.intp)
    moved = [
        steadying.move(rows, boxes[[number]], is_hidden[[number]] > 0, np.diff(seconds[[number - 1, number]]), SIZE_WH)
        for number in range(1, len(boxes))
    ]
    return np.concatenate([boxes[:1], *moved])


def test_with_a_long_memory_it_is_the_straight_line_that_fits_all_boxes() -> None:
    rng = np.random.default_rng(1)
    seconds = np.arange(40) / RATE
    boxes = np.array([200, 100, 240, 180]) + 30 * seconds[:, None] + rng.normal(0, 2, (40, 4))
    steady = steadied(boxes, seconds, memory=1e9)
    for number in range(2, 40):
        lines = np.polyfit(seconds[: number + 1], boxes[: number + 1], 1)
        np.testing.assert_allclose(steady[number], lines[0] * seconds[number] + lines[1], atol=1e-6)


def test_even_motion_stays_as_it_is_at_any_times() -> None:
    rng = np.random.default_rng(2)
    seconds = np.cumsum(rng.uniform(0.01, 0.5, 60))
    boxes = np.array([30, 20, 60, 90]) + seconds[:, None] * [8, 5, 9, 6]
    np.testing.assert_allclose(steadied(boxes, seconds, memory=0.3), boxes, atol=1e-6)


def test_trembling_becomes_less_by_what_the_filter_promises() -> None:
    rng = np.random.default_rng(3)
    boxes = np.array([300.0, 150, 340, 230]) + rng.normal(0, 3, (4000, 4))
    steady = steadied(boxes, np.arange(4000) / RATE, memory=0.3)
    fading = np.exp(-1 / RATE / 0.3)
    variance = (1 - fading) / (1 + fading) ** 3 * (1 + 4 * fading + 5 * fading**2)  # Brookner, equation 1.2-22
    assert steady[200:].var(axis=0) == pytest.approx(9 * variance, rel=0.15)


def test_a_second_frame_of_the_same_time_and_no_object_at_all_are_ordinary() -> None:
    boxes, nothing = np.array([[10.0, 10, 30, 60]] * 3), np.zeros((0, 4))
    with np.errstate(all="raise"):
        assert np.isfinite(steadied(boxes, np.array([0.0, 0.0, 0.0]), memory=0.3)).all()
        steadying = Steadying(0.3)
        steadying.grow(nothing, np.zeros(0, np.bool_))
        rows = np.zeros(0, np.intp)
        assert steadying.move(rows, nothing, np.zeros(0, np.bool_), np.zeros(0), SIZE_WH).shape == (0, 4)


def test_a_hidden_lower_edge_is_where_the_height_in_the_clear_has_it_for_a_while() -> None:
    seconds = np.arange(400) / RATE
    boxes = np.repeat([[100.0, 100, 130, 180]], 400, axis=0)
    hidden = (np.arange(400) >= 40).astype(float)
    boxes[40:, 3] = 150
    bottoms = steadied(boxes, seconds, memory=0.1, hidden=hidden)[:, 3]
    assert bottoms[:300] == pytest.approx(180, abs=0.5)
    assert bottoms[-1] == pytest.approx(150, abs=0.5)  # hidden for too long: then that is its height


def test_one_that_drives_away_keeps_shrinking_while_it_is_hidden() -> None:
    seconds = np.arange(60) / RATE
    heights = 80 * np.exp(-0.5 * seconds)
    boxes = np.stack([0 * heights + 100, 200 - heights, 0 * heights + 150, 0 * heights + 200], axis=1)
    hidden = (np.arange(60) >= 45).astype(float)
    shown = boxes.copy()
    shown[45:, 3] -= 20
    bottoms = steadied(shown, seconds, memory=0.1, hidden=hidden)[45:, 3]
    assert bottoms == pytest.approx(200, abs=4)


def test_hidden_is_whose_lower_edge_is_behind_something_nearer() -> None:
    rng = np.random.default_rng(4)
    for num in (0, 1, 2, 30):
        boxes = np.sort(rng.uniform(0, 360, (num, 2, 2)), axis=1).reshape(num, 4)
        boxes[: num // 3, 3] = 360
        expected = []
        for left, top, right, bottom in boxes.tolist():
            nearer = [box for box in boxes.tolist() if box[3] > bottom and box[1] < bottom + 0.1 * (bottom - top)]
            shares = [(min(right, box[2]) - max(left, box[0])) / (right - left) for box in nearer]
            expected.append(bottom < 358 and max(shares, default=0) > 0.3)
        assert are_hidden(boxes, SIZE_WH).tolist() == expected


def crossings(boxes: list[list[list[float]]], steady_seconds: float) -> list[Event]:
    """What object 1 crosses, which is the first box of each frame."""
    counter, events = Counter([LINE], [], CounterOptions(steady_seconds=steady_seconds, hysteresis=0.1)), []
    for number, rows in enumerate(boxes):
        frame = Frame.from_pixels(np.zeros((360, 640, 3), np.uint8), index=number, pts_seconds=number / RATE)
        num = len(rows)
        ids, scores = np.arange(1, num + 1), np.ones(num, np.float32)
        detections = Detections(np.array(rows, np.float32), scores, np.zeros(num, np.int64), track_ids=ids)
        events += [event for event in counter.update(frame, detections)[0] if event.track_id == 1]
    return events


def test_who_walks_along_a_line_behind_a_parked_car_has_not_crossed_it() -> None:
    car = [200.0, 170.0, 400.0, 250.0]
    frames = []
    for number in range(200):
        left = 100 + 2.0 * number
        is_behind = car[0] < left + 7 < car[2]  # so are at least half of the feet
        frames.append([[left, 145.0, left + 14, 170.0 if is_behind else 206.0], car])
    assert [event.direction for event in crossings(frames, 0.0)] == ["out", "in"]
    assert crossings(frames, 0.3) == []


def test_who_crosses_the_line_there_is_counted_once_and_dated_where_his_feet_are() -> None:
    car = [200.0, 170.0, 400.0, 270.0]
    frames = []
    for number in range(200):
        feet, left = 180 + 0.25 * number, 100 + 2.0 * number
        is_behind = car[0] < left + 7 < car[2]  # so are at least half of the feet
        frames.append([[left, feet - 60, left + 14, 170.0 if is_behind else feet], car])
    (event,) = crossings(frames, 0.3)
    assert event.direction == "in"
    assert event.pts_seconds == pytest.approx(80 / RATE, abs=0.1)
    assert event.box_xyxy is not None
    assert event.box_xyxy[3] < 200  # what was seen


def test_a_box_that_trembles_across_a_line_has_not_crossed_it_and_one_that_goes_on_has() -> None:
    rng = np.random.default_rng(5)
    bottoms = 199 + np.clip(rng.normal(0, 2.5, 300), -6, 6)
    frames = [[[100.0, 160.0, 115.0, float(bottom)]] for bottom in bottoms]
    assert len(crossings(frames, 0.0)) > 10
    assert crossings(frames, 0.3) == []
    frames += [[[100.0, 160.0 + 2 * number, 115.0, 199.0 + 2 * number]] for number in range(30)]
    assert [event.direction for event in crossings(frames, 0.3)] == ["in"]
