"""Rewindable: an iterator → the same items, whose beginning can be read again until it is forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice, tee
from typing import Generic, TypeVar

T = TypeVar("T")


class Rewindable(Generic[T]):
    """Keeps every item that was read, until `rewound` or `forget`.

    >>> packets = Rewindable(iter("abc"))
    >>> next(packets), packets.peek(2), "".join(packets.rewound())
    ('a', ['a', 'b'], 'abc')
    """

    def __init__(self, items: Iterator[T]) -> None:
        self._ahead, self._kept = tee(items)

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        return next(self._ahead)

    def peek(self, num: int) -> list[T]:
        """The first items, as many as `num` where there are; nothing counts as read by it."""
        self._kept, ahead = tee(self._kept)
        return list(islice(ahead, num))

    def rewound(self) -> Iterator[T]:
        """All items from the first one on. Nothing is kept any longer, and this iterator has ended."""
        rewound, self._kept, self._ahead = self._kept, iter(()), iter(())
        return rewound

    def forget(self) -> None:
        """Keep nothing any longer; iteration goes on where it is."""
        self._kept = iter(())
