"""Sized cache: what was made, by key → the same again, the latest used of it, up to a number of bytes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Made = TypeVar("Made")


class SizedCache(Generic[Key, Made]):
    """Keeps values by their key: those used last, of a limited number of bytes together; for any thread.

    functools.lru_cache counts values instead, so that a few thousand large pictures are no more to it than small ones.

    bytes_of: what a value takes as long as it is kept. Raises ValueError for a negative limit.

    >>> cache = SizedCache[str, bytes](10, bytes_of=len)
    >>> [cache.get(word, word.encode) for word in ("four", "five", "eleven")]
    [b'four', b'five', b'eleven']
    >>> len(cache), cache.num_bytes
    (2, 10)
    """

    def __init__(self, most_bytes: int, *, bytes_of: Callable[[Made], int]) -> None:
        if most_bytes < 0:
            raise ValueError(f"most_bytes must be at least 0, got {most_bytes}")
        self._most_bytes, self._bytes_of = most_bytes, bytes_of
        self._lock = threading.Lock()
        self._values: OrderedDict[Key, tuple[Made, int]] = OrderedDict()  # with its bytes; the one used last is last
        self._num_bytes = 0

    def __len__(self) -> int:
        return len(self._values)

    @property
    def num_bytes(self) -> int:
        """What all that is kept takes."""
        return self._num_bytes

    def get(self, key: Key, make: Callable[[], Made]) -> Made:
        """The value of a key, made if it is not kept; a value that is larger than the cache never is."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key][0]
        value = make()  # without the lock: others need not wait for it, though two may make the same
        with self._lock:
            self._put(key, value, self._bytes_of(value))
        return value

    def _put(self, key: Key, value: Made, num_bytes: int) -> None:
        self._num_bytes += num_bytes - self._values.pop(key, (value, 0))[1]
        self._values[key] = value, num_bytes
        while self._num_bytes > self._most_bytes:
            _, (_, dropped_bytes) = self._values.popitem(last=False)
            self._num_bytes -= dropped_bytes
