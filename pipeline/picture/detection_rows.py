"""Detection rows: the columns of every table that is written, one row a detection; `Result.rows` makes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class DetectionRow(NamedTuple):
    """One detection with its frame: box in source pixels to 1/100, score to 4 digits, time to a microsecond."""

    source: str
    image: str | None  # the file or address, of a frame that is an image of its own
    frame: int
    pts: float  # seconds
    class_id: int
    class_name: str
    score: float
    x1: float
    y1: float
    x2: float
    y2: float
    track_id: int | None
    attribute: str | None = None  # the best that a second model gave
    attribute_score: float | None = None
    carried: bool | None = None  # True: of an earlier frame, because nothing had changed since

    @property
    def box(self) -> list[float]:
        """[x1, y1, x2, y2]."""
        return [self.x1, self.y1, self.x2, self.y2]

    def with_box(self, box_xyxy: Sequence[float]) -> DetectionRow:
        """The same row with another box."""
        x1, y1, x2, y2 = box_xyxy
        return self._replace(x1=x1, y1=y1, x2=x2, y2=y2)


class ColumnType(NamedTuple):
    """The type of a column in Parquet and in pandas, where it is called otherwise."""

    arrow: str
    pandas: str


_TEXT, _NUMBER, _COUNT = ColumnType("string", "str"), ColumnType("float64", "float64"), ColumnType("int64", "int64")

COLUMN_TYPES = dict.fromkeys(DetectionRow._fields, _NUMBER) | {
    "source": _TEXT,
    "image": ColumnType("string", "string"),
    "frame": _COUNT,
    "class_id": _COUNT,
    "class_name": _TEXT,
    "track_id": ColumnType("int64", "Int64"),  # what may be missing is pandas' own
    "attribute": ColumnType("string", "string"),
    "attribute_score": ColumnType("float64", "Float64"),
    "carried": ColumnType("bool", "boolean"),
}
"""The columns of a table, in order."""


def round_time(seconds: float) -> float:
    """Media time as it is written, to a microsecond."""
    return round(seconds, 6)


def storable(row: DetectionRow) -> tuple[object, ...]:
    """The values of a row, as `storable_text` where they are text."""
    return tuple(storable_text(value) if isinstance(value, str) else value for value in row)


def storable_text(text: str) -> str:
    """A name; in one that is not valid UTF-8, as that of a file may be, its escapes."""
    return text.encode("utf-8", "backslashreplace").decode()
