"""Counting in JSON types: an event or the counts of a source → what files, reports and messages hold of it."""

from __future__ import annotations

from datetime import UTC, datetime

from pipeline.json_values import Json
from pipeline.picture.counting.counts import Counts
from pipeline.picture.counting.event import Event
from pipeline.picture.detection_rows import round_time


def event_as_json(event: Event) -> dict[str, Json]:
    """An event; what it does not have is left out, `time` is ISO 8601 in UTC."""
    values: dict[str, Json] = {
        "id": event.id,
        "kind": event.kind,
        "source": event.source_id,
        "name": event.name,
        "pts": round_time(event.pts_seconds),
        "frame": event.frame_index,
        "track_id": event.track_id,
        "class_name": event.class_name,
        "box": None if event.box_xyxy is None else [round(side, 2) for side in event.box_xyxy],
        "direction": event.direction,
        "dwell_s": None if event.dwell_seconds is None else round(event.dwell_seconds, 3),
        "count": event.count,
        "speed_mps": None if event.speed_mps is None else round(event.speed_mps, 2),
        "time": None if event.unix_seconds is None else _iso_time(event.unix_seconds),
    }
    return {name: value for name, value in values.items() if value is not None}


def counts_as_json(counts: Counts) -> dict[str, Json]:
    """Lines and zones by name, each with its numbers by class."""
    return {
        "lines": {line.name: {"in": {**line.num_in}, "out": {**line.num_out}} for line in counts.lines},
        "zones": {
            zone.name: {
                "inside": {**zone.inside},
                "appeared": {**zone.num_appeared},
                "entered": {**zone.num_entered},
                "left": {**zone.num_left},
                "mean_dwell_s": _rounded(zone.mean_dwell_seconds),
                "longest_dwell_s": _rounded(zone.longest_dwell_seconds),
            }
            for zone in counts.zones
        },
    }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)


def _iso_time(unix_seconds: float) -> str:
    return datetime.fromtimestamp(unix_seconds, UTC).isoformat(timespec="milliseconds")
