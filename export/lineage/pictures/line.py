"""The line: one frame, seen by every system → a page with a panel each, in the order of their years."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from export.lineage.pictures.sheet import BLUE, GREEN, ORANGE, RED, Sheet, draw_boxes
from pipeline.picture.boxes import FloatArray
from pipeline.picture.detections import Detections
from pipeline.picture.frame import PixelArray

_COLUMNS = 2
_COLOURS = (RED, BLUE, GREEN, ORANGE)  # of classes, in their order
_COLOUR_NAMES = ("red", "blue", "green", "orange")
View = tuple[str, Detections]
"""The caption of a panel, and the detections in it."""


def draw_line(path: Path, pixels: PixelArray, views: Sequence[View], class_names: Sequence[str]) -> None:
    """Draw the frame uint8 [H, W, 3] BGR as each system sees it; a colour a class. Raises SinkError."""
    rows = math.ceil(len(views) / _COLUMNS)
    words = ", ".join(f"{name} {colour}" for name, colour in zip(class_names, _COLOUR_NAMES, strict=False))
    height, width = pixels.shape[:2]
    sheet = Sheet(rows, _COLUMNS, title=f"The same frame ({words})", panel_wh=(6.0, 6.0 * height / width + 0.3))
    for number, (caption, detections) in enumerate(views):
        axes = sheet.picture(*divmod(number, _COLUMNS), pixels, caption=caption)
        for class_id in sorted(set(detections.class_ids.tolist())):
            boxes: FloatArray = detections.boxes_xyxy[detections.class_ids == class_id]
            draw_boxes(axes, boxes, _COLOURS[class_id % len(_COLOURS)], width=2.0)
    for number in range(len(views), rows * _COLUMNS):
        sheet.leave_empty(*divmod(number, _COLUMNS))
    sheet.write(path)
