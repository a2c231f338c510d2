"""MQTT: an event → a message to a topic of a broker, QoS 1, over a connection that is kept and made anew."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, unquote, urlsplit

from pipeline.errors import MissingExtraError, SinkError
from pipeline.sinks.events.delivery import Undelivered
from pipeline.sinks.events.outbox import Message

if TYPE_CHECKING:
    from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags
    from paho.mqtt.properties import Properties
    from paho.mqtt.reasoncodes import ReasonCode

_PORTS = {"mqtt": 1883, "mqtts": 8883}
_ANSWER_SECONDS = 5.0  # for a connection, and for the broker's acknowledgement
_SHORTEST_DELAY_SECONDS, _LONGEST_DELAY_SECONDS = 1, 30


class MqttTopic:
    """Publishes messages one by one, each until the broker has acknowledged it.

    The connection is made and kept in a thread of paho-mqtt. A message whose acknowledgement was lost with the
    connection is sent again, with the same id in it. answer_seconds: how long `deliver` waits at most.
    Raises SinkError for an address of another kind, or without a topic, and MissingExtraError without paho-mqtt.
    """

    def __init__(self, address: str, *, answer_seconds: float = _ANSWER_SECONDS) -> None:
        parts = _split(address)
        self._topic = unquote(parts.path.lstrip("/"))
        self.name = f"mqtt {parts.hostname}/{self._topic}"
        self._answer_seconds = answer_seconds
        self._changed = threading.Condition()
        self._is_connected = False
        self._acknowledged: set[int] = set()
        self._on_its_way: tuple[str, int] | None = None  # id and number of a message that paho sends again by itself
        self._reason = "the broker has not answered"
        self._client = self._started(parts)

    def deliver(self, message: Message) -> None:
        """Publish a message. Raises Undelivered where there is no connection, or no acknowledgement in time."""
        with self._changed:
            if self._on_its_way is None or self._on_its_way[0] != message.id:
                self._wait_for_connection()
                info = self._client.publish(self._topic, message.body.encode(), qos=1)
                self._on_its_way = (message.id, info.mid)
            number = self._on_its_way[1]
            if not self._changed.wait_for(lambda: number in self._acknowledged, self._answer_seconds):
                raise Undelivered("no acknowledgement in time" if self._is_connected else self._reason)
            self._acknowledged.clear()
            self._on_its_way = None

    def close(self) -> None:
        """Say goodbye to the broker."""
        self._client.disconnect()
        self._client.loop_stop()

    def _wait_for_connection(self) -> None:
        if not self._changed.wait_for(lambda: self._is_connected, self._answer_seconds):
            raise Undelivered(self._reason)

    def _started(self, parts: SplitResult) -> Client:
        try:
            from paho.mqtt.client import Client
            from paho.mqtt.enums import CallbackAPIVersion
        except ImportError as error:
            raise MissingExtraError('--mqtt needs paho-mqtt: pip install "streamdet[mqtt]"') from error
        client = Client(CallbackAPIVersion.VERSION2)
        if parts.scheme == "mqtts":
            client.tls_set()
        if parts.username:
            client.username_pw_set(unquote(parts.username), unquote(parts.password or "") or None)
        client.on_connect, client.on_disconnect = self._note_connection, self._note_break
        client.on_connect_fail, client.on_publish = self._note_failure, self._note_acknowledgement
        client.reconnect_delay_set(_SHORTEST_DELAY_SECONDS, _LONGEST_DELAY_SECONDS)
        client.connect_async(parts.hostname or "", parts.port or _PORTS[parts.scheme], keepalive=30)
        client.loop_start()
        return client

    # Called in paho's thread.

    def _note_connection(
        self, client: Client, userdata: object, flags: ConnectFlags, code: ReasonCode, properties: Properties | None
    ) -> None:
        with self._changed:
            self._is_connected = not code.is_failure
            self._reason = f"the broker refuses the connection: {code}" if code.is_failure else ""
            self._changed.notify_all()

    def _note_break(
        self, client: Client, userdata: object, flags: DisconnectFlags, code: ReasonCode, properties: Properties | None
    ) -> None:
        with self._changed:
            if self._is_connected:
                self._is_connected, self._reason = False, "the connection to the broker broke"

    def _note_failure(self, client: Client, userdata: object) -> None:
        with self._changed:
            self._reason = "the broker cannot be reached"

    def _note_acknowledgement(
        self, client: Client, userdata: object, number: int, code: ReasonCode, properties: Properties | None
    ) -> None:
        with self._changed:
            self._acknowledged.add(number)
            self._changed.notify_all()


def _split(address: str) -> SplitResult:
    form = "mqtt://[USER:PASSWORD@]HOST[:PORT]/TOPIC, or mqtts:// with TLS"
    try:
        parts = urlsplit(address.strip())
        topic = unquote(parts.path.lstrip("/"))
        is_usable = parts.scheme in _PORTS and bool(parts.hostname) and parts.port != 0 and bool(topic)
    except ValueError:
        is_usable = False
    if not is_usable:
        raise SinkError(f"--mqtt must be {form}; got another address, not shown here, in which a password may be")
    if parts.query or parts.fragment or any(letter in topic for letter in "+#\0"):
        raise SinkError(f"--mqtt must be {form}; a topic to publish to has no +, # or ?, got {topic!r}")
    return parts
