"""What does every head make of a network's outputs?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from pipeline.errors import ModelError
from pipeline.picture.candidates import Candidates
from pipeline.picture.detections import FloatArray
from pipeline.picture.detector_spec import DetectorSpec

Outputs = Mapping[str, npt.NDArray[Any]]
"""What the network returned: output name → array, batch first."""


class Head(Protocol):
    """Reads one output convention. Thresholds first, so that the cost follows the few that survive."""

    def __call__(self, outputs: Outputs, spec: DetectorSpec, *, score_threshold: float, batch_index: int) -> Candidates:
        """The candidates of image `batch_index` with a score of at least `score_threshold`."""


def only_output(outputs: Outputs, spec: DetectorSpec) -> npt.NDArray[Any]:
    """The single output of a convention that has one. Raises ModelError if there are several."""
    if len(outputs) != 1:
        raise ModelError(f"head {spec.head} reads one output, the model returns {', '.join(outputs)}")
    return next(iter(outputs.values()))


def boxes_to_network(boxes: npt.NDArray[Any], spec: DetectorSpec) -> FloatArray:
    """Boxes [M, 4] as the spec says that the network returns them → xyxy in network pixels."""
    boxes = boxes.astype(np.float32)  # [M, 4]; before the scaling: float16 has whole pixels only above 1024
    if spec.box_format == "cxcywh":
        centres, halves = boxes[:, :2], boxes[:, 2:] / 2
        boxes = np.concatenate([centres - halves, centres + halves], axis=1)
    elif spec.box_format == "xywh":
        boxes = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
    elif spec.box_format == "yxyx":
        boxes = boxes[:, [1, 0, 3, 2]]
    return boxes * np.array(spec.network_wh * 2, np.float32) if spec.boxes_are_normalised else boxes
