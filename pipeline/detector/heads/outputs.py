"""Heads' common ground: a network's outputs by the spec's names → arrays, and boxes in network pixels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from pipeline.detector.runtime_types import Array
from pipeline.errors import ModelError, OutputError
from pipeline.picture.boxes import convert
from pipeline.picture.candidates import Candidates
from pipeline.picture.detections import FloatArray
from pipeline.picture.detector_spec import DetectorSpec

Outputs = Mapping[str, Array]
"""Output name → array, batch first."""


class Head(Protocol):
    """Reads one output convention. Thresholds first, so that the cost follows the few that survive."""

    def __call__(self, outputs: Outputs, spec: DetectorSpec, *, score_threshold: float, batch_index: int) -> Candidates:
        """The candidates of image `batch_index` with a score of at least `score_threshold`."""


def output(outputs: Outputs, spec: DetectorSpec, index: int = 0) -> Array:
    """The output that the spec names at an index; if it names none, the only one.

    Raises ModelError if the model has no such output.
    """
    if not spec.outputs and len(outputs) == 1 and index == 0:
        return next(iter(outputs.values()))
    try:
        return outputs[spec.outputs[index]]
    except (IndexError, KeyError):
        names = ", ".join(spec.outputs) or "one output"
        raise ModelError(f"head {spec.head} reads {names}, the model returns {', '.join(outputs)}") from None


def refuse_not_finite(values: Array, spec: DetectorSpec, *, what: str = "scores") -> None:
    """Raise OutputError for NaN or infinity: such scores may fail every threshold, and look like an empty scene."""
    lowest, highest = np.min(values, initial=0), np.max(values, initial=0)  # NaN where one is
    if not (np.isfinite(lowest) and np.isfinite(highest)):
        kind = "NaN" if np.isnan(lowest) else "infinity"
        raise OutputError(
            f"{spec.model_name or 'the model'} returns {kind} for {what}, as a network does that overflows in float16; "
            "run it in float32, or leave such frames out with --no-strict"
        )


def refuse_other_classes(num_classes: int, spec: DetectorSpec, *, may_be_more: bool = False) -> None:
    """Raise ModelError where an output has other classes than there are names.

    may_be_more: columns of masks, of which there are 32, or of keypoints, of 2 or 3 numbers, may follow them.
    """
    num_names = len(spec.class_names)
    num_more = num_classes - num_names
    is_of_others = may_be_more and num_more > 0 and (num_more % 3 == 0 or num_more % 2 == 0)
    if num_more and not is_of_others:
        raise ModelError(
            f"head {spec.head} reads {num_names} classes, the model returns {num_classes}; see --class-names"
        )


def boxes_to_network(boxes: Array, spec: DetectorSpec) -> FloatArray:
    """Boxes [M, 4] as the spec says that the network returns them → xyxy in network pixels."""
    boxes = boxes.astype(np.float32)  # [M, 4]; before the scaling: float16 has whole pixels only above 1024
    boxes = convert(boxes, spec.box_format, "xyxy")
    return boxes * np.array(spec.network_wh * 2, np.float32) if spec.boxes_are_normalised else boxes
