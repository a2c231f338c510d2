"""Stage queue: how it bounds, drops, blocks, ends and wakes."""

from __future__ import annotations

import threading

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
