"""Rewindable: an iterator → the same items, whose beginning can be read again until it is forgotten."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Generic, TypeVar

T = TypeVar("T")


class Rewindable(Generic[T]):
    """Keeps every item that was read, until `rewound` or `forget`; no item after it was handed out then.

    first: items that come before the others.

    >>> packets = Rewindable(iter("abc"))
    >>> next(packets), packets.peek(2), "".join(packets.rewound())
    ('a', ['a', 'b'], 'abc')
    """

    def __init__(self, items: Iterator[T], *, first: Iterable[T] = ()) -> None:
        self._items = items
        self._kept: list[T] | None = list(first)  # None: none is kept
        self._num_read = 0  # of those that are kept

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        if self._kept is None:
            return next(self._items)
        if self._num_read == len(self._kept):
            self._kept.append(next(self._items))
        self._num_read += 1
        return self._kept[self._num_read - 1]

    def peek(self, num: int) -> list[T]:
        """The first items, as many as `num` where they are there and kept; nothing counts as read by it."""
        if self._kept is None:
            return []
        self._kept.extend(islice(self._items, max(0, num - len(self._kept))))
        return self._kept[:num]

    def rewound(self) -> Iterator[T]:
        """All items from the first one on. Nothing is kept any longer, and this iterator has ended."""
        rewound = _handed_out(deque(self._kept or ()), self._items)
        self._kept, self._items = None, iter(())
        return rewound

    def forget(self) -> None:
        """Keep nothing any longer; iteration goes on where it is."""
        if self._kept is not None:
            self._items = _handed_out(deque(self._kept[self._num_read :]), self._items)
            self._kept = None


def _handed_out(first: deque[T], items: Iterator[T]) -> Iterator[T]:
    """What `itertools.chain` gives, which would hold on to the first items for as long as there are others."""
    while first:
        yield first.popleft()
    yield from items
