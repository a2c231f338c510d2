"""Sized cache: what was used last is kept, never more bytes than it may have."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable

import pytest

from pipeline.picture.sized_cache import SizedCache


def test_it_keeps_what_a_plain_list_of_the_latest_uses_would_keep() -> None:
    randomness, cache = random.Random(0), SizedCache[int, int](100, bytes_of=lambda size: size)
    uses: list[int] = []  # keys, the one used last at the end
    for _ in range(5_000):
        key = randomness.randrange(40)
        size = key * 7 % 131  # some larger than all of it, one of no bytes at all
        was_made: list[int] = []
        assert cache.get(key, _noting(was_made, size)) == size
        assert bool(was_made) == (key not in uses)
        uses = [*(other for other in uses if other != key), key]
        while sum(other * 7 % 131 for other in uses) > 100:
            uses.pop(0)
        assert (cache.num_bytes, len(cache)) == (sum(other * 7 % 131 for other in uses), len(uses))


def _noting(made: list[int], size: int) -> Callable[[], int]:
    def make() -> int:
        made.append(size)
        return size

    return make


def test_a_value_that_two_threads_make_at_once_is_counted_once() -> None:
    cache, both = SizedCache[str, str](10, bytes_of=len), threading.Barrier(2)
    threads = [
        threading.Thread(target=cache.get, args=("key", lambda: "value" if both.wait(10) >= 0 else "")) for _ in "ab"
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert (cache.num_bytes, len(cache)) == (5, 1)


def test_what_cannot_be_made_is_not_kept() -> None:
    cache = SizedCache[str, int](10, bytes_of=lambda size: size)
    with pytest.raises(ZeroDivisionError):
        cache.get("key", lambda: 1 // 0)
    assert cache.get("key", lambda: 3) == 3


def test_less_than_no_bytes_is_refused() -> None:
    with pytest.raises(ValueError, match="most_bytes must be at least 0, got -1"):
        SizedCache[str, str](-1, bytes_of=len)
