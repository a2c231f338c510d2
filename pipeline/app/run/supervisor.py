"""Supervisor: a run and what it was assembled from → sources, with outputs of their own, that come and go meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

from pipeline.app.assemble import Assembly, added_source
from pipeline.app.config.source import SourceConfig
from pipeline.app.model_branch import ModelBranch
from pipeline.app.open_outputs import with_outputs_of_source
from pipeline.app.run.run_progress import captures_of
from pipeline.app.run.source_shapes import SourceShapes
from pipeline.flow.graph import Flow, Node
from pipeline.flow.running import Running
from pipeline.json_values import Json
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
    model: str  # what reports call it

    def as_json(self) -> dict[str, Json]:
        """As `ctl list` and the live view give it, but for what each of them adds."""
        return {
            "name": self.name,
            "state": self.state.name,
            "reason": self.state.reason,
            "since": self.state.since_unix_seconds,
            "paused": self.is_paused,
            "captured": self.num_captured,
            "delivered": self.num_delivered,
            "dropped": self.num_dropped,
        }


def _with_source(branches: Sequence[ModelBranch], branch: ModelBranch, name: str) -> tuple[ModelBranch, ...]:
    """The branches, of which this one, perhaps new, has a source of that name, and no other has."""
    labels = {other.label for other in branches}
    return tuple(
        replace(other, source_ids=(*(own for own in other.source_ids if own != name), name))
        if other.label == branch.label
        else replace(other, source_ids=tuple(own for own in other.source_ids if own != name))
        for other in (*branches, *(() if branch.label in labels else (branch,)))
    )


class Supervisor:
    """Adds, removes, pauses and lists the sources of a run. Every method may be called from any thread.

    `shapes` has the lines and zones of each.

        with Running(assembly.flow, stays_open=True) as running:
            supervisor = Supervisor(running, assembly)
            supervisor.add(SourceConfig(url="rtsp://door/stream", name="door"))

    running: of the assembly's flow, perhaps with further sinks; with `stays_open` it outlives its last source.
    """

    def __init__(self, running: Running[Result], assembly: Assembly) -> None:
        self._running = running
        self._assembly = assembly
        self._adding = threading.Lock()
        self.shapes = SourceShapes(lambda: self._assembly)
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
            assembly = self._assembly
            taken = {node.name for node in self._running.flow.nodes}
            added = added_source(assembly, entry, taken, undo)
            name = added.source_id
            joined = added.joined_to(self._running.flow, assembly.branches[0])
            flow, targets = with_outputs_of_source(joined, assembly.config, added.feed, assembly.feeds, undo=undo)
            added.branch.suppression.keep(name, entry)
            assembly.suppressions[name] = added.branch.suppression
            assembly.counted[name], assembly.entries[name] = added.counted, entry
            self._running.extend(Flow(flow.nodes, joined.tip))
            undo.pop_all()
            self._keep(name, added.capture, flow)
            self._assembly = replace(
                assembly,
                sources={**assembly.sources, name: added.capture.source},
                feeds=(*(other for other in assembly.feeds if other.source_id != name), added.feed),
                flow=Flow(tuple(self._nodes.values()), joined.tip),
                targets=tuple(dict.fromkeys((*assembly.targets, *targets))),
                branches=_with_source(assembly.branches, added.branch, name),
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
        self._captures[name].states.pause(is_paused=is_paused)

    def sources(self) -> list[SourceStatus]:
        """All sources that there are or were, in the order in which they came."""
        captures = self.captures  # first: one that is being added meanwhile is not among them, or in all that follows
        counts, paused = self._running.statistics().frames_by_source, self._running.paused_sources()
        models = self._assembly.model_of_source()
        return [
            SourceStatus(
                name,
                capture.states.state,
                name in paused,
                counts[name].captured,
                counts[name].delivered,
                counts[name].dropped,
                models[name],
            )
            for name, capture in captures.items()
            if name in models and name in counts
        ]

    def _keep(self, name: str, capture: Capture, flow: Flow[Result]) -> None:
        self._captures.pop(name, None)  # of an earlier source of that name
        self._captures[name] = capture
        self._nodes |= {node.name: node for node in flow.nodes}
