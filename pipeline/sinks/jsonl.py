"""How does each frame's result become a line of JSON?

    {"source": str, "frame": int, "pts": seconds,
     "detections": [{"box": [x1, y1, x2, y2], "score": f, "class_id": i, "class_name": s}]}

Boxes are in source pixels, x right, y down. Fields that not every detector gives come only where they are: `track_id`;
`keypoints`, a list of [x, y, score]; `mask`, COCO's uncompressed RLE {"size": [height, width], "counts": [...]}.
"""

from __future__ import annotations

import errno
import json
import sys
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from pipeline.errors import SinkError
from pipeline.picture.detections import Detections, Result
from pipeline.sinks.writable import refuse_no_path, refuse_unwritable


class JsonLines:
    """Writes a line a frame, each flushed whole, so that a killed run leaves only lines that parse.

    path: a file, which is overwritten with the first line, not before; or `-` for stdout. Raises SinkError if it
    cannot be written.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = str(path)
        self._file: BinaryIO | None = None
        if self._path != "-":
            refuse_no_path(path, "JSON lines")
            refuse_unwritable(Path(path), "JSON lines")
            return
        try:
            _stdout()
        except OSError as error:
            raise SinkError("standard output: JSON lines cannot be written, because it is closed") from error

    def write(self, item: Result) -> None:
        """Write one line. Raises SinkError, and BrokenPipeError where the reader of stdout went away."""
        # ASCII, because a file's name, and so a source's, need not be valid UTF-8.
        line = json.dumps(as_json(item), allow_nan=False).encode() + b"\n"
        try:
            if self._file is None:
                self._file = self._opened()
            written = self._file.write(line)
            while written < len(line):  # a full disk or pipe takes a part, and says why only at the next
                written += self._file.write(line[written:])
            self._file.flush()
        except OSError as error:
            if self._path == "-" and isinstance(error, BrokenPipeError):
                raise
            where = "standard output" if self._path == "-" else self._path
            reason = "its reader left" if isinstance(error, BrokenPipeError) else error.strerror or error
            raise SinkError(f"{where}: JSON lines cannot be written: {reason}") from error

    def _opened(self) -> BinaryIO:
        if self._path == "-":
            return _stdout()
        # Unbuffered: a line is one write, and nothing is left over that close could fail on.
        return Path(self._path).open("wb", buffering=0)

    def close(self) -> None:
        """Close the file. May be called more than once."""
        if self._file is not None and self._path != "-":
            self._file.close()


def _stdout() -> BinaryIO:
    if sys.stdout is None:
        raise OSError(errno.EBADF, "it is closed")
    return sys.stdout.buffer


def as_json(result: Result) -> dict[str, Any]:
    """One frame's result in JSON types."""
    found = result.detections
    track_ids = [None] * len(found) if found.track_ids is None else found.track_ids.tolist()
    rows = zip(found.boxes_xyxy.tolist(), found.scores.tolist(), found.class_ids.tolist(), track_ids, strict=True)
    return {
        "source": result.frame.source_id,
        "frame": result.frame.index,
        "pts": round(result.frame.pts_seconds, 6),
        "detections": [
            {
                "box": [round(side, 2) for side in box],
                "score": round(score, 4),
                "class_id": class_id,
                "class_name": result.class_name(class_id),
            }
            | ({} if track_id is None else {"track_id": track_id})
            | _shape_of(found, index)
            for index, (box, score, class_id, track_id) in enumerate(rows)
        ],
    }


def _shape_of(found: Detections, index: int) -> dict[str, Any]:
    """The keypoints and the mask of a detection, where there are some."""
    shape: dict[str, Any] = {}
    if found.keypoints is not None:
        points = np.nan_to_num(found.keypoints[index]).tolist()
        shape["keypoints"] = [[round(x, 2), round(y, 2), round(score, 4)] for x, y, score in points]
    if found.masks is not None:
        mask = found.masks[index]
        column_wise = np.concatenate([[False], mask.ravel(order="F")])  # counts begin with what is outside
        changes = np.flatnonzero(column_wise[1:] != column_wise[:-1])
        counts = np.diff(np.concatenate([[0], changes, [mask.size]]))
        shape["mask"] = {"size": list(mask.shape), "counts": counts.tolist()}
    return shape
