"""NATS subject: each message reaches the stream, again where nobody said so, and what is wrong is a line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from pipeline.errors import SinkError
from pipeline.sinks.events.delivery import Undelivered
from pipeline.sinks.events.nats_subject import NatsSubject
from pipeline.sinks.events.outbox import Message
from tests.support.nats_server import NatsServer

pytest.importorskip("nats", reason="the extra nats is not installed")


@contextmanager
def subject_of(server: NatsServer, *, user: str = "", answer_seconds: float = 5.0) -> Iterator[NatsSubject]:
    subject = NatsSubject(f"nats://{user}127.0.0.1:{server.port}/cameras.boxes", answer_seconds=answer_seconds)
    try:
        yield subject
    finally:
        subject.close()


def test_messages_come_in_order_with_their_ids_over_one_connection() -> None:
    with NatsServer() as server, subject_of(server) as subject:
        for number in range(3):
            subject.deliver(Message(f"door/1/{number}", json.dumps({"n": number, "class": "Straße"})))
    assert [(name, key, json.loads(body)["n"]) for name, key, body in server.published] == [
        ("cameras.boxes", f"door/1/{number}", number) for number in range(3)
    ]
    assert json.loads(server.published[0][2])["class"] == "Straße"
    assert server.num_connections == 1


def test_what_was_not_acknowledged_is_undelivered_and_comes_again_with_the_same_id() -> None:
    with NatsServer(breaks={1}) as server, subject_of(server, answer_seconds=60.0) as subject:
        subject.deliver(Message("a", "{}"))
        with pytest.raises(Undelivered, match="the connection to the server broke"):
            subject.deliver(Message("b", "{}"))
        subject.deliver(Message("b", "{}"))
        subject.deliver(Message("c", "{}"))
    assert [key for _, key, _ in server.published] == ["a", "b", "b", "c"]
    assert server.num_connections == 2


def test_why_nothing_is_delivered_is_said_without_the_password() -> None:
    with NatsServer(password="right", has_stream=False) as server:
        with subject_of(server, user="me:right@") as subject:
            with pytest.raises(Undelivered, match=r"no stream of the server takes cameras\.boxes; add one"):
                subject.deliver(Message("a", "{}"))
            assert "right" not in subject.name
            server.has_stream = True
            subject.deliver(Message("a", "{}"))
        with subject_of(server, user="me:wrong@") as subject, pytest.raises(Undelivered, match="Authorization"):
            subject.deliver(Message("b", "{}"))
    with subject_of(server) as subject, pytest.raises(Undelivered) as caught:  # nobody listens there any longer
        subject.deliver(Message("b", "{}"))
    assert str(caught.value)
    assert [key for _, key, _ in server.published] == ["a"]


@pytest.mark.parametrize(
    "address", ["nats://h", "mqtt://h/a", "nats:///a", "nats://h/a b", "nats://h/a.*", "nats://h/a..b", "nats://h:x/a"]
)
def test_another_address_is_refused(address: str) -> None:
    with pytest.raises(SinkError, match="--nats must be nats://"):
        NatsSubject(address)
