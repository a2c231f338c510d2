"""Classes: the names of a detector's and of the data's → which of the data's each of the detector's is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from pipeline.picture.detections import Detections, IntArray

# COCO's names of classes → Pascal VOC's.
_VOC_NAMES = {
    "potted plant": "pottedplant",
    "motorcycle": "motorbike",
    "tv": "tvmonitor",
    "airplane": "aeroplane",
    "couch": "sofa",
    "dining table": "diningtable",
}
_COCO_NAMES = {voc: coco for coco, voc in _VOC_NAMES.items()}


def match_classes(detector_names: Sequence[str], data_names: Sequence[str]) -> IntArray:
    """For each of a detector's classes its index in the data's, -1 for one that the data does not have.

    COCO's and Pascal VOC's names of the same thing match, and case does not matter.
    """
    indices = {meaning_of(name): index for index, name in enumerate(data_names)}
    return np.array([indices.get(meaning_of(name), -1) for name in detector_names], np.int64)


def in_classes_of_data(detections: Detections, classes: IntArray) -> Detections:
    """The detections of classes that the data has, numbered as there; `classes` is of `match_classes`."""
    named = detections.select(detections.class_ids < len(classes))
    class_ids = classes[named.class_ids]  # [N]
    kept = named.select(class_ids >= 0)
    return replace(kept, class_ids=class_ids[class_ids >= 0])


def meaning_of(name: str) -> str:
    """One word for all names of a class: COCO's, in small letters."""
    name = name.strip().casefold()
    return _COCO_NAMES.get(name, name)
