"""Delivery: every message arrives at least once, under its one id, whatever the receiver does; nobody waits for it."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from pipeline.errors import SinkError
from pipeline.sinks.events import delivery
from pipeline.sinks.events.delivery import Delivery, Refused, Undelivered
from pipeline.sinks.events.outbox import Message, Outbox


class Receiver:
    """Does with a message what `answers` says, one a try, and then takes all."""

    name = "a receiver"

    def __init__(self, *answers: Exception | None) -> None:
        self._answers = list(answers)
        self.got: list[str] = []
        self.num_tries = 0
        self.gate = threading.Event()
        self.gate.set()

    def deliver(self, message: Message) -> None:
        self.gate.wait(10)
        self.num_tries += 1
        answer = self._answers.pop(0) if self._answers else None
        if answer is not None:
            raise answer
        self.got.append(message.id)

    def close(self) -> None:
        self.gate.set()


@pytest.fixture(autouse=True)
def fast_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "_FIRST_DELAY_SECONDS", 0.001)


def put(sink: Delivery, *ids: str) -> None:
    for number in ids:
        sink.put(Message(number, "{}"))


def test_messages_arrive_in_order_and_what_failed_is_tried_again() -> None:
    receiver = Receiver(None, Undelivered("away"), Undelivered("away"))
    sink = Delivery(receiver, Outbox())
    put(sink, "a", "b", "c", "b")
    sink.close()
    assert receiver.got[:3] == ["a", "b", "c"]
    assert set(receiver.got[3:]) <= {"b"}  # where it had gone out before it was put again
    assert sink.delivered().num_waiting == sink.delivered().num_given_up == 0
    assert sink.delivered().reason == "away"


def test_a_message_that_is_refused_is_given_up_named_and_not_tried_again() -> None:
    receiver = Receiver(Refused("the server answered 422"))
    sink = Delivery(receiver, Outbox())
    put(sink, "a", "b")
    with pytest.raises(SinkError, match=r"a receiver: of 2 events 1 given up: the server answered 422"):
        sink.close()
    assert (receiver.got, receiver.num_tries) == (["b"], 2)
    sink.close()


def test_nobody_waits_for_a_receiver_that_hangs_and_beyond_the_capacity_the_oldest_is_given_up() -> None:
    receiver = Receiver()
    receiver.gate.clear()
    sink = Delivery(receiver, Outbox(capacity=3), settling_seconds=0.0)
    put(sink, *"abcdef")  # returns
    assert sink.delivered().num_given_up == 3
    assert sink.delivered().num_waiting == 3
    with pytest.raises(SinkError, match=r"3 given up, 3 not delivered and lost: .*--event-outbox FOLDER"):
        sink.close()


def test_what_waits_in_a_file_is_delivered_by_the_next_run(tmp_path: Path) -> None:
    path = tmp_path / "new" / "outbox.sqlite"
    away = Delivery(Receiver(*[Undelivered("away")] * 10_000), Outbox(path), keeps=str(tmp_path), settling_seconds=0.0)
    put(away, "a", "b")
    with pytest.raises(SinkError, match=r"of 2 events 2 not delivered in .* for the next run"):
        away.close()
    receiver = Receiver()
    there = Delivery(receiver, Outbox(path))
    put(there, "c")
    there.close()
    assert receiver.got == ["a", "b", "c"]
    assert len(Outbox(path)) == 0


def test_a_kill_loses_nothing_that_was_put(tmp_path: Path) -> None:
    path = tmp_path / "outbox.sqlite"
    killed = Outbox(path)
    for number in range(50):
        killed.put(Message(f"{number}", "{}"))
    taken = killed.take()
    assert taken is not None
    again = Outbox(path)  # the first was not closed
    assert len(again) == 50
    assert again.take() == taken


def test_a_defect_of_a_receiver_ends_the_message_and_not_the_delivery(caplog: pytest.LogCaptureFixture) -> None:
    receiver = Receiver(ZeroDivisionError("oh"))
    sink = Delivery(receiver, Outbox())
    put(sink, "a", "b")
    with pytest.raises(SinkError, match="ZeroDivisionError: oh"):
        sink.close()
    assert receiver.got == ["b"]


def test_a_file_that_is_no_outbox_is_refused_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "outbox.sqlite").write_bytes(b"something else entirely, " * 100)
    with pytest.raises(SinkError, match="events cannot be kept there: file is not a database; name another folder"):
        Outbox(tmp_path / "outbox.sqlite")
    (tmp_path / "file").write_text("")
    with pytest.raises(SinkError, match="cannot be kept there"):
        Outbox(tmp_path / "file" / "outbox.sqlite")
