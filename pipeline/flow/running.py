"""Running: a flow → a run of it, whose threads and queues are started, stopped and joined here and nowhere else.

On any exit the queues are abandoned first and the threads joined after, so that nobody waits for a peer that is gone,
and the first failure is raised, with a note that names the stage and the frame.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Generic, TypeVar

from pipeline.errors import FlowError, UnknownSourceError
from pipeline.events import event
from pipeline.flow.calls import THREAD_NAME
from pipeline.flow.cycles import CycleCollector
from pipeline.flow.failure import OnError
from pipeline.flow.graph import Edge, Flow, Node
from pipeline.flow.ledger import FrameCounts, LatencyCounts
from pipeline.flow.meters import StageStatistics
from pipeline.flow.queue import QueueAbandoned, QueueEnded
from pipeline.flow.stop_request import StopRequest
from pipeline.flow.wiring import Wiring
from pipeline.flow.workers import SinkWorker, worker_of

logger = logging.getLogger(__name__)

T = TypeVar("T")

_RESULTS = "results"  # the name of the queue that the caller iterates over
_LOOK_SECONDS = 0.5  # how long a reader of results waits before it looks whether the run is to end
_SHORT_LOOK_SECONDS = 0.05  # the same where the run is to end with its sources
_JOIN_SECONDS = 0.05  # how long one look at the threads waits for them


@dataclass(frozen=True, slots=True)
class RunStatistics:
    """A snapshot of a run."""

    elapsed_seconds: float
    frames: FrameCounts
    frames_by_source: dict[str, FrameCounts]
    nodes: tuple[StageStatistics, ...]

    def of_role(self, role: str) -> StageStatistics | None:
        """The first node with a role; None: the flow has none."""
        return next((node for node in self.nodes if node.role == role), None)

    def rate_of_role(self, role: str) -> float | None:
        """Items a second of all nodes with a role, over the whole run; None: none has a rate."""
        return _sum([node.rate for node in self.nodes if node.role == role])

    def recent_rate_of_role(self, role: str) -> float | None:
        """The same over the last seconds."""
        return _sum([node.recent_rate for node in self.nodes if node.role == role])


def _sum(rates: Sequence[float | None]) -> float | None:
    """Of those that there are; None: there are none."""
    present = [rate for rate in rates if rate is not None]
    return sum(present) if present else None


class Running(Generic[T]):
    """A flow while it runs. Use it as a context manager, then iterate over it or `wait`.

        with Running(flow) as running:
            running.wait()

    results: the items at the flow's tip come to the caller, who must iterate; otherwise they end there.
    clock: monotonic seconds.
    grace_seconds: how long a source, stage or sink may take to return once the run wants to end; one that hangs longer
        is left behind in its daemon thread, with a warning.
    on_error: what happens where a sink fails, or a stage fails on one frame.
    stays_open: sources may come later, so that the run ends with `stop` and not with its last source.
    ends_with_sources: with `stays_open` and `results`: it ends where the reader waits and no source is left.
    collects_cycles: while it runs, Python's cycles are collected every few seconds; for runs that go on for long.
    """

    def __init__(
        self,
        flow: Flow[T],
        *,
        results: bool = False,
        clock: Callable[[], float] = time.monotonic,
        grace_seconds: float = 5.0,
        on_error: OnError = OnError(),
        stays_open: bool = False,
        ends_with_sources: bool = False,
        collects_cycles: bool = False,
    ) -> None:
        self._flow = flow
        self._ends_with_sources = ends_with_sources
        self._look_seconds = _SHORT_LOOK_SECONDS if ends_with_sources else _LOOK_SECONDS
        self._clock = clock
        self._stop = StopRequest(clock=clock, grace_seconds=grace_seconds)
        self._results = Node(_RESULTS, "sink", None, _RESULTS, edge=Edge(overflow="block")) if results else None
        self._wiring = Wiring(
            self._with_results(flow), clock=clock, stop=self._stop, on_error=on_error, stays_open=stays_open
        )
        self._extending = threading.Lock()
        self._windows = [SinkWorker(node, self._wiring) for node in flow.nodes if node.in_main_thread]
        self._threads: dict[str, list[threading.Thread]] = {}
        self._measured_from_seconds = 0.0
        self._ended_at_seconds: float | None = None
        self._cycles = CycleCollector(clock=clock) if collects_cycles else None

    def __enter__(self) -> Running[T]:
        if self._cycles is not None:
            self._cycles.begin()
        self._measured_from_seconds = self._clock()
        self._start([node for node in self._flow.nodes if not node.in_main_thread])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.abandon()
        self._join_all()
        if self._cycles is not None:
            self._cycles.end()
        if error is None:
            self._wiring.failure.raise_once()

    def __iter__(self) -> Iterator[T]:
        """Yield the items that come out at the tip, and wait for the sinks; leaving the loop early gives the run up."""
        if self._results is None:
            raise FlowError("to iterate over a run it must be started with results=True")
        has_ended = False
        try:
            while True:
                self._collect_cycles()
                try:
                    item = self._wiring.receive(self._results, timeout=self._look_seconds)
                except TimeoutError:
                    self._end_if_stopped()
                    continue
                except (QueueEnded, QueueAbandoned):
                    has_ended = True
                    break
                # Delivered when handed over: a caller who keeps the last item and stops has seen it.
                self._wiring.ledger.finish(item.ticket, "delivered")
                yield item.payload
        finally:
            if not has_ended:
                self.abandon()
            self._join_all()
        self._wiring.failure.raise_once()

    def wait(self, *, on_tick: Callable[[], None] | None = None, tick_seconds: float = 0.5) -> None:
        """Wait for the end, driving main-thread sinks and calling `on_tick` every `tick_seconds`.

        Raises the first failure of any thread.
        """
        next_tick = self._clock() + tick_seconds
        try:
            while self._poll_once():
                self._collect_cycles()
                if on_tick is not None and self._clock() >= next_tick:
                    on_tick()
                    next_tick = self._clock() + tick_seconds
                self._leave_stuck_nodes_behind()
        except BaseException:
            self.abandon()
            raise
        finally:
            for window in self._windows:
                window.close()
            self._join_all()
        self._wiring.failure.raise_once()

    @property
    def flow(self) -> Flow[T]:
        """The flow as it runs now: without sources that have ended, with all of their frames, and sinks of theirs."""
        settled = self._wiring.settled
        gone = [
            node.name
            for node in self._flow.nodes
            if node.name in settled or (node.edge.only_sources is not None and node.edge.only_sources <= settled)
        ]
        return self._flow.without(*gone) if gone else self._flow

    def extend(self, flow: Flow[T]) -> None:
        """Start the sources and sinks that a flow has more than `self.flow`, which it was made from.

        running.extend(running.flow.with_source(camera))

        From any thread. Raises FlowError for a sink of the main thread, and for a run that has ended or is to end.
        """
        with self._extending:
            # Not by name alone: of one that has ended since the flow was made, another of its name may come.
            parts = {(node.name, id(node.part)) for node in self._flow.nodes}
            new = [node for node in flow.nodes if (node.name, id(node.part)) not in parts]
            if self._stop.is_set() or self._ended_at_seconds is not None:
                raise FlowError("a run that has ended, or is to end, cannot be extended")
            if any(node.in_main_thread for node in new):
                raise FlowError("a sink of the main thread must be there from the start")
            flow = Flow(flow.nodes, self._extended_tip(flow))
            self._wiring.extend(self._with_results(flow), new)
            self._flow = flow
            kept = {node.name for node in flow.nodes}
            self._threads = {
                name: threads
                for name, threads in self._threads.items()
                if name in kept or any(thread.is_alive() for thread in threads)
            }
            self._start(new)

    def remove_source(self, source_id: str) -> None:
        """Ask one source to end; what it has captured still goes through, and then its own sinks are closed."""
        self._wiring.stop_source(self._known_source(source_id))

    def pause_source(self, source_id: str, *, is_paused: bool = True) -> None:
        """Let a source wait, or go on; what a live one gives meanwhile is neither captured nor counted."""
        self._wiring.pause_source(self._known_source(source_id), is_paused)

    def paused_sources(self) -> frozenset[str]:
        """The sources that `pause_source` lets wait."""
        return self._wiring.paused_sources()

    def stop(self) -> None:
        """Ask the sources to end; captured items still go through to the sinks. Safe in a signal handler."""
        self._stop.make()

    def abandon(self) -> None:
        """Give up: frames that are on their way are not delivered. Sinks still finish their outputs."""
        self._wiring.abandon()

    def forget_warm_up(self) -> None:
        """Let all statistics begin now: frames that were captured before are in none of them."""
        self._wiring.ledger.forget()
        for meter in self._wiring.meters.values():
            meter.forget()
        self._measured_from_seconds = self._clock()

    def latency_percentiles_seconds(self) -> tuple[float, ...]:
        """Of delivered frames, the 0th to 100th percentile of the time from capture; empty before the first."""
        return self._wiring.ledger.latency_percentiles_seconds()

    def latency_counts(self, bounds_seconds: Sequence[float]) -> dict[str, LatencyCounts]:
        """By source, how many delivered frames took at most each of these times from capture, within 1 %."""
        return self._wiring.ledger.latency_counts(bounds_seconds)

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
        frames, by_source = self._wiring.ledger.statistics()
        nodes = tuple(
            self._wiring.statistics(node, now_seconds=now, elapsed_seconds=elapsed) for node in self._flow.nodes
        )
        return RunStatistics(elapsed, frames, by_source, nodes)

    def _with_results(self, flow: Flow[T]) -> Sequence[Node]:
        """The nodes of a flow, and the one that the caller reads from."""
        return flow.nodes if self._results is None else (*flow.nodes, replace(self._results, upstream=flow.tip))

    def _extended_tip(self, flow: Flow[T]) -> tuple[str, ...]:
        """The tip stays, with flows that were joined there, wherever that of the flow has gone to hang a sink on it."""
        if not any(node.name in self._flow.tip and node.kind != "source" for node in self._flow.nodes):
            return tuple(node.name for node in flow.nodes if node.kind == "source")
        return flow.tip if set(self._flow.tip) <= set(flow.tip) else self._flow.tip

    def _known_source(self, source_id: str) -> str:
        names = [node.name for node in self.flow.nodes if node.kind == "source"]
        if source_id not in names:
            raise UnknownSourceError(f"the run has no source {source_id!r}; it has {', '.join(names) or 'none'}")
        return source_id

    def _start(self, nodes: Sequence[Node]) -> None:
        """Start the threads of nodes; sources last, whose items the others must be ready for."""
        threads = {node.name: self._threads_of(node) for node in nodes}
        self._threads |= threads
        for node in sorted(nodes, key=lambda node: node.kind == "source"):
            for thread in threads[node.name]:
                thread.start()

    def _end_if_stopped(self) -> None:
        if self._ends_with_sources:
            with self._extending:  # so that nobody adds one to a run that ends
                if not any(node.kind == "source" for node in self.flow.nodes):
                    self._stop.make()
        if self._stop.is_set():
            self._wiring.close_to_new()

    def _threads_of(self, node: Node) -> list[threading.Thread]:
        run, name = worker_of(node, self._wiring).run, f"{THREAD_NAME} {node.name}"
        # Daemons, so that a source that hangs in a driver cannot keep the interpreter from ending.
        return [threading.Thread(target=run, name=name, daemon=True) for _ in range(node.workers)]

    def _poll_once(self) -> bool:
        """Give each main-thread sink its turn, or the threads a moment; False: all have ended."""
        self._end_if_stopped()
        open_windows = [window for window in self._windows if window.poll()]
        if not open_windows:
            self._join_one()
        return bool(open_windows or self._alive())

    def _collect_cycles(self) -> None:
        if self._cycles is not None:
            self._cycles.look()

    def _alive(self) -> list[threading.Thread]:
        return [thread for threads in self._threads.values() for thread in threads if thread.is_alive()]

    def _join_one(self) -> None:
        for thread in self._alive()[:1]:
            thread.join(_JOIN_SECONDS)

    def _join_all(self) -> None:
        """Join every thread; then book the items that are still on their way."""
        while self._alive():
            self._end_if_stopped()
            self._join_one()
            self._leave_stuck_nodes_behind()
        self._wiring.ledger.close("failed" if self._wiring.failure.has_happened() else "dropped_stale")
        if self._ended_at_seconds is None:
            self._ended_at_seconds = self._clock()

    def _leave_stuck_nodes_behind(self) -> None:
        """Once the run wants to end, end the nodes whose part does not return on their behalf."""
        grace_seconds = self._stop.grace_seconds
        if not self._stop.grace_is_over():
            return
        for node in self._flow.nodes:
            is_alive = any(thread.is_alive() for thread in self._threads.get(node.name, ()))
            if is_alive and self._wiring.calls.is_stuck(node.name, for_seconds=grace_seconds):
                logger.warning(
                    "%s %s did not return within %g s and was left behind",
                    node.kind,
                    node.name,
                    grace_seconds,
                    extra=event("left_behind", node=node.name, kind=node.kind, seconds=grace_seconds),
                )
                self._threads[node.name] = []
                self._wiring.leave_behind(node)
