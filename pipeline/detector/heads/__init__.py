"""Which output conventions can be read? A new one is a file in this folder and a line here."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from pipeline.detector.heads import detr, fastestdet, gfl, lists, ssd, table, yolo, yolo_readings
from pipeline.detector.heads.boxes import boxes
from pipeline.detector.heads.claims import Claims
from pipeline.detector.heads.outputs import Head, Outputs

__all__ = ["FAMILIES", "HEADS", "Head", "Outputs"]

_quiet = np.errstate(all="ignore")  # numbers of a broken network are refused with the reason later, not warned about

HEADS: Mapping[str, Head] = MappingProxyType(
    {
        "boxes": boxes,  # computes nothing that could warn
        "detr": _quiet(detr.detr),
        "fastestdet": _quiet(fastestdet.fastestdet),
        "lists": _quiet(lists.lists),
        "nanodet": _quiet(gfl.nanodet),
        "nanodet_plus": _quiet(gfl.nanodet_plus),
        "picodet": _quiet(gfl.picodet),
        "ssd_decoded": _quiet(ssd.ssd_decoded),
        "ssd_raw": _quiet(ssd.ssd_raw),
        "table": _quiet(table.table),
        "yolov5": _quiet(yolo.yolov5),
        "yolov8": _quiet(yolo.yolov8),
        "yolox": _quiet(yolo.yolox),
    }
)
"""`DetectorSpec.head` → the function that reads it."""

FAMILIES: Mapping[Claims, tuple[str, ...]] = MappingProxyType(
    {
        yolo_readings.claims: ("yolov5", "yolov8", "yolox"),
        table.claims: ("table",),
        lists.claims: ("lists",),
        detr.claims: ("detr",),
        ssd.claims: ("ssd_decoded", "ssd_raw"),
        gfl.claims: ("nanodet", "nanodet_plus", "picodet"),
        fastestdet.claims: ("fastestdet",),
    }
)
"""What can claim a foreign file → the heads that it claims it for."""
