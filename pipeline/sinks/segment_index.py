"""Segment index: the segments of a folder → lines of JSON that are appended, and survive a kill at any moment.

    {"file": "door-20261127T101500Z.mp4", "source": "rtsp://door/1", "start": "2026-11-27T10:15:00.000Z",
     "start_pts": 0.0, "duration": 600.0, "frames": 15000, "bytes": 93000000, "complete": true}

The last line of a file counts. `start` is the wall clock of the first frame in UTC, `start_pts` its media time. While
a segment is written, `frames`, `duration` and `bytes` are null; `complete` is false for one whose end was lost. A line
with `"deleted": true` says that the file is gone.
"""

from __future__ import annotations

import json
import logging
import os
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path, PurePath
from typing import IO

from pipeline.errors import SinkError, reason_of
from pipeline.whole_file import write_all

logger = logging.getLogger(__name__)

_MOST_DEAD_LINES = 100  # before the index is written anew, beside as many as there are living ones


@dataclass(frozen=True, slots=True)
class Segment:
    """One file of a recording; `frames`, `duration` and `bytes` are None while it is written."""

    file: str  # below the folder of the index, with slashes
    source: str
    start: str  # ISO 8601, UTC
    start_pts: float  # seconds
    duration: float | None = None  # seconds
    frames: int | None = None
    bytes: int | None = None
    complete: bool = False

    @property
    def is_finished(self) -> bool:
        """Whether it is written no more."""
        return self.frames is not None

    @property
    def end_wall_seconds(self) -> float:
        """When its last frame was taken, in seconds since 1970."""
        return datetime.fromisoformat(self.start).timestamp() + (self.duration or 0.0)


class SegmentIndex:
    """The index file, locked for one process, and what it says; not thread-safe.

    Raises SinkError if it cannot be written, or another run has it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.segments: dict[str, Segment] = {}  # by file, in the order in which they began
        self._was_there = path.exists()
        self._file = self._opened()
        self._num_lines = 0
        self._is_stale = False  # the file lacks something that is in `segments`
        self._read()

    def put(self, segment: Segment) -> None:
        """Add a segment, or say something new of it."""
        self.segments[segment.file] = segment
        self._append(asdict(segment))

    def remove(self, file: str) -> None:
        """Say that a file is gone."""
        if self.segments.pop(file, None) is not None:
            self._append({"file": file, "deleted": True})

    def close(self) -> None:
        """Let go of the file; one that was made for nothing is removed."""
        if self._file.closed:
            return
        if self._is_stale:
            self._write_anew()
        if not self._was_there and not self._num_lines:
            with suppress(OSError):
                self.path.unlink()
        self._file.close()

    def _read(self) -> None:
        try:
            lines = self.path.read_bytes().splitlines()
        except OSError as error:
            raise SinkError(f"{self.path}: the index of the segments cannot be read: {reason_of(error)}") from error
        self._num_lines = len(lines)
        for line in lines:
            try:
                values = json.loads(line)
                if values.get("deleted"):
                    self.segments.pop(values["file"], None)
                else:
                    segment = Segment(**values)
                    assert segment.end_wall_seconds > 0
                    assert _is_below(segment.file)
                    self.segments[segment.file] = segment
            except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError, AssertionError):
                self._is_stale = True  # torn by a kill, or by a full disk
                logger.warning("%s: a line that cannot be read is left out: %.80r", self.path, line)

    def _append(self, values: dict[str, object]) -> None:
        if self._is_stale or self._num_lines > 2 * len(self.segments) + _MOST_DEAD_LINES:
            self._write_anew()
            return
        num_bytes = os.fstat(self._file.fileno()).st_size
        try:
            write_all(self._file, json.dumps(values).encode() + b"\n")
            self._num_lines += 1
        except OSError as error:
            self._is_stale = True  # the next change writes all of it again
            with suppress(OSError):
                self._file.truncate(num_bytes)  # of the line, a part may be there, which the next one would follow
            logger.warning("%s: cannot be written: %s", self.path, reason_of(error))

    def _write_anew(self) -> None:
        """Exchange the file for one that has a line for each segment. A failure leaves the old one."""
        beside = self.path.with_name(f".{self.path.name}.part")
        lines = b"".join(json.dumps(asdict(segment)).encode() + b"\n" for segment in self.segments.values())
        with ExitStack() as on_failure:
            try:
                file = on_failure.enter_context(beside.open("wb", buffering=0))
                on_failure.callback(beside.unlink, missing_ok=True)
                _lock(file)
                write_all(file, lines)
                beside.replace(self.path)
            except OSError as error:
                self._is_stale = True
                logger.warning("%s: cannot be written: %s", self.path, reason_of(error))
                return
            on_failure.pop_all()
        self._file.close()
        self._file, self._num_lines, self._is_stale = file, len(self.segments), False

    def _opened(self) -> IO[bytes]:
        try:
            while True:
                file = self.path.open("ab", buffering=0)
                if not _lock(file):
                    file.close()
                    raise SinkError(
                        f"{self.path}: another run records there; let it end, or give --output another name"
                    )
                if _is_still(self.path, file):
                    return file
                file.close()  # the other run exchanged it meanwhile
        except OSError as error:
            if isinstance(error, SinkError):
                raise
            raise SinkError(f"{self.path}: segments cannot be written there: {reason_of(error)}") from error


def _is_below(file: str) -> bool:
    """Whether a file is in the folder of the index, because what the index names is deleted one day."""
    path = PurePath(file)
    return bool(path.name) and not path.is_absolute() and ".." not in path.parts


def _lock(file: IO[bytes]) -> bool:
    """Whether nobody else has locked it; the system unlocks it when the process ends, however that happens."""
    try:
        import fcntl
    except ImportError:  # Windows
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True


def _is_still(path: Path, file: IO[bytes]) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except OSError:
        return False
