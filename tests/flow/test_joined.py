"""Joined flows: sources that go different ways come together again, and each has its share of its own way."""

from __future__ import annotations

import heapq
import itertools
import textwrap
import threading
from collections.abc import Iterator

import pytest

from pipeline.errors import FlowError
from pipeline.flow.failure import OnError
from pipeline.flow.graph import Flow
from pipeline.flow.running import Running
from pipeline.flow.stop_request import StopRequest
from pipeline.flow.wiring import Item, Wiring
from pipeline.testing import CollectingSink, FunctionStage, ItemSource, StepClock


def marked(mark: str) -> FunctionStage[str, str]:
    return FunctionStage(lambda item: [f"{item}{mark}"])


def way(name: str, *sources: ItemSource[str]) -> Flow[str]:
    """The sources' items, each with the name behind it."""
    return Flow.from_sources(*sources).then(marked(name), name=f"mark {name}", role="mark")


def items(source_id: str, num: int = 3) -> ItemSource[str]:
    return ItemSource([f"{source_id}{number}" for number in range(num)], source_id=source_id)


def test_a_joined_flow_prints_its_ways_and_then_what_all_of_them_go_through() -> None:
    flow = Flow.joined(way("x", items("a"), items("b")), way("y", items("c")))
    flow = flow.to(CollectingSink(), name="lines").then(marked("!"), name="render").to(CollectingSink(), name="out.mp4")
    rule = "[queue 2, live: newest, recorded: all]"
    assert str(flow) == textwrap.dedent(f"""\
        a (recorded)
        b (recorded)
        └─▶ mark x  {rule}
        c (recorded)
        └─▶ mark y  {rule}
        mark x + mark y
        ├─▶ lines  {rule}
        └─▶ render  {rule}
            └─▶ out.mp4  {rule}""")


def test_each_source_goes_its_way_and_all_arrive_in_their_order() -> None:
    sink, seen = CollectingSink[str](), list[str]()
    flow = Flow.joined(way("x", items("a", 40), items("b", 7)), way("y", items("c", 0)), way("z", items("d", 200)))
    with Running(flow.observe(seen.append).to(sink)) as running:
        running.wait()
    for source, mark, num in (("a", "x", 40), ("b", "x", 7), ("c", "y", 0), ("d", "z", 200)):
        expected = [f"{source}{number}{mark}" for number in range(num)]
        assert [item for item in sink.got if item.startswith(source)] == expected
    assert sorted(seen) == sorted(sink.got)
    frames = running.statistics().frames
    assert frames.captured == frames.delivered == 247


def test_a_way_that_ends_early_does_not_end_what_all_go_through() -> None:
    """The short way has ended, and its stage is closed, before the long one gives its first item."""
    short = marked("x")

    def late() -> Iterator[str]:
        for _ in range(10_000):
            if short.num_closed:
                yield "closed"
                break
            threading.Event().wait(0.001)
        yield from ("b0", "b1")

    sink = CollectingSink[str]()
    flow = Flow.joined(
        Flow.from_sources(ItemSource(["a0"], source_id="a", is_live=True)).then(short, name="short"),
        way("y", ItemSource(late(), source_id="b")),
    )
    with Running(flow.to(sink)) as running:
        running.wait()
    assert sorted(sink.got) == ["a0x", "b0y", "b1y", "closedy"]


def test_a_stage_that_fails_in_one_way_ends_the_run_with_its_name() -> None:
    def fail(item: str) -> list[str]:
        raise ValueError(item)

    flow = Flow.joined(
        way("x", items("a", 1000)),
        Flow.from_sources(items("b")).then(FunctionStage[str, str](fail), name="mark y"),
    )
    with pytest.raises(ValueError, match="b0") as caught, Running(flow.to(CollectingSink())) as running:
        running.wait()
    assert any("mark y" in note for note in caught.value.__notes__)
    frames = running.statistics().frames
    assert frames.captured == frames.delivered + frames.dropped + frames.failed


def test_a_sink_of_one_source_takes_it_behind_the_join() -> None:
    own, log = CollectingSink[str](), CollectingSink[str]()
    flow = Flow.joined(way("x", items("a")), way("y", items("b")))
    with Running(flow.to(own, name="own", only_sources=["b"]).to(log, name="log")) as running:
        running.wait()
    assert own.got == ["b0y", "b1y", "b2y"]
    assert len(log.got) == 6


@pytest.mark.parametrize("flows", [(), (way("x", items("a")), way("x", items("b"))), (way("x", items("a")),) * 2])
def test_names_that_come_twice_are_refused(flows: tuple[Flow[str], ...]) -> None:
    with pytest.raises(FlowError, match="each with names of its own, got"):
        Flow.joined(*flows)


def test_a_source_and_a_way_come_while_the_run_goes_on() -> None:
    sink, seen = CollectingSink[str](), list[str]()
    flow = Flow.joined(way("x", items("a")), way("y", items("b"))).observe(seen.append).to(sink, name="log")
    with Running(flow, stays_open=True) as running:
        running.extend(running.flow.with_source(items("c"), before=["mark y"]))
        running.extend(running.flow.with_joined(way("z", items("d")), beside="mark x"))
        running.extend(running.flow.with_source(items("e"), before=["mark z"]))
        while len(sink.got) < 15:
            threading.Event().wait(0.001)
        running.stop()
        running.wait()
    marks = {item[0]: item[2] for item in sink.got}
    assert marks == {"a": "x", "b": "y", "c": "y", "d": "z", "e": "z"}
    assert sorted(seen) == sorted(sink.got)


def test_a_reader_of_results_gets_those_of_a_way_that_came_later() -> None:
    with Running(Flow.joined(way("x", items("a", 1))), results=True, stays_open=True) as running:
        results = iter(running)
        assert next(results) == "a0x"
        running.extend(running.flow.with_joined(way("y", items("b", 1)), beside="mark x"))
        assert next(results) == "b0y"
        running.stop()
        assert list(results) == []


def test_only_a_node_that_is_there_has_a_way_beside_it() -> None:
    with pytest.raises(FlowError, match="the flow has no node 'nms'; it has a, mark x"):
        way("x", items("a")).with_joined(way("y", items("b")), beside="nms")


class Weighted(ItemSource[str]):
    """A camera with a weight, whose frames the test sends itself."""

    def __init__(self, source_id: str, weight: float) -> None:
        super().__init__([], source_id=source_id, is_live=True)
        self.weight = weight


@pytest.mark.parametrize("slow_seconds", [0.1, 0.5, 2.0])
def test_a_slow_way_and_a_fast_one_share_as_their_sources_weigh_and_no_source_starves(slow_seconds: float) -> None:
    """Four cameras of 30 frames/s, of weights 1 and 2 before a slow model and before a fast one; both models busy."""
    rate_fps, num_seconds = 30.0, 60 * slow_seconds
    service = {"slow": slow_seconds, "fast": 0.05}
    weights = {"slow": {"a": 1.0, "b": 2.0}, "fast": {"c": 1.0, "d": 2.0}}
    flow = Flow.joined(
        *(
            Flow.from_sources(*(Weighted(name, weight) for name, weight in of_way.items())).then(marked(""), name=name)
            for name, of_way in weights.items()
        )
    )
    clock = StepClock()
    wiring = Wiring(flow.nodes, clock=clock, stop=StopRequest(clock=clock, grace_seconds=5.0), on_error=OnError())
    nodes = {node.name: node for node in flow.nodes}
    served: dict[str, list[float]] = {name: [] for name in "abcd"}
    ages: dict[str, float] = dict.fromkeys("abcd", 0.0)
    busy: dict[str, Item | None] = {"slow": None, "fast": None}

    def begin(name: str) -> None:
        item = busy[name] = wiring.receive(nodes[name], timeout=0)
        source_id = item.ticket.source_id
        ages[source_id] = max(ages[source_id], clock() - item.ticket.captured_at_seconds)
        served[source_id].append(clock())
        heapq.heappush(events, (clock() + service[name], name))

    events = [
        (index / 117 + number / rate_fps, name)
        for index, name in enumerate("abcd")
        for number in range(int(num_seconds * rate_fps))
    ] + [(0.1, "slow"), (0.1, "fast")]
    heapq.heapify(events)
    while events[0][0] < num_seconds - 1:
        clock.now_seconds, name = heapq.heappop(events)
        if name in served:
            ticket = wiring.ledger.capture(name)
            wiring.send(nodes[name], Item(ticket, name))
            continue
        if (item := busy[name]) is not None:
            wiring.send(nodes[name], item)
        begin(name)
    for of_way, seconds in ((weights[name], service[name]) for name in service):
        total = sum(of_way.values())
        counts = {name: len(served[name]) for name in of_way}
        for name, weight in of_way.items():
            assert abs(counts[name] - weight / total * sum(counts.values())) <= 2
            gap = max(later - earlier for earlier, later in itertools.pairwise(served[name]))
            assert gap <= total / weight * seconds + seconds + 1e-9, "its share, and the one that runs"
            assert ages[name] <= 1 / rate_fps + 1e-9, "only the newest waits"
    assert len(served["c"]) + len(served["d"]) >= 0.99 * (num_seconds - 1.2) / service["fast"], "whatever the slow does"
    frames, _ = wiring.ledger.statistics()
    assert frames.captured == frames.delivered + frames.dropped + frames.in_flight
    assert frames.delivered == sum(map(len, served.values())) - 2, "the last of each is in its model"
