"""Messages: what happens in a view → the JSON texts of its WebSocket, as docs/live-protocol.md describes them."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from pipeline.json_values import Json
from pipeline.picture.counting.as_json import counts_as_json, event_as_json
from pipeline.picture.counting.counts import Counts
from pipeline.picture.counting.event import Event
from pipeline.picture.detections import Result
from pipeline.serve.remux import Init

Mode = Literal["remux", "encode", "jpeg"]
"""How pictures come: the source's own packets, one encode for all viewers, or JPEGs."""

_ENCODER = json.JSONEncoder(separators=(",", ":"))
_MOST_DETECTIONS = 1000  # in a message; more cannot be told apart on a screen
_MOST_EVENTS = 100  # in a message


def init_message(
    mode: Mode, *, class_names: Sequence[str], size_wh: tuple[int, int], init: Init | None = None, reason: str = ""
) -> str:
    """What comes next, before anything else. size_wh: of the pictures in which the boxes are. reason: of the mode."""
    return _text(
        t="init",
        mode=mode,
        reason=reason,
        mime="image/jpeg" if init is None else init.mime,
        w=size_wh[0],
        h=size_wh[1],
        classes=list(class_names),
        clock={"monotonic": round(time.monotonic(), 6), "unix": round(time.time(), 6)},
    )


def boxes_message(
    result: Result, pts_seconds: float, *, now_seconds: float, events: Sequence[Event] | None = None
) -> str:
    """The boxes and counts of a frame, in source pixels, with the media time of its picture in this view.

    events: None: those of the frame; else also of frames before it that no message tells of.
    """
    frame, detections = result.frame, result.detections
    track_ids: Sequence[int | None]
    ids = [None] * len(detections) if detections.track_ids is None else detections.track_ids.tolist()
    track_ids = [None if track_id == -1 else track_id for track_id in ids]  # -1: of no confirmed track
    rows = zip(
        detections.boxes_xyxy.astype(np.float64).round(1).tolist(),  # float32 would have more digits
        detections.scores.astype(np.float64).round(3).tolist(),
        detections.class_ids.tolist(),
        track_ids,
        strict=True,
    )
    dets: list[Json] = [[*box, score, cls, track] for box, score, cls, track in rows]
    events = result.events if events is None else events
    counting: dict[str, Json] = {} if result.counting is None else {"counts": _drawable(result.counting)}
    if events:
        counting["events"] = [event_as_json(event) for event in events[-_MOST_EVENTS:]]
    return _text(
        t="boxes",
        pts=round(pts_seconds, 6),
        frame=frame.index,
        capture=round(frame.captured_at_seconds, 6),
        age_ms=round(1000 * (now_seconds - frame.captured_at_seconds), 1),
        dets=dets[:_MOST_DETECTIONS],
        **counting,
    )


def drop_message(num: int) -> str:
    """Fragments or pictures were left out, because the viewer was too slow; a key frame is next."""
    return _text(t="drop", n=num)


def stats_message(statistics: Mapping[str, Json]) -> str:
    """The numbers of the source and of the run, once a second."""
    return _text(t="stats", **statistics)


def end_message() -> str:
    """The source has ended."""
    return _text(t="end")


def _drawable(counts: Counts) -> dict[str, Json]:
    """The counts of lines and zones by name, with their points in source pixels."""
    points: dict[str, Json] = {line.name: line.points_xy.round(1).tolist() for line in counts.lines}
    points |= {zone.name: zone.points_xy.round(1).tolist() for zone in counts.zones}
    unreachable: dict[str, Json] = {"unreachable": [*counts.unreachable]} if counts.unreachable else {}
    return unreachable | {
        kind: {name: {"points": points[name], **numbers} for name, numbers in shapes.items()}
        for kind, shapes in counts_as_json(counts).items()
        if isinstance(shapes, dict)
    }


def _text(**values: Json) -> str:
    return _ENCODER.encode(values)


def media_message(media: bytes, texts: Sequence[str] = ()) -> bytes:
    """Fragments, or an init segment, with texts before them, because sending costs more than what is sent.

    A big-endian 32-bit number of bytes, and as many of an array of those texts in JSON, none where there are none.
    """
    data = f"[{','.join(texts)}]".encode() if texts else b""
    return len(data).to_bytes(4, "big") + data + media
