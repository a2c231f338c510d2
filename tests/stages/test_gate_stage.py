"""Gate stages: which frames a network sees, and what the others carry on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest

from pipeline.flow.failure import OnError
from pipeline.flow.graph import Flow
from pipeline.flow.running import Running
from pipeline.picture.detections import Detections, Result
from pipeline.picture.frame import Frame
from pipeline.picture.gate.carrying import carried_on
from pipeline.picture.gate.gate import GateOptions
from pipeline.stages.gate import CarriedFrame, Gate, GatedFrame, GateStatistics, Gating, Link, Seen, missed
from pipeline.testing import CollectingSink, ItemSource
from tests.support.gated_films import FPS, NAMES, SHOWN, Network, bright_block, drawn, film, nms, walk

NO_CHECKS = GateOptions(full_scan_seconds=1000, check_share=0)


def gated(
    *films: Sequence[Frame],
    network: Network | None = None,
    options: GateOptions = NO_CHECKS,
    lag: int = 40,
    workers: int = 1,
) -> tuple[list[Result], dict[str, GateStatistics], Network]:
    """The results of a flow with a gate around a network, and what was counted."""
    network, gating = network or Network(), Gating(options, lambda _: SHOWN, lag=lag)
    sink: CollectingSink[Result] = CollectingSink()
    sources = [ItemSource(frames, source_id=f"source {number}") for number, frames in enumerate(films)]
    flow = (
        Flow.from_sources(*sources)
        .then_per_source(gating.gate_of, name="gate")
        .then(cast(Any, network), name="network", workers=workers, past=(CarriedFrame,))
        .then_per_source(lambda source_id: gating.carry_of(source_id, nms(), NAMES), name="carry")
        .to(sink)
    )
    with Running(flow, on_error=OnError(frame="continue")) as running:
        running.wait()
    return sink.got, gating.statistics(), network


def test_frames_without_change_carry_the_objects_on_and_are_marked() -> None:
    results, statistics, network = gated(film(120, walk))
    assert [result.frame.index for result in results] == list(range(120))
    for result in results:
        assert np.array_equal(result.detections.boxes_xyxy, bright_block(result.frame).boxes_xyxy)
        assert result.is_carried == (result.frame.index not in network.seen)
        assert (result.detections.carried is not None) == result.is_carried
    assert network.seen[14:] == [*range(30, 58), 90]  # behind those of the learning, what moves, and its going
    (counted,) = statistics.values()
    assert dict(counted.num_looks) == {"start": 14, "change": 29}
    assert (counted.num_inferred, counted.num_carried, counted.duty) == (43, 77, 43 / 120)


def test_results_are_the_same_however_the_threads_run() -> None:
    options = GateOptions(full_scan_seconds=1, check_share=0.2)
    films = [film(150, lambda index: 20 + index // 5 % 2 * 3), film(150, walk)]
    runs = []
    for workers in (1, 4, 3, 2):
        results, _, _ = gated(*films, options=options, workers=workers)
        runs.append({(r.frame.source_id, r.frame.pixels.sum(), r.frame.index, r.is_carried) for r in results})
    assert runs[0] == runs[1] == runs[2] == runs[3]


def test_each_source_has_a_gate_of_its_own() -> None:
    busy, still = film(80, lambda index: index, source_id="busy"), film(80, lambda _: 5, source_id="still")
    results, statistics, _ = gated(busy, still)
    carried = {name: sum(r.is_carried for r in results if r.frame.source_id == name) for name in ("busy", "still")}
    assert carried == {"busy": 15, "still": 66}  # the block of the busy one has left the picture in frame 64
    assert sum(statistics.values(), GateStatistics()).num_carried == 81


def test_the_frame_behind_one_that_the_network_failed_on_is_looked_at() -> None:
    network = Network(fails_on=[40])
    results, _, _ = gated(film(60, lambda index: 20 if index >= 40 else None), network=network, lag=0)
    lost = [index for index in network.seen if index > 40]
    assert lost
    assert results[-1].detections.boxes_xyxy.tolist() == [[20, 20, 30, 30]]
    assert 40 not in [result.frame.index for result in results]


def test_a_second_file_begins_anew_and_carries_nothing_of_the_first() -> None:
    first, second = film(40, lambda _: 20, source_id="a.mp4"), film(40, lambda _: None, source_id="b.mp4")
    results, _, network = gated([*first, *second])
    assert network.seen == [*range(14), *range(14)]
    assert [len(result.detections) for result in results] == [1] * 40 + [0] * 40


def test_misses_of_every_file_count_and_what_came_of_the_first_says_nothing_of_the_second() -> None:
    """The first file's last objects and misses come to the gate when the second, which begins at 0 s, is there."""
    options = GateOptions(full_scan_seconds=1000, check_share=1.0, max_miss=0.01)
    films = [film(60, lambda _: 20, source_id=name) for name in ("a.mp4", "b.mp4")]
    one_file, two_files = (
        gated(frames, options=options)[1]["source 0"] for frames in (films[0], [*films[0], *films[1]])
    )
    assert one_file.misses.num_checked == 60 - 14 - 40  # what came of the last 40 comes too late
    assert two_files.misses.num_checked == 60 - 14 + one_file.misses.num_checked

    link = Link(0)
    gate = Gate(options, link, seed=0, packer=None, resize="stretch")
    for seconds in (7.0, 0.0, 0.1):
        (item,) = gate.process(Frame.from_pixels(drawn(20), source_id="a", index=0, pts_seconds=seconds))
        assert isinstance(item, GatedFrame)
        if seconds == 7.0:
            link.tell_seen(Seen(item.number, np.zeros((1, 4), np.float32), (64, 64), seconds, has_missed=True), item)
    assert (link.statistics().misses.num_missed, link.statistics().num_open) == (1, 0)


def test_no_box_is_carried_into_frames_of_another_size() -> None:
    """Of a camera that comes back with smaller pictures, of which the first is lost on the way."""
    carry = Gating(NO_CHECKS, lambda _: SHOWN).carry_of("cam", nms(), NAMES)
    large, small = (Frame.from_pixels(np.zeros((size, size, 3), np.uint8), source_id="cam") for size in (64, 32))
    seen, lost = (
        GatedFrame(one.picture, "cam", number, float(number), 0.0, number=number, num_looks=number + 1)
        for number, one in enumerate((large, small))
    )
    box = Detections(np.array([[40, 40, 60, 60]], np.float32), np.array([0.9], np.float32), np.array([0]))
    (first,) = carry.process(Result(seen, box, NAMES))
    (second,) = carry.process(CarriedFrame(lost))
    assert (len(first.detections), len(second.detections)) == (1, 0)


def test_images_are_looked_at_one_by_one() -> None:
    frames = [replace(frame, image=f"{frame.index}.jpg") for frame in film(40, lambda _: 20)]
    results, statistics, _ = gated(frames)
    assert not any(result.is_carried for result in results)
    assert dict(statistics["source 0"].num_looks) == {"image": 40}


def test_frames_whose_size_or_time_goes_back_are_compared_with_none_before() -> None:
    small = [
        Frame.from_pixels(np.full((1, 1, 3), 90, np.uint8), index=index, pts_seconds=index / FPS) for index in range(20)
    ]
    results, _, network = gated([*small, *film(20, lambda _: 9, source_id=""), *small])
    assert network.seen == [*range(14)] * 3
    assert len(results) == 60


def test_checks_find_what_the_gate_misses_and_open_it() -> None:
    def ghost(frame: Frame) -> Detections:  # an object that no pixel shows, from frame 40 on
        box = np.array([[1, 1, 20, 20]], np.float32)
        return Detections(box, np.array([0.9], np.float32), np.array([0])) if frame.index >= 40 else Detections.empty()

    options = GateOptions(full_scan_seconds=1000, check_share=0.1)
    results, statistics, network = gated(
        film(400, lambda _: None), network=Network(detect=ghost), options=options, lag=1
    )
    misses = statistics["source 0"].misses
    assert misses.num_missed == 1  # from the first check on it is carried
    assert misses.num_checked > 73
    assert statistics["source 0"].num_looks["misses"] >= 73  # looked at until as few are missed as may be
    assert results[-1].detections.boxes_xyxy.tolist() == [[1, 1, 20, 20]]
    assert len(network.seen) < 400


@pytest.mark.parametrize(
    ("score", "shift", "class_id", "is_missed"),
    [(0.9, 0, 0, False), (0.9, 1, 0, False), (0.9, 6, 0, True), (0.9, 0, 1, True), (0.4, 6, 0, False)],
    ids=["the same", "moved a little", "elsewhere", "of another class", "unsure"],
)
def test_an_object_is_missed_that_is_sure_and_not_among_those_carried(
    score: float, shift: float, class_id: int, is_missed: bool
) -> None:
    box = np.array([[0, 0, 10, 10]], np.float32)
    carried = Detections(box, np.array([0.5], np.float32), np.array([0]))
    detections = Detections(box + np.float32(shift), np.array([score], np.float32), np.array([class_id]))
    assert missed(detections, carried, SHOWN).tolist() == [is_missed]
    assert missed(Detections.empty(), carried, SHOWN).tolist() == []
    assert missed(detections, Detections.empty(), SHOWN).tolist() == [score > 0.45]


def test_a_frame_without_objects_carries_none() -> None:
    assert carried_on(Detections.empty()).carried is not None
    assert len(carried_on(Detections.empty())) == 0


def test_statistics_add_up() -> None:
    assert GateStatistics().duty is None
    both = GateStatistics({"start": 2, "change": 1}, 7) + GateStatistics({"start": 1}, 9, num_open=1)
    assert (both.num_inferred, both.num_carried, both.duty, both.num_open) == (4, 16, 0.2, 1)
