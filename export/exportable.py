"""What must be known of a PyTorch detector to export it and to prove the file?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from torch import Tensor, nn

from pipeline.picture.candidates import Candidates
from pipeline.picture.detector_spec import DetectorSpec

Reference = Callable[[Tensor], Sequence[Candidates]]
"""uint8 [N, h, w, 3], letterboxed to the network's size, in the spec's colour order → what the original model finds in
each image by its own forward, normalisation and suppression, down to a score of 0.05 or lower, in network pixels."""


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """Which detector a user asks for; None is the family's own."""

    name: str
    weights: Literal["DEFAULT", "none"] = "DEFAULT"
    checkpoint: Path | None = None
    num_classes: int | None = None
    class_names: tuple[str, ...] | None = None
    network_wh: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Exportable:
    """A PyTorch detector in eval mode, in two parts for export, and whole for comparison.

    `body` takes normalised pixels, float [N, 3, h, w] as `spec` says, and returns a tuple of tensors, batch first (or
    images and anchors flattened into one side, for what the decoder takes so). It may be run in float16.
    `decode` takes these as float32 and returns boxes [N, K, 4] xyxy in network pixels, scores [N, K] in 0..1, best
    first, class ids int64 [N, K] into `spec.class_names`, and then what `more_outputs` names: `masks` [N, K, h, w] in
    0..1, each stretched over its box, or `keypoints` [N, K, points, 3] x, y in network pixels and score. Both must be
    exportable with a dynamic batch N and fixed K.
    """

    body: nn.Module
    decode: nn.Module
    spec: DetectorSpec  # of the boxes form: head "boxes", uint8 NHWC, any batch
    reference: Reference | None  # None: there is no other way to run it than body and decode
    more_outputs: tuple[str, ...] = ()
    body_outputs: tuple[str, ...] = ()  # the names of what `body` returns, for the body form
    body_head: DetectorSpec | None = None  # how the runtime reads the body form; None: it cannot
    no_body_because: str = "its proposals are read again by a second stage"
    inner_iou_threshold: float | None = None  # of the NMS inside `decode`, where there is one
    half_is_refused_because: str = ""  # where float16 is known to break the body


def boxes_spec_of(body_spec: DetectorSpec) -> DetectorSpec:
    """The spec of the boxes form: pixels of the same picture as uint8 NHWC, any batch; boxes xyxy in network pixels."""
    return replace(
        body_spec,
        input_name="pixels",
        head="boxes",
        layout="nhwc",
        dtype="uint8",
        batch=None,
        outputs=(),
        box_format="xyxy",
        boxes_are_normalised=False,
        score_activation="none",
        first_class_id=0,
        anchors="",
        anchor_variances=(0.1, 0.1, 0.2, 0.2),
        form="boxes",
    )
