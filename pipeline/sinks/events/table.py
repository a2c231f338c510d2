"""Event table: events → a row of CSV each, RFC 4180, in UTF-8; what an event does not have is empty."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path

from pipeline.picture.counting.as_json import event_as_json
from pipeline.picture.counting.event import Event
from pipeline.picture.detection_rows import storable_text
from pipeline.picture.detections import Result
from pipeline.sinks.growing_file import GrowingFile
from pipeline.sinks.line_file import LineFile

COLUMNS = (
    *("id", "kind", "source", "name", "pts", "frame", "track_id", "class_name"),
    *("x1", "y1", "x2", "y2", "direction", "dwell_s", "count", "speed_mps", "time"),
)


class EventTable:
    """Writes the rows of a frame at once, so that a killed run leaves only complete rows; without events, the header.

    append: add to the rows that are there, under their header; a torn last one is cut off.
    Raises SinkError if it cannot be written, or holds something else than a table with these columns.
    """

    def __init__(self, path: str | Path, *, append: bool = False) -> None:
        header = _lines([COLUMNS])
        appends_to = LineFile(header, end=b"\r\n") if append else None
        self._file = GrowingFile(path, "events", head=header, appends_to=appends_to)
        self._is_begun = False

    def write(self, item: Result) -> None:
        """Write the rows of a frame. Raises SinkError."""
        if item.events or not self._is_begun:
            self._is_begun = True
            self._file.write(_lines(map(_row, item.events)))

    def close(self) -> None:
        """Close the file. May be called more than once."""
        self._file.close()


def _row(event: Event) -> list[object]:
    values: dict[str, object] = dict(event_as_json(event))
    if event.box_xyxy is not None:
        values |= zip(("x1", "y1", "x2", "y2"), (round(side, 2) for side in event.box_xyxy), strict=True)
    return [storable_text(value) if isinstance(value, str) else value for value in map(values.get, COLUMNS)]


def _lines(rows: Iterable[Iterable[object]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()
