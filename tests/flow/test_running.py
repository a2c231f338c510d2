"""Running: what a run delivers, keeps in order, drops, drains, and does when a part fails or a caller stops it."""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import FlowError, OutputError
from pipeline.flow.failure import OnError
from pipeline.flow.graph import Flow
from pipeline.flow.running import Running
from pipeline.flow.stage import Stop
from pipeline.testing import CollectingSink, FunctionStage, ItemSource, StepClock


def stage_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("streamdet ")]


def double() -> FunctionStage[int, int]:
    return FunctionStage(lambda item: [2 * item])


class Summing:
    """Adds the size of its batch to each item; `gate`, if given, is waited for before each batch."""

    def __init__(self, *, gate: threading.Event | None = None) -> None:
        self._gate = gate

    def process_batch(self, items: Sequence[int]) -> Sequence[tuple[int, int]]:
        if self._gate is not None:
            self._gate.wait()
        return [(item, len(items)) for item in items]

    def close(self) -> None: ...


def test_every_item_of_a_file_goes_through_in_order() -> None:
    sink: CollectingSink[int] = CollectingSink()
    with Running(Flow.from_sources(ItemSource(range(100))).then(double()).to(sink)) as running:
        running.wait()
    frames = running.statistics().frames
    assert sink.got == list(range(0, 200, 2))
    assert (frames.captured, frames.delivered, frames.in_flight) == (100, 100, 0)
    assert stage_threads() == []


def test_an_observer_sees_every_item_once_in_order_and_ends_no_frame() -> None:
    seen: list[int] = []
    flow = Flow.from_sources(ItemSource(range(50))).then(double(), workers=4).observe(seen.append)
    sink: CollectingSink[int] = CollectingSink()
    with Running(flow.to(sink).branch(lambda items: items.then(double()))) as running:
        running.wait()
    assert seen == sink.got == list(range(0, 100, 2))
    statistics = running.statistics()
    assert statistics.frames.delivered == 50
    assert len(statistics.nodes) == 4


def test_an_observer_that_fails_ends_the_run_and_is_named() -> None:
    def fail(item: int) -> None:
        raise OSError(f"cannot count {item}")

    flow = Flow.from_sources(ItemSource(range(50))).then(double(), name="twice").observe(fail)
    with pytest.raises(OSError, match="cannot count 0") as caught, Running(flow) as running:
        running.wait()
    assert "twice" in str(caught.value.__notes__)


def test_results_can_be_iterated_over() -> None:
    running = Running(Flow.from_sources(ItemSource(range(5))).then(double()), results=True)
    with running:
        assert list(running) == [0, 2, 4, 6, 8]
    assert running.statistics().frames.delivered == 5


def test_whoever_reads_all_results_leaves_the_other_sinks_theirs() -> None:
    reader_is_done = threading.Event()
    slow: CollectingSink[int] = CollectingSink(gate=reader_is_done)
    flow = Flow.from_sources(ItemSource(range(20))).to(slow, capacity=100)
    running = Running(flow, results=True)
    with running:
        results = iter(running)
        assert [next(results) for _ in range(20)] == list(range(20))
        reader_is_done.set()
        assert list(results) == []
    assert slow.got == list(range(20))


def test_iterating_without_results_says_what_to_do() -> None:
    with (
        pytest.raises(FlowError, match="results=True"),
        Running(Flow.from_sources(ItemSource(range(5)))) as running,
    ):
        list(running)


def test_a_reader_may_stop_early_and_nothing_is_left_over() -> None:
    for _ in range(100):
        running = Running(Flow.from_sources(ItemSource(itertools.count())).then(double(), workers=2), results=True)
        with running:
            for item in running:
                if item >= 6:
                    break
        frames = running.statistics().frames
        assert frames.delivered == 4
        assert frames.captured == frames.delivered + frames.dropped_stale
        assert stage_threads() == []


def test_several_workers_keep_the_order() -> None:
    first_is_slow = threading.Event()

    def work(item: int) -> Iterator[int]:
        if item == 0:
            first_is_slow.wait()
        elif item == 3:
            first_is_slow.set()
        yield item

    sink: CollectingSink[int] = CollectingSink()
    flow = Flow.from_sources(ItemSource(range(200))).then(FunctionStage(work), workers=4).to(sink)
    with Running(flow) as running:
        running.wait()
    assert sink.got == list(range(200))


def test_several_sources_share_a_stage_and_each_keeps_its_order_and_books() -> None:
    sources = [ItemSource([(name, index) for index in range(50)], source_id=name) for name in "abc"]
    everything: CollectingSink[tuple[str, int]] = CollectingSink()
    only_b: CollectingSink[tuple[str, int]] = CollectingSink()
    flow = (
        Flow.from_sources(*sources)
        .then(FunctionStage[tuple[str, int], tuple[str, int]](lambda item: [item]), workers=3)
        .to(everything)
        .to(only_b, only_sources=["b"])
    )
    with Running(flow) as running:
        running.wait()
    for name in "abc":
        assert [index for source, index in everything.got if source == name] == list(range(50))
        assert running.statistics().frames_by_source[name].delivered == 50
    assert only_b.got == [("b", index) for index in range(50)]


def test_a_slow_consumer_of_a_live_source_sees_the_newest_and_every_drop_is_counted() -> None:
    gate = threading.Event()
    sink: CollectingSink[int] = CollectingSink(gate=gate)

    def camera() -> Iterator[int]:
        yield from range(1000)
        gate.set()

    with Running(Flow.from_sources(ItemSource(camera(), is_live=True)).to(sink)) as running:
        running.wait()
    frames = running.statistics().frames
    assert sink.got[-1] == 999
    assert len(sink.got) == frames.delivered <= 3
    assert frames.captured == 1000 == frames.delivered + frames.dropped_full


def test_frames_of_a_live_source_that_are_too_old_are_dropped_as_stale() -> None:
    clock = StepClock()

    def age(item: int) -> Iterator[int]:
        clock.advance(0.3 if item == 1 else 0.0)
        yield item

    sink: CollectingSink[int] = CollectingSink()
    flow = (
        Flow.from_sources(ItemSource(range(3), is_live=True))
        .then(FunctionStage(age), overflow="block", capacity=1)
        .then(double(), max_age_seconds=0.2, overflow="block")
        .to(sink, overflow="block")
    )
    with Running(flow, clock=clock) as running:
        running.wait()
    frames = running.statistics().frames
    assert 2 not in sink.got
    assert frames.dropped_stale >= 1
    assert frames.captured == 3 == frames.delivered + frames.dropped_stale


@dataclass(frozen=True)
class Timed:
    """An item that a camera gave at that time."""

    captured_at_seconds: float


class LateSource(ItemSource[Timed]):
    """Leaves five items out before each that it gives, and two more at its end."""

    num_skipped = 0

    def items(self, stop: Stop) -> Iterator[Timed]:
        for item in super().items(stop):
            self.num_skipped += 5
            yield item
        self.num_skipped += 2


def test_age_counts_from_when_the_camera_gave_a_frame() -> None:
    sink: CollectingSink[Timed] = CollectingSink()
    source = ItemSource([Timed(9.0), Timed(9.7), Timed(99.0)], is_live=True)
    kept = FunctionStage[Timed, Timed](lambda item: [item])
    flow = Flow.from_sources(source).then(kept, max_age_seconds=0.5, overflow="block").to(sink, overflow="block")
    with Running(flow, clock=StepClock(10.0)) as running:
        running.wait()
    frames = running.statistics().frames
    assert (sink.got, frames.dropped_stale) == ([Timed(9.7), Timed(99.0)], 1)
    assert frames.latency.p95 == pytest.approx(0.3, rel=0.03)


def test_a_recorded_item_is_as_old_as_its_reading() -> None:
    with Running(Flow.from_sources(ItemSource([Timed(1.0)])), clock=StepClock(10.0)) as running:
        running.wait()
    assert running.statistics().frames.latency.p50 == pytest.approx(0.0, abs=1e-3)


def test_what_a_source_skips_is_captured_and_dropped_as_stale_also_at_its_end() -> None:
    with Running(Flow.from_sources(LateSource([Timed(0.0)] * 3, is_live=True)), clock=StepClock()) as running:
        running.wait()
    frames = running.statistics().frames
    assert (frames.captured, frames.delivered, frames.dropped_stale) == (20, 3, 17)


def test_a_stage_that_returns_nothing_filters_and_one_that_returns_several_multiplies() -> None:
    sink: CollectingSink[int] = CollectingSink()
    flow = Flow.from_sources(ItemSource(range(10))).then(FunctionStage[int, int](lambda item: [item] * (item % 3)))
    with Running(flow.to(sink)) as running:
        running.wait()
    frames = running.statistics().frames
    assert sink.got == [1, 2, 2, 4, 5, 5, 7, 8, 8]
    assert (frames.delivered, frames.filtered) == (6, 4)


def test_a_holding_stage_gives_back_in_order_and_drains_the_rest() -> None:
    held: list[int] = []

    def delay_by_two(item: int) -> list[int]:
        held.append(item)
        return [held.pop(0)] if len(held) > 2 else []

    sink: CollectingSink[int] = CollectingSink()
    flow = Flow.from_sources(ItemSource(range(10))).then(FunctionStage(delay_by_two, rest=held), holds=True).to(sink)
    with Running(flow) as running:
        running.wait()
    assert sink.got == list(range(10))
    assert running.statistics().frames.delivered == 10


def test_a_stage_that_drains_items_without_holding_any_is_a_failure() -> None:
    flow = Flow.from_sources(ItemSource(range(3))).then(FunctionStage[int, int](lambda item: [item], rest=[9]))
    with pytest.raises(FlowError, match="gave back 1 items but held 0"), Running(flow) as running:
        running.wait()


def test_batches_take_what_waits_and_never_more_than_allowed() -> None:
    sink: CollectingSink[tuple[int, int]] = CollectingSink()
    gate = threading.Event()

    def items() -> Iterator[int]:
        for item in range(40):
            if item == 9:
                gate.set()  # 9 items are sent, at most 4 of them taken: the next batch is full
            yield item

    flow = Flow.from_sources(ItemSource(items())).then_batched(Summing(gate=gate), max_batch=4, capacity=8).to(sink)
    with Running(flow) as running:
        running.wait()
    assert [item for item, _ in sink.got] == list(range(40))
    assert max(size for _, size in sink.got) == 4
    assert running.statistics().frames.delivered == 40


@pytest.mark.parametrize("part", ["source", "middle", "batch", "sink", "close of stage", "close of sink", "drain"])
def test_a_failure_anywhere_reaches_the_caller_and_leaves_no_thread(part: str) -> None:
    class Failing(CollectingSink[int]):
        def write(self, item: int) -> None:
            if part == "sink" and item == 2 * 7:
                raise RuntimeError("boom")
            super().write(item)

        def close(self) -> None:
            super().close()
            if part == "close of sink":
                raise RuntimeError("boom")

    class FailingStage(FunctionStage[int, int]):
        def drain(self) -> list[int]:
            if part == "drain":
                raise RuntimeError("boom")
            return []

        def close(self) -> None:
            super().close()
            if part == "close of stage":
                raise RuntimeError("boom")

        def process_batch(self, items: Sequence[int]) -> Sequence[int]:
            if part == "batch" and 7 in items:
                raise RuntimeError("boom")
            return items

    def work(item: int) -> list[int]:
        if part == "middle" and item == 7:
            raise RuntimeError("boom")
        return [2 * item]

    for _ in range(60):
        source = ItemSource(range(20), failure=RuntimeError("boom") if part == "source" else None)
        batch, stage, sink, other = FailingStage(work), FailingStage(work), Failing(), CollectingSink[int]()
        flow = Flow.from_sources(source).then_batched(batch, max_batch=3, name="batch")
        running = Running(flow.then(stage, name="middle", workers=2).to(sink, name="sink").to(other))
        with pytest.raises(RuntimeError, match="boom") as caught, running:
            running.wait()
        frames = running.statistics().frames
        assert [source.num_closed, batch.num_closed, stage.num_closed, sink.num_closed, other.num_closed] == [1] * 5
        assert frames.captured == frames.delivered + frames.failed + frames.dropped + frames.filtered
        assert stage_threads() == []
        note = caught.value.__notes__[0]
        if part in ("middle", "sink"):
            assert note == f"in {'stage' if part == 'middle' else 'sink'} '{part}', frame 7 of items"
        if part == "source":
            assert note == "in source 'items'"
            assert sink.got == list(range(0, 40, 2)), "what was captured before a source broke is delivered"


def test_a_failure_reaches_a_reader_too() -> None:
    running = Running(
        Flow.from_sources(ItemSource(range(3), failure=OSError("unplugged"))).then(double()), results=True
    )
    with running:
        items = iter(running)
        assert [next(items), next(items), next(items)] == [0, 2, 4]
        with pytest.raises(OSError, match="unplugged"):
            next(items)


def test_stop_lets_what_was_captured_through() -> None:
    sink: CollectingSink[int] = CollectingSink()
    enough = threading.Event()

    def watch(item: int) -> list[int]:
        if item == 10:
            enough.set()
        return [item]

    flow = Flow.from_sources(ItemSource(itertools.count())).then(FunctionStage(watch)).to(sink)
    with Running(flow) as running:
        enough.wait()
        running.stop()
        running.wait()
    frames = running.statistics().frames
    assert sink.got == list(range(len(sink.got)))
    assert frames.captured == frames.delivered == len(sink.got) >= 11


def test_a_source_that_hangs_is_left_behind_and_the_rest_ends_properly(caplog: pytest.LogCaptureFixture) -> None:
    never, hangs = threading.Event(), threading.Event()

    class Hanging(ItemSource[int]):
        def items(self, stop: Stop) -> Iterator[int]:
            yield 1
            hangs.set()
            never.wait()  # a driver that does not come back

    sink: CollectingSink[int] = CollectingSink()
    running = Running(Flow.from_sources(Hanging([], source_id="stuck camera")).to(sink), grace_seconds=0.0)
    with running:
        assert hangs.wait(10)
        running.stop()
        running.wait()
    assert (sink.got, sink.num_closed) == ([1], 1)
    assert "stuck camera did not return" in caplog.text
    never.set()


def test_a_main_thread_sink_is_driven_by_wait_and_may_end_the_run() -> None:
    class Window(CollectingSink[int]):
        num_polls = 0
        threads: set[str] = set()  # noqa: RUF012 - one window, one test

        @property
        def wants_stop(self) -> bool:
            return len(self.got) >= 3

        def write(self, item: int) -> None:
            self.threads.add(threading.current_thread().name)
            super().write(item)

        def poll(self) -> None:
            self.num_polls += 1

    window = Window()
    with Running(Flow.from_sources(ItemSource(itertools.count())).to(window, in_main_thread=True)) as running:
        running.wait()
    frames = running.statistics().frames
    assert window.threads == {threading.current_thread().name}
    assert window.num_polls >= 3
    assert window.num_closed == 1
    assert frames.captured == frames.delivered


def test_ticks_come_while_waiting() -> None:
    clock = StepClock()
    sink: CollectingSink[int] = CollectingSink()
    ticks: list[float] = []

    def work(item: int) -> list[int]:
        clock.advance(0.1)
        return [item]

    running = Running(Flow.from_sources(ItemSource(itertools.count())).then(FunctionStage(work)).to(sink), clock=clock)

    def on_tick() -> None:
        ticks.append(clock())
        if len(ticks) == 2:
            running.stop()

    with running:
        running.wait(on_tick=on_tick, tick_seconds=0.5)
    assert ticks[0] >= 0.5


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 2**32),
    num_sources=st.integers(1, 3),
    num_items=st.integers(0, 30),
    is_live=st.booleans(),
    workers=st.integers(1, 3),
    failure_rate=st.sampled_from([0.0, 0.0, 0.02, 0.2]),
    stop_after=st.one_of(st.none(), st.integers(0, 20)),
)
def test_the_books_balance_under_random_failures_drops_and_stops(
    seed: int,
    num_sources: int,
    num_items: int,
    is_live: bool,
    workers: int,
    failure_rate: float,
    stop_after: int | None,
) -> None:
    chance = random.Random(seed)
    lock = threading.Lock()

    def maybe_fail(item: int) -> list[int]:
        with lock:
            roll, copies = chance.random(), chance.choice((0, 1, 1, 1, 2))
        if roll < failure_rate:
            raise RuntimeError("boom")
        return [item] * copies

    sources = [ItemSource(range(num_items), source_id=f"s{number}", is_live=is_live) for number in range(num_sources)]
    flow = (
        Flow.from_sources(*sources)
        .then(FunctionStage(maybe_fail), workers=workers)
        .to(CollectingSink())
        .then(FunctionStage(maybe_fail))
        .to(CollectingSink())
    )
    running = Running(flow, results=stop_after is not None)
    try:
        with running:
            if stop_after is None:
                running.wait()
            else:
                for count, _ in enumerate(running):
                    frames = running.statistics().frames
                    ended = frames.delivered + frames.dropped + frames.filtered + frames.failed
                    assert frames.captured == ended + frames.in_flight
                    if count >= stop_after:
                        break
    except RuntimeError:
        assert failure_rate > 0
    frames, by_source = running.statistics().frames, running.statistics().frames_by_source
    assert frames.in_flight == 0
    assert frames.captured == frames.delivered + frames.dropped + frames.filtered + frames.failed
    assert frames.captured == sum(counts.captured for counts in by_source.values())
    assert stage_threads() == []


def test_after_the_warm_up_is_forgotten_only_later_frames_count() -> None:
    clock = StepClock()
    gate = threading.Event()
    warm = threading.Event()

    def work(item: int) -> list[int]:
        if item == 4:
            warm.set()
            assert gate.wait(10)
        clock.advance(1.0 if item < 4 else 0.125)
        return [item]

    running = Running(Flow.from_sources(ItemSource(range(12))).then(FunctionStage(work), name="work"), clock=clock)
    with running:
        assert warm.wait(10)
        before = running.statistics().frames.captured
        running.forget_warm_up()
        assert running.statistics().elapsed_seconds == 0
        gate.set()
        running.wait()
    statistics = running.statistics()
    (work_node,) = (node for node in statistics.nodes if node.name == "work")
    assert statistics.frames.captured == statistics.frames.delivered == 12 - before
    assert work_node.service.num == 8  # frames 4 to 11
    assert work_node.service.mean == pytest.approx(0.125)
    assert statistics.elapsed_seconds == pytest.approx(1.0)


def test_a_run_tells_the_threads_of_its_nodes() -> None:
    gate = threading.Event()
    stage = FunctionStage[int, int](lambda item: [item] if gate.wait(10) else [])
    with Running(Flow.from_sources(ItemSource(range(3))).then(stage, name="work", workers=2)) as running:
        names = list(running.thread_ids().values())
        gate.set()
        running.wait()
    assert sorted(names) == ["items", "work", "work"]


@pytest.mark.parametrize("batches", [False, True])
def test_items_of_some_types_go_past_a_stage_in_order_and_uncounted(batches: bool) -> None:
    items = [index if index % 3 == 0 else str(index) for index in range(1, 41)]
    sink: CollectingSink[object] = CollectingSink()
    flow: Flow[object] = Flow.from_sources(ItemSource[object](items))
    if batches:
        flow = flow.then_batched(_Negating(), max_batch=3, workers=2, name="negate", past=(str,))
    else:
        flow = flow.then(FunctionStage(_Negating().process), workers=3, name="negate", past=(str,))
    with Running(flow.to(sink)) as running:
        running.wait()
    assert sink.got == [-item if isinstance(item, int) else item for item in items]
    (node,) = (node for node in running.statistics().nodes if node.name == "negate")
    assert node.service.num == 13
    assert running.statistics().frames.delivered == 40


def test_a_live_item_in_work_is_not_pushed_out_by_those_that_go_past_meanwhile() -> None:
    """A number is worked on until the source has ended; behind it, all that waited come at once."""
    has_ended = threading.Event()

    class Camera(ItemSource[object]):
        def items(self, stop: Stop) -> Iterator[object]:
            yield from super().items(stop)
            has_ended.set()

    def work(item: object) -> list[object]:
        assert has_ended.wait(10)
        return [item]

    words = [str(number) for number in range(20)]
    camera = Camera([1, *words], is_live=True)
    sink: CollectingSink[object] = CollectingSink()
    seen: list[object] = []

    def look(item: object) -> list[object]:
        seen.append(item)
        return [item]

    flow = (
        Flow.from_sources(camera)
        .then(FunctionStage(work), name="network", past=(str,))
        .then_per_source(lambda _: FunctionStage(look), name="carry", light=(str,))
        .to(sink, overflow="block")
    )
    with Running(flow) as running:
        running.wait()
    assert seen == [1, *words]


def test_items_that_go_past_are_delivered_where_their_batch_fails() -> None:
    sink: CollectingSink[object] = CollectingSink()
    flow: Flow[object] = Flow.from_sources(ItemSource[object]([1, "a", 0, "b", 2]))
    flow = flow.then_batched(_Negating(), max_batch=1, name="negate", past=(str,))
    with Running(flow.to(sink), on_error=OnError(frame="continue")) as running:
        running.wait()
    assert sink.got == [-1, "a", "b", -2]
    assert (running.statistics().frames.delivered, running.statistics().frames.failed) == (4, 1)


class _Negating:
    """Gives each number with the other sign, and fails on 0."""

    def process(self, item: object) -> Sequence[object]:
        return self.process_batch([item])

    def process_batch(self, items: Sequence[object]) -> Sequence[object]:
        numbers = [item for item in items if isinstance(item, int)]
        assert len(numbers) == len(items)
        if 0 in numbers:
            raise OutputError("no number is opposite to 0")
        return [-number for number in numbers]

    def close(self) -> None: ...
