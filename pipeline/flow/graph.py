"""Flow: sources, stages and sinks → a graph as frozen data, which can be printed and checked before anything runs."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Any, Generic, Literal, TypeVar

from pipeline.errors import FlowError
from pipeline.flow.queue import LaneRule, Overflow
from pipeline.flow.stage import BatchStage, Sink, Source, Stage
from pipeline.turns import Turns

A = TypeVar("A")
B = TypeVar("B")

NodeKind = Literal["source", "stage", "batch stage", "sink"]
EdgeOverflow = Overflow | Literal["by_source"]

_MOST_LIGHT = 32  # items of a live source that wait beside those that a stage works on


@dataclass(frozen=True, slots=True)
class Edge:
    """The queue before a node, with a lane for each source, and the items that pass through it.

    With `by_source` a live source's items drop the oldest and keep only the newest, whatever the capacity,
    and a recorded source's items block. Items of the types in `light` take next to nothing: those of a live source
    push out none of the others, nor those them.
    """

    capacity: int = 2  # of a lane, in items
    overflow: EdgeOverflow = "by_source"
    max_age_seconds: float | None = None  # older items of live sources are dropped as stale; None: none is
    only_sources: frozenset[str] | None = None  # None: the items of all
    live_capacity: int = 1  # items of a live source that may wait
    light: tuple[type, ...] = ()

    def lane(self, *, is_live: bool, weight: float = 1.0) -> LaneRule:
        """The rule for the lane of one source."""
        if self.overflow == "by_source":
            spare = _MOST_LIGHT if self.light else 0
            live = LaneRule(self.live_capacity, "drop_oldest", weight, spare)
            return live if is_live else LaneRule(self.capacity, "block", weight)
        return LaneRule(self.capacity, self.overflow, weight)

    def takes(self, source_id: str) -> bool:
        """Whether a source's items pass."""
        return self.only_sources is None or source_id in self.only_sources


@dataclass(frozen=True, slots=True)
class Node:
    """One source, stage or sink of a flow, the queue before it, and how it is run. A source has no queue."""

    name: str
    kind: NodeKind
    part: Any  # the Source, Stage, BatchStage or Sink; with `per_source`, what makes a Stage for a source_id
    role: str = ""  # what it does, whatever file or device is in its name: detect, record; the name by default
    upstream: tuple[str, ...] = ()
    is_first: bool = False  # whether the sources are upstream of it, however many there are
    edge: Edge = Edge()
    workers: int = 1
    holds: bool = False
    per_source: bool = False
    max_batch: int = 1
    max_latency_seconds: float | None = None
    turns: Turns | None = None  # of those who put a batch together and have it run
    in_main_thread: bool = False
    watches: bool = False  # a sink for whose sake no run goes on
    observers: tuple[Callable[[Any], None], ...] = ()  # see every item that it sends on
    past: tuple[type, ...] = ()  # items of these types go past the stage as they are, in their order

    def __post_init__(self) -> None:
        for key, number in (
            ("workers", self.workers),
            ("max_batch", self.max_batch),
            ("capacity", self.edge.capacity),
        ):
            if number < 1:
                raise FlowError(f"{self.name}: {key} must be at least 1, got {number}")


@dataclass(frozen=True, slots=True)
class Flow(Generic[A]):
    """A graph of sources, stages and sinks whose open end, the tip, gives items of type A.

        Flow.from_sources(camera).then(preprocess).then(detect, workers=2).to(log).then(render).to(recording)

    Each step gives a new flow; `then` moves the tip, `to` and `branch` hang something on it and leave it where it is.
    Raises FlowError for a graph that cannot work.
    """

    nodes: tuple[Node, ...]
    tip: tuple[str, ...]

    @classmethod
    def from_sources(cls, *sources: Source[A]) -> Flow[A]:
        """Begin with one source or several, whose items go through the same stages, each source in order."""
        if not sources:
            raise FlowError("a flow must have at least one source, got none")
        names = tuple(source.source_id for source in sources)
        if len(set(names)) < len(names):
            raise FlowError(f"each source of a flow must have its own source_id, got {list(names)}")
        nodes = tuple(Node(name, "source", source, "source") for name, source in zip(names, sources, strict=True))
        return cls(nodes, names)

    @classmethod
    def joined(cls, *flows: Flow[A]) -> Flow[A]:
        """Several flows whose items come together at one tip, each source's in order; what follows takes all of them.

        Flow.joined(Flow.from_sources(door).then(people), Flow.from_sources(yard).then(cars)).to(log)

        Raises FlowError for nodes of one name, and where an item would come twice: a source belongs to one of them.
        """
        nodes = tuple(node for flow in flows for node in flow.nodes)
        names = [node.name for node in nodes]
        twice = next((name for name in names if names.count(name) > 1), None)
        if not flows or twice is not None:
            got = "none" if twice is None else f"{twice!r} in two"
            raise FlowError(f"flows that are joined must be at least one, each with names of its own, got {got}")
        sources = tuple(node for node in nodes if node.kind == "source")
        stages = tuple(node for node in nodes if node.kind != "source")
        return cls((*sources, *stages), tuple(name for flow in flows for name in flow.tip))

    def with_source(self, source: Source[A], *, before: Collection[str] | None = None) -> Flow[A]:
        """The same flow with another source, whose items go the way of the others; for `Running.extend`.

        before: of a flow that was joined, the first nodes that take the items; None: all that sources lead to.
        """
        if source.source_id in {node.name for node in self.nodes}:
            raise FlowError(f"each node of a flow must have its own name, got {source.source_id!r} twice")
        sources = {node.name for node in self.nodes if node.kind == "source"}
        followers = [
            replace(node, upstream=(*node.upstream, source.source_id))
            if node.is_first and (before is None or node.name in before)
            else node
            for node in self.nodes
        ]
        tip = (*self.tip, source.source_id) if set(self.tip) <= sources else self.tip
        return Flow((*followers, Node(source.source_id, "source", source, "source")), tip)

    def with_joined(self, flow: Flow[B], *, beside: str) -> Flow[A]:
        """The same flow with another joined to it: all that follows `beside` takes its items too, for `Running.extend`.

        The two must give items of one type there, which the caller knows. Raises FlowError for a name that is not
        there, and for nodes of one name.
        """
        model = next((node for node in self.nodes if node.name == beside), None)
        if model is None:
            raise FlowError(f"the flow has no node {beside!r}; it has {', '.join(node.name for node in self.nodes)}")
        joined: Flow[Any] = Flow.joined(self, flow)
        nodes = tuple(
            replace(node, upstream=(*node.upstream, *flow.tip))
            if beside in node.upstream
            else replace(node, observers=model.observers)
            if node.name in flow.tip
            else node
            for node in joined.nodes
        )
        return Flow(nodes, joined.tip if beside in self.tip else self.tip)

    def without(self, *names: str) -> Flow[A]:
        """The same flow without sources, or sinks, that have ended; for `Running.extend` to take the names again."""
        nodes = [
            replace(node, upstream=tuple(name for name in node.upstream if name not in names))
            for node in self.nodes
            if node.name not in names
        ]
        return Flow(tuple(nodes), tuple(name for name in self.tip if name not in names))

    def at(self, name: str) -> Flow[Any]:
        """The same flow with its tip behind another node, whose output has the type that the caller knows.

        Raises FlowError for a name that it does not have.
        """
        if name not in {node.name for node in self.nodes}:
            raise FlowError(f"the flow has no node {name!r}; it has {', '.join(node.name for node in self.nodes)}")
        return Flow(self.nodes, (name,))

    def then(
        self,
        stage: Stage[A, B],
        *,
        name: str = "",
        role: str = "",
        workers: int = 1,
        holds: bool = False,
        capacity: int = 2,
        overflow: EdgeOverflow = "by_source",
        max_age_seconds: float | None = None,
        past: tuple[type, ...] = (),
    ) -> Flow[B]:
        """Let every item go through a stage next.

        role: what statistics and reports know it by; its name by default.
        workers: how many items are worked on at once; order is kept, `process` must allow it.
        holds: the stage may give an item back later than it took it, first in first out, the rest in `drain`;
            without it an item for which `process` returns nothing ends there.
        capacity, overflow: the queue before the stage.
        max_age_seconds: items of live sources that are older when their turn comes are dropped as stale.
        past: items of these types go past the stage, in their order; it neither sees nor counts them,
            and before it they push out no other items of a live source.
        """
        if holds and (workers > 1 or past):
            raise FlowError(
                "a stage that holds items must have one worker and all items, because it gives them in order"
            )
        edge = Edge(capacity, overflow, max_age_seconds, light=past)
        node = replace(self._node("stage", stage, name, role, edge), workers=workers, holds=holds, past=past)
        return Flow((*self.nodes, node), (node.name,))

    def then_per_source(
        self,
        make: Callable[[str], Stage[A, B]],
        *,
        name: str,
        role: str = "",
        holds: bool = False,
        capacity: int = 2,
        overflow: EdgeOverflow = "by_source",
        max_age_seconds: float | None = None,
        light: tuple[type, ...] = (),
        live_capacity: int = 1,
    ) -> Flow[B]:
        """Let the items of each source go through a stage of that source's own, such as one that tracks objects.

        make: makes the stage of a source_id, in the thread that runs it, when the first item of that source comes.
            It takes the source's items in order, is drained when no more items come, and closed at the end of the run.
        light: items of these types take next to nothing of it; those of a live source push out none of the others.
        live_capacity: how many of the others wait of a live source, before the oldest gives way.
        The other arguments are those of `then`.
        """
        edge = Edge(capacity, overflow, max_age_seconds, live_capacity=live_capacity, light=light)
        node = replace(self._node("stage", make, name, role, edge), holds=holds, per_source=True)
        return Flow((*self.nodes, node), (node.name,))

    def then_batched(
        self,
        stage: BatchStage[A, B],
        *,
        max_batch: int,
        name: str = "",
        role: str = "",
        workers: int = 1,
        capacity: int = 2,
        overflow: EdgeOverflow = "by_source",
        max_age_seconds: float | None = None,
        max_latency_seconds: float | None = None,
        turns: Turns | None = None,
        past: tuple[type, ...] = (),
    ) -> Flow[B]:
        """Let items go through a stage in batches: as many as wait, up to `max_batch`.

        max_latency_seconds: a batch that is not full waits for more items of live sources, as long as its oldest will
            be no older than that when the batch is done; None: it never waits.
        turns: a batch is put together in a turn, which the stage may end before it is done with the batch, so that
            the next one takes all that has come by then; None: as soon as a worker is free.
        The other arguments are those of `then`.
        """
        edge = Edge(capacity, overflow, max_age_seconds, light=past)
        node = replace(
            self._node("batch stage", stage, name, role, edge),
            workers=workers,
            max_batch=max_batch,
            max_latency_seconds=max_latency_seconds,
            turns=turns,
            past=past,
        )
        return Flow((*self.nodes, node), (node.name,))

    def to(
        self,
        sink: Sink[A],
        *,
        name: str = "",
        role: str = "",
        only_sources: Collection[str] | None = None,
        capacity: int = 2,
        overflow: EdgeOverflow = "by_source",
        in_main_thread: bool = False,
        watches: bool = False,
    ) -> Flow[A]:
        """Hang a sink on the tip; of several sinks each gets every item, or those of `only_sources`.

        in_main_thread: the sink has no thread of its own and is driven by `Running.wait`, as windows must be.
        watches: the sink only counts or compares: where all other sinks have failed, the run ends.
        The other arguments are those of `then`.
        """
        sources = {node.name for node in self.nodes if node.kind == "source"}
        if only_sources is not None and not set(only_sources) <= sources:
            raise FlowError(f"only_sources must name sources of the flow, got {sorted(set(only_sources) - sources)}")
        edge = Edge(capacity, overflow, only_sources=None if only_sources is None else frozenset(only_sources))
        node = replace(self._node("sink", sink, name, role, edge), in_main_thread=in_main_thread, watches=watches)
        return Flow((*self.nodes, node), self.tip)

    def observe(self, observer: Callable[[A], None]) -> Flow[A]:
        """Let a function see every item that comes out at the tip, in order, in the thread that sends it on.

        It has no queue and ends no frame, so it changes neither what is dropped nor what counts as delivered. It
        must be quick; of several nodes at the tip it is called from several threads. What it raises fails the run.
        """
        return Flow(
            tuple(
                replace(node, observers=(*node.observers, observer)) if node.name in self.tip else node
                for node in self.nodes
            ),
            self.tip,
        )

    def branch(self, grow: Callable[[Flow[A]], Flow[B]]) -> Flow[A]:
        """Hang stages and sinks on the tip, and leave the tip where it is.

        flow.branch(lambda results: results.then(render).to(recording))
        """
        return Flow(grow(self).nodes, self.tip)

    def downstream(self, name: str) -> tuple[Node, ...]:
        """The nodes that a node's items go to."""
        return tuple(node for node in self.nodes if name in node.upstream)

    def close(self) -> None:
        """Close every part of a flow that is never run; a run closes its parts by itself."""
        for node in self.nodes:
            if not node.per_source:
                node.part.close()

    def __str__(self) -> str:
        """The graph as lines: sources first, then each stage under what it follows; what joins flows under all ends."""
        lines: list[str] = []
        for first in dict.fromkeys(self._followers(node.name) for node in self.nodes if node.kind == "source"):
            sources = [node for node in self.nodes if node.kind == "source" and self._followers(node.name) == first]
            lines += [f"{node.name} ({'live' if node.part.is_live else 'recorded'})" for node in sources]
            self._draw(sources[0].name, indent="", lines=lines)
        ends = dict.fromkeys(node.upstream for node in self.nodes if self._joins(node))
        for names in ends:
            lines.append(" + ".join(names))
            self._draw(names[0], indent="", lines=lines, joins=True)
        return "\n".join(lines)

    def _draw(self, name: str, *, indent: str, lines: list[str], joins: bool = False) -> None:
        """Sinks before the stage that goes on, so that the main line reads straight down.

        joins: draw what takes the items of others too, and nothing else.
        """
        nodes = [node for node in self.downstream(name) if self._joins(node) == joins]
        followers = sorted(nodes, key=lambda node: node.kind != "sink")
        for node in followers:
            last = node is followers[-1]
            lines.append(f"{indent}{'└─▶' if last else '├─▶'} {node.name}{_details(node)}")
            self._draw(node.name, indent=indent + ("    " if last else "│   "), lines=lines)

    def _followers(self, name: str) -> tuple[str, ...]:
        return tuple(node.name for node in self.downstream(name))

    def _joins(self, node: Node) -> bool:
        """Whether the ends of several flows come together before a node."""
        return len(node.upstream) > 1 and not node.is_first

    def _node(self, kind: NodeKind, part: object, name: str, role: str, edge: Edge) -> Node:
        """A node behind the tip."""
        free_name = self._free_name(name, part)
        is_first = all(node.kind == "source" for node in self.nodes if node.name in self.tip)
        return Node(free_name, kind, part, role or free_name, self.tip, is_first, edge)

    def _free_name(self, name: str, part: object) -> str:
        taken = {node.name for node in self.nodes}
        if name and name in taken:
            raise FlowError(f"each node of a flow must have its own name, got {name!r} twice")
        base = name or re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", type(part).__name__).lower()
        number = 2
        free = base
        while free in taken:
            free, number = f"{base}-{number}", number + 1
        return free


def _details(node: Node) -> str:
    details = []
    if node.workers > 1:
        details.append(f"{node.workers} workers")
    if node.per_source:
        details.append("one for each source")
    if node.max_batch > 1:
        waits = "" if node.max_latency_seconds is None else f", closed within {1000 * node.max_latency_seconds:g} ms"
        details.append(f"batches up to {node.max_batch}{waits}")
    if node.edge.only_sources is not None:
        details.append("of " + ", ".join(sorted(node.edge.only_sources)))
    rule = {"block": "blocks", "drop_oldest": "drops the oldest", "by_source": "live: newest, recorded: all"}
    details.append(f"queue {node.edge.capacity}, {rule[node.edge.overflow]}")
    return f"  [{'; '.join(details)}]"
