"""How do several workers finish in any order, and yet send in the order in which they took?"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Order(Generic[T]):
    """Gives each worker a place when it takes, and lets one worker at a time send, place by place.

    Whoever takes holds `taking` meanwhile, so that the places follow the queue.
    """

    def __init__(self, *, limit: int) -> None:
        self.taking = threading.Lock()
        self._limit = limit
        self._changed = threading.Condition()
        self._ready: dict[int, T] = {}
        self._num_taken = self._num_sent = 0
        self._someone_sends = False
        self._abandoned = False

    def next_place(self) -> int:
        """The place in the order of what was just taken; call while holding `taking`.

        Waits while too many finished items wait for a slow one, so that what is kept stays bounded.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._abandoned or self._num_taken - self._num_sent < self._limit)
            self._num_taken += 1
            return self._num_taken - 1

    def hand_in(self, place: int, outputs: T) -> Iterator[T]:
        """Yield everything whose turn has come; nothing if another worker is sending already and will take it."""
        with self._changed:
            self._ready[place] = outputs
            if self._someone_sends:
                return
            self._someone_sends = True
        while True:
            with self._changed:
                ready = self._ready.pop(self._num_sent, None)
                if ready is None:
                    self._someone_sends = False
                    return
            yield ready

    def sent(self) -> None:
        """What was yielded last has been sent."""
        with self._changed:
            self._num_sent += 1
            self._changed.notify_all()

    def abandon(self) -> None:
        """The run was given up: let no one wait."""
        with self._changed:
            self._abandoned = True
            self._changed.notify_all()
