"""Exportable: a PyTorch detector as body and decode, with the spec and the reference that prove its file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from torch import Tensor, nn

from pipeline.picture.candidates import Candidates
from pipeline.picture.detector_spec import DetectorSpec

Reference = Callable[[Tensor], Sequence[Candidates]]
"""uint8 [N, h, w, 3], letterboxed to the network's size, in the spec's colour order → the detections of the original
model by its own forward, normalisation and suppression, down to a score of 0.05 or lower, in network pixels."""


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """A detector that a user wants to export; None is the family's own value."""

    name: str
    weights: Literal["DEFAULT", "none"] = "DEFAULT"
    checkpoint: Path | None = None
    num_classes: int | None = None
    class_names: tuple[str, ...] | None = None
    network_wh: tuple[int, int] | None = None

    @property
    def uses_published_weights(self) -> bool:
        """Neither a checkpoint nor random ones."""
        return self.weights != "none" and self.checkpoint is None

    @property
    def uses_random_weights(self) -> bool:
        """Whether there are no others."""
        return self.weights == "none" and self.checkpoint is None

    @property
    def num_requested_classes(self) -> int:
        """By number or by names; 0 if the request says neither."""
        return self.num_classes or len(self.class_names or ())


@dataclass(frozen=True, slots=True)
class Exportable:
    """A PyTorch detector in eval mode, in two parts for export, and whole for comparison.

    `body` takes normalised pixels, float [N, 3, h, w] as `spec` says, and returns a tuple of tensors, batch first (or
    images and anchors flattened into one side, if the decoder takes them so). It may run in float16.
    `decode` takes these as float32 and returns boxes [N, K, 4] xyxy in network pixels, scores [N, K] in 0..1, best
    first, class ids int64 [N, K] into `spec.class_names`, and then the outputs named by `more_outputs`: `masks`
    [N, K, h, w] in 0..1, stretched over their boxes, or `keypoints` [N, K, points, 3] x, y in network pixels and score.
    Both must be exportable with a dynamic batch N and fixed K.
    """

    body: nn.Module
    decode: nn.Module
    spec: DetectorSpec  # of the boxes form: head "boxes", uint8 NHWC, any batch
    reference: Reference | None  # None: it runs as body and decode only
    more_outputs: tuple[str, ...] = ()
    body_outputs: tuple[str, ...] = ()  # the names of the body's outputs, for the body form
    body_head: DetectorSpec | None = None  # how the runtime reads the body form; None: it cannot
    no_body_because: str = "its proposals are read again by a second stage"
    inner_iou_threshold: float | None = None  # of the NMS inside `decode`, if there is one
    half_is_refused_because: str = ""  # why float16 breaks the body, if it does


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
