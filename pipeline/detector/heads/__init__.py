"""Heads: output conventions of detectors. A new one is a file in this folder and a row in each table here."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from pipeline.detector.heads import (
    detr,
    fastestdet,
    gfl,
    lists,
    lists_readings,
    ssd,
    ssd_readings,
    table,
    yolo,
    yolo_readings,
)
from pipeline.detector.heads.boxes import boxes
from pipeline.detector.heads.claims import Claims
from pipeline.detector.heads.outputs import Head, Outputs
from pipeline.errors import ModelError
from pipeline.picture.detector_spec import DetectorSpec

__all__ = ["FAMILIES", "HEADS", "Head", "Outputs", "head_of"]

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
        lists_readings.claims: ("lists",),
        detr.claims: ("detr",),
        ssd_readings.claims: ("ssd_decoded", "ssd_raw"),
        gfl.claims: ("nanodet", "nanodet_plus", "picodet"),
        fastestdet.claims: ("fastestdet",),
    }
)
"""The function that claims a foreign file → the heads that it claims it for."""


def head_of(spec: DetectorSpec) -> Head:
    """The function that reads a spec's outputs. Raises ModelError, which names the heads, for a head not among them."""
    try:
        return HEADS[spec.head]
    except KeyError:
        raise ModelError(f"head must be one of {', '.join(HEADS)}, got {spec.head}; update streamdet") from None
