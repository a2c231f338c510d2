"""Command: an event → a program that is run with it, in environment variables and as JSON on standard input.

The words of the command line stay as they were typed. Nothing of an event is ever put into them, and no shell reads
them, so that the name of a class or source cannot become a command.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
import threading
from contextlib import suppress
from typing import IO

from pipeline.errors import SinkError, one_line, reason_of
from pipeline.sinks.events.delivery import Refused
from pipeline.sinks.events.outbox import Message

_PREFIX = "STREAMDET_"
_MOST_OF_ERROR = 2000  # bytes of standard error, from its end


class Command:
    """Runs a command for each message; one that fails, or takes longer than the limit, is not run again.

    line: split as a shell would, and run without one; `sh -c '…'` is for those who want one. limit_seconds: after which
    it is killed, with what it has started. name: in reports and errors. Its standard output is thrown away; the last
    line of its standard error is the reason.
    Raises SinkError for a line that is empty or cannot be split, and for a program that there is not.
    """

    def __init__(self, line: str, *, name: str = "--on", limit_seconds: float = 30.0) -> None:
        try:
            self._words = shlex.split(line)
        except ValueError as error:
            raise SinkError(f"{name}: the command must have its quotes closed, got {line!r}") from error
        if not self._words:
            raise SinkError(f"{name} must name a command, got {line!r}")
        if shutil.which(self._words[0]) is None:
            raise SinkError(f"{name}: {self._words[0]} must be a program that can be run, and there is none")
        self.name = name
        self._limit_seconds = limit_seconds
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._is_closed = False

    def deliver(self, message: Message) -> None:
        """Run the command and wait for it. Raises Refused where it fails."""
        with tempfile.TemporaryFile() as event, tempfile.TemporaryFile() as errors:
            event.write(message.body.encode() + b"\n")  # files, not pipes: a program need not read or write them
            event.seek(0)
            process = self._started(message, event, errors)
            try:
                code = process.wait(self._limit_seconds)
            except subprocess.TimeoutExpired:
                raise Refused(f"it took longer than {self._limit_seconds:g} s and was ended") from None
            finally:
                self._end(process)
            if code != 0:
                raise Refused(f"exit code {code}{_last_line(errors)}")

    def close(self) -> None:
        """End what still runs."""
        with self._lock:
            self._is_closed = True
            running = list(self._running)
        for process in running:
            _kill(process)

    def _started(self, message: Message, event: IO[bytes], errors: IO[bytes]) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._is_closed:
                raise Refused("the run ended")
            try:
                process = subprocess.Popen(
                    self._words,
                    stdin=event,
                    stdout=subprocess.DEVNULL,
                    stderr=errors,
                    env=os.environ | variables_of(message),
                    start_new_session=True,  # so that what it starts can be killed with it
                )
            except OSError as error:
                raise Refused(f"cannot be run: {reason_of(error)}") from error
            self._running.add(process)
            return process

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        if process.poll() is None:
            _kill(process)
        with self._lock:
            self._running.discard(process)


def variables_of(message: Message) -> dict[str, str]:
    """The environment variables of an event: STREAMDET_KIND, STREAMDET_SOURCE … for each of its values.

    A box is its four numbers with blanks between them. A variable cannot hold a zero byte, which is left out.
    """
    values = {name: _as_text(value) for name, value in json.loads(message.body).items()}
    return {f"{_PREFIX}{name.upper()}": text.replace("\0", "") for name, text in values.items()}


def _as_text(value: object) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value))
    return str(value).encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a program and what it has started."""
    with suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    process.wait()


def _last_line(errors: IO[bytes]) -> str:
    size = errors.seek(0, os.SEEK_END)
    errors.seek(max(0, size - _MOST_OF_ERROR))
    lines = errors.read().decode("utf-8", "replace").strip().splitlines()
    return f": {one_line(lines[-1])[:200]}" if lines else ""
