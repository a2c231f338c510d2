"""Stages with state for each source: each source's items meet a stage of their own, in order."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from pipeline.flow.graph import Flow
from pipeline.flow.running import Running
from pipeline.testing import CollectingSink, FunctionStage, ItemSource

Numbered = tuple[str, int]


class RunningSum:
    """Adds to each number all that came before it, and gives the sum once more when it is drained."""

    def __init__(self, source_id: str, *, repeats_sum: bool = False) -> None:
        self.source_id = source_id
        self.num_closed = 0
        self._sum = 0
        self._repeats_sum = repeats_sum

    def process(self, item: Numbered) -> list[Numbered]:
        source_id, number = item
        assert source_id == self.source_id
        if number < 0:
            raise ValueError("a number must not be negative")
        self._sum += number
        return [] if self._repeats_sum else [(source_id, self._sum)]

    def drain(self) -> list[Numbered]:
        return [(self.source_id, self._sum)] if self._repeats_sum else []

    def close(self) -> None:
        self.num_closed += 1


class Sums:
    """Makes the stages of a run, and remembers them."""

    def __init__(self, *, repeats_sum: bool = False) -> None:
        self.made: list[RunningSum] = []
        self._repeats_sum = repeats_sum

    def __call__(self, source_id: str) -> RunningSum:
        self.made.append(RunningSum(source_id, repeats_sum=self._repeats_sum))
        return self.made[-1]


def numbers(source_id: str, *values: int) -> ItemSource[Numbered]:
    return ItemSource([(source_id, value) for value in values], source_id=source_id)


def sums_of(sink: CollectingSink[Numbered], source_id: str) -> list[int]:
    return [number for name, number in sink.got if name == source_id]


def test_interleaved_sources_have_a_stage_each_which_is_closed_at_the_end() -> None:
    a_may_go_on, b_may_go_on = threading.Event(), threading.Event()

    def of_a() -> Iterator[Numbered]:
        yield "a", 1
        b_may_go_on.set()
        assert a_may_go_on.wait(10)
        yield "a", 2

    def of_b() -> Iterator[Numbered]:
        assert b_may_go_on.wait(10)
        yield "b", 10
        a_may_go_on.set()
        yield "b", 20

    make, sink = Sums(), CollectingSink[Numbered]()
    flow = Flow.from_sources(ItemSource(of_a(), source_id="a"), ItemSource(of_b(), source_id="b"))
    with Running(flow.then_per_source(make, name="sum").to(sink)) as running:
        running.wait()
    assert sums_of(sink, "a") == [1, 3]
    assert sums_of(sink, "b") == [10, 30]
    assert {stage.source_id: stage.num_closed for stage in make.made} == {"a": 1, "b": 1}
    assert running.statistics().frames.delivered == 4


def test_the_items_of_a_source_come_in_order_after_a_stage_of_several_workers() -> None:
    sources = [numbers(name, *range(100)) for name in "ab"]
    sink = CollectingSink[Numbered]()
    flow = Flow.from_sources(*sources).then(FunctionStage[Numbered, Numbered](lambda item: [item]), workers=3)
    with Running(flow.then_per_source(Sums(), name="sum").to(sink)) as running:
        running.wait()
    for name in "ab":
        assert sums_of(sink, name) == [sum(range(number + 1)) for number in range(100)]


def test_a_dropped_item_is_not_seen_and_the_others_go_on() -> None:
    sink = CollectingSink[Numbered]()
    drop_two = FunctionStage[Numbered, Numbered](lambda item: [] if item[1] == 2 else [item])
    flow = Flow.from_sources(numbers("a", 1, 2, 3), numbers("b", 1)).then(drop_two)
    with Running(flow.then_per_source(Sums(), name="sum").to(sink)) as running:
        running.wait()
    assert sums_of(sink, "a") == [1, 4]
    assert running.statistics().frames_by_source["a"].filtered == 1


def test_a_failure_of_one_source_names_it_and_closes_the_stages_of_all() -> None:
    make = Sums()
    b_is_summed = threading.Event()

    def of_a() -> Iterator[Numbered]:
        assert b_is_summed.wait(10)
        yield "a", 1
        yield "a", -1

    def watch(item: Numbered) -> list[Numbered]:
        b_is_summed.set()
        return [item]

    flow = Flow.from_sources(ItemSource(of_a(), source_id="a"), numbers("b", 5)).then_per_source(make, name="sum")
    flow = flow.then(FunctionStage(watch))
    with pytest.raises(ValueError, match="must not be negative") as caught, Running(flow) as running:
        running.wait()
    assert caught.value.__notes__ == ["in stage 'sum', frame 1 of a"]
    assert {stage.source_id: stage.num_closed for stage in make.made} == {"a": 1, "b": 1}


def test_a_stage_that_cannot_be_made_is_a_failure_of_its_first_frame() -> None:
    def make(source_id: str) -> RunningSum:
        raise OSError(f"no sums for {source_id}")

    flow = Flow.from_sources(numbers("a", 1)).then_per_source(make, name="sum")
    with pytest.raises(OSError, match="no sums for a") as caught, Running(flow) as running:
        running.wait()
    assert caught.value.__notes__ == ["in stage 'sum', frame 0 of a"]


def test_each_stage_that_holds_items_is_drained_with_the_tickets_of_its_own_source() -> None:
    sink = CollectingSink[Numbered]()
    flow = Flow.from_sources(numbers("a", 1, 2), numbers("b", 10))
    with Running(flow.then_per_source(Sums(repeats_sum=True), name="sum", holds=True).to(sink)) as running:
        running.wait()
    assert sorted(sink.got) == [("a", 3), ("b", 10)]
    by_source = running.statistics().frames_by_source
    assert [(counts.delivered, counts.filtered) for counts in by_source.values()] == [(1, 1), (1, 0)]
