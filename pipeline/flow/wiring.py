"""Wiring: a flow's nodes → the queue before each, and the books that are kept of every item that goes through one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Protocol, runtime_checkable

from pipeline.errors import FrameError
from pipeline.flow.calls import Calls
from pipeline.flow.failure import FirstFailure, OnError
from pipeline.flow.graph import Node
from pipeline.flow.ledger import Ledger, Ticket
from pipeline.flow.meters import StageMeter, StageStatistics
from pipeline.flow.queue import LaneRule, QueueAbandoned, StageQueue
from pipeline.flow.stop_request import SourceStop, StopRequest

_PAUSE_SECONDS = 0.1  # how often a recorded source that is paused looks whether it is to end


@runtime_checkable
class Closable(Protocol):
    """A part of a flow, or an iterator of one, that may hold resources."""

    def close(self) -> None: ...


@runtime_checkable
class HasWeight(Protocol):
    """A source with a weight: where the network cannot keep up, one of weight 2 gets twice as much as one of 1."""

    @property
    def weight(self) -> float: ...


class _SourceControl:
    """Stops and pauses one source."""

    __slots__ = ("gate", "stop", "weight")

    def __init__(self, stop: SourceStop, weight: float) -> None:
        self.stop, self.weight = stop, weight
        self.gate = threading.Event()  # set: it is not paused
        self.gate.set()


class Item:
    """A payload on its way through a flow, with the ticket of the frame that it came from."""

    __slots__ = ("payload", "queued_at_seconds", "ticket")

    def __init__(self, ticket: Ticket, payload: Any) -> None:
        self.ticket = ticket
        self.payload = payload
        self.queued_at_seconds = 0.0


def _sources_before(nodes: Sequence[Node]) -> dict[str, frozenset[str]]:
    """By node, the sources that lead to it; a flow has no cycles."""
    by_name = {node.name: node for node in nodes}
    reach: dict[str, frozenset[str]] = {}

    def sources_of(name: str) -> frozenset[str]:
        if name not in reach:
            node = by_name[name]
            own = (name,) if node.kind == "source" else ()
            reach[name] = frozenset(own).union(*map(sources_of, node.upstream))
        return reach[name]

    for name in by_name:
        sources_of(name)
    return reach


class Wiring:
    """What the threads of a run share: queues, ledger, meters, running calls, the request to stop, the first failure.

    Every method may be called from any thread.
    """

    def __init__(
        self,
        nodes: Sequence[Node],
        *,
        clock: Callable[[], float],
        stop: StopRequest,
        on_error: OnError,
        stays_open: bool = False,
    ) -> None:
        self.clock = clock
        self.stop = stop
        self.on_error = on_error
        self.calls = Calls(clock)
        self.failure = FirstFailure()
        self.is_live: dict[str, bool] = {}  # by source
        self.ledger = Ledger((), clock=clock, on_settled=self._close_lanes)
        self.meters: dict[str, StageMeter] = {}
        self.settled: set[str] = set()  # sources that have ended, with all of their frames
        self._stays_open = stays_open
        self._sources: dict[str, _SourceControl] = {}
        self._queues: dict[str, StageQueue[Item]] = {}
        self._nodes: dict[str, Node] = {}
        self._reach: dict[str, frozenset[str]] = {}  # the sources whose items come to a node
        self._downstream: dict[str, tuple[Node, ...]] = {}
        self._lock = threading.Lock()
        self._ended_stages: set[str] = set()
        self._cut_off: set[str] = set()  # nodes that nothing is sent to any more
        self._outputs: set[str] = set()  # sinks that go on, without those that watch
        self.extend(nodes, nodes)

    def extend(self, nodes: Sequence[Node], new: Sequence[Node]) -> None:
        """Take in some new ones of a flow's nodes; whoever sends or receives meanwhile is not disturbed."""
        sources = [node for node in new if node.kind == "source"]
        self._reach = _sources_before(nodes)
        for node in sources:
            self._take_in_source(node)
        for node in new:
            meter = StageMeter(name=node.name, kind=node.kind, role=node.role, workers=node.workers)
            self.meters[node.name] = meter
            if node.kind != "source":
                self._queues[node.name] = self._queue_before(node)
        with self._lock:
            self._cut_off -= {node.name for node in new}
            self._outputs |= {node.name for node in new if node.kind == "sink" and not node.watches}
        self._nodes = {node.name: node for node in nodes}
        self._queues = {name: queue for name, queue in self._queues.items() if name in self._nodes}
        self._downstream = {name: after for name, after in self._downstream.items() if name in self._nodes}
        for node in nodes:  # last: from now on items are sent there
            self._downstream[node.name] = tuple(other for other in nodes if node.name in other.upstream)

    def close_to_new(self) -> None:
        """Say that no more sources come, so that the run ends with those that there are."""
        if self._stays_open:
            self._stays_open = False
            for queue in self._queues.values():
                queue.close_to_new()

    def stop_of(self, node: Node) -> SourceStop:
        """The `Stop` of a source."""
        return self._sources[node.name].stop

    def stop_source(self, name: str) -> None:
        """Ask one source to end; what it has captured still goes through."""
        self._sources[name].stop.make()

    def pause_source(self, name: str, is_paused: bool) -> None:
        """Let a source wait, or go on; what a live one gives meanwhile is not captured."""
        gate = self._sources[name].gate
        (gate.clear if is_paused else gate.set)()

    def paused_sources(self) -> frozenset[str]:
        """The sources that are paused."""
        return frozenset(name for name, control in tuple(self._sources.items()) if not control.gate.is_set())

    def may_capture(self, node: Node) -> bool:
        """Whether the item that a source gave is to be captured; a recorded source waits here while it is paused."""
        control = self._sources[node.name]
        if self.is_live[node.name]:
            return control.gate.is_set()
        while not control.gate.wait(_PAUSE_SECONDS) and not control.stop.is_set():
            pass
        return True

    def receive(self, node: Node, *, timeout: float | None = None) -> Item:
        """The next item for a node that is not too old for it. Raises what `StageQueue.receive` raises."""
        max_age_seconds = node.edge.max_age_seconds
        while True:
            item = self._queues[node.name].receive(timeout=timeout)
            now = self.clock()
            self.meters[node.name].waited(now - item.queued_at_seconds)
            age = now - item.ticket.captured_at_seconds
            if max_age_seconds is None or age <= max_age_seconds or not self.is_live[item.ticket.source_id]:
                return item
            self.ledger.finish(item.ticket, "dropped_stale")

    def send(self, node: Node, item: Item) -> None:
        """Send an item from a node to all that follow and take it; without any it is delivered.

        Raises QueueAbandoned if the run was given up.
        """
        for observe in node.observers:
            observe(item.payload)
        source_id = item.ticket.source_id
        targets = [other for other in self._downstream[node.name] if other.edge.takes(source_id)]
        if not targets:
            self.ledger.finish(item.ticket, "delivered")
        elif len(targets) > 1:
            self.ledger.branch(item.ticket, len(targets))
        for target in targets:
            copy = Item(item.ticket, item.payload)
            copy.queued_at_seconds = self.clock()
            try:
                self._queues[target.name].send(copy, lane=source_id)
            except QueueAbandoned:
                if target.name not in self._cut_off:
                    raise
                self.ledger.finish(item.ticket, "dropped_stale")

    def served(self, node: Node, ticket: Ticket, seconds: float | None) -> None:
        """Count an item that a node is done with; `seconds`: of work, None where that is not told from waiting."""
        self.meters[node.name].served(seconds, ticket.source_id, self.clock())

    def fail_frame(self, error: BaseException, node: Node, ticket: Ticket) -> None:
        """Book a frame as failed, and go on. Raises QueueAbandoned, and gives the run up, where no frame may fail."""
        if self.on_error.frame == "stop" or not isinstance(error, FrameError):
            self.fail(error, node, ticket)
            raise QueueAbandoned from None
        self.ledger.finish(ticket, "failed")
        self.failure.keep_of_frame(error, node, ticket)

    def lose_source(self, error: BaseException, node: Node) -> None:
        """Keep the failure of a source; the others go on, and what it has captured is finished."""
        self.failure.keep(error, node, None, is_left_behind=len(self.is_live) > 1)

    def lose_sink(self, error: BaseException, node: Node, ticket: Ticket | None = None) -> None:
        """Leave a sink behind that failed; the run is given up where no other output goes on, or none may fail."""
        with self._lock:
            self._outputs.discard(node.name)
            is_last = not self._outputs
        if is_last or self.on_error.sink == "stop":
            self.fail(error, node, ticket)
            return
        if ticket is not None:
            self.ledger.finish(ticket, "failed")
        self.failure.keep(error, node, ticket, is_left_behind=True)
        self._cut(node)

    def leave_behind(self, node: Node) -> None:
        """Go on without a node whose part does not return, and end it on its behalf."""
        if node.kind == "source":
            self.end_source(node)
            return
        with self._lock:
            self._outputs.discard(node.name)
        self._cut(node)
        self.end_stage(node)

    def end_sink(self, node: Node) -> None:
        """Say that a sink has had its last item."""
        with self._lock:
            self._outputs.discard(node.name)

    def end_source(self, node: Node) -> None:
        """Say that a source gives no more items."""
        self._sources[node.name].stop.forget()
        for other in self._downstream[node.name]:
            self._queues[other.name].end(lane=node.name)
        self.ledger.end_source(node.name)

    def end_stage(self, node: Node) -> None:
        """Say that a stage gives no more items, of whatever source; where flows are joined, the last one ends."""
        with self._lock:
            self._ended_stages.add(node.name)
            ended = frozenset(self._ended_stages)
        for other in self._downstream[node.name]:
            if ended.issuperset(other.upstream):
                self._queues[other.name].end()

    def abandon(self) -> None:
        """Give the run up: wake everyone who waits; items on their way are not delivered."""
        self.stop.make()
        for queue in self._queues.values():
            queue.abandon()

    def fail(self, error: BaseException, node: Node, ticket: Ticket | None = None) -> None:
        """Keep a failure for the caller, book the frame to blame as failed, and give the run up."""
        if ticket is not None:
            self.ledger.finish(ticket, "failed")
        self.failure.keep(error, node, ticket)
        self.abandon()

    def close(self, node: Node, part: Closable) -> None:
        """Close a part of a node; an error of a stage gives the run up, that of a source or a sink is kept."""
        self.calls.begin(node.name)
        try:
            part.close()
        except BaseException as error:
            if node.kind == "source":
                self.lose_source(error, node)
            elif node.kind == "sink":
                self.failure.keep(error, node, None, is_left_behind=True)
            else:
                self.fail(error, node)
        finally:
            self.calls.end()

    def statistics(self, node: Node, *, now_seconds: float, elapsed_seconds: float) -> StageStatistics:
        """A snapshot of a node."""
        queue = self._queues[node.name].statistics() if node.name in self._queues else None
        return self.meters[node.name].statistics(
            now_seconds=now_seconds,
            elapsed_seconds=elapsed_seconds,
            dropped=queue.dropped if queue else 0,
            waiting=queue.waiting if queue else 0,
        )

    def _cut(self, node: Node) -> None:
        """Send nothing more to a node, nor to the stages before it that nobody else follows."""
        self._cut_off.add(node.name)
        for item in self._queues[node.name].abandon():
            self.ledger.finish(item.ticket, "dropped_stale")
        for name in node.upstream:
            followers = {follower.name for follower in self._downstream[name]}
            if self._nodes[name].kind != "source" and name not in self._cut_off and followers <= self._cut_off:
                self._cut(self._nodes[name])

    def _take_in_source(self, node: Node) -> None:
        self.is_live[node.name] = bool(node.part.is_live)
        weight = node.part.weight if isinstance(node.part, HasWeight) else 1.0
        self._sources[node.name] = _SourceControl(self.stop.of_source(), weight)
        self.ledger.add_source(node.name)
        self.settled.discard(node.name)
        for name, queue in self._queues.items():
            if node.name in self._reach.get(name, ()) and self._nodes[name].edge.takes(node.name):
                queue.open_lane(node.name, self._lane(self._nodes[name], node.name))

    def _close_lanes(self, source_id: str) -> None:
        """A source has ended, and nothing of it is on its way: what only it led to ends."""
        self.settled.add(source_id)
        for queue in tuple(self._queues.values()):
            queue.close_lane(source_id)

    def _lane(self, node: Node, source_id: str) -> LaneRule:
        return node.edge.lane(is_live=self.is_live[source_id], weight=self._sources[source_id].weight)

    def _queue_before(self, node: Node) -> StageQueue[Item]:
        lanes: dict[Hashable, LaneRule] = {
            source_id: self._lane(node, source_id)
            for source_id in self.is_live
            if source_id in self._reach[node.name]
            if node.edge.takes(source_id) and source_id not in self.settled
        }
        return StageQueue(
            lanes=lanes,
            on_drop=lambda item: self.ledger.finish(item.ticket, "dropped_full"),
            is_light=lambda item: isinstance(item.payload, node.edge.light),
            stays_open=self._stays_open and node.edge.only_sources is None,
        )
