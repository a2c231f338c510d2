"""Growing file: pieces of content → a file that grows with each of them, or standard output."""

from __future__ import annotations

import errno
import sys
from pathlib import Path
from typing import BinaryIO

from pipeline.errors import SinkError
from pipeline.sinks.writable import refuse_no_path, refuse_unwritable


class GrowingFile:
    """Writes pieces, each at once and whole, so that a killed run leaves only complete ones.

    path: a file, which is overwritten with the first piece, not before. what: the output, in errors.
    takes_stdout: whether `-` is standard output. Raises SinkError if it cannot be written.
    """

    def __init__(self, path: str | Path, what: str, *, takes_stdout: bool = False) -> None:
        self._path, self._what = str(path), what
        self._file: BinaryIO | None = None
        self._is_stdout = takes_stdout and self._path == "-"
        if not self._is_stdout:
            refuse_no_path(path, what)
            refuse_unwritable(Path(path), what)
            return
        try:
            _stdout()
        except OSError as error:
            raise SinkError(f"standard output: {what} cannot be written, because it is closed") from error

    def write(self, piece: bytes) -> None:
        """Write one piece. Raises SinkError, and BrokenPipeError where the reader of stdout has gone."""
        try:
            if self._file is None:
                self._file = self._opened()
            num_bytes = self._file.write(piece)
            while num_bytes < len(piece):  # a full disk or pipe takes a part, and raises only at the next write
                num_bytes += self._file.write(piece[num_bytes:])
            self._file.flush()
        except OSError as error:
            if self._is_stdout and isinstance(error, BrokenPipeError):
                raise
            where = "standard output" if self._is_stdout else self._path
            reason = "its reader left" if isinstance(error, BrokenPipeError) else error.strerror or error
            raise SinkError(f"{where}: {self._what} cannot be written: {reason}") from error

    def close(self) -> None:
        """Close the file. May be called more than once."""
        if self._file is not None and not self._is_stdout:
            self._file.close()

    def _opened(self) -> BinaryIO:
        if self._is_stdout:
            return _stdout()
        # Unbuffered: a piece is one write, and nothing is left over that close could fail on.
        return Path(self._path).open("wb", buffering=0)


def _stdout() -> BinaryIO:
    if sys.stdout is None:
        raise OSError(errno.EBADF, "it is closed")
    return sys.stdout.buffer
