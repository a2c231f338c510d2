"""Delivery: messages → each delivered at least once, by threads of its own, so that no pipeline waits for a network.

A message that could not be delivered is tried again, after half a second, then less often, at least every 30 s, and
those behind it wait; one that the receiver refuses for itself is given up.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

from pipeline.errors import SinkError
from pipeline.events import event
from pipeline.sinks.events.outbox import Message, Outbox

logger = logging.getLogger(__name__)

_FIRST_DELAY_SECONDS, _LONGEST_DELAY_SECONDS = 0.5, 30.0
SETTLING_SECONDS = 3.0  # less than the grace that a run gives to what hangs when it ends


class Undelivered(Exception):  # noqa: N818 - ordinary: a network is away
    """A message was not delivered, and may be later. The message says why, without secrets."""


class Refused(Undelivered):
    """A message was not delivered, and will never be."""


class Carrier(Protocol):
    """Brings messages to one receiver. Called from the threads of a `Delivery`."""

    @property
    def name(self) -> str:
        """The receiver, without its secrets."""

    def deliver(self, message: Message) -> None:
        """Return once the receiver has it. Raises Undelivered or Refused."""

    def close(self) -> None:
        """Let go of every resource; called once, after the last `deliver`, or while one hangs."""


@dataclass(frozen=True, slots=True)
class DeliveryStatistics:
    """What became of the messages so far."""

    num_delivered: int
    num_given_up: int  # refused, or too many waited
    num_waiting: int
    reason: str  # why one was last not delivered; empty: all were


@runtime_checkable
class DeliversEvents(Protocol):
    """A sink that delivers events to receivers."""

    def deliveries(self) -> Mapping[str, DeliveryStatistics]:
        """A snapshot for each receiver, by its name without secrets, from any thread."""


class Delivery:
    """Delivers messages through a carrier, in order where there is one worker.

    outbox: where they wait; one in a file keeps what was not delivered for the next run, and begins with what the last
    one left. workers: how many are delivered at once. keeps: where the outbox is, for the error; "": in memory.
    clock, settling_seconds: monotonic seconds, and how long `close` waits for a receiver that takes nothing.
    """

    def __init__(
        self,
        carrier: Carrier,
        outbox: Outbox,
        *,
        workers: int = 1,
        keeps: str = "",
        clock: Callable[[], float] = time.monotonic,
        settling_seconds: float | None = None,
    ) -> None:
        self.name = carrier.name
        self._carrier, self._outbox, self._keeps = carrier, outbox, keeps
        self._clock = clock
        self._settling_seconds = SETTLING_SECONDS if settling_seconds is None else settling_seconds
        self._changed = threading.Condition()
        self._is_settling = self._is_ending = self._is_closed = self._is_away = False
        self._last_success_seconds = clock()
        self._counted = DeliveryStatistics(0, 0, 0, "")
        self._threads = [
            threading.Thread(target=self._work, name=f"streamdet {self.name}", daemon=True) for _ in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    def put(self, message: Message) -> None:
        """Deliver a message soon; never waits for the receiver. Raises SinkError if it cannot be kept."""
        num_given_up = self._outbox.put(message)
        with self._changed:
            if num_given_up:
                self._count(num_given_up=self._counted.num_given_up + num_given_up)
            self._changed.notify_all()

    def delivered(self) -> DeliveryStatistics:
        """A snapshot, from any thread."""
        return self._counted if self._is_closed else replace(self._counted, num_waiting=len(self._outbox))

    def close(self) -> None:
        """Deliver the rest, as long as the receiver takes it. May be called more than once.

        Raises SinkError if something was given up, or still waits.
        """
        if self._is_closed:
            return
        with self._changed:
            self._is_settling, self._last_success_seconds = True, self._clock()
            self._changed.notify_all()  # whoever waits for his next attempt makes it now
            while len(self._outbox) and self._clock() < self._last_success_seconds + self._settling_seconds:
                self._changed.wait(0.05)
            self._is_ending = True
            self._changed.notify_all()
        self._carrier.close()
        for thread in self._threads:
            thread.join(self._settling_seconds)
        self._counted = self.delivered()
        self._is_closed = True
        self._outbox.close()
        self._refuse_losses()

    def _refuse_losses(self) -> None:
        counted = self._counted
        num_all = counted.num_delivered + counted.num_given_up + counted.num_waiting
        lost = [f"{counted.num_given_up} given up"] if counted.num_given_up else []
        if counted.num_waiting:
            where = f"in {self._keeps} for the next run" if self._keeps else "and lost"
            lost.append(f"{counted.num_waiting} not delivered {where}")
        if lost:
            hint = "" if self._keeps or not counted.num_waiting else "; --event-outbox FOLDER keeps them for a next run"
            events = "event" if num_all == 1 else "events"
            raise SinkError(f"{self.name}: of {num_all} {events} {', '.join(lost)}: {counted.reason}{hint}")

    def _work(self) -> None:
        """Deliver one message after another until the end; an error that is not ours to expect ends the message."""
        delay_seconds = _FIRST_DELAY_SECONDS
        while (message := self._next()) is not None:
            while not self._is_ending:
                try:
                    self._carrier.deliver(message)
                except Refused as error:
                    self._give_up(message, str(error))
                except Undelivered as error:
                    self._note_failure(str(error))
                    self._pause(delay_seconds)
                    delay_seconds = min(2 * delay_seconds, _LONGEST_DELAY_SECONDS)
                    continue
                except Exception as error:
                    logger.exception("%s: an event could not be delivered", self.name)
                    self._give_up(message, f"{type(error).__name__}: {error}")
                else:
                    self._note_success(message)
                delay_seconds = _FIRST_DELAY_SECONDS
                break

    def _next(self) -> Message | None:
        """Wait for a message; None at the end."""
        with self._changed:
            while not self._is_ending:
                message = self._outbox.take()
                if message is not None:
                    return message
                self._changed.wait()
        return None

    def _pause(self, seconds: float) -> None:
        with self._changed:
            was_settling = self._is_settling
            most = min(seconds, _FIRST_DELAY_SECONDS) if was_settling else seconds
            self._changed.wait_for(lambda: self._is_ending or self._is_settling != was_settling, most)

    def _note_success(self, message: Message) -> None:
        self._outbox.remove(message)
        with self._changed:
            was_away, self._is_away = self._is_away, False
            self._count(num_delivered=self._counted.num_delivered + 1)
            self._last_success_seconds = self._clock()
            self._changed.notify_all()
        if was_away:
            logger.warning("%s: takes events again", self.name)

    def _note_failure(self, reason: str) -> None:
        if not self._is_away or reason != self._counted.reason:
            fields = {"receiver": self.name, "reason": reason}
            logger.warning(
                "%s: %s; trying again, and events wait", self.name, reason, extra=event("events_waiting", **fields)
            )
        with self._changed:
            self._is_away = True
            self._count(reason=reason)

    def _give_up(self, message: Message, reason: str) -> None:
        logger.warning(
            "%s: event %s is given up: %s",
            self.name,
            message.id,
            reason,
            extra=event("event_given_up", receiver=self.name, id=message.id, reason=reason),
        )
        self._outbox.remove(message)
        with self._changed:
            self._count(num_given_up=self._counted.num_given_up + 1, reason=reason)
            self._changed.notify_all()

    def _count(self, **changed: object) -> None:
        self._counted = replace(self._counted, **changed)  # type: ignore[arg-type]
