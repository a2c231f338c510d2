"""Failures: what goes on where a source, a stage, a sink or a frame fails, and what is left behind."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator

import pytest

from pipeline.errors import FrameError
from pipeline.flow.failure import OnError
from pipeline.flow.graph import Flow
from pipeline.flow.running import Running
from pipeline.testing import CollectingSink, FunctionStage, ItemSource


class FullDisk(CollectingSink[int]):
    """Fails on the item `at`."""

    def __init__(self, *, at: int = 7) -> None:
        super().__init__()
        self._at = at

    def write(self, item: int) -> None:
        if item == self._at:
            raise OSError("disk full")
        super().write(item)


def same() -> FunctionStage[int, int]:
    return FunctionStage(lambda item: [item])


def run_to_end(running: Running[int], *, match: str) -> None:
    with pytest.raises(Exception, match=match), running:
        running.wait()


def test_a_sink_that_fails_is_left_behind_and_the_others_get_everything(caplog: pytest.LogCaptureFixture) -> None:
    full, other = FullDisk(), CollectingSink[int]()
    running = Running(Flow.from_sources(ItemSource(range(50))).then(same()).to(full, name="record").to(other))
    run_to_end(running, match="disk full")
    frames = running.statistics().frames
    assert (full.got, other.got) == (list(range(7)), list(range(50)))
    assert (full.num_closed, other.num_closed) == (1, 1)
    assert (frames.captured, frames.delivered, frames.failed) == (50, 49, 1)
    assert "sink record failed and was left behind: disk full" in caplog.text


def test_no_stage_works_on_for_a_sink_that_was_left_behind() -> None:
    drawn: list[int] = []
    gate = threading.Event()

    def draw(item: int) -> Iterator[int]:
        drawn.append(item)
        yield item

    def items() -> Iterator[int]:
        yield from range(8)
        gate.wait(10)  # the sink has failed by now
        yield from range(8, 100)

    class Failing(FullDisk):
        def close(self) -> None:
            super().close()
            gate.set()

    render, other = FunctionStage(draw), CollectingSink[int]()
    flow = Flow.from_sources(ItemSource(items())).to(other)
    flow = flow.branch(lambda items: items.then(render, name="render").to(Failing(), name="record"))
    run_to_end(Running(flow), match="disk full")
    assert other.got == list(range(100))
    assert drawn == list(range(8))
    assert render.num_closed == 1


def test_a_sink_that_fails_stops_the_run_where_that_is_chosen() -> None:
    other = CollectingSink[int]()
    flow = Flow.from_sources(ItemSource(itertools.count())).to(FullDisk()).to(other)
    run_to_end(Running(flow, on_error=OnError(sink="stop")), match="disk full")
    assert other.num_closed == 1


def test_a_run_ends_with_its_last_output_whoever_watches() -> None:
    watcher = CollectingSink[int]()
    flow = Flow.from_sources(ItemSource(itertools.count())).to(FullDisk(at=7)).to(FullDisk(at=9), name="second")
    run_to_end(Running(flow.to(watcher, watches=True)), match="disk full")
    assert watcher.num_closed == 1


def test_a_watcher_that_fails_does_not_end_the_run() -> None:
    output = CollectingSink[int]()
    flow = Flow.from_sources(ItemSource(range(50))).to(output).to(FullDisk(), watches=True)
    run_to_end(Running(flow), match="disk full")
    assert output.got == list(range(50))


def test_a_source_that_fails_is_left_behind_and_the_others_go_on(caplog: pytest.LogCaptureFixture) -> None:
    broken = ItemSource(range(3), source_id="broken", failure=OSError("unplugged"))
    sound = ItemSource(range(100, 150), source_id="sound")
    sink = CollectingSink[int]()
    running = Running(Flow.from_sources(broken, sound).then(same()).to(sink))
    run_to_end(running, match="unplugged")
    assert sorted(sink.got) == [*range(3), *range(100, 150)]
    assert running.statistics().frames.delivered == 53
    assert "source broken failed and was left behind: unplugged" in caplog.text


@pytest.mark.parametrize("is_batched", [False, True])
def test_a_frame_that_fails_is_counted_and_the_run_goes_on_where_that_is_chosen(
    is_batched: bool, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse_sevens(item: int) -> list[int]:
        if item % 10 == 7:
            raise FrameError("NaN")
        return [item]

    class Batched:
        def process_batch(self, items: list[int]) -> list[int]:
            return [kept for item in items for kept in refuse_sevens(item)]

        def close(self) -> None: ...

    sink = CollectingSink[int]()
    flow = Flow.from_sources(ItemSource(range(50)))
    stage = flow.then_batched(Batched(), max_batch=1) if is_batched else flow.then(FunctionStage(refuse_sevens))  # type: ignore[arg-type]
    with Running(stage.to(sink), on_error=OnError(frame="continue")) as running:
        running.wait()
    frames = running.statistics().frames
    assert sink.got == [item for item in range(50) if item % 10 != 7]
    assert (frames.delivered, frames.failed) == (45, 5)
    assert [line.count("NaN") for line in caplog.messages] == [1, 1, 1], "the 1st, 2nd and 4th"


def test_a_frame_that_fails_ends_the_run_otherwise() -> None:
    def refuse(item: int) -> list[int]:
        raise FrameError("NaN")

    run_to_end(Running(Flow.from_sources(ItemSource(range(5))).then(FunctionStage(refuse))), match="NaN")


@pytest.mark.parametrize("part", ["stage", "sink"])
def test_a_part_that_never_returns_is_left_behind_once_the_run_wants_to_end(
    part: str, caplog: pytest.LogCaptureFixture
) -> None:
    never, hangs = threading.Event(), threading.Event()

    def hang(item: int) -> list[int]:
        if part == "stage" and item == 3:
            hangs.set()
            never.wait()
        return [item]

    class Mute(CollectingSink[int]):
        def write(self, item: int) -> None:
            if part == "sink" and item == 3:
                hangs.set()
                never.wait()
            super().write(item)

    mute, other = Mute(), CollectingSink[int]()
    flow = Flow.from_sources(ItemSource(itertools.count())).then(FunctionStage(hang), name="stuck stage")
    with Running(flow.to(mute, name="stuck sink").to(other), grace_seconds=0.0) as running:
        assert hangs.wait(10)
        running.stop()
        running.wait()
    frames = running.statistics().frames
    assert f"stuck {part} did not return within 0 s" in caplog.text
    assert other.num_closed == 1
    assert other.got[:3] == [0, 1, 2]
    assert frames.captured == frames.delivered + frames.dropped + frames.failed
    never.set()
