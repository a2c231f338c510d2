"""Rewindable: items that were read can be read again, until they are forgotten."""

from __future__ import annotations

from pipeline.sources.video.rewindable import Rewindable


def test_it_begins_again_with_the_first_item_and_ends_itself() -> None:
    items = Rewindable(iter(range(5)))
    assert [next(items), next(items)] == [0, 1]
    assert list(items.rewound()) == [0, 1, 2, 3, 4]
    assert list(items) == []


def test_a_peek_reads_nothing() -> None:
    items = Rewindable(iter(range(3)))
    assert items.peek(9) == [0, 1, 2]
    assert list(items) == [0, 1, 2]


def test_what_is_forgotten_does_not_come_again() -> None:
    items = Rewindable(iter(range(3)))
    assert next(items) == 0
    items.forget()
    assert list(items) == [1, 2]
    assert list(items.rewound()) == []
