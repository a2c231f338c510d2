"""Manifest: segments ↔ a Parquet file with a row for each, the longest first."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import ConfigError
from pipeline.fleet.segments import InputFile, Segment
from pipeline.sources.video.parts import Part

if TYPE_CHECKING:
    import pyarrow

_COLUMNS = {
    "segment": "string",
    "file": "string",
    "file_number": "int64",
    "num_bytes": "int64",
    "changed_at_ns": "int64",
    "seconds": "float64",
    "num_frames": "int64",
    "begin_pts": "int64",  # null: from the beginning; all of the last four are null for a whole file
    "begin_dts": "int64",
    "end_pts": "int64",  # null: to the end
    "first_frame": "int64",
}


def manifest_content(segments: Sequence[Segment]) -> bytes:
    """The file of a manifest."""
    import pyarrow
    from pyarrow import parquet

    columns = list(zip(*map(_row, segments), strict=True)) or [()] * len(_COLUMNS)
    content = io.BytesIO()
    parquet.write_table(pyarrow.table([list(column) for column in columns], schema=_schema()), content)
    return content.getvalue()


def read_manifest(path: Path) -> list[Segment]:
    """The segments of a manifest; none where there is no file. Raises ConfigError for what is not a manifest."""
    return segments_of(path.read_bytes(), str(path)) if path.exists() else []


def segments_of(content: bytes | None, name: str) -> list[Segment]:
    """The segments of the content of a manifest; None: of no file. name: in errors. Raises ConfigError as above."""
    if content is None:
        return []
    import pyarrow
    from pyarrow import parquet

    try:
        return [_segment(row) for row in parquet.read_table(io.BytesIO(content), schema=_schema()).to_pylist()]
    except (pyarrow.ArrowException, KeyError, TypeError) as error:
        raise ConfigError(f"{name}: is not a manifest of streamdet map: {str(error).splitlines()[0]}") from error


def _schema() -> pyarrow.Schema:
    import pyarrow

    return pyarrow.schema([(name, pyarrow.type_for_alias(kind)) for name, kind in _COLUMNS.items()])


def _row(segment: Segment) -> tuple[object, ...]:
    file, part = segment.file, segment.part
    of_part = (None,) * 4 if part is None else (part.begin_pts, part.begin_dts, part.end_pts, part.first_number)
    of_file = (file.path, file.number, file.num_bytes, file.changed_at_ns)
    return (segment.name, *of_file, segment.seconds, segment.num_frames, *of_part)


def _segment(row: dict[str, Any]) -> Segment:
    file = InputFile(row["file_number"], row["file"], row["num_bytes"], row["changed_at_ns"])
    part = None
    if row["first_frame"] is not None:
        part = Part(row["begin_pts"], row["begin_dts"], row["end_pts"], row["first_frame"], row["num_frames"])
    return Segment(row["segment"], file, part, row["seconds"], row["num_frames"])
