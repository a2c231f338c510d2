"""Parquet: results → a table with one row a detection, in row groups that are on the disk before the next is begun."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import MissingExtraError, SinkError, reason_of
from pipeline.picture.detection_rows import COLUMN_TYPES, DetectionRow, storable
from pipeline.picture.detections import Result
from pipeline.sinks.writable import refuse_no_path, refuse_unwritable
from pipeline.whole_file import WholeFile

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetWriter

_ROWS_IN_GROUP = 50_000  # some megabytes in memory


class ParquetTable:
    """Writes the columns of the CSV with their types, compressed; memory holds one row group at most.

    path: a file, which is replaced when the table is finished, not before: without its end no reader opens it.
    Raises MissingExtraError if pyarrow is not installed, and SinkError if the file cannot be written.
    """

    def __init__(self, path: str | Path, *, rows_in_group: int = _ROWS_IN_GROUP) -> None:
        refuse_no_path(path, "Parquet")
        _schema()
        refuse_unwritable(Path(path), "Parquet")
        self._path, self._rows_in_group = Path(path), rows_in_group
        self._rows: list[DetectionRow] = []
        self._file: WholeFile | None = None
        self._writer: ParquetWriter | None = None

    def write(self, item: Result) -> None:
        """Take the rows of a frame. Raises SinkError where a row group cannot be written."""
        try:
            if self._writer is None:
                self._open()
            self._rows += item.rows()
            if len(self._rows) >= self._rows_in_group:
                self._write_group()
        except OSError as error:
            self._give_up()
            raise self._error(error) from error

    def close(self) -> None:
        """Write the last rows and put the file in its place. May be called more than once. Raises SinkError."""
        file, writer, self._file = self._file, self._writer, None
        if file is None or writer is None:
            return
        with file:  # what fails on the way leaves what was there before
            try:
                self._write_group()
                writer.close()
                file.finish()
            except OSError as error:
                raise self._error(error) from error

    def _give_up(self) -> None:
        """Leave what was there before."""
        file, writer, self._file, self._writer = self._file, self._writer, None, None
        if writer is not None:
            with suppress(OSError):
                writer.close()
        if file is not None:
            file.close()

    def _open(self) -> None:
        from pyarrow.parquet import ParquetWriter

        self._file = WholeFile(self._path)
        self._writer = ParquetWriter(self._file.file, _schema(), compression="zstd")

    def _write_group(self) -> None:
        if self._rows and self._writer is not None:
            rows, self._rows = self._rows, []
            self._writer.write_table(_table(rows))

    def _error(self, error: OSError) -> SinkError:
        return SinkError(f"{self._path}: Parquet cannot be written: {reason_of(error)}")


def _schema() -> Any:
    try:
        import pyarrow
    except ImportError as error:
        raise MissingExtraError('Parquet needs pyarrow: pip install "streamdet[tables]"') from error
    return pyarrow.schema([(name, pyarrow.type_for_alias(kind.arrow)) for name, kind in COLUMN_TYPES.items()])


def _table(rows: list[DetectionRow]) -> Any:
    import pyarrow

    columns = map(list, zip(*map(storable, rows), strict=True))
    return pyarrow.table(list(columns), schema=_schema())
