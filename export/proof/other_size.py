"""Proof of another size: a file, its copy for another input size, and pictures → evidence, and a certificate.

The two cannot agree to the last digit: where the copy has its border, the original saw grey. What that does to a
detector is measured on the original itself, with each picture at another place of its padding: nobody would call that
another detector. The copy passes if it is as close to the original as that, within a limit.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from export.proof.images import ProofImage, images_hash
from export.proof.verify import ASKED_SHARE, Evidence, accuracy_of, certificate
from pipeline.accuracy.coco import precision_against
from pipeline.detector.detector import EngineDetector
from pipeline.detector.engine import OrtEngine
from pipeline.detector.onnx_file import copy_with_metadata, graph_hash
from pipeline.errors import ModelError
from pipeline.picture.detections import Detections
from pipeline.picture.detector_spec import METADATA_KEY, DetectorSpec
from pipeline.picture.letterbox import ResizeMode
from pipeline.picture.parity import FP16_BAR, compare

ELSEWHERE: dict[ResizeMode, ResizeMode] = {
    "letterbox-center": "letterbox-topleft",
    "letterbox-topleft": "letterbox-center",
}


@dataclass(frozen=True, slots=True)
class SizeProof:
    """How close a copy and the moved pictures come to the original's own detections. AP 0 to 1, with AP50."""

    spec: DetectorSpec  # of the copy, with its certificate
    evidence: Evidence
    of_copy: tuple[float, float]
    of_moved: tuple[float, float]

    @property
    def passes(self) -> bool:
        """Whether the copy is as close as the limit asks."""
        return self.evidence.passes


def prove_size(
    model: Path,
    spec: DetectorSpec,
    copy: Path,
    copy_spec: DetectorSpec,
    images: Sequence[ProofImage],
    *,
    largest_drop: float,
    on_image: Callable[[], None] = lambda: None,
) -> SizeProof:
    """Compare a copy with its original, and write the certificate into the copy, whether it passes or not.

    largest_drop: how much less AP (0 to 1) than the moved pictures the copy may have, against the original's confident
    detections. Raises ModelError where the original detects nothing in the pictures, and for a copy that does not run.
    """
    reference, moved, ours = (
        _detections(path, of_path, images, on_image)
        for path, of_path in (
            (model, spec),
            (model, dataclasses.replace(spec, resize=ELSEWHERE[spec.resize])),
            (copy, copy_spec),
        )
    )
    if not any((in_image.scores >= spec.score_threshold).any() for in_image in reference):
        raise ModelError(
            f"{model} must detect something to be compared, it detects nothing from score {spec.score_threshold:g} on "
            f"in {len(images)} pictures; take a video with objects in it"
        )
    of_copy, of_moved = (
        precision_against(side, reference, score_threshold=spec.score_threshold) for side in (ours, moved)
    )
    evidence = Evidence(
        compare(ours, reference, FP16_BAR),
        FP16_BAR,
        len(images),
        images_hash(images),
        (1,),
        None,
        accuracy_of(of_copy, of_moved),
        largest_ap_drop=largest_drop,
    )
    against = f"{model.name} at {spec.network_wh[0]} x {spec.network_wh[1]}, and its pictures elsewhere in the padding"
    proved = dataclasses.replace(
        copy_spec, parity=certificate(evidence, against=against, graph_sha256=graph_hash(copy))
    )
    copy_with_metadata(copy, copy, {METADATA_KEY: proved.to_json()})
    return SizeProof(proved, evidence, of_copy, of_moved)


def _detections(
    path: Path, spec: DetectorSpec, images: Sequence[ProofImage], on_image: Callable[[], None]
) -> list[Detections]:
    engine = OrtEngine(path, spec, device="cpu")
    detect = EngineDetector(engine, score_threshold=FP16_BAR.score_from * ASKED_SHARE)
    detections = []
    for image in images:
        detections += detect([image.picture])
        on_image()
    engine.close()
    return detections
