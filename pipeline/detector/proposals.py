"""Proposals: a network input → the boxes that a network of crops looks at, its second input `rois`.

R-CNN, SPP-Net and Fast R-CNN classify boxes that somebody else proposes. A spec with `num_rois` takes as many of them
for each image, xyxy in network pixels, the rest of the rows zeros, which the network scores 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.detector.selective_search import selective_search
from pipeline.detector.tensor import Tensor
from pipeline.picture.boxes import FloatArray
from pipeline.picture.detector_spec import DetectorSpec
from pipeline.picture.letterbox import Letterbox


@dataclass(frozen=True, slots=True)
class ProposedTensor:
    """A network input and its proposals: tensor uint8 [1, h, w, 3], rois float32 [1, num_rois, 4]."""

    tensor: Tensor
    rois: FloatArray


def propose(tensor: Tensor, letterbox: Letterbox, spec: DetectorSpec) -> FloatArray:
    """The rois [1, num_rois, 4] of a tensor uint8 [1, h, w, 3], by selective search outside of the padding."""
    rows, columns = letterbox.content_window
    content = np.ascontiguousarray(tensor[0, rows, columns])
    if spec.colour == "bgr":
        content = np.ascontiguousarray(content[..., ::-1])
    boxes = selective_search(content) + np.array([columns.start, rows.start] * 2, np.float32)
    return padded_rois(boxes, spec.num_rois)[None]


def padded_rois(boxes_xyxy: FloatArray, num_rois: int) -> FloatArray:
    """The first of boxes [P, 4], and zeros behind them: [num_rois, 4]."""
    rois = np.zeros((num_rois, 4), np.float32)
    rois[: len(boxes_xyxy)] = boxes_xyxy[:num_rois]
    return rois


def whole_picture(spec: DetectorSpec, batch: int) -> FloatArray:
    """Rois [batch, num_rois, 4] of which the first is the whole picture, for a run without proposals."""
    return np.repeat(padded_rois(np.array([[0, 0, *spec.network_wh]], np.float32), spec.num_rois)[None], batch, axis=0)
