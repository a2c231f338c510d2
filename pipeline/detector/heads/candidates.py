"""What does every head make of a network's outputs?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from pipeline.errors import ModelError
from pipeline.picture.detections import FloatArray, IntArray
from pipeline.picture.detector_spec import DetectorSpec

Outputs = Mapping[str, npt.NDArray[Any]]
"""What the network returned: output name → array, batch first."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """The boxes of one image that reach the score threshold, before suppression, in network pixels."""

    boxes_xyxy: FloatArray  # [M, 4], x right, y down
    scores: FloatArray  # [M]
    class_ids: IntArray  # [M], index into DetectorSpec.class_names


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
    return boxes * np.array(spec.network_wh * 2, np.float32) if spec.boxes_are_normalised else boxes
