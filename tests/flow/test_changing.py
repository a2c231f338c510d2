"""Changing runs: sources come, pause and go while the run goes on."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from pipeline.errors import FlowError
from pipeline.flow.graph import Flow
from pipeline.flow.running import Running
from pipeline.flow.stage import Stop
from pipeline.testing import CollectingSink, FunctionStage, ItemSource


class Signalling(CollectingSink[str]):
    """Sets `has[item]` when that item has come, and `is_closed`."""

    def __init__(self, *items: str) -> None:
        super().__init__()
        self.has = {item: threading.Event() for item in items}
        self.is_closed = threading.Event()

    def write(self, item: str) -> None:
        super().write(item)
        if item in self.has:
            self.has[item].set()

    def close(self) -> None:
        super().close()
        self.is_closed.set()


class Camera:
    """Gives its name until it is asked to stop."""

    is_live = True

    def __init__(self, source_id: str) -> None:
        self.source_id = source_id
        self.num_closed = 0

    def items(self, stop: Stop) -> Iterator[str]:
        while not stop.is_set():
            yield self.source_id

    def close(self) -> None:
        self.num_closed += 1


def same() -> FunctionStage[str, str]:
    return FunctionStage(lambda item: [item])


def test_a_source_can_be_added_and_removed_while_another_runs() -> None:
    sink, own = Signalling("a", "b"), Signalling("b")
    a, b = Camera("a"), Camera("b")
    with Running(Flow.from_sources(a).then(same(), name="same").to(sink), stays_open=True) as running:
        assert sink.has["a"].wait(10)
        running.extend(running.flow.with_source(b).at("same").to(own, name="own of b", only_sources=["b"]))
        assert own.has["b"].wait(10)
        running.remove_source("b")
        assert own.is_closed.wait(10), "its own sink ends with it"
        assert a.num_closed == 0
        assert "b" not in {node.name for node in running.flow.nodes}
        running.stop()
        running.wait()
    statistics = running.statistics()
    assert set(own.got) == {"b"}
    assert (a.num_closed, b.num_closed) == (1, 1)
    assert set(statistics.frames_by_source) == {"a", "b"}
    assert statistics.frames.captured == statistics.frames.delivered + statistics.frames.dropped


def test_a_run_that_stays_open_outlives_its_sources_and_takes_them_again() -> None:
    sink = Signalling("1", "2")
    with Running(Flow.from_sources(ItemSource(["1"], source_id="s")).to(sink), stays_open=True) as running:
        assert sink.has["1"].wait(10)
        while "s" in {node.name for node in running.flow.nodes}:  # ends by itself, in its own time
            threading.Event().wait(0.001)
        running.extend(running.flow.with_source(ItemSource(["2"], source_id="s")))
        assert sink.has["2"].wait(10)
        running.stop()
        running.wait()
    assert sink.got == ["1", "2"]
    assert running.statistics().frames_by_source["s"].delivered == 2


def test_a_source_that_ends_while_another_is_added_is_not_run_again() -> None:
    sink, short = Signalling("1", "2"), ItemSource(["1"], source_id="short")
    with Running(Flow.from_sources(short).to(sink), stays_open=True) as running:
        flow = running.flow.with_source(ItemSource(["2"], source_id="s"))
        while "short" in {node.name for node in running.flow.nodes}:  # ends by itself, in its own time
            threading.Event().wait(0.001)
        running.extend(flow)
        assert sink.has["2"].wait(10)
        running.stop()
        running.wait()
    assert sink.got == ["1", "2"]
    assert short.num_closed == 1


def test_a_reader_of_results_sees_what_comes_later_and_the_end() -> None:
    running = Running(Flow.from_sources(ItemSource(["1"], source_id="a")), results=True, stays_open=True)
    with running:
        results = iter(running)
        assert next(results) == "1"
        running.extend(running.flow.with_source(ItemSource(["2"], source_id="b")))
        assert next(results) == "2"
        running.stop()
        assert list(results) == []


def test_a_source_that_is_removed_does_not_end_a_run_without_others_before_its_frames_have() -> None:
    sink = Signalling("a")
    with Running(Flow.from_sources(Camera("a")).then(same()).to(sink)) as running:
        assert sink.has["a"].wait(10)
        running.remove_source("a")
        running.wait()
    frames = running.statistics().frames
    assert frames.captured == frames.delivered + frames.dropped


def test_a_paused_camera_is_not_captured_and_a_paused_file_waits() -> None:
    ahead, waits = threading.Event(), threading.Event()

    def file() -> Iterator[str]:
        yield "first"
        ahead.wait(10)
        yield "second"

    sink = Signalling("first", "second", "camera")
    camera = Camera("camera")
    with Running(Flow.from_sources(ItemSource(file(), source_id="file"), camera).to(sink)) as running:
        assert sink.has["first"].wait(10)
        running.pause_source("file")
        running.pause_source("camera")
        assert running.paused_sources() == {"file", "camera"}
        ahead.set()
        assert not waits.wait(0.05)
        captured = running.statistics().frames_by_source["camera"].captured
        assert not sink.has["second"].is_set()
        assert running.statistics().frames_by_source["camera"].captured <= captured + 1
        running.pause_source("file", is_paused=False)
        assert sink.has["second"].wait(10)
        running.stop()
        running.wait()


def test_nothing_grows_with_the_number_of_sources_that_came_and_went() -> None:
    with Running(Flow.from_sources(Camera("stays")).to(CollectingSink[str]()), stays_open=True) as running:
        sizes = []
        for number in range(30):
            own = Signalling("x")
            flow = running.flow.with_source(ItemSource(["x"], source_id="guest"))
            running.extend(flow.to(own, name="own", only_sources=["guest"]))
            assert own.is_closed.wait(10)
            while "guest" in {node.name for node in running.flow.nodes}:
                threading.Event().wait(0.001)
            if number in (2, 29):
                wiring = running._wiring
                sizes.append((len(wiring.meters), len(wiring._queues), len(running._threads), len(wiring.stop._events)))
        running.stop()
        running.wait()
    assert sizes[0] == sizes[1]


def test_what_cannot_be_changed_is_refused() -> None:
    running = Running(Flow.from_sources(Camera("a")).to(CollectingSink[str]()), stays_open=True)
    with running:
        with pytest.raises(FlowError, match="'a' twice"):
            running.extend(running.flow.with_source(Camera("a")))
        with pytest.raises(FlowError, match="no source 'b'; it has a"):
            running.remove_source("b")
        with pytest.raises(FlowError, match="from the start"):
            running.extend(running.flow.to(CollectingSink(), in_main_thread=True))
        with pytest.raises(FlowError, match="no node 'nms'"):
            running.flow.at("nms")
        running.stop()
        running.wait()
    with pytest.raises(FlowError, match="has ended"):
        running.extend(running.flow.with_source(Camera("b")))
