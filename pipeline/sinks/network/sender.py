"""Sender: packets of H.264 → a process that sends them to one address, for as long as the connection lasts."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Literal

from pipeline.masking import masked_text, without_pieces
from pipeline.sinks.network import sending
from pipeline.sinks.network.address import StreamAddress
from pipeline.sinks.network.sending import EncodedFrame, Order

State = Literal["connecting", "connected", "lost"]

_MOST_ON_THE_WAY = 30  # packets; more would only be a second of delay behind a network that is too slow
_PIPE_BYTES = 1 << 20  # so that a key frame leaves at once; the most that Linux gives to everybody


class Sender:
    """One attempt to send, which begins at once. For one thread; only `settle` and `finish` wait.

    first: a key frame; the connection is made when it is sent. size_wh, rate: of the pictures.
    patience_seconds: how long the server may take to connect, and to take a packet. clock: monotonic seconds.
    """

    def __init__(
        self,
        address: StreamAddress,
        first: EncodedFrame,
        *,
        size_wh: tuple[int, int],
        rate: Fraction,
        patience_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._address, self._patience_seconds, self._clock = address, patience_seconds, clock
        order: Order = {
            "address": address.full,
            "muxer": address.muxer,
            "options": address.options,
            "width": size_wh[0],
            "height": size_wh[1],
            "rate": str(rate),
            "patience_seconds": 2 * patience_seconds,  # where this process was killed, and nobody watches that one
        }
        self._state: State = "connecting"
        self._reason = "the connection was closed"
        self._num_sent = 0
        self._on_the_way: deque[float] = deque()  # when each packet came that is not sent yet
        self._outbox = bytearray(json.dumps(order).encode() + b"\n")
        self._heard = b""
        self._is_behind = False
        # -P: else the folder of the program would be searched for modules. A session of its own: Ctrl-C is for us.
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(Path(sending.__file__))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            bufsize=0,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        os.set_blocking(self._stdin.fileno(), False)
        os.set_blocking(self._stdout.fileno(), False)
        _enlarge(self._stdin.fileno())
        self.send(first)

    @property
    def state(self) -> State:
        """Where the attempt has come to; a server that does not answer for too long is given up here."""
        self._pump()
        if self._on_the_way and self._clock() - self._on_the_way[0] > self._patience_seconds:
            self._lose(f"no answer within {self._patience_seconds:g} s")
        return self._state

    @property
    def reason(self) -> str:
        """Why it is lost, without secrets."""
        return without_pieces(masked_text(self._reason, words=[self._address.full]), self._address.full)

    @property
    def num_sent(self) -> int:
        """The number of packets that libav has handed to the system."""
        return self._num_sent

    @property
    def has_room(self) -> bool:
        """Whether the next frame can be sent; after a jam, once everything before it has been, and then a key frame."""
        if len(self._on_the_way) >= _MOST_ON_THE_WAY:
            self._is_behind = True
        elif not self._on_the_way:
            self._is_behind = False
        return not self._is_behind

    def send(self, frame: EncodedFrame) -> None:
        """Send a packet, as soon as there is room."""
        self._outbox += frame.as_bytes()
        self._on_the_way.append(self._clock())
        self._pump()

    def settle(self, seconds: float) -> None:
        """Wait until the connection is made or lost, at most for some seconds."""
        self._wait_while(lambda: self._state == "connecting", seconds)

    def flush(self, seconds: float) -> None:
        """Wait until everything is sent, or cannot be, at most for some seconds."""
        self._wait_while(lambda: bool(self._on_the_way), seconds)

    def finish(self, seconds: float) -> None:
        """Send what waits and say goodbye, within some seconds. May be called more than once."""
        self._wait_while(lambda: bool(self._outbox), seconds)
        self._stdin.close()
        if not self._stdout.closed:
            self._wait_while(lambda: True, seconds)
            self._lose("no answer")
            self._stdout.close()
        self._process.wait()

    def _wait_while(self, is_so: Callable[[], bool], seconds: float) -> None:
        ends_at_seconds = time.monotonic() + seconds
        self._pump()
        while self._state != "lost" and is_so() and (left := ends_at_seconds - time.monotonic()) > 0:
            select.select([self._stdout], [self._stdin] if self._outbox else [], [], left)
            self._pump()

    def _lose(self, reason: str) -> None:
        if self._state != "lost":
            self._state, self._reason = "lost", reason
            self._process.kill()

    def _pump(self) -> None:
        """Write and read as much as can be without waiting."""
        if self._state == "lost":
            return
        try:
            while self._outbox and not self._stdin.closed:
                del self._outbox[: os.write(self._stdin.fileno(), self._outbox)]
        except BlockingIOError:
            pass
        except OSError:
            self._outbox.clear()  # it has ended; what it said last is the reason
        try:
            while piece := os.read(self._stdout.fileno(), 1 << 16):
                self._hear(piece)
        except BlockingIOError:
            return
        self._lose(self._reason)

    def _hear(self, piece: bytes) -> None:
        *lines, self._heard = (self._heard + piece).split(b"\n")
        for line in lines:
            if line == b"sent":
                self._num_sent += 1
                self._on_the_way.popleft()
                self._state = "connected"
            else:
                self._reason = line.decode(errors="replace").removeprefix("failed ")


def _enlarge(pipe: int) -> None:
    try:
        import fcntl

        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    except (ImportError, AttributeError, OSError):
        pass  # what does not fit waits for the next frame
