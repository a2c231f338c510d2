"""Standard output and error as a command writes to them: any text, without secrets, whatever they are connected to.

A terminal may lack characters, a redirected stream may be closed or full, and its reader may leave. None of it may end
a run, whose files are worth more than what is said about it: it is noted, and told when the command ends.
"""

from __future__ import annotations

import errno
import io
import os
import select
import stat
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import BinaryIO, TextIO

from pipeline.masking import masked_text

_PLAIN = {
    "→": "->", "–": "-", "—": "-", "━": "-", "✓": "yes", "✗": "no", "×": "x", "…": "...", "·": "-", "•": "*", "±": "+-",
    "≥": ">=", "≤": "<=", "█": "#", "°": " deg", "²": "^2", "µ": "u", "Δ": "d", "‘": "'", "’": "'", "“": '"', "”": '"',
}  # fmt: skip


_PIECE = 1000  # characters; up to 4 bytes of UTF-8 each, so less than the 4096 that a pipe takes whole


class Outlet(io.TextIOBase):
    """A text stream that never raises: it drops what cannot be written, and keeps the first reason in `failure`."""

    def __init__(self, stream: TextIO | None, *, words: Sequence[str] = ()) -> None:
        """stream: None for one that is closed. words: see `masked_text`."""
        self._stream = stream
        self._words = words
        self.failure: OSError | None = None
        self.patience_seconds: float | None = None  # for a reader that does not read; None: it is waited for

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """Any text may be written; `write` finds words for what the stream itself cannot encode."""
        return "utf-8"

    @property
    def errors(self) -> str:  # type: ignore[override]
        return "replace"

    @property
    def buffer(self) -> BinaryIO:
        """The bytes below, for data. Raises OSError where the stream is closed."""
        if self._stream is None:
            raise _closed()
        return self._stream.buffer

    def write(self, text: str) -> int:
        if self.failure is None:
            try:
                if self._stream is None:
                    raise _closed()
                text_out = encodable(masked_text(text, words=self._words), self._stream.encoding or "utf-8")
                if self.patience_seconds is None:
                    self._stream.write(text_out)
                else:
                    self._write_patiently(text_out, self.patience_seconds)
            except (OSError, ValueError) as error:  # ValueError: closed since
                self._keep(error)
        return len(text)

    def flush(self) -> None:
        if self.failure is None and self._stream is not None:
            try:
                self._stream.flush()
            except (OSError, ValueError) as error:
                self._keep(error)

    def isatty(self) -> bool:
        return self._stream is not None and self._stream.isatty()

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        if self._stream is None:
            raise _closed()
        return self._stream.fileno()

    def is_pipe(self) -> bool:
        """Whether somebody reads what is written, who may stop to; not on Windows, which cannot tell it."""
        try:
            mode = os.fstat(self.fileno()).st_mode
        except (OSError, ValueError):
            return False
        return os.name == "posix" and (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode))

    def let_go(self) -> None:
        """Keep Python from trying again, when it ends, to write what could not be written."""
        self.flush()
        with suppress(OSError, ValueError, AttributeError):
            if self.failure is not None and self._stream is not None:
                os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())
                self._stream.flush()

    def _write_patiently(self, text: str, seconds: float) -> None:
        """Write pieces that a pipe takes whole once it takes any. Raises TimeoutError where its reader is stuck."""
        assert self._stream is not None
        for start in range(0, len(text), _PIECE):
            if select.select([], [self._stream], [], seconds)[1]:
                self._stream.write(text[start : start + _PIECE])
                self._stream.flush()
            else:
                raise TimeoutError(errno.ETIMEDOUT, f"its reader has not read for {seconds:g} s")

    def _keep(self, error: OSError | ValueError) -> None:
        self.failure = error if isinstance(error, OSError) else _closed()


class Outlets:
    """Both streams of a command."""

    def __init__(self, output: Outlet, error: Outlet, *, had_error: bool) -> None:
        self.output, self.error = output, error
        self._had_error = had_error

    def status(self, status: int) -> int:
        """The exit code of a command that came to `status`, once what was lost is told where there is still a way.

        A reader who has left, as `head` does, wanted no more. Text lost otherwise turns success into 1.
        """
        self.output.flush()
        self.error.flush()
        output, error = _loss(self.output), _loss(self.error) if self._had_error else None
        if output is not None:
            self.error.write(f"streamdet: error: standard output cannot be written: {output.strerror}\n")
            self.error.flush()
        elif error is not None:
            self.output.write(f"streamdet: error: standard error cannot be written: {error.strerror}\n")
        for outlet in (self.output, self.error):
            outlet.let_go()
        return status or int(output is not None or error is not None)


@contextmanager
def outlets(words: Sequence[str]) -> Iterator[Outlets]:
    """Put outlets in the place of both streams; `words` are those of the command line."""
    before = sys.stdout, sys.stderr
    _fill_closed_descriptors()
    output, error = Outlet(before[0], words=words), Outlet(before[1], words=words)
    sys.stdout, sys.stderr = output, error
    try:
        yield Outlets(output, error, had_error=before[1] is not None)
    finally:
        sys.stdout, sys.stderr = before


@contextmanager
def lines_given_up_after(seconds: float) -> Iterator[None]:
    """While a run lasts: text is given up, not the run, where a pipe's reader does not read for so long."""
    pipes = [stream for stream in (sys.stdout, sys.stderr) if isinstance(stream, Outlet) and stream.is_pipe()]
    for stream in pipes:
        stream.patience_seconds = seconds
    try:
        yield
    finally:
        for stream in pipes:
            stream.patience_seconds = None


def encodable(text: str, encoding: str) -> str:
    """The same text with what an encoding lacks in other characters: -> for an arrow, e for é, \\xff for a byte."""
    try:
        text.encode(encoding)
        return text
    except UnicodeEncodeError:
        return "".join(_encodable_character(character, encoding) for character in text)


def _encodable_character(character: str, encoding: str) -> str:
    bare = "".join(part for part in unicodedata.normalize("NFKD", character) if not unicodedata.combining(part))
    byte = f"\\x{ord(character) - 0xDC00:02x}" if "\udc80" <= character <= "\udcff" else "?"  # of a name not in UTF-8
    for candidate in (character, _PLAIN.get(character, bare), byte):
        with suppress(UnicodeEncodeError):
            candidate.encode(encoding)
            return candidate
    return "?"


def _loss(outlet: Outlet) -> OSError | None:
    return None if isinstance(outlet.failure, BrokenPipeError) else outlet.failure


def _closed() -> OSError:
    return OSError(errno.EBADF, "it is closed")


def _fill_closed_descriptors() -> None:
    """So that no file of ours gets the number of a closed stream, into which libraries print."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
