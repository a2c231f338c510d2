"""Events: a time and a few words → what a line or zone would have said, and the result of the frame that shows it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pipeline.picture.counting.event import Event
from pipeline.picture.detections import Detections, Result
from pipeline.picture.frame import Frame


def crossing(
    pts_seconds: float = 1.0, *, track_id: int = 7, source_id: str = "street.mp4", class_name: str = "person"
) -> Event:
    """An object that crosses the gate inwards."""
    box = (1.0, 2.0, 5.0, 6.0)
    event = Event("crossed", source_id, "gate", pts_seconds, round(25 * pts_seconds), track_id)
    return replace(event, class_name=class_name, box_xyxy=box, direction="in")


def result_at(pts_seconds: float, *events: Event, pixels: np.ndarray | None = None) -> Result:
    """A frame without detections and with those events."""
    picture = np.zeros((48, 64, 3), np.uint8) if pixels is None else pixels
    source_id = events[0].source_id if events else "street.mp4"
    frame = Frame.from_pixels(picture, source_id=source_id, index=round(25 * pts_seconds), pts_seconds=pts_seconds)
    return Result(frame, Detections.empty(), ("person",), events=events)
