"""Event receivers: the events of results → messages for a webhook, a broker or commands, from threads of their own."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack

from pipeline.picture.counting.as_json import event_as_json
from pipeline.picture.counting.event import Event
from pipeline.picture.counting.selection import EVERY_EVENT, Selection
from pipeline.picture.detections import Result
from pipeline.sinks.events.delivery import Delivery, DeliveryStatistics
from pipeline.sinks.events.outbox import Message


def as_message(event: Event) -> Message:
    """The event as JSON, in ASCII, because the name of a source need not be valid UTF-8."""
    return Message(event.id, json.dumps(event_as_json(event), allow_nan=False))


class EventReceiver:
    """The sink in front of a delivery. selection: which events are delivered."""

    def __init__(self, delivery: Delivery, selection: Selection = EVERY_EVENT) -> None:
        self._delivery, self._selection = delivery, selection

    def write(self, item: Result) -> None:
        """Hand the events of a frame over; waits for nobody. Raises SinkError if they cannot be kept."""
        for event in filter(self._selection, item.events):
            self._delivery.put(as_message(event))

    def close(self) -> None:
        """Deliver the rest. May be called more than once. Raises SinkError for what was not delivered."""
        self._delivery.close()

    def deliveries(self) -> Mapping[str, DeliveryStatistics]:
        """A snapshot, from any thread."""
        return {self._delivery.name: self._delivery.delivered()}


class SeveralReceivers:
    """Several receivers in one sink."""

    def __init__(self, receivers: Sequence[EventReceiver]) -> None:
        self._receivers = receivers

    def write(self, item: Result) -> None:
        """Hand the events of a frame to all of them. Raises SinkError if they cannot be kept."""
        for receiver in self._receivers:
            receiver.write(item)

    def close(self) -> None:
        """Close all of them. Raises the SinkError of the first that lost something."""
        with ExitStack() as stack:
            for receiver in reversed(self._receivers):
                stack.callback(receiver.close)

    def deliveries(self) -> Mapping[str, DeliveryStatistics]:
        """A snapshot, from any thread."""
        return {name: counted for receiver in self._receivers for name, counted in receiver.deliveries().items()}
