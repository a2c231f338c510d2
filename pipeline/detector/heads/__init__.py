"""Which output conventions can be read? A new one is a function in a file of this folder and a line here."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from pipeline.detector.heads.boxes import boxes
from pipeline.detector.heads.candidates import Head, Outputs
from pipeline.detector.heads.yolo import yolov5, yolov8, yolox

__all__ = ["HEADS", "Head", "Outputs"]

HEADS: Mapping[str, Head] = MappingProxyType({"boxes": boxes, "yolov5": yolov5, "yolov8": yolov8, "yolox": yolox})
"""`DetectorSpec.head` → the function that reads it."""
