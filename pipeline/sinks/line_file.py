"""Line file: a file of lines that an earlier run left, perhaps torn by a kill → one that ends with a whole line."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pipeline.errors import SinkError, reason_of

logger = logging.getLogger(__name__)

_BLOCK_BYTES = 65_536
_MOST_SHOWN = 80  # bytes of a torn line, in the log


def _never(_: bytes) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class LineFile:
    """What tells a file of lines that an output may be added to from any other.

    begins_with: what each of them begins with. end: of each line, which no line holds elsewhere. is_whole: whether a
    last line lacks only its end, by its bytes.
    """

    begins_with: bytes
    end: bytes = b"\n"
    is_whole: Callable[[bytes], bool] = _never

    def refuse_other(self, path: Path, what: str) -> None:
        """Raise SinkError for a file with other content, of which a last line would be lost. It may be missing."""
        if not path.is_file():
            return
        try:
            with path.open("rb") as file:
                head = file.read(len(self.begins_with))
        except OSError as error:
            raise SinkError(f"{path}: {what} cannot be added there: {reason_of(error)}") from error
        if not self.begins_with.startswith(head):
            expected, received = self.begins_with.decode().rstrip(), head.decode("utf-8", "backslashreplace")
            raise SinkError(
                f"{path}: must begin with {expected!r} for {what} to be added, got {received!r}; name another file"
            )

    def mend(self, path: Path) -> None:
        """Cut off a torn last line, or end one that is whole; a file that is missing stays so. Raises OSError."""
        if not path.is_file():
            return
        with path.open("rb+") as file:
            start = _start_of_last_line(file, self.end)
            file.seek(start)
            torn = file.read()
            if not torn:
                return
            if self.is_whole(torn):
                file.write(self.end)
                logger.warning("%s: its last line lacked its end, which was added", path)
                return
            file.truncate(start)
        logger.warning("%s: its last line was torn, %d bytes were cut off: %.200r", path, len(torn), torn[:_MOST_SHOWN])


def _start_of_last_line(file: BinaryIO, end: bytes) -> int:
    """Where the line begins that has no end; the end of the file where all have one."""
    until = file.seek(0, os.SEEK_END)
    while until > 0:
        begin = max(0, until - _BLOCK_BYTES)
        file.seek(begin)
        at = file.read(until - begin + len(end) - 1).rfind(end)  # an end may lie across two blocks
        if at >= 0:
            return begin + at + len(end)
        until = begin
    return 0
