"""Event lines: events → a line of JSON each, in a file or on standard output."""

from __future__ import annotations

from pathlib import Path

from pipeline.picture.detections import Result
from pipeline.sinks.events.receivers import as_message
from pipeline.sinks.growing_file import GrowingFile
from pipeline.sinks.line_file import LineFile


class EventLines:
    """Writes each event at once and whole. The file is made with the first event, or, where there was none, empty.

    append: add to the lines that are there instead of replacing them; a torn last one is cut off.
    Raises SinkError if it cannot be written, or holds something else than lines of this kind.
    """

    def __init__(self, path: str | Path, *, append: bool = False) -> None:
        appends_to = LineFile(b'{"id": ') if append else None
        self._file = GrowingFile(path, "events", takes_stdout=True, appends_to=appends_to)
        self._is_begun = False

    def write(self, item: Result) -> None:
        """Write the events of a frame. Raises SinkError."""
        lines = b"".join(as_message(event).body.encode() + b"\n" for event in item.events)
        if lines or not self._is_begun:
            self._is_begun = True
            self._file.write(lines)

    def close(self) -> None:
        """Close the file. May be called more than once."""
        self._file.close()
