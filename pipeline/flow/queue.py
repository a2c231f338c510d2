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
    weight: float = 1.0  # of two lanes in which items wait, one with twice the weight is served twice as often
    spare: int = 0  # light items that may wait beside, where the oldest gives way; they push out nothing but each other

    def __post_init__(self) -> None:
        if self.capacity < 1:
            raise ValueError(f"capacity must be at least 1, got {self.capacity}")
        if not self.weight > 0:
            raise ValueError(f"weight must be above 0, got {self.weight}")


@dataclass(frozen=True, slots=True)
class QueueStatistics:
    """A snapshot; `sent = received + dropped + abandoned + waiting` holds at any instant."""

    waiting: int
    sent: int
    received: int
    dropped: int  # gave way to newer items
    abandoned: int  # waited when the run was given up


class _Lane(Generic[T]):
    __slots__ = ("ended", "items", "rule", "turn")

    def __init__(self, rule: LaneRule) -> None:
        self.rule = rule
        self.items: deque[T] = deque()
        self.ended = False
        self.turn = 0.0  # grows by 1 / weight with each item served; the lane with the smallest is next

    def takes_one_more(self) -> bool:
        """Whether a sender need not wait for room."""
        return self.rule.overflow == "drop_oldest" or len(self.items) < self.rule.capacity

    def add(self, item: T, is_light: Callable[[T], bool] | None = None) -> list[T]:
        """Add the newest item; returns the oldest ones that gave way to it."""
        kind = is_light is not None and is_light(item)
        alike = [other for other in self.items if is_light is None or is_light(other) == kind]
        dropped = alike[: max(0, len(alike) + 1 - (self.rule.spare if kind else self.rule.capacity))]
        for other in dropped:
            self.items.remove(other)
        self.items.append(item)
        return dropped


class StageQueue(Generic[T]):
    """A bounded queue with one lane for each sender, so that no sender can starve or push out another.

    `block` makes the sender wait (nothing is lost); `drop_oldest` makes the lane's oldest item give way
    (the newest wins) and hands it to `on_drop`. Lanes are served in turn, by their weights; a lane that was empty
    for a while has saved nothing up. May be used from any thread.
    is_light: whether an item takes next to nothing of whoever receives it, see `LaneRule.spare`; None: no item does.
    stays_open: more lanes may come, so that the queue does not end when all of them have.
    Raises ValueError for a capacity below 1.
    """

    def __init__(
        self,
        capacity: int = 2,
        overflow: Overflow = "block",
        *,
        lanes: Mapping[Hashable, LaneRule] | None = None,
        on_drop: Callable[[T], None] | None = None,
        is_light: Callable[[T], bool] | None = None,
        stays_open: bool = False,
    ) -> None:
        rules = {0: LaneRule(capacity, overflow)} if lanes is None else lanes
        self._lanes: dict[Hashable, _Lane[T]] = {key: _Lane(rule) for key, rule in rules.items()}
        self._order: deque[_Lane[T]] = deque(self._lanes.values())  # the one that was served last is last
        self._last_turn = 0.0  # of the lane that was served last, before it was
        self._stays_open = stays_open
        self._on_drop, self._is_light = on_drop, is_light
        lock = threading.Lock()
        self._has_item = threading.Condition(lock)
        self._has_room = threading.Condition(lock)
        self._failure: BaseException | None = None
        self._abandoned = False
        self._sent = self._received = self._dropped = self._num_abandoned = 0

    def open_lane(self, lane: Hashable, rule: LaneRule) -> None:
        """Let another sender send; a lane of that name that has ended begins anew."""
        with self._has_item:
            self._remove(lane)
            self._lanes[lane] = _Lane(rule)
            self._order.append(self._lanes[lane])

    def close_lane(self, lane: Hashable) -> None:
        """Say that nothing comes in a lane any more and nothing waits in it; without it where there is none."""
        with self._has_item:
            self._remove(lane)
            self._has_item.notify_all()

    def close_to_new(self) -> None:
        """Say that no more lanes will be opened."""
        with self._has_item:
            self._stays_open = False
            self._has_item.notify_all()

    def send(self, item: T, *, lane: Hashable = 0) -> None:
        """Put an item into a lane, waiting for room where the lane blocks.

        Raises QueueAbandoned if the run was given up or the lane is closed, and ValueError if the lane has ended.
        """
        with self._has_room:
            target = self._lanes.get(lane)
            if target is None:
                raise QueueAbandoned
            self._has_room.wait_for(lambda: self._abandoned or target.takes_one_more())
            if self._abandoned:
                raise QueueAbandoned
            if target.ended:
                raise ValueError(f"lane {lane!r} has ended; nothing can be sent to it")
            if not target.items:
                target.turn = max(target.turn, self._last_turn)
            dropped = target.add(item, self._is_light if target.rule.spare else None)
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
            waiting = [lane for lane in self._order if lane.items]
            if not waiting:
                raise self._failure or QueueEnded
            self._received += 1
            self._has_room.notify_all()
            return self._serve(min(waiting, key=lambda lane: lane.turn)).items.popleft()

    def end(self, failure: BaseException | None = None, *, lane: Hashable | None = None) -> None:
        """Say that no more items come in a lane (or in any); what waits can still be received."""
        with self._has_item:
            self._failure = self._failure or failure
            for ending in self._order if lane is None else filter(None, [self._lanes.get(lane)]):
                ending.ended = True
            self._has_item.notify_all()

    def abandon(self) -> list[T]:
        """Give up: wake everyone who waits, and let nothing through any more. Returns the items that waited."""
        with self._has_item:
            self._abandoned = True
            items = [item for lane in self._order for item in lane.items]
            self._num_abandoned += len(items)
            for lane in self._order:
                lane.items.clear()
            self._has_item.notify_all()
            self._has_room.notify_all()
        return items

    def statistics(self) -> QueueStatistics:
        """A snapshot of the counts."""
        with self._has_item:
            waiting = sum(len(lane.items) for lane in self._order)
            return QueueStatistics(waiting, self._sent, self._received, self._dropped, self._num_abandoned)

    def _can_answer(self) -> bool:
        """Whether a receiver has something to return or to raise."""
        if self._abandoned or any(lane.items for lane in self._order):
            return True
        return not self._stays_open and all(lane.ended for lane in self._order)

    def _serve(self, lane: _Lane[T]) -> _Lane[T]:
        """The same lane, whose turn is over."""
        self._last_turn = lane.turn
        lane.turn += 1 / lane.rule.weight
        self._order.remove(lane)
        self._order.append(lane)
        return lane

    def _remove(self, lane: Hashable) -> None:
        if lane in self._lanes:
            self._order.remove(self._lanes.pop(lane))
