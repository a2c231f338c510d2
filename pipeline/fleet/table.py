"""Result table: results of a segment → one row of Parquet with its frames and their detections nested.

    segment      string              its name in the manifest
    file         string              the video
    first_frame  int64               number of its first frame in the file; null where it has none
    num_frames   int64               frames that were looked at
    width        int32               of its pictures, in pixels, upright
    height       int32
    damage       list<string>        what could not be read, a line for each kind
    frames       list<struct>
      frame      int64               number in the file, from 0
      pts        double              media time in seconds
      detections list<struct>        empty where nothing was detected
        class_id int64, class_name string, score double, x1 y1 x2 y2 double (source pixels), track_id int64 or null

Numbers are rounded as in every other table: `pipeline.picture.detection_rows`.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import MissingExtraError
from pipeline.picture.detection_rows import COLUMN_TYPES, round_time
from pipeline.picture.detections import Result

if TYPE_CHECKING:
    import pyarrow

DETECTION_COLUMNS = ("class_id", "class_name", "score", "x1", "y1", "x2", "y2", "track_id")
_FRAMES_AT_ONCE = 2000  # are Python's objects before they become columns, which take a tenth of the memory


def require_pyarrow() -> None:
    """Raise MissingExtraError where pyarrow is not installed."""
    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise MissingExtraError('map writes Parquet with pyarrow: pip install "streamdet[tables]"') from error


class RowBuilder:
    """Collects the results of one segment, in order; most of them as columns already."""

    def __init__(self) -> None:
        self._waiting: list[dict[str, object]] = []
        self._chunks: list[pyarrow.Array] = []
        self._num_frames = 0
        self._first_frame: int | None = None

    def add(self, result: Result) -> None:
        """Take the result of the next frame."""
        if self._first_frame is None:
            self._first_frame = result.frame.index
        detections = [{name: getattr(row, name) for name in DETECTION_COLUMNS} for row in result.rows()]
        pts = round_time(result.frame.pts_seconds)
        self._waiting.append({"frame": result.frame.index, "pts": pts, "detections": detections})
        self._num_frames += 1
        if len(self._waiting) >= _FRAMES_AT_ONCE:
            self._pack()

    def table(self, segment: str, file: str, size_wh: tuple[int, int], damage: Sequence[str]) -> pyarrow.Table:
        """The row of the segment."""
        import pyarrow

        self._pack()
        frames = pyarrow.concat_arrays(self._chunks)
        columns = [
            [segment],
            [file.encode("utf-8", "backslashreplace").decode()],
            [self._first_frame],
            [self._num_frames],
            [size_wh[0]],
            [size_wh[1]],
            [list(damage)],
            pyarrow.LargeListArray.from_arrays(pyarrow.array([0, len(frames)], pyarrow.int64()), frames),
        ]
        return pyarrow.table(columns, schema=schema())

    def _pack(self) -> None:
        import pyarrow

        self._chunks.append(pyarrow.array(self._waiting, _frame_type()))
        self._waiting = []


def schema() -> pyarrow.Schema:
    """The columns of the table."""
    import pyarrow

    return pyarrow.schema(
        [
            ("segment", pyarrow.string()),
            ("file", pyarrow.string()),
            ("first_frame", pyarrow.int64()),
            ("num_frames", pyarrow.int64()),
            ("width", pyarrow.int32()),
            ("height", pyarrow.int32()),
            ("damage", pyarrow.list_(pyarrow.string())),
            ("frames", pyarrow.large_list(_frame_type())),
        ]
    )


def parquet_of(table: pyarrow.Table) -> bytes:
    """The bytes of a Parquet file, compressed."""
    from pyarrow import parquet

    file = io.BytesIO()
    parquet.write_table(table, file, compression="zstd")
    return file.getvalue()


def read_detections(folder: Path) -> pyarrow.Table:
    """All rows of a folder of results, in the order of their segments."""
    import pyarrow
    from pyarrow import parquet

    paths = sorted(folder.glob("*.parquet"))
    return pyarrow.concat_tables([parquet.read_table(path) for path in paths]) if paths else schema().empty_table()


def detections_type() -> pyarrow.DataType:
    """The detections of a frame: a list of structs with `DETECTION_COLUMNS`."""
    import pyarrow

    return pyarrow.list_(
        pyarrow.struct([(name, pyarrow.type_for_alias(COLUMN_TYPES[name].arrow)) for name in DETECTION_COLUMNS])
    )


def _frame_type() -> pyarrow.DataType:
    import pyarrow

    return pyarrow.struct([("frame", pyarrow.int64()), ("pts", pyarrow.float64()), ("detections", detections_type())])
