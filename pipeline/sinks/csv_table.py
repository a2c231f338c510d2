"""CSV: results → a table with one row a detection, RFC 4180, in UTF-8.

    source,image,frame,pts,class_id,class_name,score,x1,y1,x2,y2,track_id,attribute,attribute_score,carried
    street.mp4,,0,0.0,0,person,0.8716,12.5,30.0,64.25,180.0,,,,

`image` is empty for frames of a video, `track_id` where nothing is tracked, `attribute` where no second model gave one;
`carried` is True of an object of an earlier frame, where a gate left the network out, and else empty.
A run without detections leaves the header.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path

from pipeline.picture.detection_rows import COLUMN_TYPES, storable
from pipeline.picture.detections import Result
from pipeline.sinks.growing_file import GrowingFile
from pipeline.sinks.line_file import LineFile


class CsvTable:
    """Writes the rows of a frame at once, so that a killed run leaves only complete rows.

    path: a file, which is overwritten with the first frame, not before. append: add to the rows that are there instead,
    under their header; a last one that a kill has torn is cut off, and logged. Raises SinkError if it cannot be
    written, or holds something else than a table with these columns.
    """

    def __init__(self, path: str | Path, *, append: bool = False) -> None:
        header = _lines([tuple(COLUMN_TYPES)])
        self._file = GrowingFile(path, "CSV", head=header, appends_to=LineFile(header, end=b"\r\n") if append else None)

    def write(self, item: Result) -> None:
        """Write the rows of a frame. Raises SinkError."""
        self._file.write(_lines(map(storable, item.rows())))

    def close(self) -> None:
        """Close the file. May be called more than once."""
        self._file.close()


def _lines(rows: Iterable[Iterable[object]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()
