"""Which stage follows which? A flow is frozen data: it can be printed and checked before anything runs."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from pipeline.errors import FlowError
from pipeline.flow.queue import Overflow
from pipeline.flow.stage import BatchStage, Sink, Source, Stage

A = TypeVar("A")
B = TypeVar("B")

NodeKind = Literal["source", "stage", "batch stage", "sink"]
EdgeOverflow = Overflow | Literal["by_source"]


@dataclass(frozen=True, slots=True)
class Node:
    """One place in a flow. Its queue stands before it; sources have none.

    With `by_source` a live source's frames drop the oldest and keep only the newest, whatever the capacity,
    and a recorded source's frames block.
    """

    name: str
    kind: NodeKind
    part: Any
    upstream: tuple[str, ...] = ()
    workers: int = 1
    max_batch: int = 1
    holds: bool = False
    capacity: int = 2
    overflow: EdgeOverflow = "by_source"
    max_age_seconds: float | None = None
    max_latency_seconds: float | None = None
    only_sources: frozenset[str] | None = None
    in_main_thread: bool = False


@dataclass(frozen=True, slots=True)
class Flow(Generic[A]):
    """A graph of sources, stages and sinks whose open end, the tip, gives items of type A.

        Flow.from_sources(camera).then(preprocess).then(detect, workers=2).to(log).then(render).to(recording)

    Each step gives a new flow; `then` moves the tip, `to` hangs a sink on it and leaves it where it is.
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
        nodes = tuple(Node(name, "source", source) for name, source in zip(names, sources, strict=True))
        return cls(nodes, names)

    def then(
        self,
        stage: Stage[A, B],
        *,
        name: str = "",
        workers: int = 1,
        holds: bool = False,
        capacity: int = 2,
        overflow: EdgeOverflow = "by_source",
        max_age_seconds: float | None = None,
    ) -> Flow[B]:
        """Let every item go through a stage next.

        workers: how many items are worked on at once; order is kept, `process` must allow it.
        holds: the stage may give an item back later than it took it, first in first out, the rest in `drain`;
            without it an item for which `process` returns nothing ends there.
        capacity, overflow: the queue before the stage.
        max_age_seconds: items of live sources that are older when their turn comes are dropped as stale.
        """
        if holds and workers > 1:
            raise FlowError("a stage that holds items must have one worker, because it gives them back in order")
        node = self._node(
            "stage",
            stage,
            name,
            workers=workers,
            holds=holds,
            capacity=capacity,
            overflow=overflow,
            max_age_seconds=max_age_seconds,
        )
        return Flow((*self.nodes, node), (node.name,))

    def then_batched(
        self,
        stage: BatchStage[A, B],
        *,
        max_batch: int,
        name: str = "",
        workers: int = 1,
        capacity: int = 2,
        overflow: EdgeOverflow = "by_source",
        max_age_seconds: float | None = None,
        max_latency_seconds: float | None = None,
    ) -> Flow[B]:
        """Let items go through a stage in batches: as many as wait, up to `max_batch`.

        max_latency_seconds: a batch that is not full waits for more items of live sources, as long as its oldest will
            be no older than that when the batch is done; None: it never waits.
        """
        node = self._node(
            "batch stage",
            stage,
            name,
            workers=workers,
            max_batch=max_batch,
            capacity=capacity,
            overflow=overflow,
            max_age_seconds=max_age_seconds,
            max_latency_seconds=max_latency_seconds,
        )
        return Flow((*self.nodes, node), (node.name,))

    def to(
        self,
        sink: Sink[A],
        *,
        name: str = "",
        only_sources: Collection[str] | None = None,
        capacity: int = 2,
        overflow: EdgeOverflow = "by_source",
        in_main_thread: bool = False,
    ) -> Flow[A]:
        """Hang a sink on the tip; several sinks get every item each, or those of `only_sources`.

        in_main_thread: the sink has no thread of its own and is driven by `Running.wait`, as windows must be.
        """
        sources = {node.name for node in self.nodes if node.kind == "source"}
        if only_sources is not None and not set(only_sources) <= sources:
            raise FlowError(f"only_sources must name sources of the flow, got {sorted(set(only_sources) - sources)}")
        node = self._node(
            "sink",
            sink,
            name,
            capacity=capacity,
            overflow=overflow,
            only_sources=None if only_sources is None else frozenset(only_sources),
            in_main_thread=in_main_thread,
        )
        return Flow((*self.nodes, node), self.tip)

    def downstream(self, name: str) -> tuple[Node, ...]:
        """The nodes that a node's items go to."""
        return tuple(node for node in self.nodes if name in node.upstream)

    def __str__(self) -> str:
        """The graph as lines: sources first, then each stage under what it follows."""
        sources = [node for node in self.nodes if node.kind == "source"]
        lines = [f"{node.name} ({'live' if node.part.is_live else 'recorded'})" for node in sources]
        self._draw(sources[0].name, indent="", lines=lines)
        return "\n".join(lines)

    def _draw(self, name: str, *, indent: str, lines: list[str]) -> None:
        """Sinks before the stage that goes on, so that the main line reads straight down."""
        followers = sorted(self.downstream(name), key=lambda node: node.kind != "sink")
        for node in followers:
            last = node is followers[-1]
            lines.append(f"{indent}{'└─▶' if last else '├─▶'} {node.name}{_details(node)}")
            self._draw(node.name, indent=indent + ("    " if last else "│   "), lines=lines)

    def _node(self, kind: NodeKind, part: object, name: str, **settings: Any) -> Node:
        """A node behind the tip."""
        node = Node(self._free_name(name, part), kind, part, self.tip, **settings)
        for key in ("workers", "max_batch", "capacity"):
            if getattr(node, key) < 1:
                raise FlowError(f"{node.name}: {key} must be at least 1, got {getattr(node, key)}")
        return node

    def _free_name(self, name: str, part: object) -> str:
        wanted = name or re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", type(part).__name__).lower()
        taken = {node.name for node in self.nodes}
        if name and name in taken:
            raise FlowError(f"each node of a flow must have its own name, got {name!r} twice")
        number = 2
        free = wanted
        while free in taken:
            free, number = f"{wanted}-{number}", number + 1
        return free


def _details(node: Node) -> str:
    details = []
    if node.workers > 1:
        details.append(f"{node.workers} workers")
    if node.max_batch > 1:
        waits = "" if node.max_latency_seconds is None else f", closed within {1000 * node.max_latency_seconds:g} ms"
        details.append(f"batches up to {node.max_batch}{waits}")
    if node.only_sources is not None:
        details.append("of " + ", ".join(sorted(node.only_sources)))
    rule = {"block": "blocks", "drop_oldest": "drops the oldest", "by_source": "live: newest, recorded: all"}
    details.append(f"queue {node.capacity}, {rule[node.overflow]}")
    return f"  [{'; '.join(details)}]"
