"""JSON lines: the result of a frame → one line of JSON, in a file or on stdout.

    {"source": str, "frame": int, "pts": seconds,
     "detections": [{"box": [x1, y1, x2, y2], "score": f, "class_id": i, "class_name": s}]}

Boxes are in source pixels, x right, y down. `"image"`, the file or address, is there where the frame is an image of
its own. `"predicted"` is there where a tracker has lost objects: a list of box, class and `track_id` of where they are
supposed to be. `"carried": true` is there where a gate saw nothing new in a frame, so that no network looked at it, and
in each detection that is one of an earlier frame. Some fields of a detection depend on the run: `track_id`, of a
confirmed track; `corners`, the four [x, y] of an oriented box along its edge, whose bounds `box` is; `attributes`, of a
second model, a list of {"name": str, "score": f}, the best first; `keypoints`, a list of [x, y, score]; `mask`, COCO's
compressed RLE {"size": [height, width], "counts": str}, as pycocotools decodes it; `speed_mps`, metres a second on the
ground.

Where lines or zones are counted, a line has `"events"`, if the frame shows some, and `"counts"`, up to that frame:

    {"lines": {name: {"in": {class: n}, "out": {class: n}}},
     "zones": {name: {"inside": {class: n}, "appeared": …, "entered": …, "left": …, "mean_dwell_s": f or null,
                      "longest_dwell_s": f or null}}}
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from pipeline.picture.counting.as_json import counts_as_json, event_as_json
from pipeline.picture.detection_rows import round_time
from pipeline.picture.detections import Detections, Result
from pipeline.sinks.growing_file import GrowingFile
from pipeline.sinks.line_file import LineFile


class JsonLines:
    """Writes one line per frame and flushes it, so that a killed run leaves only complete lines.

    path: a file, which is overwritten with the first line, not before; or `-` for stdout. append: add to the lines that
    are there instead; a last one that a kill has torn is cut off, and logged. Raises SinkError if it cannot be written,
    or holds something else than lines of this kind.
    """

    def __init__(self, path: str | Path, *, append: bool = False) -> None:
        appends_to = LineFile(b'{"source": ', is_whole=_is_json) if append else None
        self._file = GrowingFile(path, "JSON lines", takes_stdout=True, appends_to=appends_to)

    def write(self, item: Result) -> None:
        """Write one line. Raises SinkError, and BrokenPipeError where the reader of stdout has gone."""
        # ASCII, because the name of a file, and so of a source, need not be valid UTF-8.
        self._file.write(json.dumps(as_json(item), allow_nan=False).encode() + b"\n")

    def close(self) -> None:
        """Close the file. May be called more than once."""
        self._file.close()


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def as_json(result: Result) -> dict[str, object]:
    """One frame's result in JSON types."""
    return {
        "source": result.frame.source_id,
        **({} if result.frame.image is None else {"image": result.frame.image}),
        "frame": result.frame.index,
        "pts": round_time(result.frame.pts_seconds),
        **({"carried": True} if result.is_carried else {}),
        "detections": [
            {"box": row.box, "score": row.score, "class_id": row.class_id, "class_name": row.class_name}
            | ({} if row.track_id is None else {"track_id": row.track_id})
            | ({"carried": True} if row.carried else {})
            | _attributes_of(result.detections, index)
            | _shape_of(result.detections, index)
            | _speed_of(result, index)
            for index, row in enumerate(result.rows())
        ],
        **_predicted(result),
        **({"events": [event_as_json(event) for event in result.events]} if result.events else {}),
        **({} if result.counting is None else {"counts": counts_as_json(result.counting)}),
    }


def _predicted(result: Result) -> dict[str, object]:
    """The lost objects of a tracker, where there are some."""
    if result.tracks is None or not len(result.tracks.predicted):
        return {}
    rows = replace(result, detections=result.tracks.predicted).rows()
    return {
        "predicted": [
            {"box": row.box, "class_id": row.class_id, "class_name": row.class_name, "track_id": row.track_id}
            for row in rows
        ]
    }


def _attributes_of(detections: Detections, index: int) -> dict[str, object]:
    """What a second model says of a detection, where there is one; empty where it is not sure enough of anything."""
    if detections.attributes is None:
        return {}
    return {"attributes": [attribute._asdict() for attribute in detections.attributes[index]]}


def _shape_of(detections: Detections, index: int) -> dict[str, object]:
    """The corners, the keypoints and the mask of a detection, where the detector gives them."""
    shape: dict[str, object] = {}
    if detections.corners is not None:
        shape["corners"] = [[round(x, 2), round(y, 2)] for x, y in detections.corners[index].tolist()]
    if detections.keypoints is not None:
        points = np.nan_to_num(detections.keypoints[index]).tolist()
        shape["keypoints"] = [[round(x, 2), round(y, 2), round(score, 4)] for x, y, score in points]
    if detections.masks is not None:
        shape["mask"] = detections.masks.rle(index)
    return shape


def _speed_of(result: Result, index: int) -> dict[str, object]:
    """The speed of a detection, where it is known."""
    if result.counting is None or result.counting.speeds_mps is None or np.isnan(result.counting.speeds_mps[index]):
        return {}
    return {"speed_mps": round(float(result.counting.speeds_mps[index]), 2)}
