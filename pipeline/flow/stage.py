"""Parts of a flow: the protocols of sources, stages, batch stages and sinks, all of them passive.

None of them starts a thread, owns a queue or prints; `pipeline.flow.running` calls them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol, TypeVar, runtime_checkable

In = TypeVar("In", contravariant=True)
Out = TypeVar("Out", covariant=True)


class Stop(Protocol):
    """Says that the run wants to end; a source that has to wait, waits on it (a `threading.Event` will do)."""

    def is_set(self) -> bool: ...

    def wait(self, timeout: float | None = None) -> bool: ...


class Source(Protocol[Out]):
    """The origin of items. Called from one thread of its own."""

    @property
    def source_id(self) -> str:
        """Names the source; unique within a flow."""

    @property
    def is_live(self) -> bool:
        """Whether it goes on without us, so that the newest item is worth more than each item."""

    def items(self, stop: Stop) -> Iterator[Out]:
        """Yield items in order; return at the end, or soon after `stop` is set."""

    def close(self) -> None:
        """Let go of every resource; called once, from the thread that called `items`."""


@runtime_checkable
class CountsSkipped(Protocol):
    """A source that leaves items out because they are too old before anything was done with them."""

    @property
    def num_skipped(self) -> int:
        """How many so far, of those that would otherwise have been given."""


@runtime_checkable
class CountsUndecoded(Protocol):
    """A source that leaves items out on purpose, because nothing has changed in them."""

    @property
    def num_undecoded(self) -> int:
        """How many so far, of those that would otherwise have been given."""


@runtime_checkable
class HasCaptureTime(Protocol):
    """An item that may be older than the moment at which its source gave it, on the clock of the run."""

    @property
    def captured_at_seconds(self) -> float: ...


@runtime_checkable
class Waits(Protocol):
    """A source that waits for others while it is asked for an item, which is not work."""

    @property
    def waited_seconds(self) -> float:
        """How long it has waited so far."""


class Stage(Protocol[In, Out]):
    """One step. With several workers, `process` is called from several threads at once."""

    def process(self, item: In) -> Iterable[Out]:
        """The items that go on: usually one, possibly none (the item ends here) or several."""

    def drain(self) -> Iterable[Out]:
        """The items that are still held when no more come."""

    def close(self) -> None:
        """Let go of every resource; called once, after the last `process` or `drain`."""


class BatchStage(Protocol[In, Out]):
    """A step that is cheaper for several items at once."""

    def process_batch(self, items: Sequence[In]) -> Sequence[Out]:
        """One result for each item, in the same order."""

    def close(self) -> None:
        """Let go of every resource; called once, after the last batch."""


class Sink(Protocol[In]):
    """The end of items. Called from one thread of its own."""

    def write(self, item: In) -> None:
        """Take one item."""

    def close(self) -> None:
        """Finish the output; called once, also after a failure."""


class MainThreadSink(Protocol):
    """A sink that the main thread drives: between items, `poll` is called every few milliseconds."""

    @property
    def wants_stop(self) -> bool:
        """Whether the person in front of it wants the run to end."""

    def poll(self) -> None:
        """Do what must be done even when no item comes."""
