"""Order: inputs taken by several workers → outputs sent in the order of the inputs, whoever finishes first."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

In = TypeVar("In")
Out = TypeVar("Out")


class Order(Generic[In, Out]):
    """Lets several threads take, work and send, each output after those of all inputs that were taken before.

    limit: how many inputs may be taken whose outputs are not sent yet, so that a slow one keeps back a bounded number.
    """

    def __init__(self, *, limit: int) -> None:
        self._limit = limit
        self._taking = threading.Lock()
        self._changed = threading.Condition()
        self._ready: dict[int, Out] = {}
        self._num_taken = self._num_sent = 0
        self._someone_sends = False
        self._abandoned = False

    def turn(self, take: Callable[[], In], work: Callable[[In], Out], send: Callable[[Out], None]) -> None:
        """Take one input, work on it, and send its output when its turn has come.

        One thread at a time takes, and one sends: that one also sends the outputs that others have finished meanwhile,
        so an output may be sent by another thread than the one that made it. Raises what the three raise.
        """
        with self._taking:
            taken = take()
            index = self._next_index()
        self._hand_in(index, work(taken), send)

    def abandon(self) -> None:
        """Give up: let no thread wait for its turn."""
        with self._changed:
            self._abandoned = True
            self._changed.notify_all()

    def _next_index(self) -> int:
        with self._changed:
            self._changed.wait_for(lambda: self._abandoned or self._num_taken - self._num_sent < self._limit)
            self._num_taken += 1
            return self._num_taken - 1

    def _hand_in(self, index: int, output: Out, send: Callable[[Out], None]) -> None:
        with self._changed:
            self._ready[index] = output
            if self._someone_sends:
                return
            self._someone_sends = True
        while self._next_is_ready():
            send(self._ready.pop(self._num_sent))
            self._count_sent()

    def _next_is_ready(self) -> bool:
        """Whether the thread that sends goes on; if not, whoever hands in the next output sends."""
        with self._changed:
            self._someone_sends = self._num_sent in self._ready
            return self._someone_sends

    def _count_sent(self) -> None:
        with self._changed:
            self._num_sent += 1
            self._changed.notify_all()
