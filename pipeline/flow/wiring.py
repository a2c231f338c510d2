"""Wiring: a flow's nodes → the queue before each, and the books that are kept of every item that goes through one."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, Protocol, runtime_checkable

from pipeline.flow.failure import FirstFailure
from pipeline.flow.graph import Node
from pipeline.flow.ledger import Ledger, Ticket
from pipeline.flow.meters import StageMeter, StageStatistics
from pipeline.flow.queue import LaneRule, StageQueue
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
    """What the threads of a run share: queues, ledger, meters, the request to stop and the first failure.

    Every method may be called from any thread.
    """

    def __init__(self, nodes: Sequence[Node], *, clock: Callable[[], float], stop: StopRequest) -> None:
        self.clock = clock
        self.stop = stop
        self.failure = FirstFailure()
        self.is_live = {node.name: bool(node.part.is_live) for node in nodes if node.kind == "source"}
        self.ledger = Ledger(self.is_live, clock=clock)
        self.meters = {
            node.name: StageMeter(name=node.name, kind=node.kind, role=node.role, workers=node.workers)
            for node in nodes
        }
        self._queues = {node.name: self._queue_before(node) for node in nodes if node.kind != "source"}
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
            self._queues[target.name].send(copy, lane=source_id)

    def served(self, node: Node, ticket: Ticket, seconds: float | None) -> None:
        """Count an item that a node is done with; `seconds`: of work, None where that is not told from waiting."""
        self.meters[node.name].served(seconds, ticket.source_id, self.clock())

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
        """Close a part of a node; an error makes the run fail."""
        try:
            part.close()
        except BaseException as error:
            self.fail(error, node)

    def statistics(self, node: Node, *, now_seconds: float, elapsed_seconds: float) -> StageStatistics:
        """A snapshot of a node."""
        queue = self._queues[node.name].statistics() if node.name in self._queues else None
        return self.meters[node.name].statistics(
            now_seconds=now_seconds,
            elapsed_seconds=elapsed_seconds,
            dropped=queue.dropped if queue else 0,
            waiting=queue.waiting if queue else 0,
        )

    def _queue_before(self, node: Node) -> StageQueue[Item]:
        lanes: dict[Hashable, LaneRule] = {
            source_id: node.edge.lane(is_live=is_live) for source_id, is_live in self.is_live.items()
        }
        return StageQueue(lanes=lanes, on_drop=lambda item: self.ledger.finish(item.ticket, "dropped_full"))
