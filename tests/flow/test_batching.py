"""Batch closing: a batch waits for more items as long as none of them comes too late for it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence

import pytest

from pipeline.errors import FrameError
from pipeline.flow.batching import BatchCloser
from pipeline.flow.failure import OnError
from pipeline.flow.graph import Flow
from pipeline.flow.running import Running
from pipeline.testing import CollectingSink, ItemSource
from pipeline.turns import Turns


def closer(*service_seconds: float, max_latency_seconds: float | None = 0.1) -> BatchCloser:
    closer = BatchCloser(max_batch=4, max_latency_seconds=max_latency_seconds)
    for seconds in service_seconds:
        closer.ran(seconds)
    return closer


def patience(closer: BatchCloser, *, num_items: int = 1, age_seconds: float = 0.0) -> float:
    return closer.patience_seconds(num_items=num_items, oldest_at_seconds=50.0, now_seconds=50.0 + age_seconds)


def test_a_batch_waits_until_its_oldest_would_be_late_by_the_slowest_of_the_last_runs() -> None:
    # 100 ms less a tenth for what follows, less 20 ms for the run.
    assert patience(closer(0.01, 0.02, 0.005)) == pytest.approx(0.07)
    assert patience(closer(0.02), age_seconds=0.03) == pytest.approx(0.04)
    assert patience(closer(0.02), age_seconds=0.08) == 0


def test_a_full_batch_waits_for_nothing() -> None:
    assert patience(closer(0.02), num_items=4) == 0
    assert patience(closer(0.02), num_items=3) > 0


def test_nobody_waits_before_a_run_was_timed_or_without_a_limit() -> None:
    assert patience(closer()) == 0
    assert patience(closer(0.02, max_latency_seconds=None)) == 0


def test_one_slow_run_is_forgotten_after_some_time() -> None:
    slow_once = closer(0.09, *[0.01] * 16)
    assert patience(slow_once) == pytest.approx(0.08)


class Batches:
    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.first_ran = threading.Event()

    def process_batch(self, items: Sequence[int]) -> Sequence[int]:
        self.sizes.append(len(items))
        self.first_ran.set()
        return items

    def close(self) -> None: ...


@pytest.mark.parametrize("is_live", [True, False])
def test_a_live_batch_waits_for_the_frames_to_come_and_a_recorded_one_does_not(is_live: bool) -> None:
    """The clock stands still: what may wait, waits until the source has ended."""
    stage, sink = Batches(), CollectingSink[int]()
    may_go_on = threading.Event()

    def items() -> Iterator[int]:
        yield 0
        stage.first_ran.wait(10)  # a first run, in no time, by which the others are judged
        yield 1
        if not is_live:
            may_go_on.wait(10)
        yield 2
        yield 3

    source = ItemSource(items(), is_live=is_live)
    flow = Flow.from_sources(source).then_batched(
        stage, max_batch=8, capacity=8, overflow="block", max_latency_seconds=60.0
    )
    watched = WatchedSink(lambda item: may_go_on.set() if item == 1 else None, sink)
    with Running(flow.to(watched, overflow="block"), clock=lambda: 5.0) as running:
        running.wait()
    assert sink.got == [0, 1, 2, 3]
    assert stage.sizes[0] == 1
    assert (stage.sizes[1] == 3) if is_live else (stage.sizes[1] == 1)


class WatchedSink:
    """Hands each item on after a look at it."""

    def __init__(self, look: Callable[[int], object], sink: CollectingSink[int]) -> None:
        self._look, self._sink = look, sink

    def write(self, item: int) -> None:
        self._look(item)
        self._sink.write(item)

    def close(self) -> None:
        self._sink.close()


class InTurns(Batches):
    """Ends its turn where the first batch has run; another worker waits until then."""

    def __init__(self) -> None:
        super().__init__()
        self.turns, self.may_end = Turns(), threading.Event()

    def process_batch(self, items: Sequence[int]) -> Sequence[int]:
        super().process_batch(items)
        assert self.may_end.wait(10)
        self.turns.end()
        return items


def test_in_turns_a_batch_takes_all_that_came_while_another_ran() -> None:
    stage, sink = InTurns(), CollectingSink[int]()

    def items() -> Iterator[int]:
        yield 0
        stage.first_ran.wait(10)
        yield from (1, 2, 3)
        stage.may_end.set()

    flow = Flow.from_sources(ItemSource(items())).then_batched(
        stage, max_batch=8, workers=2, capacity=8, turns=stage.turns
    )
    with Running(flow.to(sink)) as running:
        running.wait()
    assert stage.sizes == [1, 3]
    assert sink.got == [0, 1, 2, 3]


def test_a_turn_is_ended_by_nobody_else() -> None:
    turns, order = Turns(), list[str]()

    def wait_for_one() -> None:
        turns.end()  # of another
        turns.begin()
        order.append("second")
        turns.end()

    turns.begin()
    other = threading.Thread(target=wait_for_one)
    other.start()
    order.append("first")
    turns.end()
    other.join(10)
    assert order == ["first", "second"]
    turns.begin()  # nobody has one


def test_a_stage_that_fails_in_its_turn_lets_the_others_have_theirs() -> None:
    class Failing(InTurns):
        def process_batch(self, items: Sequence[int]) -> Sequence[int]:
            self.sizes.append(len(items))
            raise FrameError("not this one")

    stage, sink = Failing(), CollectingSink[int]()
    flow = Flow.from_sources(ItemSource(range(5))).then_batched(stage, max_batch=1, workers=2, turns=stage.turns)
    with Running(flow.to(sink), on_error=OnError(frame="continue")) as running:
        running.wait()
    assert len(stage.sizes) == 5
