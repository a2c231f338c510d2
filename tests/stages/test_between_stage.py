"""Between stage: every frame in order, with the objects of those that no network looked at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest

from pipeline.flow.failure import OnError
from pipeline.flow.graph import Flow
from pipeline.flow.running import Running
from pipeline.picture.boxes import intersection_over_union
from pipeline.picture.detections import Detections, Result
from pipeline.picture.frame import Frame
from pipeline.picture.gate.gate import GateOptions, Look, Reason
from pipeline.picture.gate.load import Load
from pipeline.picture.gate.pacing import MOST_HELD, Budget
from pipeline.stages.between import Between, GatingBetween
from pipeline.stages.gate import CarriedFrame, GatedFrame, GateStatistics, Link
from pipeline.testing import CollectingSink, ItemSource, StepClock
from tests.support.gated_films import FPS, NAMES, SHOWN, Network, bright_block, drawn, film, nms, walk

EVERY_THIRD = GateOptions(full_scan_seconds=1000, check_share=0, every=3)


def gated(
    *films: Sequence[Frame],
    network: Network | None = None,
    options: GateOptions = EVERY_THIRD,
    is_recorded: bool = True,
    lag: int = 40,
    workers: int = 1,
) -> tuple[list[Result], dict[str, GateStatistics], Network]:
    """The results of a flow with a gate around a network, and what was counted."""
    network = network or Network()
    names = [f"source {number}" for number in range(len(films))]
    gating = GatingBetween(options, lambda _: SHOWN, recorded=names if is_recorded else (), lag=lag)
    sink: CollectingSink[Result] = CollectingSink()
    flow = (
        Flow.from_sources(*[ItemSource(film, source_id=name) for name, film in zip(names, films, strict=True)])
        .then_per_source(gating.gate_of, name="gate")
        .then(cast(Any, network), name="network", workers=workers, past=(CarriedFrame,))
        .then_per_source(lambda source_id: gating.carry_of(source_id, nms(), NAMES), name="carry", holds=True)
        .to(sink)
    )
    with Running(flow, on_error=OnError(frame="continue")) as running:
        running.wait()
    assert running.statistics().frames.in_flight == 0
    return sink.got, gating.statistics(), network


def assert_true_boxes(result: Result) -> None:
    boxes, expected = result.detections.boxes_xyxy, bright_block(result.frame).boxes_xyxy
    assert boxes.shape == expected.shape
    assert np.allclose(boxes, expected, atol=1e-3)


def steady(index: int) -> int:
    """A block that moves by a pixel a frame, and is never out of the picture."""
    return min(index, 54)


def test_every_third_frame_is_looked_at_and_the_others_have_the_boxes_in_between() -> None:
    results, statistics, network = gated(film(50, steady))
    assert [result.frame.index for result in results] == list(range(50))
    assert network.seen == list(range(0, 50, 3))
    for result in results:
        assert_true_boxes(result)
        assert result.is_carried == (result.frame.index % 3 > 0) == (result.detections.carried is not None)
    (counted,) = statistics.values()
    assert (counted.num_inferred, counted.num_carried) == (17, 33)


def test_what_comes_in_is_seen_at_once_and_what_stands_costs_nothing() -> None:
    results, _, network = gated(film(120, walk))
    moving = [index for index in network.seen if index >= 15]
    assert moving == [*range(30, 58, 3), 90]
    assert len(results) == 120
    for result in results:
        assert_true_boxes(result)


def test_a_live_source_waits_for_nothing_and_predicts() -> None:
    results, _, network = gated(film(50, lambda index: index), is_recorded=False)
    assert network.seen == list(range(0, 50, 3))
    for result in results[6:]:  # two looks, behind which its velocity is known
        assert_true_boxes(result)
    assert [result.detections.boxes_xyxy[0, 0] for result in results[:4]] == [0, 0, 0, 3]


def test_frames_of_a_live_source_are_looked_at_as_the_load_allows_and_steps_are_said() -> None:
    """Results come .5 s after their frames as long as more than 5 frames a second are looked at, and then at once."""
    clock, walked = StepClock(), film(400, lambda index: index % 40)
    load = Load(0.2, every=3, clock=clock)
    gating = GatingBetween(EVERY_THIRD, lambda _: SHOWN, recorded=(), lag=0, load=load)
    gate, carry, network = gating.gate_of("camera"), gating.carry_of("camera", nms(), NAMES), Network()
    numbers: list[int] = []
    results: list[Result] = []
    for frame in walked:
        clock.advance(1 / FPS)
        captured = replace(frame, captured_at_seconds=clock.now_seconds)
        (item,) = gate.process(captured)
        if isinstance(item, CarriedFrame):
            results += carry.process(item)
            continue
        numbers.append(frame.index)
        late = StepClock(clock.now_seconds)
        clock.advance(0.5 if load.every < 5 else 0.01)
        (proposed,) = network.process(item)
        results += carry.process(proposed)
        clock.now_seconds = late.now_seconds
    assert [result.frame.index for result in results] == list(range(400))
    assert max(np.diff(numbers)) >= 5
    assert np.diff(numbers)[:5].tolist() == [3] * 5
    statistics = gating.statistics()["camera"]
    assert statistics.every == load.every
    assert statistics.steps == load.steps
    assert statistics.steps[0].late
    both = statistics + replace(statistics, every=None)
    assert (both.every, both.steps) == (load.every, load.steps)


def test_a_load_is_for_live_sources_alone() -> None:
    gating = GatingBetween(
        EVERY_THIRD, lambda _: SHOWN, recorded=("film",), lag=0, load=Load(0.2, every=3, clock=StepClock())
    )
    assert gating.options_of("film").load is None
    assert gating.options_of("camera").load is not None


def test_each_source_is_by_itself_and_the_threads_change_nothing() -> None:
    films = [film(140, lambda index: index * 2 % 50), film(140, walk), film(140, lambda _: 9)]
    options = GateOptions(full_scan_seconds=1, check_share=0.2, every=4)
    runs = []
    for workers in (1, 4, 2):
        results, statistics, _ = gated(*films, options=options, workers=workers)
        assert len(results) == 420
        ids = [result.detections.boxes_xyxy.tolist() for result in results]
        runs.append(
            sorted((r.frame.pixels.sum(), r.frame.index, str(box)) for r, box in zip(results, ids, strict=True))
        )
        assert sum(counted.misses.num_checked for counted in statistics.values()) > 5
    assert runs[0] == runs[1] == runs[2]


def test_frames_that_wait_when_the_network_fails_wait_for_the_next_one() -> None:
    results, _, _ = gated(film(30, steady), network=Network(fails_on=[9]))
    shown = [result.frame.index for result in results]
    assert shown == [index for index in range(30) if index != 9]
    for result in results:
        assert_true_boxes(result)


def test_no_more_wait_than_may_when_the_network_always_fails() -> None:
    results, _, _ = gated(film(200, steady), network=Network(fails_on=range(1, 200)), lag=1000)
    carried = [result for result in results if result.is_carried]
    assert [result.frame.index for result in carried] == sorted(result.frame.index for result in carried)
    assert all(result.detections.boxes_xyxy.tolist() == [[0, 20, 10, 30]] for result in carried)


def test_a_second_file_shows_nothing_of_the_first() -> None:
    first, second = film(20, lambda _: 20, source_id="a.mp4"), film(20, lambda _: None, source_id="b.mp4")
    results, _, _ = gated([*first, *second])
    assert [result.frame.source_id for result in results] == ["a.mp4"] * 20 + ["b.mp4"] * 20
    assert [len(result.detections) for result in results] == [1] * 20 + [0] * 20


def test_nothing_that_comes_with_a_cut_is_shown_before_it() -> None:
    def painted(index: int) -> Frame:
        pixels = drawn(10 + index % 3) if index < 40 else drawn(45, level=200)
        return Frame.from_pixels(pixels, source_id="cam", index=index, pts_seconds=index / FPS)

    results, _, network = gated([painted(index) for index in range(60)])
    assert 40 in network.seen
    for result in results:
        assert (result.detections.boxes_xyxy[:, 0] < 40).all() == (result.frame.index < 40)


def test_a_budget_is_kept_and_goes_where_something_moves() -> None:
    def left(index: int) -> int | None:
        return None if index < 100 else index % 54 if index < 160 else 20

    options = GateOptions(full_scan_seconds=1000, check_share=0, budget=0.2)
    results, statistics, network = gated(film(260, left), options=options)
    assert len(network.seen) <= 0.2 * 260 + Budget.most_saved(0.2) / 2
    assert sum(100 <= index < 160 for index in network.seen) >= 0.6 * (len(network.seen) - 15)
    assert 100 in network.seen
    assert [result.frame.index for result in results] == list(range(260))
    assert statistics["source 0"].num_open == 0


def test_checks_say_how_often_the_boxes_in_between_are_wrong_and_open_the_gate() -> None:
    def jumps(index: int) -> int:
        return 4 + index % 3 * 20  # where it is not in a straight line between every third frame

    options = GateOptions(full_scan_seconds=1000, check_share=0.2, every=3)
    _, statistics, network = gated(film(300, jumps), options=options, lag=1)
    misses = statistics["source 0"].misses
    assert misses.num_missed == misses.num_checked > 100
    assert statistics["source 0"].num_open == 1
    assert set(range(150, 300)) <= set(network.seen)

    _, statistics, network = gated(film(300, lambda index: index // 6), options=options, lag=1)
    assert statistics["source 0"].misses.num_checked > 10
    assert statistics["source 0"].misses.num_missed == 0


def look_of(random: np.random.Generator) -> Look:
    reasons: list[Reason] = ["between", "nothing", "change", "check", "light", "lost"]
    reason = reasons[random.integers(len(reasons))]
    is_check = reason == "check"
    return Look(reason, is_check=is_check, is_early=is_check and bool(random.integers(2)))


def random_detections(random: np.random.Generator) -> Detections:
    num = int(random.integers(0, 3))
    left_top = random.uniform(0, 60, (num, 2))
    boxes = np.concatenate([left_top, left_top + random.uniform(0, 20, (num, 2))], axis=1).astype(np.float32)
    return Detections(boxes, random.random(num).astype(np.float32), random.integers(0, 2, num))


@pytest.mark.parametrize("looks_ahead", [True, False])
@pytest.mark.parametrize("seed", range(8))
def test_whatever_comes_each_frame_comes_back_once_in_order(seed: int, looks_ahead: bool) -> None:
    random, link = np.random.default_rng(seed), Link(0)
    stage = Between(nms(), NAMES, link, lambda: SHOWN, looks_ahead)
    back: list[int] = []
    held = num_looks = seconds = 0
    name = "a.mp4"
    for number in range(340 + seed):  # ends among checks
        seconds = 0 if random.random() < 0.02 else seconds + int(random.integers(0, 2))
        name = random.choice(["a.mp4", "b.mp4"]) if random.random() < 0.02 else name
        look = look_of(random) if number % 120 > 60 else Look("between")
        num_looks += look.is_needed
        is_lost = look.is_needed and random.random() < 0.1
        plain = Frame.from_pixels(drawn(None), source_id=str(name), index=number, pts_seconds=seconds / FPS)
        frame = GatedFrame(
            plain.picture, plain.source_id, number, plain.pts_seconds, 0.0, None, look, number, num_looks
        )
        if is_lost:
            continue
        item = Result(frame, random_detections(random), NAMES) if look.is_needed else CarriedFrame(frame)
        held += 1
        results = list(stage.process(item))
        held -= len(results)
        assert held <= (MOST_HELD if looks_ahead else 0)
        back += [result.frame.index for result in results]
        for result in results:
            assert result.is_carried != cast(GatedFrame, result.frame).look.is_needed
    back += [result.frame.index for result in stage.drain()]
    assert back == sorted(back)
    assert len(back) == len(set(back))
    assert link.statistics().num_carried + link.statistics().num_inferred == len(back)


def test_a_check_is_compared_with_what_would_have_been_shown_and_not_with_itself() -> None:
    def settled(seen_left: float) -> bool | None:
        """Whether a check is a miss, of an object that is at 0, then at `seen_left`, then at 40."""
        link = Link(0)
        stage = Between(nms(), NAMES, link, lambda: SHOWN, looks_ahead=True)
        for number, (look, left) in enumerate(
            [(Look("change"), 0.0), (Look("check", is_check=True, is_early=True), seen_left), (Look("change"), 40.0)]
        ):
            plain = Frame.from_pixels(drawn(None), index=number, pts_seconds=number / FPS)
            frame = GatedFrame(plain.picture, "cam", number, plain.pts_seconds, 0.0, None, look, number, number + 1)
            box = np.array([[left, 0, left + 40, 40]], np.float32)
            list(stage.process(Result(frame, Detections(box, np.array([0.9], np.float32), np.array([0])), NAMES)))
        first, check, last = link.seen_before(100)
        assert (first.has_missed, last.has_missed) == (None, None)
        return check.has_missed

    assert settled(20.0) is False
    assert settled(22.0) is False
    assert settled(0.0) is True
    middle = np.array([[20, 0, 60, 40]], np.float32)
    assert intersection_over_union(middle, np.array([[0, 0, 40, 40]], np.float32))[0, 0] < 0.5
