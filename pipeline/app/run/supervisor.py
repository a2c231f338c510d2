"""Supervisor: a run and what it was assembled from → sources, with outputs of their own, that come and go meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

from pipeline.app.assemble import Assembly, added_source
from pipeline.app.config import SourceConfig
from pipeline.app.open_outputs import with_outputs_of_source
from pipeline.app.run.run_progress import captures_of
from pipeline.errors import FlowError
from pipeline.flow.graph import Flow, Node
from pipeline.flow.running import Running
from pipeline.picture.detections import Result
from pipeline.sources.states import SourceState
from pipeline.stages.capture import Capture


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """A source of a run, as it is now."""

    name: str
    state: SourceState
    is_paused: bool
    num_captured: int
    num_delivered: int
    num_dropped: int


class Supervisor:
    """Adds, removes, pauses and lists the sources of a run. Every method may be called from any thread.

        with Running(assembly.flow, stays_open=True) as running:
            supervisor = Supervisor(running, assembly)
            supervisor.add(SourceConfig(url="rtsp://door/stream", name="door"))

    running: of the assembly's flow, perhaps with further sinks; with `stays_open` it outlives its last source.
    """

    def __init__(self, running: Running[Result], assembly: Assembly) -> None:
        self._running = running
        self._assembly = assembly
        self._adding = threading.Lock()
        self._captures = captures_of(running.flow.nodes)
        self._nodes: dict[str, Node] = {node.name: node for node in assembly.flow.nodes}

    @property
    def assembly(self) -> Assembly:
        """What the run was assembled from, with all that was added since, whether it is still there or not."""
        return self._assembly

    @property
    def captures(self) -> Mapping[str, Capture]:
        """All sources that there are or were, by their names."""
        return dict(self._captures)

    def add(self, entry: SourceConfig) -> str:
        """Start a source with outputs of its own, as at the start of the run; returns its name.

        A camera that does not answer is tried while the run goes on. Raises a StreamdetError for what cannot be
        opened, a name that the run has, and an output that takes no further source.
        """
        with self._adding, ExitStack() as undo:
            name, capture, feed = added_source(self._assembly, entry, undo)
            if name in {node.name for node in self._running.flow.nodes}:
                raise FlowError(
                    f"the run has a source {name!r} already; remove it, or add this one with another --name"
                )
            flow: Flow[Any] = self._running.flow  # its tip stays what it is
            flow = flow.with_source(capture)
            flow, targets = with_outputs_of_source(flow, self._assembly.config, feed, self._assembly.feeds, undo=undo)
            self._assembly.suppression.keep(name, entry)
            self._running.extend(flow)
            undo.pop_all()
            self._keep(name, capture, flow)
            feeds = (*(other for other in self._assembly.feeds if other.source_id != name), feed)
            sources = {**self._assembly.sources, name: capture.source}
            flow_of_all: Flow[Result] = Flow(tuple(self._nodes.values()), self._assembly.flow.tip)
            all_targets = (*self._assembly.targets, *targets)
            self._assembly = replace(
                self._assembly, sources=sources, feeds=feeds, flow=flow_of_all, targets=all_targets
            )
        return name

    def remove(self, name: str) -> None:
        """Ask a source to end; what it has captured goes through to its outputs, which are finished then.

        Raises FlowError for one that the run does not have.
        """
        self._running.remove_source(name)

    def pause(self, name: str, *, is_paused: bool = True) -> None:
        """Let a source wait, or go on; what a camera gives meanwhile is not captured. Raises FlowError as `remove`."""
        self._running.pause_source(name, is_paused=is_paused)

    def sources(self) -> list[SourceStatus]:
        """All sources that there are or were, in the order in which they came."""
        counts, paused = self._running.statistics().frames_by_source, self._running.paused_sources()
        return [
            SourceStatus(
                name,
                capture.states.state,
                name in paused,
                counts[name].captured,
                counts[name].delivered,
                counts[name].dropped,
            )
            for name, capture in self.captures.items()
        ]

    def _keep(self, name: str, capture: Capture, flow: Flow[Result]) -> None:
        self._captures.pop(name, None)  # of an earlier source of that name
        self._captures[name] = capture
        self._nodes |= {node.name: node for node in flow.nodes}
