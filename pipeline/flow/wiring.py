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
from pipeline.flow.stop_request import StopRequest


@runtime_checkable
class Closable(Protocol):
    """A part of a flow, or an iterator of one, that may hold resources."""

    def close(self) -> None: ...


class Item:
    """A payload on its way through a flow, with the ticket of the frame that it came from."""

    __slots__ = ("payload", "queued_at_seconds", "ticket")

    def __init__(self, ticket: Ticket, payload: Any) -> None:
        self.ticket = ticket
        self.payload = payload
        self.queued_at_seconds = 0.0


class Wiring:
    """What the threads of a run share: queues, ledger, meters, running calls, the request to stop, the first failure.

    Every method may be called from any thread.
    """

    def __init__(
        self, nodes: Sequence[Node], *, clock: Callable[[], float], stop: StopRequest, on_error: OnError
    ) -> None:
        self.clock = clock
        self.stop = stop
        self.on_error = on_error
        self.calls = Calls(clock)
        self.failure = FirstFailure()
        self.is_live = {node.name: bool(node.part.is_live) for node in nodes if node.kind == "source"}
        self.ledger = Ledger(self.is_live, clock=clock)
        self.meters = {
            node.name: StageMeter(name=node.name, kind=node.kind, role=node.role, workers=node.workers)
            for node in nodes
        }
        self._queues = {node.name: self._queue_before(node) for node in nodes if node.kind != "source"}
        self._nodes = {node.name: node for node in nodes}
        self._lock = threading.Lock()
        self._cut_off: set[str] = set()  # nodes that nothing is sent to any more
        self._outputs = {node.name for node in nodes if node.kind == "sink" and not node.watches}  # that go on
        self._downstream = {node.name: tuple(other for other in nodes if node.name in other.upstream) for node in nodes}

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
        for other in self._downstream[node.name]:
            self._queues[other.name].end(lane=node.name)

    def end_stage(self, node: Node) -> None:
        """Say that a stage gives no more items, of whatever source."""
        for other in self._downstream[node.name]:
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

    def _queue_before(self, node: Node) -> StageQueue[Item]:
        lanes: dict[Hashable, LaneRule] = {
            source_id: node.edge.lane(is_live=is_live) for source_id, is_live in self.is_live.items()
        }
        return StageQueue(lanes=lanes, on_drop=lambda item: self.ledger.finish(item.ticket, "dropped_full"))
