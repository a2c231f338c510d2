"""Results: rows of boxes, scores and classes → what a detector would have said of a frame."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.picture.detections import Detections, Result
from pipeline.picture.frame import Frame

CLASS_NAMES = ("person", "car", "dog")


def result_of(
    *class_ids: int,
    source_id: str = "street.mp4",
    image: str | None = None,
    track_ids: Sequence[int] | None = None,
    class_names: tuple[str, ...] = CLASS_NAMES,
) -> Result:
    """A frame of 8 × 6 pixels with one object a class id; scores fall from .9 to .8, boxes move right by a pixel."""
    num = len(class_ids)
    boxes = np.array([[index, 0, index + 2, 2] for index in range(num)], np.float32).reshape(-1, 4)
    detections = Detections(
        boxes,
        np.linspace(0.9, 0.8, num).astype(np.float32),
        np.array(class_ids, np.int64),
        track_ids=None if track_ids is None else np.array(track_ids, np.int64),
    )
    frame = Frame.from_pixels(np.zeros((6, 8, 3), np.uint8), source_id=source_id, image=image)
    return Result(frame, detections, class_names)
