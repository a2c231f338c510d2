"""Stage queue: items of several senders wait, each sender's in a lane of its own, until a stage receives them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

Overflow = Literal["block", "drop_oldest"]

T = TypeVar("T")


class QueueEnded(Exception):  # noqa: N818 - no error: the ordinary end, as in StopIteration
    """Every sender has ended and nothing is left to receive."""


class QueueAbandoned(Exception):  # noqa: N818 - no error: the run was given up elsewhere
    """The run was given up; nothing will be sent or received any more."""


@dataclass(frozen=True, slots=True)
class LaneRule:
    """How many items of one sender may wait, and what happens to one more."""

    capacity: int
    overflow: Overflow

    def __post_init__(self) -> None:
        if self.capacity < 1:
            raise ValueError(f"capacity must be at least 1, got {self.capacity}")


@dataclass(frozen=True, slots=True)
class QueueStatistics:
    """A snapshot; `sent = received + dropped + abandoned + waiting` holds at any instant."""

    waiting: int
    sent: int
    received: int
    dropped: int  # gave way to newer items
    abandoned: int  # waited when the run was given up


class _Lane(Generic[T]):
    __slots__ = ("ended", "items", "rule")

    def __init__(self, rule: LaneRule) -> None:
        self.rule = rule
        self.items: deque[T] = deque()
        self.ended = False

    def takes_one_more(self) -> bool:
        """Whether a sender need not wait for room."""
        return self.rule.overflow == "drop_oldest" or len(self.items) < self.rule.capacity

    def add(self, item: T) -> list[T]:
        """Add the newest item; returns the oldest ones that gave way to it."""
        dropped = []
        while len(self.items) >= self.rule.capacity:
            dropped.append(self.items.popleft())
        self.items.append(item)
        return dropped


class StageQueue(Generic[T]):
    """A bounded queue with one lane for each sender, so that no sender can starve or push out another.

    `block` makes the sender wait (nothing is lost); `drop_oldest` makes the lane's oldest item give way
    (the newest wins) and hands it to `on_drop`. Lanes are served in turn. May be used from any thread.
    Raises ValueError for a capacity below 1.
    """

    def __init__(
        self,
        capacity: int = 2,
        overflow: Overflow = "block",
        *,
        lanes: Mapping[Hashable, LaneRule] | None = None,
        on_drop: Callable[[T], None] | None = None,
    ) -> None:
        rules = {0: LaneRule(capacity, overflow)} if lanes is None else lanes
        self._lanes: dict[Hashable, _Lane[T]] = {key: _Lane(rule) for key, rule in rules.items()}
        self._turn: deque[_Lane[T]] = deque(self._lanes.values())
        self._on_drop = on_drop
        lock = threading.Lock()
        self._has_item = threading.Condition(lock)
        self._has_room = threading.Condition(lock)
        self._failure: BaseException | None = None
        self._abandoned = False
        self._sent = self._received = self._dropped = self._num_abandoned = 0

    def send(self, item: T, *, lane: Hashable = 0) -> None:
        """Put an item into a lane, waiting for room where the lane blocks.

        Raises QueueAbandoned if the run was given up, and ValueError if the lane has ended.
        """
        target = self._lanes[lane]
        with self._has_room:
            self._has_room.wait_for(lambda: self._abandoned or target.takes_one_more())
            if self._abandoned:
                raise QueueAbandoned
            if target.ended:
                raise ValueError(f"lane {lane!r} has ended; nothing can be sent to it")
            dropped = target.add(item)
            self._sent += 1
            self._dropped += len(dropped)
            self._has_item.notify()
        if self._on_drop is not None:
            for dropped_item in dropped:
                self._on_drop(dropped_item)

    def receive(self, *, timeout: float | None = None) -> T:
        """Take the next item, lane by lane in turn, waiting for one if need be.

        Raises QueueEnded at the end (or the failure that a sender ended with), QueueAbandoned if the run
        was given up, TimeoutError if nothing came within `timeout` seconds.
        """
        with self._has_item:
            if not self._has_item.wait_for(self._can_answer, timeout):
                raise TimeoutError
            if self._abandoned:
                raise QueueAbandoned
            for _ in range(len(self._turn)):
                lane = self._turn[0]
                self._turn.rotate(-1)
                if lane.items:
                    self._received += 1
                    self._has_room.notify_all()
                    return lane.items.popleft()
            raise self._failure or QueueEnded

    def end(self, failure: BaseException | None = None, *, lane: Hashable | None = None) -> None:
        """Say that no more items come in a lane (or in any); what waits can still be received."""
        with self._has_item:
            self._failure = self._failure or failure
            for ending in self._turn if lane is None else (self._lanes[lane],):
                ending.ended = True
            self._has_item.notify_all()

    def abandon(self) -> list[T]:
        """Give up: wake everyone who waits, and let nothing through any more. Returns the items that waited."""
        with self._has_item:
            self._abandoned = True
            items = [item for lane in self._turn for item in lane.items]
            self._num_abandoned += len(items)
            for lane in self._turn:
                lane.items.clear()
            self._has_item.notify_all()
            self._has_room.notify_all()
        return items

    def statistics(self) -> QueueStatistics:
        """A snapshot of the counts."""
        with self._has_item:
            waiting = sum(len(lane.items) for lane in self._turn)
            return QueueStatistics(waiting, self._sent, self._received, self._dropped, self._num_abandoned)

    def _can_answer(self) -> bool:
        """Whether a receiver has something to return or to raise."""
        return self._abandoned or any(lane.items for lane in self._turn) or all(lane.ended for lane in self._turn)
