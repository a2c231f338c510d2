"""PipeReader: a pipe → bytes for libav, where a stop or a silent writer ends the wait."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from pipeline.errors import SourceError
from pipeline.flow.stage import Stop

_POLL_SECONDS = 0.1  # the longest that a stop goes unnoticed


def open_pipe(path: Path) -> BinaryIO:
    """A named pipe for reading, unbuffered, whether anybody writes to it yet or not; `PipeReader` waits for that."""
    return open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb", buffering=0)  # noqa: PTH123 - of a descriptor


class PipeReader:
    """A pipe with the methods that libav calls: no seeking, and `b""` at the end.

    While `stop` is None, silence longer than `patience_seconds` raises SourceError. Once it is an event, the writer
    may be silent as long as it likes, and the event ends the stream.
    """

    def __init__(self, pipe: BinaryIO, *, patience_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.name = "<pipe>"
        self.stop: Stop | None = None
        self._descriptor = pipe.fileno()
        self._pipe = pipe  # kept from being closed by the garbage collector
        self._patience_seconds = patience_seconds
        self._clock = clock

    def read(self, num_bytes: int) -> bytes:
        """Wait for the first bytes, and return at most `num_bytes`; b"" at the end."""
        silent_since = self._clock()
        while not (self.stop and self.stop.is_set()):
            if select.select([self._descriptor], [], [], _POLL_SECONDS)[0]:
                with suppress(BlockingIOError):  # somebody else has read it
                    return os.read(self._descriptor, num_bytes)
            if self.stop is None and self._clock() - silent_since > self._patience_seconds:
                raise SourceError(
                    f"no video came through the pipe for {self._patience_seconds:g} s; does the command before it run?"
                )
        return b""
