"""Formats: the name of a format of labels → its sink."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.sinks.labels.coco import CocoLabels
from pipeline.sinks.labels.cvat import CvatLabels
from pipeline.sinks.labels.label_sink import LabelSink
from pipeline.sinks.labels.label_studio import LabelStudioLabels
from pipeline.sinks.labels.voc import VocLabels
from pipeline.sinks.labels.yolo import YoloLabels

FORMATS: Mapping[str, type[LabelSink]] = {
    "yolo": YoloLabels,
    "coco": CocoLabels,
    "voc": VocLabels,
    "label-studio": LabelStudioLabels,
    "cvat": CvatLabels,
}
