"""Fakes: items, functions and a clock that stands still → real sources, stages and sinks, for your tests and ours."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

from pipeline.flow.stage import Stop

A = TypeVar("A")
B = TypeVar("B")


class StepClock:
    """A clock that stands still until `advance` is called; reads in seconds."""

    def __init__(self, now_seconds: float = 0.0) -> None:
        self.now_seconds = now_seconds

    def __call__(self) -> float:
        return self.now_seconds

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now_seconds += seconds


class ItemSource(Generic[A]):
    """A source of the items; raises `failure` after the last, if there is one."""

    def __init__(
        self,
        items: Iterable[A],
        *,
        source_id: str = "items",
        is_live: bool = False,
        failure: Exception | None = None,
    ) -> None:
        self._items = items
        self.source_id = source_id
        self.is_live = is_live
        self._failure = failure
        self.num_closed = 0

    def items(self, stop: Stop) -> Iterator[A]:
        for item in self._items:
            if stop.is_set():
                return
            yield item
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        self.num_closed += 1


class FunctionStage(Generic[A, B]):
    """A stage that is one function from an item to the items that go on; `rest` is given back by `drain`."""

    def __init__(self, function: Callable[[A], Iterable[B]], *, rest: Iterable[B] = ()) -> None:
        self._function = function
        self._rest = rest
        self.num_closed = 0

    def process(self, item: A) -> Iterable[B]:
        return self._function(item)

    def drain(self) -> Iterable[B]:
        return self._rest

    def close(self) -> None:
        self.num_closed += 1


class CollectingSink(Generic[A]):
    """A sink that keeps its items in `got`; it waits for `gate`, if there is one, before each item."""

    def __init__(self, *, gate: threading.Event | None = None) -> None:
        self._gate = gate
        self.got: list[A] = []
        self.num_closed = 0

    def write(self, item: A) -> None:
        if self._gate is not None:
            self._gate.wait()
        self.got.append(item)

    def close(self) -> None:
        self.num_closed += 1
