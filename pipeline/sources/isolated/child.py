"""Child: the order to open a source → its pictures in shared memory, and messages about them.

Run by `process.py` with the descriptors of a connection and of a lifeline. One thread does everything, so that what it
says of being alive is true. It ends when the connection does.
"""

from __future__ import annotations

import fcntl
import logging
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable

from pipeline.errors import StreamdetError, first_line
from pipeline.events import EVENT, FIELDS
from pipeline.flow.stage import CountsSkipped
from pipeline.json_values import JsonObject
from pipeline.picture.frame import TimedPicture
from pipeline.sources.isolated.messages import (
    MOST_CHARACTERS,
    Alive,
    Begin,
    Connecting,
    Connection,
    Damaged,
    Ended,
    Failed,
    Formed,
    LogLine,
    Lost,
    Opened,
    Order,
    RingMade,
    Sent,
    Taken,
)
from pipeline.sources.isolated.ring import WrittenRing
from pipeline.sources.opening import open_source
from pipeline.sources.options import CameraOptions, DecodeOptions, NetworkOptions, SourceOptions, Span
from pipeline.sources.source import FrameSource, HasImages, HasParts
from pipeline.sources.states import HasStates, SourceStates
from pipeline.sources.video.planes import Form, Outgoing

ALIVE_SECONDS = 0.25  # between two signs of life


def end_with(lifeline: int) -> None:
    """Let the kernel kill this process as soon as the other end of a pipe is closed.

    fcntl(2): O_ASYNC sends the signal of F_SETSIG when the pipe is closed, whatever this process is doing.
    """
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)
    watch = select.poll()
    watch.register(lifeline, 0)
    if watch.poll(0):  # it was closed before
        os._exit(1)


class Run:
    """The run that reads the pictures, as its child sees it: the Stop of the source, which also shows signs of life."""

    def __init__(self, connection: Connection, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._connection = connection
        self._clock = clock
        self._is_over = False
        self.ring: WrittenRing | None = None  # that pictures are written to now
        self._alive_at_seconds = clock()

    def is_set(self) -> bool:
        """Whether the run is gone."""
        if not self._is_over:
            self._show_life()
            self._look(0)
        return self._is_over

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the run is gone, or for `timeout` seconds; returns whether it is."""
        deadline = None if timeout is None else self._clock() + timeout
        while not self._is_over:
            self._show_life()
            left = ALIVE_SECONDS if deadline is None else deadline - self._clock()
            self._look(min(ALIVE_SECONDS, left))
            if deadline is not None and self._clock() >= deadline:
                break
        return self._is_over

    def wait_for_room(self) -> bool:
        """Wait until there is a free slot in the ring; False: the run is gone."""
        while self.ring is not None and self.ring.is_full and not self._is_over:
            self._look(ALIVE_SECONDS)
        return not self._is_over

    def _look(self, seconds: float) -> None:
        try:
            received = self._connection.receive(seconds)
        except (EOFError, OSError):
            self._is_over = True
            return
        taken = None if received is None else received[0]
        if isinstance(taken, Taken) and self.ring is not None and taken.ring == self.ring.number:
            self.ring.give_back(taken.offset)

    def _show_life(self) -> None:
        now = self._clock()
        if now - self._alive_at_seconds >= ALIVE_SECONDS:
            self._alive_at_seconds = now
            try:
                self._connection.send(Alive(), may_wait=False)
            except OSError:
                self._is_over = True


class Reading:
    """A source that is read for a run."""

    def __init__(self, connection: Connection, source: FrameSource) -> None:
        self._connection = connection
        self._source = source
        self._counting = source if isinstance(source, CountsSkipped) else None
        self._run = Run(connection)
        self._form: Form | None = None  # these two as they were sent last
        self._damage: tuple[str, ...] = ()

    def opened(self) -> Opened:
        """What the source says of itself."""
        source = self._source
        codec = getattr(source, "codec_name", None)
        return Opened(
            source.source_id,
            source.is_live,
            source.size_wh,
            source.frames_per_second,
            source.num_frames,
            codec if isinstance(codec, str) else None,
            isinstance(source, HasImages | HasParts),
        )

    def send_pictures(self, every: int) -> None:
        """Send every nth picture until the source ends, or nobody wants them. Raises what the source raises."""
        for timed in self._source.pictures(self._run, every=every):
            if not self._send(timed):
                return
        self._connection.send(Ended(self._num_skipped, self.damage))

    @property
    def damage(self) -> tuple[str, ...]:
        """That of the source, in lines that are not too long for a message."""
        return tuple(line[:MOST_CHARACTERS] for line in self._source.damage[:12])

    @property
    def _num_skipped(self) -> int:
        return 0 if self._counting is None else self._counting.num_skipped

    def _send(self, timed: TimedPicture) -> bool:
        """Whether the run is still there."""
        given_at_seconds = timed.captured_at_seconds
        if given_at_seconds is None and self._source.is_live:
            given_at_seconds = time.monotonic()  # now: on its way it may have to wait
        outgoing = Outgoing(timed.picture)
        self._make_ring(outgoing.num_bytes)
        if not self._run.wait_for_room() or self._run.ring is None:
            return False
        offset, memory = self._run.ring.take()
        outgoing.write(memory)
        self._send_news(outgoing.form)
        self._connection.send(Sent(offset, timed.pts_seconds, timed.number, given_at_seconds, self._num_skipped))
        return True

    def _send_news(self, form: Form) -> None:
        """Send what is seldom new, before a picture of which it is true."""
        if form != self._form:
            self._connection.send(Formed(form.as_json()))
            self._form = form
        damage = self.damage
        if damage != self._damage:
            self._connection.send(Damaged(damage))
            self._damage = damage

    def _make_ring(self, num_bytes: int) -> None:
        """Begin another ring where the slots are too small; the reader keeps the old one while it uses it."""
        old = self._run.ring
        if old is not None and num_bytes <= old.slot_bytes:
            return
        ring = WrittenRing(num_bytes, number=0 if old is None else old.number + 1)
        self._connection.send(RingMade(ring.num_bytes), descriptor=ring.descriptor)
        ring.close()
        self._run.ring = ring


class RelayedStates(SourceStates):
    """States that are told to the run as well."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(is_live=True)
        self._connection = connection

    def lose(self, reason: str, *, retry_in_seconds: float) -> None:
        super().lose(reason, retry_in_seconds=retry_in_seconds)
        self._connection.send(Lost(reason[:MOST_CHARACTERS], retry_in_seconds))

    def connect(self) -> None:
        super().connect()
        self._connection.send(Connecting())


class RelayedLog(logging.Handler):
    """A handler that lets the run log."""

    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self._connection = connection

    def emit(self, record: logging.LogRecord) -> None:
        """Send a line, if there is room for it. Lines are masked where they are written."""
        line = LogLine(
            record.name,
            record.levelno,
            record.getMessage()[:MOST_CHARACTERS],
            getattr(record, EVENT, None),
            getattr(record, FIELDS, {}),
        )
        try:
            self._connection.send(line, may_wait=False)
        except (OSError, TypeError, ValueError):
            self.handleError(record)


def options_of(content: JsonObject) -> SourceOptions:
    """SourceOptions from JSON; the source is read in this process."""
    return SourceOptions(
        network=NetworkOptions(**content["network"]),
        decode=DecodeOptions(**content["decode"]),
        camera=CameraOptions(**content["camera"]),
        span=Span(**content["span"]),
        max_age_seconds=content["max_age_seconds"],
        isolate="none",
    )


def failure_of(error: Exception, damage: tuple[str, ...] = ()) -> Failed:
    """What is said of an error: ours in its own words, another one with its type."""
    text = str(error) if isinstance(error, StreamdetError) else f"{type(error).__name__}: {first_line(error)}"
    return Failed(type(error).__name__, text[:MOST_CHARACTERS], damage)


def serve(connection: Connection) -> None:
    """Do what is ordered. Raises EOFError or OSError when the run is gone."""
    order = _received(connection)
    assert isinstance(order, Order)
    logging.basicConfig(level=order.log_level, handlers=[RelayedLog(connection)], force=True)
    logging.raiseExceptions = False
    try:
        source = open_source(order.word, options=options_of(order.options))
    except Exception as error:
        connection.send(failure_of(error))
        return
    reading = Reading(connection, source)
    if isinstance(source, HasStates):
        source.keep_states(RelayedStates(connection))
    try:
        connection.send(reading.opened())
        begin = _received(connection)
        assert isinstance(begin, Begin)
        reading.send_pictures(begin.every)
    except (BrokenPipeError, ConnectionResetError):
        raise
    except Exception as error:
        logging.getLogger(__name__).debug("the source failed", exc_info=True)
        connection.send(failure_of(error, reading.damage))
    finally:
        source.close()


def _received(connection: Connection) -> object:
    while True:
        received = connection.receive(3600.0)
        if received is not None:
            return received[0]


def main() -> None:
    """Serve the connection whose descriptor comes first, for as long as the lifeline holds whose descriptor follows."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # for a whole group: who started us ends us
        signal.signal(number, signal.SIG_IGN)
    end_with(int(sys.argv[2]))
    connection = Connection(socket.socket(fileno=int(sys.argv[1])))
    try:
        serve(connection)
        while True:  # a socket that is closed before all was read would take back what is still on its way
            _received(connection)
    except (EOFError, OSError):
        pass  # the run is gone
    os._exit(0)  # native threads may not survive the clearing of the interpreter


if __name__ == "__main__":
    main()
