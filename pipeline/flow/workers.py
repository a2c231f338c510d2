"""Workers: a node and the queue before it → the loop that its threads run, from the first item to the close."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, Protocol, TypeVar

from pipeline.errors import FlowError
from pipeline.flow.batching import BatchCloser
from pipeline.flow.graph import Node, NodeKind
from pipeline.flow.ledger import Ticket
from pipeline.flow.order import Order
from pipeline.flow.queue import QueueAbandoned, QueueEnded
from pipeline.flow.stage import (
    BatchStage,
    CountsSkipped,
    CountsUndecoded,
    HasCaptureTime,
    MainThreadSink,
    Sink,
    Source,
    Stage,
    Waits,
)
from pipeline.flow.wiring import Closable, Item, Wiring

Taken = TypeVar("Taken")

_POLL_SECONDS = 0.01  # how long a main-thread sink waits for an item before it is polled
_MOST_PAST = 32  # items that go past a batch while it is filled
_END = object()


class Worker(Protocol):
    """The loop of one node."""

    def run(self) -> None:
        """Work until no more items come; called once by each of the node's threads."""


def worker_of(node: Node, wiring: Wiring) -> Worker:
    """The worker for a node's kind."""
    kinds: dict[NodeKind, Callable[[Node, Wiring], Worker]] = {
        "source": SourceWorker,
        "stage": StageWorker,
        "batch stage": BatchStageWorker,
        "sink": SinkWorker,
    }
    return kinds[node.kind](node, wiring)


class SourceWorker:
    """Books the items of a source and sends them on."""

    def __init__(self, node: Node, wiring: Wiring) -> None:
        self._node, self._wiring = node, wiring
        self._source: Source[object] = node.part
        self._skipping = self._source if isinstance(self._source, CountsSkipped) else None  # once: it takes long
        self._undecoding = self._source if isinstance(self._source, CountsUndecoded) else None
        self._waiting = self._source if isinstance(self._source, Waits) else None
        self._num_skipped = self._num_undecoded = 0  # of the source's, that are booked

    def run(self) -> None:
        """Run the source to its end, to its failure, or until the run is given up; then close it."""
        payloads: Iterator[object] | None = None
        try:
            payloads = iter(self._source.items(self._wiring.stop_of(self._node)))
            for item in self._captured(payloads):
                self._wiring.send(self._node, item)
        except QueueAbandoned:
            pass
        except BaseException as error:
            # Frames that were captured before a source broke are worth finishing, so the run drains.
            self._wiring.lose_source(error, self._node)
        finally:
            if isinstance(payloads, Closable):  # a generator, not an iterator of a list
                self._wiring.close(self._node, payloads)
            self._wiring.close(self._node, self._source)
            self._wiring.end_source(self._node)

    def _captured(self, payloads: Iterator[object]) -> Iterator[Item]:
        is_live = self._wiring.is_live[self._node.name]
        while True:
            waited_before = self._waited_seconds()
            self._wiring.calls.begin(self._node.name)
            try:
                payload = next(payloads, _END)
            finally:
                seconds = self._wiring.calls.end() - (self._waited_seconds() - waited_before)
                self._book_skipped()
            if payload is _END:
                return
            if not self._wiring.may_capture(self._node):
                continue
            at_seconds = payload.captured_at_seconds if is_live and isinstance(payload, HasCaptureTime) else None
            ticket = self._wiring.ledger.capture(self._node.name, at_seconds=at_seconds)
            # A camera's time goes into waiting for the world, which is not work.
            self._wiring.served(self._node, ticket, None if is_live else seconds)
            yield Item(ticket, payload)

    def _book_skipped(self) -> None:
        num = 0 if self._skipping is None else self._skipping.num_skipped
        if num > self._num_skipped:
            self._wiring.ledger.skip(self._node.name, num - self._num_skipped)
            self._num_skipped = num
        num = 0 if self._undecoding is None else self._undecoding.num_undecoded
        if num > self._num_undecoded:
            self._wiring.ledger.skip(self._node.name, num - self._num_undecoded, "filtered")
            self._num_undecoded = num

    def _waited_seconds(self) -> float:
        return 0.0 if self._waiting is None else self._waiting.waited_seconds


class _OrderedWorker(ABC, Generic[Taken]):
    """Runs a stage in one thread or several, which send in the order in which they took."""

    def __init__(self, node: Node, wiring: Wiring) -> None:
        self._node, self._wiring = node, wiring
        self._order: Order[Taken, list[Item]] = Order(limit=2 * node.workers)
        self._lock = threading.Lock()
        self._threads_left = node.workers

    def run(self) -> None:
        """Take, work and send until no more items come; the last thread drains and closes the stage."""
        ended = self._run_to_end()
        if self._is_last_thread():
            if ended:
                self._send_rest()
            self._close()
            self._wiring.end_stage(self._node)

    @abstractmethod
    def _take(self) -> Taken:
        """Receive the next item or batch."""

    @abstractmethod
    def _work(self, taken: Taken) -> list[Item]:
        """The items that go on. Raises QueueAbandoned if the stage failed."""

    @abstractmethod
    def _rest(self) -> Iterable[Item]:
        """The items that the stage gives back when no more come."""

    @abstractmethod
    def _close(self) -> None: ...

    def _run_to_end(self) -> bool:
        """Whether no more items come; False: the run was given up, or failed in here."""
        try:
            while True:
                self._order.turn(self._take, self._work, self._send)
        except QueueEnded:
            return True
        except QueueAbandoned:
            self._order.abandon()
        except BaseException as error:
            self._order.abandon()
            self._wiring.fail(error, self._node)
        return False

    def _send(self, items: Iterable[Item]) -> None:
        for item in items:
            self._wiring.send(self._node, item)

    def _send_rest(self) -> None:
        try:
            self._send(self._rest())
        except QueueAbandoned:
            pass
        except BaseException as error:
            self._wiring.fail(error, self._node)

    def _is_last_thread(self) -> bool:
        with self._lock:
            self._threads_left -= 1
            return not self._threads_left


class StageWorker(_OrderedWorker[Item]):
    """Runs a stage item by item: one stage for all sources, or one for each."""

    def __init__(self, node: Node, wiring: Wiring) -> None:
        super().__init__(node, wiring)
        self._shared = None if node.per_source else _HoldingStage(node.name, node.part)
        self._stages: dict[str, _HoldingStage] = {}  # by source, with `per_source`, which has one thread

    def _take(self) -> Item:
        return self._wiring.receive(self._node)

    def _work(self, taken: Item) -> list[Item]:
        if isinstance(taken.payload, self._node.past):
            return [taken]
        ticket = taken.ticket
        self._wiring.calls.begin(self._node.name)
        try:
            stage = self._stage_of(ticket.source_id)
            payloads = list(stage.part.process(taken.payload))
        except BaseException as error:
            self._wiring.fail_frame(error, self._node, ticket)
            return []
        finally:
            seconds = self._wiring.calls.end()
        self._wiring.served(self._node, ticket, seconds)
        if self._node.holds:
            stage.held.append(ticket)
            return stage.give_back(payloads)
        if not payloads:
            self._wiring.ledger.finish(ticket, "filtered")
        elif len(payloads) > 1:
            self._wiring.ledger.branch(ticket, len(payloads))
        return [Item(ticket, payload) for payload in payloads]

    def _stage_of(self, source_id: str) -> _HoldingStage:
        if self._shared is not None:
            return self._shared
        if source_id not in self._stages:
            self._stages[source_id] = _HoldingStage(self._node.name, self._node.part(source_id))
        return self._stages[source_id]

    def _distinct_stages(self) -> Iterable[_HoldingStage]:
        return self._stages.values() if self._shared is None else (self._shared,)

    def _rest(self) -> Iterator[Item]:
        for stage in self._distinct_stages():
            yield from stage.give_back(list(stage.part.drain()))
            for ticket in stage.held:
                self._wiring.ledger.finish(ticket, "filtered")

    def _close(self) -> None:
        for stage in self._distinct_stages():
            self._wiring.close(self._node, stage.part)


class _HoldingStage:
    """A stage, and the tickets of the items that it has taken and not given back."""

    def __init__(self, name: str, part: Stage[object, object]) -> None:
        self.part = part
        self.held: deque[Ticket] = deque()
        self._name = name

    def give_back(self, payloads: list[object]) -> list[Item]:
        """Give each output the ticket of the item that was held longest."""
        if len(payloads) > len(self.held):
            raise FlowError(f"stage {self._name!r} gave back {len(payloads)} items but held {len(self.held)}")
        return [Item(self.held.popleft(), payload) for payload in payloads]


class BatchStageWorker(_OrderedWorker[list[Item]]):
    """Runs a stage batch by batch."""

    def __init__(self, node: Node, wiring: Wiring) -> None:
        super().__init__(node, wiring)
        self._stage: BatchStage[object, object] = node.part
        self._closer = BatchCloser(max_batch=node.max_batch, max_latency_seconds=node.max_latency_seconds)

    def _take(self) -> list[Item]:
        turns = self._node.turns
        if turns is None:
            return self._take_batch()
        turns.begin()
        try:
            return self._take_batch()
        except BaseException:
            turns.end()
            raise

    def _take_batch(self) -> list[Item]:
        items = [self._wiring.receive(self._node)]
        while self._has_room(items):
            try:
                items.append(self._wiring.receive(self._node, timeout=self._patience_seconds(items)))
            except (TimeoutError, QueueEnded):
                break
        return items

    def _has_room(self, items: list[Item]) -> bool:
        """Whether more items may come, those that go past among them, which are light."""
        num_past = sum(self._goes_past(item) for item in items)
        return len(items) - num_past < self._node.max_batch and num_past < _MOST_PAST

    def _goes_past(self, item: Item) -> bool:
        return isinstance(item.payload, self._node.past)

    def _patience_seconds(self, items: list[Item]) -> float:
        """How long the batch may wait; recorded items age by nobody's clock, and come without being waited for.

        One that goes past need not wait for anything.
        """
        if any(map(self._goes_past, items)):
            return 0.0
        captured = [item.ticket.captured_at_seconds for item in items if self._wiring.is_live[item.ticket.source_id]]
        if not captured:
            return 0.0
        return self._closer.patience_seconds(
            num_items=len(items), oldest_at_seconds=min(captured), now_seconds=self._wiring.clock()
        )

    def _work(self, taken: list[Item]) -> list[Item]:
        try:
            worked = self._work_batch([item for item in taken if not self._goes_past(item)])
        finally:
            if self._node.turns is not None:
                self._node.turns.end()
        done = {item.ticket: item for item in worked}
        return [done.get(item.ticket, item) for item in taken if item.ticket in done or self._goes_past(item)]

    def _work_batch(self, taken: list[Item]) -> list[Item]:
        if not taken:
            return []
        self._wiring.calls.begin(self._node.name)
        try:
            payloads = self._stage.process_batch([item.payload for item in taken])
            if len(payloads) != len(taken):
                raise FlowError(f"process_batch must return one result for each of {len(taken)}, got {len(payloads)}")
        except BaseException as error:
            for item in taken:
                self._wiring.fail_frame(error, self._node, item.ticket)
            return []
        finally:
            seconds = self._wiring.calls.end()
        self._closer.ran(seconds)
        for item in taken:
            self._wiring.served(self._node, item.ticket, seconds / len(taken))
        return [Item(item.ticket, payload) for item, payload in zip(taken, payloads, strict=True)]

    def _rest(self) -> Iterable[Item]:
        return ()

    def _close(self) -> None:
        self._wiring.close(self._node, self._stage)


class SinkWorker:
    """Writes items to a sink: `run` in a thread of its own, or `poll` and `close` in the main thread."""

    def __init__(self, node: Node, wiring: Wiring) -> None:
        self._node, self._wiring = node, wiring
        self._sink: Sink[object] = node.part

    def run(self) -> None:
        """Write every item, then close the sink."""
        try:
            while True:
                self._write(self._wiring.receive(self._node))
        except (QueueEnded, QueueAbandoned):
            pass
        finally:
            self.close()
            self._wiring.end_sink(self._node)

    def poll(self) -> bool:
        """Let a main-thread sink take one item or a few milliseconds; False once it has had its last."""
        sink: MainThreadSink = self._node.part
        try:
            self._write(self._wiring.receive(self._node, timeout=_POLL_SECONDS))
        except TimeoutError:
            pass
        except (QueueEnded, QueueAbandoned):
            return False
        try:
            sink.poll()
        except Exception as error:
            self._wiring.lose_sink(error, self._node)
            return False
        if sink.wants_stop:
            self._wiring.stop.make()
        return True

    def close(self) -> None:
        """Close the sink, also after a failure."""
        self._wiring.close(self._node, self._sink)

    def _write(self, item: Item) -> None:
        self._wiring.calls.begin(self._node.name)
        try:
            self._sink.write(item.payload)
        except BaseException as error:
            self._wiring.lose_sink(error, self._node, item.ticket)
            raise QueueAbandoned from None
        finally:
            seconds = self._wiring.calls.end()
        self._wiring.served(self._node, item.ticket, seconds)
        self._wiring.ledger.finish(item.ticket, "delivered")
