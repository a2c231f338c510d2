"""MQTT: each event reaches the broker at least once, through connections that break, and twice only by its one id."""

from __future__ import annotations

import json

import pytest

from pipeline.errors import SinkError
from pipeline.sinks.events.delivery import Delivery, Undelivered
from pipeline.sinks.events.outbox import Message, Outbox
from pipeline.sinks.events.receivers import EventReceiver
from tests.support.events import crossing, result_at
from tests.support.mqtt_broker import Broker

pytest.importorskip("paho.mqtt", reason="the extra mqtt is not installed")

from pipeline.sinks.events import mqtt
from pipeline.sinks.events.mqtt import MqttTopic


def test_events_come_in_order_over_connections_that_break_before_the_acknowledgement(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mqtt, "_SHORTEST_DELAY_SECONDS", 0.01)
    events = [crossing(number) for number in range(12)]
    with Broker(breaks={3, 8}) as broker:
        sink = EventReceiver(Delivery(MqttTopic(f"mqtt://127.0.0.1:{broker.port}/yard/gate"), Outbox()))
        for event in events:
            sink.write(result_at(event.pts_seconds, event))
        sink.close()
        ids = [json.loads(payload)["id"] for _, payload, _ in broker.published]
    assert list(dict.fromkeys(ids)) == [event.id for event in events]
    assert len(ids) == 14  # those that were not acknowledged came again
    assert {(topic, qos) for topic, _, qos in broker.published} == {("yard/gate", 1)}
    assert broker.num_connections == 3


def test_a_broker_that_refuses_the_user_is_the_reason_and_no_password_is_shown() -> None:
    with Broker(password=b"right") as broker:
        topic = MqttTopic(f"mqtt://me:wr%40ng@127.0.0.1:{broker.port}/gate", answer_seconds=0.3)
        with pytest.raises(Undelivered, match="the broker refuses the connection"):
            topic.deliver(Message("1", "{}"))
        topic.close()
    assert topic.name == "mqtt 127.0.0.1/gate"


def test_a_broker_that_is_away_is_named_with_how_many_events_wait() -> None:
    with Broker() as broker:
        port = broker.port
    topic = MqttTopic(f"mqtt://127.0.0.1:{port}/gate", answer_seconds=0.01)
    sink = EventReceiver(Delivery(topic, Outbox(), settling_seconds=0.0))
    sink.write(result_at(1.0, crossing()))
    with pytest.raises(SinkError, match=r"mqtt 127.0.0.1/gate: of 1 event 1 not delivered and lost"):
        sink.close()


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        *(
            (address, "must be mqtt://")
            for address in ("localhost", "mqtt://h", "mqtt://h/", "http://h/t", "mqtt:///t")
        ),
        *((address, "has no") for address in ("mqtt://h/a/%23", "mqtt://h/a/+", "mqtt://h/t?x=1")),
    ],
)
def test_what_is_no_address_of_a_topic_is_refused(address: str, reason: str) -> None:
    with pytest.raises(SinkError, match=reason):
        MqttTopic(address)
