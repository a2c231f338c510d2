"""Agreement of a device: an engine's detections against those of the CPU in fp32, on the same pictures.

The reference is ONNX Runtime's own CPU provider. Another provider may load and run a file without an error and still
detect something else: statically quantized YOLO files detected nothing on OpenVINO. So a faster device is used only
after this check.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.detector.detector import EngineDetector
from pipeline.detector.engine import Engine, OrtEngine
from pipeline.errors import ModelError
from pipeline.picture.detections import Detections
from pipeline.picture.frame import Picture
from pipeline.picture.parity import FP32_BAR, Bar, compare
from pipeline.remembered import from_finding

ROUNDED_BAR = Bar(
    least_iou=0.9, largest_score_difference=0.05, least_matched_share=0.98, least_mask_iou=0.8, score_from=0.25
)
"""Of arithmetic that rounds more than fp32: TF32, bf16, fp16, INT8."""

_ENOUGH = 20  # detections of both sides together; with fewer, less sure ones are compared as well
_LOWER_SCORES = (0.05, 0.01, 0.001)
_LOWER_SHARE = 0.5  # both sides are asked for detections from half the score on, so that none lacks its partner
_OUTPUTS_APART = {True: 1e-3, False: 0.1}  # by whether it computes in fp32: of raw outputs, where nothing is found


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far an engine finds what the reference finds."""

    device: str
    precision: str
    passes: bool
    num_images: int
    num_detections: int  # of both sides together; 0: raw outputs were compared
    matched_share: float
    least_iou: float
    largest_score_difference: float
    score_from: float
    least_matched_share: float  # that was asked for
    note: str = ""

    def __str__(self) -> str:
        if self.note:
            return self.note
        return (
            f"{self.matched_share:.1%} of {self.num_detections} detections from score {self.score_from:g} on are those "
            f"of the CPU in fp32 (asked: {self.least_matched_share:.1%}), least IoU {self.least_iou:.3f}, "
            f"largest score difference {self.largest_score_difference:.2g}, in {self.num_images} pictures"
        )

    def to_json(self) -> dict[str, Any]:
        """As JSON types; `from_json` reads it back."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Agreement:
        """Raises TypeError for what `to_json` of this version did not write."""
        return from_finding(cls, values)


def needs_proof(engine: OrtEngine) -> bool:
    """Whether an engine is anything but the reference itself."""
    return engine.device != "cpu"


def bar_of(engine: Engine) -> Bar:
    """What is asked of an engine, by what it computes in; a float16 file rounds wherever it is run."""
    certified = (engine.spec.parity or {}).get("bar") or {}
    is_half = certified.get("least_iou", FP32_BAR.least_iou) < FP32_BAR.least_iou
    return FP32_BAR if engine.precision == "fp32" and not is_half else ROUNDED_BAR


def agreement_of(engine: OrtEngine, reference: OrtEngine, pictures: Sequence[Picture], *, batch: int = 1) -> Agreement:
    """Compare an engine with the reference, in batches of `batch` on its side where the network takes any."""
    bar = bar_of(engine)
    is_exact = bar is FP32_BAR
    blank = Agreement(
        engine.device, engine.precision, False, len(pictures), 0, 0.0, 1.0, 0.0, bar.score_from, bar.least_matched_share
    )
    lowest_score = _LOWER_SHARE * _LOWER_SCORES[-1]
    expected = _detections(reference, pictures, lowest_score, batch=1)
    try:
        detections = _detections(engine, pictures, lowest_score, batch=batch)
    except ModelError as error:  # NaN, impossible scores: the reference had none
        return replace(blank, note=f"its outputs cannot be read: {error}")
    iou_threshold = engine.spec.iou_threshold if engine.spec.needs_nms else None
    for score_from in (bar.score_from, *(score for score in _LOWER_SCORES if score < bar.score_from)):
        lowered = replace(bar, score_from=score_from)
        ours, theirs = (_from(side, _LOWER_SHARE * score_from) for side in (detections, expected))
        parity = compare(ours, theirs, lowered, iou_threshold=iou_threshold, max_detections=engine.spec.max_detections)
        agreement = replace(
            blank,
            passes=lowered.passed_by(parity),
            num_detections=parity.num_detections,
            matched_share=parity.matched_share,
            least_iou=parity.least_iou,
            largest_score_difference=parity.largest_score_difference,
            score_from=score_from,
        )
        if parity.num_detections >= _ENOUGH:
            return agreement
    if agreement.num_detections:
        return agreement
    apart = _outputs_apart(engine, reference)
    limit = _OUTPUTS_APART[is_exact]
    note = f"nothing is found in the pictures; raw outputs differ by {apart:.2g} of their size (allowed: {limit:g})"
    return replace(blank, passes=apart <= limit, note=note)


def _detections(engine: Engine, pictures: Sequence[Picture], score: float, *, batch: int) -> list[Detections]:
    detect = EngineDetector(engine, score_threshold=score)
    step = 1 if engine.spec.batch is not None else batch
    batches = (pictures[start : start + step] for start in range(0, len(pictures), step))
    return [detections for pictures_of_batch in batches for detections in detect(pictures_of_batch)]


def _from(detections: Sequence[Detections], score: float) -> list[Detections]:
    return [of_image.select(of_image.scores >= np.float32(score)) for of_image in detections]


def _outputs_apart(engine: OrtEngine, reference: OrtEngine) -> float:
    """How far the outputs for noise lie apart, as a share of their size; infinite for NaN."""
    ours, theirs = (side.infer_noise() for side in (engine, reference))
    worst = 0.0
    for name, expected in theirs.items():
        if expected.dtype.kind != "f" or not expected.size:
            continue
        norm = float(np.linalg.norm(_flat(expected)))
        difference = float(np.linalg.norm(_flat(ours[name]) - _flat(expected)))
        worst = max(worst, difference / max(norm, 1e-6) if np.isfinite(difference) else np.inf)
    return worst


def _flat(values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    return values.astype(np.float64).ravel()
