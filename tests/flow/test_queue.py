"""Stage queue: how it bounds, drops, blocks, ends and wakes."""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Hashable

import pytest

from pipeline.flow.queue import LaneRule, QueueAbandoned, QueueEnded, StageQueue


def test_drop_oldest_keeps_the_newest_frames() -> None:
    queue: StageQueue[int] = StageQueue(capacity=2, overflow="drop_oldest")
    for index in range(5):
        queue.send(index)
    assert [queue.receive(), queue.receive()] == [3, 4]


def test_every_drop_is_handed_over_and_counted() -> None:
    dropped: list[int] = []
    queue = StageQueue(capacity=1, overflow="drop_oldest", on_drop=dropped.append)
    for index in range(4):
        queue.send(index)
    statistics = queue.statistics()
    assert dropped == [0, 1, 2]
    assert statistics.sent == statistics.received + statistics.dropped + statistics.waiting == 4


def test_light_items_and_others_push_out_nothing_but_their_like() -> None:
    """Words are light, numbers are not."""
    dropped: list[int | str] = []
    rule = LaneRule(1, "drop_oldest", spare=3)
    queue: StageQueue[int | str] = StageQueue(
        lanes={0: rule}, on_drop=dropped.append, is_light=lambda item: isinstance(item, str)
    )
    for item in (0, "a", "b", 1, "c", "d"):
        queue.send(item)
    assert dropped == [0, "a"]
    assert [queue.receive() for _ in range(4)] == ["b", 1, "c", "d"]
    for item in ("e", 2):
        queue.send(item)
    assert [queue.receive(), queue.receive()] == ["e", 2]
    statistics = queue.statistics()
    assert (statistics.sent, statistics.received, statistics.dropped, statistics.waiting) == (8, 6, 2, 0)


def test_block_makes_the_sender_wait_for_room() -> None:
    queue: StageQueue[int] = StageQueue(capacity=1)
    queue.send(0)
    sender = threading.Thread(target=queue.send, args=(1,))
    sender.start()
    assert queue.receive() == 0
    assert queue.receive() == 1
    sender.join()


def test_waiting_items_are_received_before_the_end() -> None:
    queue: StageQueue[int] = StageQueue(capacity=3)
    queue.send(7)
    queue.end()
    assert queue.receive() == 7
    with pytest.raises(QueueEnded):
        queue.receive()


def test_a_failure_travels_behind_the_items() -> None:
    queue: StageQueue[int] = StageQueue(capacity=3)
    queue.send(7)
    queue.end(RuntimeError("lens cap on"))
    assert queue.receive() == 7
    with pytest.raises(RuntimeError, match="lens cap on"):
        queue.receive()


def test_an_ended_lane_refuses_more() -> None:
    queue: StageQueue[int] = StageQueue()
    queue.end()
    with pytest.raises(ValueError, match="lane 0 has ended"):
        queue.send(1)


def test_abandon_wakes_a_waiting_sender_and_a_waiting_receiver() -> None:
    full: StageQueue[int] = StageQueue(capacity=1)
    full.send(0)
    empty: StageQueue[int] = StageQueue(capacity=1)
    woken: list[str] = []

    def wait_for(name: str, queue: StageQueue[int]) -> None:
        try:
            if name == "sender":
                queue.send(1)
            else:
                queue.receive()
        except QueueAbandoned:
            woken.append(name)

    threads = [
        threading.Thread(target=wait_for, args=("sender", full)),
        threading.Thread(target=wait_for, args=("receiver", empty)),
    ]
    for thread in threads:
        thread.start()
    full.abandon()
    empty.abandon()
    for thread in threads:
        thread.join()
    assert sorted(woken) == ["receiver", "sender"]


def test_lanes_are_served_in_turn_and_drop_only_their_own() -> None:
    queue: StageQueue[str] = StageQueue(lanes={"camera": LaneRule(1, "drop_oldest"), "file": LaneRule(3, "block")})
    for item in ("c0", "c1", "c2"):
        queue.send(item, lane="camera")
    for item in ("f0", "f1", "f2"):
        queue.send(item, lane="file")
    assert [queue.receive() for _ in range(4)] == ["c2", "f0", "f1", "f2"]


def test_the_queue_ends_when_its_last_lane_ends() -> None:
    queue: StageQueue[int] = StageQueue(lanes={"a": LaneRule(1, "block"), "b": LaneRule(1, "block")})
    queue.end(lane="a")
    queue.send(1, lane="b")
    assert queue.receive() == 1
    with pytest.raises(TimeoutError):
        queue.receive(timeout=0)
    queue.end(lane="b")
    with pytest.raises(QueueEnded):
        queue.receive()


def test_the_counts_balance_after_the_run_was_given_up() -> None:
    queue: StageQueue[int] = StageQueue(capacity=2, overflow="drop_oldest")
    for index in range(4):
        queue.send(index)
    queue.receive()
    queue.abandon()
    statistics = queue.statistics()
    assert (statistics.received, statistics.dropped, statistics.abandoned, statistics.waiting) == (1, 2, 1, 0)
    assert statistics.sent == statistics.received + statistics.dropped + statistics.abandoned + statistics.waiting


def test_a_timeout_is_over_in_time_however_often_the_receiver_is_woken() -> None:
    queue: StageQueue[int] = StageQueue(lanes={"a": LaneRule(1, "block"), "b": LaneRule(1, "block")})
    is_over = threading.Event()

    def wake() -> None:
        while not is_over.is_set():
            queue.end(lane="a")  # wakes the receiver, and gives it nothing

    waker = threading.Thread(target=wake)
    waker.start()
    with pytest.raises(TimeoutError):
        queue.receive(timeout=0.02)
    is_over.set()
    waker.join()


def test_a_capacity_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="capacity must be at least 1, got 0"):
        StageQueue(capacity=0)


def receive_all(queue: StageQueue[str], num: int) -> str:
    return "".join(queue.receive(timeout=0) for _ in range(num))


def test_lanes_are_served_by_their_weights() -> None:
    lanes: dict[Hashable, LaneRule] = {"a": LaneRule(100, "block"), "b": LaneRule(100, "block", weight=2.0)}
    queue: StageQueue[str] = StageQueue(lanes=lanes)
    for _ in range(40):
        queue.send("a", lane="a")
        queue.send("b", lane="b")
    assert receive_all(queue, 30) == "abb" * 10


@pytest.mark.parametrize("seed", range(5))
def test_no_camera_starves_and_the_age_of_each_is_bounded_by_its_share(seed: int) -> None:
    chance = random.Random(seed)
    weights = {name: chance.choice((0.5, 1.0, 1.0, 2.0, 4.0)) for name in "abcdefgh"}
    rates_fps = {name: chance.uniform(20, 60) for name in weights}
    service_seconds = 0.02  # 50 frames/s where some 320 come
    queue: StageQueue[tuple[str, float]] = StageQueue(
        lanes={name: LaneRule(1, "drop_oldest", weight) for name, weight in weights.items()}
    )
    due = {name: chance.random() / rate for name, rate in rates_fps.items()}
    served: dict[str, list[float]] = {name: [] for name in weights}
    ages: dict[str, float] = dict.fromkeys(weights, 0.0)
    for turn in range(1, 4000):
        now = turn * service_seconds
        for name, rate in rates_fps.items():
            while due[name] <= now:
                queue.send((name, due[name]), lane=name)
                due[name] += 1 / rate
        if turn < 20:  # by then each has sent
            continue
        name, captured_at = queue.receive(timeout=0)
        served[name].append(now)
        ages[name] = max(ages[name], now - captured_at)
    total = sum(weights.values())
    for name, weight in weights.items():
        period = max(total / weight * service_seconds, 1 / rates_fps[name])  # what is its due
        longest = max(later - earlier for earlier, later in itertools.pairwise(served[name]))
        assert longest <= 2 * period + len(weights) * service_seconds  # at worst all others come first once
        assert ages[name] <= 1 / rates_fps[name] + service_seconds, "only the newest waits"
    equal = [len(served[name]) for name, weight in weights.items() if weight == 1.0]
    assert not equal or max(equal) - min(equal) <= 2


def test_a_lane_that_was_empty_has_saved_nothing_up() -> None:
    queue: StageQueue[str] = StageQueue(lanes={"a": LaneRule(100, "block"), "b": LaneRule(100, "block")})
    for _ in range(60):
        queue.send("a", lane="a")
    receive_all(queue, 50)
    for _ in range(10):
        queue.send("b", lane="b")
    assert receive_all(queue, 10).count("a") == 5


def test_a_queue_that_stays_open_ends_when_it_is_closed_to_new_lanes() -> None:
    queue: StageQueue[str] = StageQueue(lanes={"a": LaneRule(1, "block")}, stays_open=True)
    queue.end(lane="a")
    with pytest.raises(TimeoutError):
        queue.receive(timeout=0)
    queue.open_lane("b", LaneRule(1, "block"))
    queue.send("x", lane="b")
    queue.end(lane="b")
    queue.close_to_new()
    assert queue.receive() == "x"
    with pytest.raises(QueueEnded):
        queue.receive()


def test_nothing_is_sent_to_a_lane_that_was_closed() -> None:
    queue: StageQueue[str] = StageQueue(lanes={"a": LaneRule(1, "block")}, stays_open=True)
    queue.close_lane("a")
    queue.close_lane("a")
    with pytest.raises(QueueAbandoned):
        queue.send("x", lane="a")


def test_a_weight_must_be_above_zero() -> None:
    with pytest.raises(ValueError, match="weight must be above 0, got 0"):
        LaneRule(1, "block", weight=0)
