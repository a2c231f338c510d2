"""Result log: lines of JSON → files of a folder, each durable before `write` returns, and Parquet made from them.

    lines-000017.jsonl      is written to, or complete; one begins every minute, and at every start
    frames-000016.parquet   the same frames as lines-000016.jsonl, once that was complete

A kill leaves the complete lines; the next start makes the Parquet files that are missing. Columns of those, a row for
each frame:

    id, source string · generation, frame int64 · pts, time double · detections list<struct>, as a map writes them
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from pipeline.errors import SinkError, reason_of
from pipeline.fleet.result_kinds import ResultKind
from pipeline.fleet.table import detections_type, require_pyarrow
from pipeline.json_values import JsonObject
from pipeline.whole_file import WholeFile, sync_folder, write_all

_ROLL_SECONDS, _ROLL_BYTES = 60.0, 64_000_000
_NAME = re.compile(r"(?:lines|frames)-(\d{6,})\.(?:jsonl|parquet)")


class ResultLog:
    """Writes lines of one fleet into a folder; files of earlier starts stay.

    kinds: which files are kept. clock: monotonic seconds.
    Raises SinkError where the folder cannot be written, and MissingExtraError for Parquet without pyarrow.
    """

    def __init__(
        self,
        folder: Path,
        kinds: Collection[ResultKind],
        *,
        roll_seconds: float = _ROLL_SECONDS,
        roll_bytes: int = _ROLL_BYTES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if "parquet" in kinds:
            require_pyarrow()
        self._folder, self._kinds, self._clock = folder, frozenset(kinds), clock
        self._roll_seconds, self._roll_bytes = roll_seconds, roll_bytes
        self._file: BinaryIO | None = None
        self._began_at_seconds = 0.0
        try:
            folder.mkdir(parents=True, exist_ok=True)
            numbers = [int(match[1]) for path in folder.iterdir() if (match := _NAME.fullmatch(path.name))]
            self._number = max(numbers, default=0)
            for path in sorted(folder.glob("lines-*.jsonl")):
                _cut_torn_line(path)
                self._finish(path)
        except OSError as error:
            raise self._error(error) from error

    def last_ids(self) -> set[str]:
        """Ids in the last two files: those that a supervisor kept and could not tell a worker before it was killed."""
        ids: set[str] = set()
        for number in range(max(1, self._number - 1), self._number + 1):
            lines, frames = self._lines_path(number), _parquet_path(self._lines_path(number))
            if lines.exists():
                ids |= {value["id"] for value in _values(lines)}
            elif frames.exists():
                ids |= _parquet_ids(frames)
        return ids

    def write(self, lines: Sequence[bytes]) -> None:
        """Keep lines, without their ends: when this returns, they are not lost with the power.

        Raises SinkError where they cannot be kept; none of them is there then, and they may be written again.
        """
        try:
            if lines:
                self._append(b"".join(line + b"\n" for line in lines))
            self._roll_if_due()
        except OSError as error:
            raise self._error(error) from error

    def close(self) -> None:
        """Complete the file. May be called more than once. Raises SinkError."""
        try:
            self._roll()
        except OSError as error:
            raise self._error(error) from error

    def _append(self, content: bytes) -> None:
        if self._file is None:
            self._number += 1
            self._file = self._lines_path(self._number).open("ab", buffering=0)
            self._began_at_seconds = self._clock()
            sync_folder(self._folder)
        size = self._file.tell()
        try:
            write_all(self._file, content)
            os.fsync(self._file.fileno())
        except OSError:
            self._file.truncate(size)
            raise

    def _roll_if_due(self) -> None:
        if self._file is not None:
            is_old = self._clock() >= self._began_at_seconds + self._roll_seconds
            if is_old or self._file.tell() >= self._roll_bytes:
                self._roll()

    def _roll(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()
            self._finish(Path(file.name))

    def _finish(self, path: Path) -> None:
        """Make the Parquet file of complete lines, and delete these where they are not to be kept."""
        if "parquet" in self._kinds:
            target = _parquet_path(path)
            if not target.exists():
                _write_parquet(target, _values(path))
        if "jsonl" not in self._kinds:
            path.unlink()

    def _lines_path(self, number: int) -> Path:
        return self._folder / f"lines-{number:06d}.jsonl"

    def _error(self, error: OSError) -> SinkError:
        return SinkError(f"{self._folder}: results cannot be kept: {reason_of(error)}")


def _values(path: Path) -> Iterator[JsonObject]:
    with path.open("rb") as file:
        for line in file:
            yield json.loads(line)


def _parquet_path(lines: Path) -> Path:
    return lines.with_name(lines.name.replace("lines-", "frames-")).with_suffix(".parquet")


def _parquet_ids(path: Path) -> set[str]:
    from pyarrow import parquet

    return set(parquet.read_table(path, columns=["id"])["id"].to_pylist())


def _write_parquet(path: Path, values: Iterable[JsonObject]) -> None:
    import pyarrow
    from pyarrow import parquet

    schema = pyarrow.schema(
        [
            ("id", pyarrow.string()),
            ("source", pyarrow.string()),
            ("generation", pyarrow.int64()),
            ("frame", pyarrow.int64()),
            ("pts", pyarrow.float64()),
            ("time", pyarrow.float64()),
            ("detections", detections_type()),
        ]
    )
    table = pyarrow.Table.from_pylist([_row(value) for value in values], schema=schema)
    with WholeFile(path) as file:
        parquet.write_table(table, file.file, compression="zstd")
        file.finish(durable=True)


def _row(value: JsonObject) -> JsonObject:
    detections = [
        {**detection} | dict(zip(("x1", "y1", "x2", "y2"), detection["box"], strict=True))
        for detection in value["detections"]
    ]
    return {**value, "detections": detections}


def _cut_torn_line(path: Path) -> None:
    content = path.read_bytes()
    _, end, rest = content.rpartition(b"\n")
    if rest or not end:
        os.truncate(path, len(content) - len(rest))
