"""Who starts, stops and buries the threads and queues of a run?

`Running` is the one owner. On any exit it abandons the queues first and joins the threads after, so that
nobody waits for a peer that is gone, and raises the first failure with a note naming the stage and the frame.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, Protocol, TypeVar

from pipeline.errors import FlowError
from pipeline.flow.batching import BatchCloser
from pipeline.flow.graph import Flow, Node
from pipeline.flow.ledger import FrameCounts, Ledger, Ticket
from pipeline.flow.meters import StageMeter, StageStatistics
from pipeline.flow.order import Order
from pipeline.flow.queue import LaneRule, QueueAbandoned, QueueEnded, StageQueue

log = logging.getLogger(__name__)

T = TypeVar("T")

_RESULTS = "results"  # the name of the queue that the caller iterates over


class MainThreadSink(Protocol):
    """A sink that the main thread drives: between items, `poll` is called every few milliseconds."""

    @property
    def wants_stop(self) -> bool:
        """Whether the person in front of it wants the run to end."""

    def poll(self) -> None: ...


@dataclass(frozen=True, slots=True)
class RunStatistics:
    """A snapshot of a run."""

    elapsed_seconds: float
    frames: FrameCounts
    frames_by_source: dict[str, FrameCounts]
    nodes: tuple[StageStatistics, ...]


class _Parcel:
    """An item on its way, with the ticket of the frame that it came from."""

    __slots__ = ("payload", "queued_at_seconds", "ticket")

    def __init__(self, ticket: Ticket, payload: Any) -> None:
        self.ticket = ticket
        self.payload = payload
        self.queued_at_seconds = 0.0


class Running(Generic[T]):
    """A flow while it runs. Use it as a context manager, then iterate over it or `wait`.

        with Running(flow) as running:
            running.wait()

    results: the items at the flow's tip come to the caller, who must iterate; otherwise they end there.
    clock: monotonic seconds.
    grace_seconds: how long a source may take to return once the run wants to end; one that hangs longer is
        left behind in its daemon thread, with a warning.
    """

    def __init__(
        self,
        flow: Flow[T],
        *,
        results: bool = False,
        clock: Callable[[], float] = time.monotonic,
        grace_seconds: float = 5.0,
    ) -> None:
        self._flow = flow
        self._clock = clock
        self._grace_seconds = grace_seconds
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._failure: BaseException | None = None
        self._failure_was_raised = False
        self._live = {node.name: bool(node.part.is_live) for node in flow.nodes if node.kind == "source"}
        self._ledger = Ledger(self._live, clock=clock)
        nodes = flow.nodes
        if results:
            nodes = (*nodes, Node(_RESULTS, "sink", None, flow.tip, overflow="block"))
        self._nodes = {node.name: node for node in nodes}
        self._meters = {node.name: StageMeter(name=node.name, kind=node.kind, workers=node.workers) for node in nodes}
        self._queues = {node.name: self._queue_before(node) for node in nodes if node.kind != "source"}
        self._closers = {
            node.name: BatchCloser(max_batch=node.max_batch, max_latency_seconds=node.max_latency_seconds)
            for node in nodes
            if node.kind == "batch stage"
        }
        self._downstream = {node.name: tuple(other for other in nodes if node.name in other.upstream) for node in nodes}
        # A source or stage ends its followers' lanes when the last of its threads has ended.
        self._senders_left = {node.name: node.workers for node in nodes}
        self._threads: dict[str, list[threading.Thread]] = {}
        self._measured_from_seconds = 0.0
        self._ended_at_seconds: float | None = None

    # --- the caller's side -------------------------------------------------------------------------------

    def __enter__(self) -> Running[T]:
        self._measured_from_seconds = self._clock()
        for node in self._nodes.values():
            if node.name == _RESULTS or node.in_main_thread:
                continue
            task = {"source": self._run_source, "sink": self._run_sink}.get(node.kind)
            if task is not None:
                self._threads[node.name] = [self._thread(node, task, node)]
            else:
                order: Order[list[_Parcel]] = Order(limit=2 * node.workers)
                self._threads[node.name] = [
                    self._thread(node, self._run_stage, node, order) for _ in range(node.workers)
                ]
        for threads in self._threads.values():
            for thread in threads:
                thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.abandon()
        self._bury()
        if error is None:
            self._raise_failure()

    def __iter__(self) -> Iterator[T]:
        """Yield what comes out at the tip; leaving the loop early gives the run up."""
        if _RESULTS not in self._queues:
            raise FlowError("to iterate over a run it must be started with results=True")
        try:
            while True:
                try:
                    parcel = self._receive(self._nodes[_RESULTS])
                except (QueueEnded, QueueAbandoned):
                    break
                # Delivered when handed over: a caller who keeps the last item and stops has seen it.
                self._ledger.finish(parcel.ticket, "delivered")
                yield parcel.payload
        finally:
            self.abandon()
            self._bury()
        self._raise_failure()

    def wait(self, *, on_tick: Callable[[], None] | None = None, tick_seconds: float = 0.5) -> None:
        """Wait for the end, driving main-thread sinks and calling `on_tick` every `tick_seconds`.

        Raises the first failure of any thread.
        """
        windows = [node for node in self._nodes.values() if node.in_main_thread]
        next_tick = self._clock() + tick_seconds
        try:
            while True:
                open_windows = [node for node in windows if self._drive(node)]
                if not open_windows:
                    self._join(timeout=0.05)
                if not open_windows and not self._alive():
                    break
                if on_tick is not None and self._clock() >= next_tick:
                    on_tick()
                    next_tick = self._clock() + tick_seconds
                self._leave_hanging_sources_behind()
        except BaseException:
            self.abandon()
            raise
        finally:
            for node in windows:
                self._close(node)
            self._bury()
        self._raise_failure()

    def stop(self) -> None:
        """Ask the sources to end; what they have captured still goes through to the sinks. Safe in a signal handler."""
        if not self._stop.is_set():
            self._stop_asked_at_seconds = self._clock()
            self._stop.set()

    def abandon(self) -> None:
        """Give up: frames that are on their way are not delivered. Sinks still finish their outputs."""
        self.stop()
        for queue in self._queues.values():
            queue.abandon()

    def forget_warm_up(self) -> None:
        """Let all statistics begin now: frames that were captured before are in none of them."""
        with self._lock:
            self._ledger.forget()
            for meter in self._meters.values():
                meter.forget()
            self._measured_from_seconds = self._clock()

    def latency_percentiles_seconds(self) -> tuple[float, ...]:
        """Of delivered frames, the 0th to 100th percentile of the time from capture; empty before the first."""
        return self._ledger.latency_percentiles_seconds()

    def thread_ids(self) -> dict[int, str]:
        """The operating system's ids of the threads that have begun, and the nodes that they work for."""
        return {
            thread.native_id: name
            for name, threads in self._threads.items()
            for thread in threads
            if thread.native_id is not None
        }

    def statistics(self) -> RunStatistics:
        """A snapshot, at any time, from any thread."""
        now = self._clock() if self._ended_at_seconds is None else self._ended_at_seconds
        elapsed = now - self._measured_from_seconds
        frames, by_source = self._ledger.statistics()
        nodes = []
        for node in self._flow.nodes:
            queue = self._queues[node.name].statistics() if node.name in self._queues else None
            nodes.append(
                self._meters[node.name].statistics(
                    now_seconds=now,
                    elapsed_seconds=elapsed,
                    dropped=queue.dropped if queue else 0,
                    waiting=queue.waiting if queue else 0,
                )
            )
        return RunStatistics(elapsed, frames, by_source, tuple(nodes))

    # --- the threads' side -------------------------------------------------------------------------------

    def _run_source(self, node: Node) -> None:
        items = None
        try:
            items = iter(node.part.items(self._stop))
            while True:
                began = self._clock()
                payload = next(items, _END)
                if payload is _END:
                    break
                ticket = self._ledger.capture(node.name)
                now = self._clock()
                # A camera's time goes into waiting for the world, which is no work.
                self._meters[node.name].served(None if self._live[node.name] else now - began, node.name, now)
                self._send(node, _Parcel(ticket, payload))
        except QueueAbandoned:
            pass
        except BaseException as error:
            # What was captured before a source broke is worth finishing, so the run drains.
            self._keep_failure(error, node, None)
            self.stop()
        finally:
            if items is not None and hasattr(items, "close"):
                self._guard(node, items.close)
            self._close(node)
            self._end_downstream(node)

    def _run_stage(self, node: Node, order: Order[list[_Parcel]]) -> None:
        held: deque[Ticket] = deque()
        try:
            while True:
                with order.taking:  # whoever takes first, sends first
                    parcels = self._receive_batch(node)
                    place = order.next_place()
                if node.kind == "batch stage":
                    outputs = self._process_batch(node, parcels)
                else:
                    outputs = self._process(node, parcels[0], held)
                for ready in order.hand_in(place, outputs):
                    for parcel in ready:
                        self._send(node, parcel)
                    order.sent()
        except QueueEnded:
            self._finish_stage(node, held)
        except QueueAbandoned:
            order.abandon()
            self._leave_stage(node)
        except BaseException as error:
            order.abandon()
            self._fail(error, node, None)
            self._leave_stage(node)

    def _run_sink(self, node: Node) -> None:
        try:
            while True:
                self._write(node, self._receive(node))
        except (QueueEnded, QueueAbandoned):
            pass
        finally:
            self._close(node)

    def _drive(self, node: Node) -> bool:
        """Let a main-thread sink take one item or a few milliseconds; False once it has had its last."""
        sink: MainThreadSink = node.part
        try:
            self._write(node, self._receive(node, timeout=0.01))
        except TimeoutError:
            pass
        except (QueueEnded, QueueAbandoned):
            return False
        sink.poll()
        if sink.wants_stop:
            self.stop()
        return True

    def _receive(self, node: Node, *, timeout: float | None = None) -> _Parcel:
        while True:
            parcel = self._queues[node.name].receive(timeout=timeout)
            now = self._clock()
            self._meters[node.name].waited(now - parcel.queued_at_seconds)
            age = now - parcel.ticket.captured_at_seconds
            if node.max_age_seconds is None or age <= node.max_age_seconds or not self._live[parcel.ticket.source_id]:
                return parcel
            self._ledger.finish(parcel.ticket, "dropped_stale")

    def _receive_batch(self, node: Node) -> list[_Parcel]:
        parcels = [self._receive(node)]
        while len(parcels) < node.max_batch:
            try:
                parcels.append(self._receive(node, timeout=self._patience_seconds(node, parcels)))
            except (TimeoutError, QueueEnded):
                break
        return parcels

    def _patience_seconds(self, node: Node, parcels: list[_Parcel]) -> float:
        """How long a batch may wait; what is recorded ages by nobody's clock, and comes without being waited for."""
        live = [parcel.ticket.captured_at_seconds for parcel in parcels if self._live[parcel.ticket.source_id]]
        if not live:
            return 0.0
        return self._closers[node.name].patience_seconds(
            num_items=len(parcels), oldest_at_seconds=min(live), now_seconds=self._clock()
        )

    def _process(self, node: Node, parcel: _Parcel, held: deque[Ticket]) -> list[_Parcel]:
        began = self._clock()
        try:
            payloads = list(node.part.process(parcel.payload))
        except BaseException as error:
            self._fail(error, node, parcel.ticket)
            raise QueueAbandoned from None
        now = self._clock()
        self._meters[node.name].served(now - began, parcel.ticket.source_id, now)
        if node.holds:
            held.append(parcel.ticket)
            return self._match(node, payloads, held)
        if not payloads:
            self._ledger.finish(parcel.ticket, "filtered")
        elif len(payloads) > 1:
            self._ledger.branch(parcel.ticket, len(payloads))
        return [_Parcel(parcel.ticket, payload) for payload in payloads]

    def _process_batch(self, node: Node, parcels: list[_Parcel]) -> list[_Parcel]:
        began = self._clock()
        try:
            payloads = node.part.process_batch([parcel.payload for parcel in parcels])
            if len(payloads) != len(parcels):
                raise FlowError(f"process_batch must return one result for each of {len(parcels)}, got {len(payloads)}")
        except BaseException as error:
            self._fail(error, node, parcels[0].ticket)
            raise QueueAbandoned from None
        now = self._clock()
        self._closers[node.name].ran(now - began)
        for parcel in parcels:
            self._meters[node.name].served((now - began) / len(parcels), parcel.ticket.source_id, now)
        return [_Parcel(parcel.ticket, payload) for parcel, payload in zip(parcels, payloads, strict=True)]

    def _match(self, node: Node, payloads: list[Any], held: deque[Ticket]) -> list[_Parcel]:
        """Give each output of a holding stage the ticket of the item that it held longest."""
        if len(payloads) > len(held):
            raise FlowError(f"stage {node.name!r} gave back {len(payloads)} items but held {len(held)}")
        return [_Parcel(held.popleft(), payload) for payload in payloads]

    def _finish_stage(self, node: Node, held: deque[Ticket]) -> None:
        """The last worker to come to the end drains the stage and ends what follows."""
        if self._workers_left(node):
            return
        try:
            for parcel in self._match(node, list(node.part.drain() if node.kind == "stage" else ()), held):
                self._send(node, parcel)
            for ticket in held:
                self._ledger.finish(ticket, "filtered")
        except QueueAbandoned:
            pass
        except BaseException as error:
            self._fail(error, node, None)
        self._close(node)
        self._end_queues_after(node)

    def _leave_stage(self, node: Node) -> None:
        if not self._workers_left(node):
            self._close(node)
            self._end_queues_after(node)

    def _workers_left(self, node: Node) -> int:
        with self._lock:
            self._senders_left[node.name] -= 1
            return self._senders_left[node.name]

    def _write(self, node: Node, parcel: _Parcel) -> None:
        began = self._clock()
        try:
            node.part.write(parcel.payload)
        except BaseException as error:
            self._fail(error, node, parcel.ticket)
            raise QueueAbandoned from None
        now = self._clock()
        self._meters[node.name].served(now - began, parcel.ticket.source_id, now)
        self._ledger.finish(parcel.ticket, "delivered")

    def _send(self, node: Node, parcel: _Parcel) -> None:
        source_id = parcel.ticket.source_id
        targets = [
            other
            for other in self._downstream[node.name]
            if other.only_sources is None or source_id in other.only_sources
        ]
        if not targets:
            self._ledger.finish(parcel.ticket, "delivered")
        elif len(targets) > 1:
            self._ledger.branch(parcel.ticket, len(targets))
        for target in targets:
            copy = _Parcel(parcel.ticket, parcel.payload)
            copy.queued_at_seconds = self._clock()
            self._queues[target.name].send(copy, lane=source_id)

    def _end_downstream(self, node: Node) -> None:
        for other in self._downstream[node.name]:
            self._queues[other.name].end(lane=node.name)

    def _end_queues_after(self, node: Node) -> None:
        for other in self._downstream[node.name]:
            self._queues[other.name].end()

    def _fail(self, error: BaseException, node: Node, ticket: Ticket | None) -> None:
        """Keep the failure for the caller, book the frame, and give the run up."""
        self._keep_failure(error, node, ticket)
        self.abandon()

    def _keep_failure(self, error: BaseException, node: Node, ticket: Ticket | None) -> None:
        where = f"in {node.kind} {node.name!r}"
        if ticket is not None:
            where += f", frame {ticket.index} of {ticket.source_id}"
            self._ledger.finish(ticket, "failed")
        with self._lock:
            first = self._failure is None
            if first:
                error.add_note(where)
                self._failure = error
        if not first:
            log.warning("a further failure %s: %s", where, error)

    def _guard(self, node: Node, close: Callable[[], None]) -> None:
        try:
            close()
        except BaseException as error:
            self._fail(error, node, None)

    def _close(self, node: Node) -> None:
        self._guard(node, node.part.close)

    # --- birth and burial --------------------------------------------------------------------------------

    def _queue_before(self, node: Node) -> StageQueue[_Parcel]:
        lanes: dict[Hashable, LaneRule] = {
            source_id: LaneRule(1, "drop_oldest")
            if is_live and node.overflow == "by_source"
            else LaneRule(node.capacity, "drop_oldest" if node.overflow == "drop_oldest" else "block")
            for source_id, is_live in self._live.items()
        }
        return StageQueue(lanes=lanes, on_drop=lambda parcel: self._ledger.finish(parcel.ticket, "dropped_full"))

    def _thread(self, node: Node, task: Callable[..., None], *arguments: object) -> threading.Thread:
        # Daemon, so that a source that hangs in a driver cannot keep the interpreter from ending.
        return threading.Thread(target=task, args=arguments, name=f"streamdet {node.name}", daemon=True)

    def _alive(self) -> list[threading.Thread]:
        return [thread for threads in self._threads.values() for thread in threads if thread.is_alive()]

    def _join(self, *, timeout: float) -> None:
        for thread in self._alive()[:1]:
            thread.join(timeout)

    def _leave_hanging_sources_behind(self) -> None:
        """Once the run wants to end, a source that does not return is ended on its behalf."""
        if not self._stop.is_set() or self._clock() < self._stop_asked_at_seconds + self._grace_seconds:
            return
        for name in self._live:
            if any(thread.is_alive() for thread in self._threads[name]):
                log.warning("source %s did not return within %g s and was left behind", name, self._grace_seconds)
                self._threads[name] = []
                self._end_downstream(self._nodes[name])

    def _bury(self) -> None:
        """Join every thread; then what is still on its way is booked."""
        while self._alive():
            self._join(timeout=0.05)
            self._leave_hanging_sources_behind()
        self._ledger.close("failed" if self._failure is not None else "dropped_stale")
        if self._ended_at_seconds is None:
            self._ended_at_seconds = self._clock()

    def _raise_failure(self) -> None:
        if self._failure is not None and not self._failure_was_raised:
            self._failure_was_raised = True
            raise self._failure


_END = object()
