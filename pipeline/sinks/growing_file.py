"""Growing file: pieces of content → a file that grows with each of them, or standard output."""

from __future__ import annotations

import errno
import sys
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from pipeline.errors import SinkError
from pipeline.sinks.line_file import LineFile
from pipeline.sinks.writable import refuse_deleted, refuse_no_path, refuse_unwritable
from pipeline.whole_file import make_parents


class GrowingFile:
    """Writes pieces, each at once and whole, so that a killed run leaves only complete ones.

    path: a file, which is overwritten with the first piece, not before, when missing folders are made, too. what: the
    output, in errors. takes_stdout: whether `-` is standard output. head: comes before the first piece of a new file.
    appends_to: add to the lines of the file that is there, instead of overwriting it; a torn last line is cut off.
    Raises SinkError if it cannot be written, or is not a file of such lines.
    """

    def __init__(
        self,
        path: str | Path,
        what: str,
        *,
        takes_stdout: bool = False,
        head: bytes = b"",
        appends_to: LineFile | None = None,
    ) -> None:
        self._path, self._what, self._head = str(path), what, head
        self._file: BinaryIO | None = None
        self._is_stdout = takes_stdout and self._path == "-"
        self._appends_to = appends_to
        if not self._is_stdout:
            refuse_no_path(path, what)
            refuse_unwritable(Path(path), what)
            if appends_to is not None:
                appends_to.refuse_other(Path(path), what)
            return
        try:
            _stdout()
        except OSError as error:
            raise SinkError(f"standard output: {what} cannot be written, because it is closed") from error

    def write(self, piece: bytes) -> None:
        """Write one piece. Raises SinkError, and BrokenPipeError where the reader of stdout has gone."""
        num_bytes = 0
        try:
            if self._file is None:
                self._file = self._opened()
                piece = piece if self._is_stdout or _has_content(self._file) else self._head + piece
            while num_bytes < len(piece):  # a full disk or pipe takes a part, and raises only at the next write
                num_bytes += self._file.write(piece[num_bytes:])
            self._file.flush()
        except OSError as error:
            self._take_back(num_bytes)
            if self._is_stdout and isinstance(error, BrokenPipeError):
                raise BrokenPipeError(error.errno, f"the reader of {self._what} left") from error
            where = "standard output" if self._is_stdout else self._path
            reason = "its reader left" if isinstance(error, BrokenPipeError) else error.strerror or error
            raise SinkError(f"{where}: {self._what} cannot be written: {reason}") from error

    def _take_back(self, num_bytes: int) -> None:
        """Cut off the part of a piece that was written, so that a file ends with a whole one; no stream can."""
        if self._file is not None and num_bytes and not self._is_stdout:
            with suppress(OSError):  # a device or a pipe
                self._file.truncate(self._file.tell() - num_bytes)

    def close(self) -> None:
        """Close the file. May be called more than once. Raises SinkError if somebody has deleted it."""
        if self._file is not None and not self._is_stdout and not self._file.closed:
            self._file.close()
            refuse_deleted(Path(self._path), f"{self._what}")

    def _opened(self) -> BinaryIO:
        if self._is_stdout:
            return _stdout()
        path = Path(self._path)
        make_parents(path)
        if self._appends_to is not None:
            self._appends_to.mend(path)
        # Unbuffered: a piece is one write, and nothing is left over that close could fail on.
        return path.open("wb" if self._appends_to is None else "ab", buffering=0)


def _has_content(file: BinaryIO) -> bool:
    return file.seekable() and file.tell() > 0


def _stdout() -> BinaryIO:
    if sys.stdout is None:
        raise OSError(errno.EBADF, "it is closed")
    binary = sys.stdout.buffer
    binary.flush()  # what was written before
    # Unbuffered, because a write that never returns holds a buffer's lock, for which Python waits when it ends.
    return getattr(binary, "raw", binary)
