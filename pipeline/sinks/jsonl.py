"""JSON lines: the result of a frame → one line of JSON, in a file or on stdout.

    {"source": str, "frame": int, "pts": seconds,
     "detections": [{"box": [x1, y1, x2, y2], "score": f, "class_id": i, "class_name": s}]}

Boxes are in source pixels, x right, y down. `"image"`, the file or address, is there where the frame is an image of
its own. Some fields depend on the detector: `track_id`; `keypoints`, a list of
[x, y, score]; `mask`, COCO's uncompressed RLE {"size": [height, width], "counts": [...]}.
"""

from __future__ import annotations

import errno
import json
import sys
from pathlib import Path
from typing import BinaryIO

import numpy as np

from pipeline.errors import SinkError
from pipeline.picture.detections import Detections, Result
from pipeline.sinks.writable import refuse_no_path, refuse_unwritable


class JsonLines:
    """Writes one line per frame and flushes it, so that a killed run leaves only complete lines.

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
        """Write one line. Raises SinkError, and BrokenPipeError where the reader of stdout has gone."""
        # ASCII, because the name of a file, and so of a source, need not be valid UTF-8.
        line = json.dumps(as_json(item), allow_nan=False).encode() + b"\n"
        try:
            self._write_line(line)
        except OSError as error:
            if self._path == "-" and isinstance(error, BrokenPipeError):
                raise
            where = "standard output" if self._path == "-" else self._path
            reason = "its reader left" if isinstance(error, BrokenPipeError) else error.strerror or error
            raise SinkError(f"{where}: JSON lines cannot be written: {reason}") from error

    def _write_line(self, line: bytes) -> None:
        if self._file is None:
            self._file = self._opened()
        num_bytes = self._file.write(line)
        while num_bytes < len(line):  # a full disk or pipe takes a part, and raises only at the next write
            num_bytes += self._file.write(line[num_bytes:])
        self._file.flush()

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


def as_json(result: Result) -> dict[str, object]:
    """One frame's result in JSON types."""
    detections = result.detections
    track_ids = [None] * len(detections) if detections.track_ids is None else detections.track_ids.tolist()
    boxes, scores = detections.boxes_xyxy.tolist(), detections.scores.tolist()
    rows = zip(boxes, scores, detections.class_ids.tolist(), track_ids, strict=True)
    return {
        "source": result.frame.source_id,
        **({} if result.frame.image is None else {"image": result.frame.image}),
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
            | _shape_of(detections, index)
            for index, (box, score, class_id, track_id) in enumerate(rows)
        ],
    }


def _shape_of(detections: Detections, index: int) -> dict[str, object]:
    """The keypoints and the mask of a detection, where the detector gives them."""
    shape: dict[str, object] = {}
    if detections.keypoints is not None:
        points = np.nan_to_num(detections.keypoints[index]).tolist()
        shape["keypoints"] = [[round(x, 2), round(y, 2), round(score, 4)] for x, y, score in points]
    if detections.masks is not None:
        mask = detections.masks[index]
        column_wise = np.concatenate([[False], mask.ravel(order="F")])  # counts begin with pixels outside
        changes = np.flatnonzero(column_wise[1:] != column_wise[:-1])
        counts = np.diff(np.concatenate([[0], changes, [mask.size]]))
        shape["mask"] = {"size": list(mask.shape), "counts": counts.tolist()}
    return shape
