"""Counter: crossings, stays and events of objects that walk, tremble, vanish and come back."""

from __future__ import annotations

import logging
from collections import Counter as Tally
from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np
import pytest

from pipeline.picture.counting.counter import Counter, CounterOptions
from pipeline.picture.counting.counts import Counts
from pipeline.picture.counting.event import Event
from pipeline.picture.counting.homography import Homography
from pipeline.picture.counting.shapes import Line, Zone
from pipeline.picture.detections import Detections
from pipeline.picture.frame import Frame
from tests.support.exact_crossings import exact_share

PIXELS = np.zeros((200, 400, 3), np.uint8)
GATE = Line("gate", (0.0, 100.0, 400.0, 100.0))
YARD = Zone("yard", (100.0, 50.0, 300.0, 50.0, 300.0, 150.0, 100.0, 150.0), dwell_seconds=1.0)

Sight = dict[int, tuple[float, float]]
"""Where the anchors of objects are in a frame, by track id."""


def frame_of(
    second: float, sight: Sight, *, wh: tuple[float, float] = (20, 20), source: str = "a", class_ids: Sequence[int] = ()
) -> tuple[Frame, Detections]:
    width, height = wh
    boxes = [[x - width / 2, y - height, x + width / 2, y] for x, y in sight.values()]
    num = len(sight)
    detections = Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.ones(num, np.float32),
        np.array(class_ids or [0] * num, np.int64),
        track_ids=np.array(list(sight), np.int64),
    )
    return Frame.from_pixels(PIXELS, source_id=source, index=round(second * 10), pts_seconds=second), detections


def counted(
    sights: Iterable[tuple[float, Sight]], *shapes: Line | Zone, options: CounterOptions | None = None
) -> tuple[list[Event], Counts]:
    counter = Counter(
        [shape for shape in shapes if isinstance(shape, Line)],
        [shape for shape in shapes if isinstance(shape, Zone)],
        options,
        class_name=("person", "car").__getitem__,
    )
    events: list[Event] = []
    for second, sight in sights:
        new, counts = counter.update(*frame_of(second, sight))
        events += new
    return events, counts


def walk(*ys: float, x: float = 200, step: float = 0.1) -> list[tuple[float, Sight]]:
    return [(number * step, {1: (x, y)}) for number, y in enumerate(ys)]


def said(events: Sequence[Event]) -> list[tuple[str, str | None, float]]:
    return [(event.kind, event.direction, round(event.pts_seconds, 6)) for event in events]


def test_down_over_a_line_drawn_to_the_right_is_in_and_is_dated_between_the_frames() -> None:
    events, counts = counted(walk(60, 90, 130), GATE)
    assert said(events) == [("crossed", "in", 0.125)]
    (event,) = events
    assert (event.name, event.track_id, event.class_name, event.frame_index) == ("gate", 1, "person", 2)
    assert event.box_xyxy == (190, 110, 210, 130)
    assert (counts.lines[0].num_in, counts.lines[0].num_out) == ({"person": 1}, {})


def test_the_way_back_counts_in_the_other_direction() -> None:
    events, _ = counted(walk(60, 130, 60, 130), GATE)
    assert [event.direction for event in events] == ["in", "out", "in"]


def test_trembling_on_the_line_counts_once_dated_at_the_last_passage() -> None:
    events, _ = counted(walk(60, 99.5, 100.5, 99.5, 100.5, 99.8, 100.2, 120), GATE)
    assert said(events) == [("crossed", "in", 0.55)]
    assert counted(walk(60, 99.5, 100.5, 99.5, 100.5, 60), GATE)[0] == []


def test_one_that_first_trembles_and_then_leaves_has_crossed_only_on_the_other_side() -> None:
    assert [event.direction for event in counted(walk(99.5, 100.5, 99.5, 130), GATE)[0]] == ["in"]
    assert counted(walk(99.5, 100.5, 99.5, 60), GATE)[0] == []


def test_around_the_end_of_a_line_is_not_through_it() -> None:
    short = Line("gate", (150.0, 100.0, 250.0, 100.0))
    around: list[tuple[float, Sight]] = [
        (number / 10, {1: point}) for number, point in enumerate([(200, 60), (300, 60), (300, 140), (200, 140)])
    ]
    assert counted(around, short)[0] == []
    events, _ = counted([*around, (0.4, {1: (200, 60)})], short)
    assert [event.direction for event in events] == ["out"]


def test_what_happened_while_it_was_not_seen_is_on_the_straight_way() -> None:
    events, _ = counted([(0, {1: (200, 60)}), (0.3, {}), (0.8, {1: (200, 140)})], GATE)
    assert said(events) == [("crossed", "in", 0.4)]
    late, _ = counted([(0, {1: (200, 60)}), (1.5, {}), (1.8, {1: (200, 140)})], GATE)
    assert late == []  # longer than the memory: it would have another number


def test_unconfirmed_detections_and_none_at_all_count_nothing() -> None:
    assert counted([(0, {-1: (200, 60)}), (0.1, {-1: (200, 140)}), (0.2, {})], GATE, YARD)[0] == []


def reference_crossings(way: Sequence[tuple[int, int]], line: Sequence[tuple[int, int]], band: float) -> Tally[str]:
    """The same rule, object by object in exact numbers."""
    start, end = line
    length = float(np.hypot(end[0] - start[0], end[1] - start[1]))

    def distance(point: tuple[int, int]) -> float:
        cross = (end[0] - start[0]) * (point[1] - start[1]) - (end[1] - start[1]) * (point[0] - start[0])
        return cross / length

    is_right, net, counts = distance(way[0]) >= 0, 0, Tally[str]()
    for before, after in pairwise(way):
        if exact_share(before, after, start, end) is not None:
            net += 1 if distance(after) >= 0 else -1
        if abs(distance(after)) > band:
            side = distance(after) >= 0
            if side != is_right and net == (1 if side else -1):
                counts["in" if side else "out"] += 1
            is_right, net = side, 0
    return counts


def test_random_walks_count_as_the_rule_applied_one_by_one_in_exact_numbers() -> None:
    rng = np.random.default_rng(7)
    lines = [((40, 100), (360, 100)), ((200, 0), (200, 200)), ((100, 150), (300, 40))]
    steps = rng.integers(-14, 15, (120, 30, 2))
    ways = np.clip(np.array([200, 100]) + np.cumsum(steps, axis=0), 0, (400, 200))  # [frames, objects, 2]
    is_seen = rng.random(ways.shape[:2]) > 0.3
    sights: list[tuple[float, Sight]] = [
        (number / 30, {index + 1: (x, y) for index, (x, y) in enumerate(row) if is_seen[number, index]})
        for number, row in enumerate(ways.tolist())
    ]
    shapes = [Line(f"line {number}", (*map(float, a), *map(float, b))) for number, (a, b) in enumerate(lines)]
    events, counts = counted(sights, *shapes, options=CounterOptions(hysteresis=0.2, memory_seconds=9))
    total = 0
    for number, line in enumerate(lines):
        expected = Tally[str]()
        for index in range(ways.shape[1]):
            way = [tuple(point) for point in ways[is_seen[:, index], index].tolist()]
            expected += reference_crossings(way, line, band=0.2 * 20)
        of_line = counts.lines[number]
        assert (sum(of_line.num_in.values()), sum(of_line.num_out.values())) == (expected["in"], expected["out"])
        total += expected.total()
    assert total > 100
    assert len(events) == total


def test_a_stay_is_entered_dwelt_and_left_at_interpolated_times() -> None:
    sights: list[tuple[float, Sight]] = [(0.0, {1: (80, 100)}), (0.2, {1: (120, 100)}), (0.9, {1: (150, 100)})]
    sights += [(1.4, {1: (200, 100)}), (1.6, {1: (290, 100)}), (1.8, {1: (310, 100)})]
    events, counts = counted(sights, YARD, options=CounterOptions(hold_seconds=9))
    assert said(events) == [("entered", "in", 0.1), ("dwelt", None, 1.1), ("left", "out", 1.7)]
    assert [event.dwell_seconds for event in events] == [None, 1.0, pytest.approx(1.6)]
    (zone,) = counts.zones
    assert (zone.inside, zone.num_entered, zone.num_left) == ({}, {"person": 1}, {"person": 1})
    assert zone.mean_dwell_seconds == pytest.approx(1.6)


def test_one_that_is_inside_from_the_start_has_appeared_and_one_that_vanishes_has_left() -> None:
    sights: list[tuple[float, Sight]] = [(0, {1: (200, 100)}), (0.3, {1: (200, 100)}), (1.2, {}), (1.4, {})]
    events, counts = counted(sights, YARD, options=CounterOptions(hold_seconds=9))
    assert said(events) == [("appeared", None, 0.0), ("left", None, 0.3)]
    assert events[1].frame_index == 14
    assert (counts.zones[0].num_entered, counts.zones[0].num_left) == ({}, {"person": 1})


def test_trembling_on_an_outline_is_one_entrance() -> None:
    sights = [(number / 10, {1: (x, 100.0)}) for number, x in enumerate((80, 99.6, 100.4, 99.6, 100.4, 130))]
    assert said(counted(sights, YARD, options=CounterOptions(hold_seconds=9))[0]) == [("entered", "in", 0.35)]


def test_a_zone_that_is_smaller_than_a_box_can_be_entered() -> None:
    small = Zone("mat", (195.0, 95.0, 205.0, 95.0, 205.0, 105.0, 195.0, 105.0))
    counter = Counter([], [small], CounterOptions(hysteresis=1.0))
    events = [
        event
        for number, y in enumerate((80, 100, 120))
        for event in counter.update(*frame_of(number / 10, {1: (200, y)}, wh=(90, 90)))[0]
    ]
    assert [event.kind for event in events] == ["entered", "left"]


def test_a_number_of_objects_is_an_event_once_it_holds_and_not_too_often() -> None:
    inside, outside = (200.0, 100.0), (20.0, 20.0)
    pattern = [0, 1, 0, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2]
    sights = [
        (number / 10, {track_id: inside if track_id <= num else outside for track_id in (1, 2)})
        for number, num in enumerate(pattern)
    ]
    events, _ = counted(sights, YARD, options=CounterOptions(hold_seconds=0.3, cooldown_seconds=1.0))
    changes = [(event.count, round(event.pts_seconds, 6)) for event in events if event.kind == "count_changed"]
    assert changes == [(1, 0.6), (2, 1.6)]


def test_classes_of_a_line_are_the_only_ones_that_count_there() -> None:
    cars = Line("gate", GATE.coordinates, class_ids=frozenset({1}))
    counter = Counter([cars], [], class_name=("person", "car").__getitem__)
    for number, y in enumerate((60, 140)):
        sight: Sight = {1: (100, y), 2: (300, y)}
        events, counts = counter.update(*frame_of(number / 10, sight, class_ids=(0, 1)))
    assert [event.class_name for event in events] == ["car"]
    assert counts.lines[0].num_in == {"car": 1}


def test_the_centre_is_looked_at_where_a_line_wants_it() -> None:
    centre = Line("centre", GATE.coordinates, anchor="centre")
    events, _ = counted(walk(80, 105, 125), GATE, centre)
    assert [(event.name, event.frame_index) for event in events] == [("gate", 1), ("centre", 2)]


def test_a_new_file_and_a_time_that_goes_back_end_all_stays_and_go_on_counting() -> None:
    counter = Counter([GATE], [YARD], class_name=str, options=CounterOptions(hold_seconds=0))
    counter.update(*frame_of(5.0, {1: (200, 90)}, source="a"))
    events, _ = counter.update(*frame_of(0.0, {1: (200, 140)}, source="b"))
    assert {(event.kind, event.source_id) for event in events} >= {("left", "a"), ("appeared", "b")}
    assert not [event for event in events if event.kind == "crossed"]
    again, counts = counter.update(*frame_of(0.1, {1: (200, 60)}, source="b"))
    assert [event.direction for event in again if event.kind == "crossed"] == ["out"]
    assert sum(counts.lines[0].num_out.values()) == 1


def test_ids_of_events_are_the_same_in_every_run_and_differ_from_each_other() -> None:
    runs = [counted(walk(60, 130, 60, 130), GATE, YARD)[0] for _ in range(2)]
    assert [event.id for event in runs[0]] == [event.id for event in runs[1]]
    assert len({event.id for event in runs[0]}) == len(runs[0]) == 4


def test_the_speed_on_the_ground_is_known_and_independent_of_the_frame_rate() -> None:
    ground = Homography(((0, 0, 0, 0), (400, 0, 40, 0), (400, 200, 40, 20), (0, 200, 0, 20)))  # 10 pixels a metre
    for step in (1 / 30, 0.1, 0.3):
        counter = Counter([GATE], [], homography=ground)
        events: list[Event] = []
        for number in range(int(1.2 / step)):
            new, counts = counter.update(*frame_of(number * step, {1: (200, 60 + 50 * number * step), -1: (9, 9)}))
            events += new
        assert counts.speeds_mps is not None
        assert counts.speeds_mps[0] == pytest.approx(5, rel=1e-3)
        assert np.isnan(counts.speeds_mps[1])
        assert events[0].speed_mps == pytest.approx(5, rel=1e-3)


def test_a_line_that_no_object_can_reach_is_named_once(caplog: pytest.LogCaptureFixture) -> None:
    far, border = Line("far", (500.0, 10.0, 900.0, 10.0)), Line("border", (4.0, 0.0, 4.0, 200.0))
    counter = Counter([GATE, far, border], [])
    with caplog.at_level(logging.WARNING):
        for number in range(80):
            counter.update(*frame_of(number / 10, {1: (200, 100), 2: (100, 100)}))
    assert [record.getMessage().partition(" is ")[0] for record in caplog.records] == ["far", "border"]
    assert "half a typical box of 20×20" in caplog.text


def test_an_object_that_is_there_twice_counts_once() -> None:
    counter = Counter([GATE], [])
    for number, y in enumerate((60, 140)):
        frame, detections = frame_of(number / 10, {1: (200, y)})
        events, _ = counter.update(frame, detections.select(np.array([0, 0])))
    assert len(events) == 1


def test_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match="names of their own"):
        Counter([GATE], [Zone("gate", YARD.coordinates)])
    with pytest.raises(ValueError, match="hysteresis must be finite"):
        CounterOptions(hysteresis=float("nan"))


def test_the_detections_before_a_track_has_its_id_count_from_the_first_on() -> None:
    before_its_id: list[tuple[float, Sight]] = [(0, {-1: (200, 95)}), (0.1, {-1: (200, 99)})]
    events, _ = counted([*before_its_id, (0.2, {1: (200, 105)}), (0.3, {1: (200, 120)})], GATE, YARD)
    assert said(events) == [("appeared", None, 0), ("crossed", "in", 0.1)]  # 5 of 10 px, so half of .2 s
    assert {event.track_id for event in events} == {1}


@pytest.mark.parametrize(
    ("second", "source", "class_id", "x"),
    [(0.1, "b", 0, 200), (0.1, "a", 1, 200), (0.1, "a", 0, 219), (-0.1, "a", 0, 200), (1.2, "a", 0, 200)],
    ids=["another source", "another class", "too little overlap", "earlier media time", "after the memory"],
)
def test_a_new_track_does_not_begin_with_what_was_not_its_own(
    second: float, source: str, class_id: int, x: float
) -> None:
    counter = Counter([GATE], [])
    counter.update(*frame_of(0, {-1: (200, 95)}))
    events, _ = counter.update(*frame_of(second, {1: (x, 105)}, source=source, class_ids=[class_id]))
    assert events == ()


def test_one_unconfirmed_detection_is_the_first_of_one_new_track_only() -> None:
    counter = Counter([GATE], [])
    counter.update(*frame_of(0, {-1: (200, 95)}))
    events, counts = counter.update(*frame_of(0.1, {1: (200, 103), 2: (202, 106)}))
    assert [event.track_id for event in events] == [1]
    assert sum(counts.lines[0].num_in.values()) == 1


def test_an_unconfirmed_detection_that_is_not_seen_in_the_next_frame_is_forgotten() -> None:
    sights: list[tuple[float, Sight]] = [(0, {-1: (200, 95)}), (0.1, {}), (0.2, {1: (200, 105)})]
    assert counted(sights, GATE)[0] == []


SLOPE = Line("slope", (40.0, 20.0, 380.0, 180.0))
TRIANGLE = Zone("triangle", (150.0, 20.0, 390.0, 120.0, 60.0, 190.0), dwell_seconds=0.4)


def random_sights(seed: int, num: int = 40, num_objects: int = 4) -> list[tuple[float, Sight]]:
    """Objects that wander over the picture, all of them seen in each frame."""
    steps = np.random.default_rng(seed).normal(0, 22, (num, num_objects, 2))
    ways = np.clip(np.array([200, 100]) + np.cumsum(steps, axis=0), 12, [388, 190])
    return [(0.1 * number, dict(enumerate(map(tuple, points.tolist()), 1))) for number, points in enumerate(ways)]


def counter_of(*shapes: Line | Zone) -> Counter:
    lines = [shape for shape in shapes if isinstance(shape, Line)]
    return Counter(
        lines, [shape for shape in shapes if isinstance(shape, Zone)], class_name=("person", "car").__getitem__
    )


def seen(counter: Counter, sights: Iterable[tuple[float, Sight]]) -> tuple[list[Event], Counts]:
    events: list[Event] = []
    for second, sight in sights:
        new, counts = counter.update(*frame_of(second, sight))
        events += new
    return events, counts


@pytest.mark.parametrize("seed", range(5))
def test_other_shapes_count_as_if_they_had_been_there_and_those_that_stay_go_on(seed: int) -> None:
    sights, at = random_sights(seed), 17
    counter = counter_of(GATE, SLOPE, YARD)
    early, _ = seen(counter, sights[:at])
    counter.reshape([SLOPE], [TRIANGLE, YARD])
    late, counts = seen(counter, sights[at:])
    stay_events, stay_counts = seen(counter_of(SLOPE, YARD), sights)
    assert [event for event in early + late if event.name in ("slope", "yard")] == stay_events
    new_events, new_counts = seen(counter_of(TRIANGLE), sights[at - 1 :])
    new_events = [event for event in new_events if event.kind != "count_changed"]  # a number holds from now on only
    assert [event for event in late if event.name == "triangle" and event.kind != "count_changed"] == new_events
    assert [event for event in late if event.name == "gate"] == []
    assert (counts.lines[0].num_in, counts.lines[0].num_out) == (
        stay_counts.lines[0].num_in,
        stay_counts.lines[0].num_out,
    )
    by_name = {zone.name: zone for zone in counts.zones}
    for reference in (*stay_counts.zones, *new_counts.zones):
        zone = by_name[reference.name]
        assert (zone.inside, zone.num_entered, zone.num_left) == (
            reference.inside,
            reference.num_entered,
            reference.num_left,
        )
        assert (zone.num_appeared, zone.longest_dwell_seconds) == (
            reference.num_appeared,
            reference.longest_dwell_seconds,
        )


def test_a_renamed_line_keeps_its_counts_and_a_moved_one_begins_at_0() -> None:
    counter = counter_of(GATE, SLOPE)
    _, counts = seen(counter, walk(60, 130, 60))
    assert counts.lines[0].num_in == {"person": 1}
    counter.reshape([Line("door", GATE.coordinates), Line("slope", (0.0, 100.0, 300.0, 100.0))], [])
    _, counts = seen(counter, [(0.3, {1: (200, 130)})])
    assert [(line.name, line.num_in, line.num_out) for line in counts.lines] == [
        ("door", {"person": 2}, {"person": 1}),
        ("slope", {"person": 1}, {}),
    ]


def test_shapes_can_change_before_the_first_frame_and_must_have_names_of_their_own() -> None:
    counter = counter_of(GATE)
    counter.reshape([SLOPE], [YARD])
    events, counts = seen(counter, walk(100, x=200))
    assert [line.name for line in counts.lines] == ["slope"]
    assert [(event.kind, event.name) for event in events] == [("appeared", "yard")]
    with pytest.raises(ValueError, match="names of their own"):
        counter.reshape([GATE, Line("gate", (0, 0, 9, 9))], [])


def test_a_new_line_where_hardly_an_object_gets_is_named_in_the_counts(caplog: pytest.LogCaptureFixture) -> None:
    counter = counter_of(GATE)
    _, counts = seen(counter, [(number / 10, {1: (100, 100)}) for number in range(60)])
    assert counts.unreachable == ()
    counter.reshape([GATE, Line("edge", (0.0, 2.0, 400.0, 2.0))], [])
    _, counts = seen(counter, [(6.1, {1: (100, 100)})])
    assert counts.unreachable == ("edge",)
    assert "edge is nearer to the picture's edge than half a typical box of 20×20" in caplog.text
    counter.reshape([GATE], [])
    _, counts = seen(counter, [(6.2, {1: (100, 100)})])
    assert counts.unreachable == ()
