"""Verification: a file and its reference detector, run on the same images → evidence, and the file's certificate.

Both run from pixels to boxes in source pixels, and their detections are matched as sets.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial

import numpy as np

from export.proof.images import ProofImage, images_hash, in_batches
from pipeline.accuracy.coco import precision_against, precision_on_labels
from pipeline.accuracy.truth import LabelledData
from pipeline.detector.detector import DetectFunction
from pipeline.errors import MissingExtraError
from pipeline.picture.detections import Detections
from pipeline.picture.frame import Picture
from pipeline.picture.parity import Bar, Parity, compare
from pipeline.version import __version__

# Both sides return detections down to this share of the compared score, so that .0501 finds its partner at .0499.
ASKED_SHARE = 0.8
_CONFIDENT_SCORE = 0.25
_RUINED_AP = 0.5


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Accuracy on labelled images, 0 to 1: of a file, and of the reference of its comparison."""

    ap: float
    ap50: float
    reference_ap: float
    reference_ap50: float
    difference_ap: float  # below 0 if the file is worse


@dataclass(frozen=True, slots=True)
class Evidence:
    """The outcome of a comparison of two detectors."""

    parity: Parity
    bar: Bar
    num_images: int
    images_sha256: str
    batch_sizes: tuple[int, ...]
    worst_image: str | None
    accuracy: Accuracy | None  # None without labels
    agreement_ap: float | None = None  # AP against the reference's confident detections, if the bar is not met
    largest_ap_drop: float | None = None  # replaces the bar, for a file that is meant to be less exact

    @property
    def is_ruined(self) -> bool:
        """Whether the two hardly find the same objects any more."""
        return self.agreement_ap is not None and self.agreement_ap < _RUINED_AP

    @property
    def passes(self) -> bool:
        """Whether the bar is met."""
        if self.largest_ap_drop is not None and self.accuracy is not None:
            return self.accuracy.difference_ap >= -self.largest_ap_drop
        return self.bar.passed_by(self.parity)

    def shortfall(self) -> str:
        """Why the bar is not met, for the user."""
        if not self.parity.num_detections:
            return (
                f"nothing was found in {self.num_images} images by either detector, so nothing was compared; "
                "pass photographs with objects in them: --verify-on FOLDER"
            )
        bar = (
            f"{self.parity}; the bar is {self.bar.least_matched_share:.1%} at IoU {self.bar.least_iou:g} and "
            f"{self.bar.largest_score_difference:g} in score"
        )
        return bar + "".join(self._remarks())

    def _remarks(self) -> Iterator[str]:
        if self.worst_image:
            yield f", the worst image is {self.worst_image!r}"
        if self.agreement_ap is not None:
            yield f"; AP is {self.agreement_ap:.3f} against the other's confident detections"
        if self.accuracy is not None:
            yield f"; AP is {self.accuracy.ap:.3f} instead of {self.accuracy.reference_ap:.3f}"


OnImage = Callable[[int, int], None]
"""Is called after each image with how many times one was run, and how many times one will be in all."""


def no_report(done: int, total: int) -> None:
    """An `OnImage` that does nothing."""


def gather_evidence(
    detector: DetectFunction,
    reference: DetectFunction,
    images: Sequence[ProofImage],
    *,
    bar: Bar,
    batch_sizes: Sequence[int] = (1, 2, 3, 4),
    labels: LabelledData | None = None,
    class_names: Sequence[str] = (),
    iou_threshold: float | None = None,
    max_detections: int | None = None,
    proposals: DetectFunction | None = None,
    on_image: OnImage = no_report,
) -> Evidence:
    """Run both on the images, the reference one by one, the file one by one and in batches, and compare.

    Both return detections down to `ASKED_SHARE` of the bar's `score_from`.

    proposals: the detections of the file before its NMS, run only if something does not match; see `compare`.
    """
    in_batches_too = max(batch_sizes) > 1
    counted = _Counted(on_image, total=(3 if in_batches_too else 2) * len(images))
    reference, detector = counted.counting(reference), counted.counting(detector)
    theirs, alone = _one_by_one(reference, images), _one_by_one(detector, images)
    rounds = [alone]
    if in_batches_too:
        rounds.append(_in_batches(detector, images, batch_sizes))
    agreement = partial(compare, theirs=theirs, bar=bar, iou_threshold=iou_threshold, max_detections=max_detections)
    parities = [agreement(ours) for ours in rounds]
    all_match = all(parity.worst_image is None for parity in parities)
    if proposals is not None and iou_threshold is not None and not all_match:
        before_nms = _one_by_one(proposals, images)
        parities = [agreement(ours, proposals=before_nms) for ours in rounds]
    parity = min(parities, key=lambda p: (p.matched_share, p.least_iou, -p.largest_score_difference))
    worst = parity.worst_image
    return Evidence(
        parity,
        bar,
        len(images),
        images_hash(images),
        tuple(sorted(set(batch_sizes))),
        None if worst is None else images[worst].name,
        None if labels is None else _accuracy_on(labels, images, class_names, alone, theirs),
        None if bar.passed_by(parity) else _agreement(alone, theirs),
    )


class _Counted:
    """Counts the images that go through several detectors."""

    def __init__(self, on_image: OnImage, *, total: int) -> None:
        self._on_image, self._total, self._done = on_image, total, 0

    def counting(self, detect: DetectFunction) -> DetectFunction:
        """The same detector, counted."""

        def counted(pictures: Sequence[Picture]) -> list[Detections]:
            detections = detect(pictures)
            self._done += len(pictures)
            self._on_image(self._done, self._total)
            return detections

        return counted


def _one_by_one(detect: DetectFunction, images: Sequence[ProofImage]) -> list[Detections]:
    return [detect([image.picture])[0] for image in images]


def _in_batches(detect: DetectFunction, images: Sequence[ProofImage], batch_sizes: Sequence[int]) -> list[Detections]:
    batches = in_batches(images, batch_sizes)
    return [one for batch in batches for one in detect([images[index].picture for index in batch])]


def _accuracy_on(
    labels: LabelledData,
    images: Sequence[ProofImage],
    class_names: Sequence[str],
    ours: Sequence[Detections],
    reference: Sequence[Detections],
) -> Accuracy:
    names = [image.name for image in images]
    return accuracy_of(
        precision_on_labels(ours, names, class_names, labels),
        precision_on_labels(reference, names, class_names, labels),
    )


def accuracy_of(ours: tuple[float, float], reference: tuple[float, float]) -> Accuracy:
    """AP and AP50 of a file and of its reference, rounded to five places, and the difference in AP."""
    return Accuracy(
        ap=round(ours[0], 5),
        ap50=round(ours[1], 5),
        reference_ap=round(reference[0], 5),
        reference_ap50=round(reference[1], 5),
        difference_ap=round(ours[0] - reference[0], 5),
    )


def _agreement(ours: Sequence[Detections], reference: Sequence[Detections]) -> float | None:
    """AP against the reference's confident detections; None if there are none or pycocotools is not installed."""
    if not any((detections.scores >= _CONFIDENT_SCORE).any() for detections in reference):
        return None
    try:
        return precision_against(ours, reference, score_threshold=_CONFIDENT_SCORE)[0]
    except MissingExtraError:
        return None


def certificate(
    evidence: Evidence,
    *,
    against: str,
    graph_sha256: str,
    weights_sha256: str | None = None,
    is_forced: bool = False,
    devices: Mapping[str, str] | None = None,
) -> dict[str, object]:
    """The evidence as written into a file's metadata, in JSON types.

    devices: the outcome of each further device of this machine against the CPU.
    """
    parity = evidence.parity
    versions = {name: _version(name) for name in ("torch", "torchvision", "transformers", "onnxruntime", "onnx")}
    return {
        "passed": evidence.passes,
        "forced": is_forced,
        "against": against,
        "num_images": evidence.num_images,
        "num_detections": parity.num_detections,
        "num_on_edge": parity.num_on_edge,
        "matched_share": round(parity.matched_share, 6),
        "least_iou": round(parity.least_iou, 6),
        "largest_score_difference": float(
            np.format_float_positional(parity.largest_score_difference, 3, fractional=False)
        ),
        "num_class_flips": parity.num_class_flips,
        "least_mask_iou": parity.least_mask_iou,
        "least_points_share": parity.least_points_share,
        "agreement_ap": evidence.agreement_ap,
        "accuracy": None if evidence.accuracy is None else asdict(evidence.accuracy),
        "batch_sizes": list(evidence.batch_sizes),
        "largest_ap_drop": evidence.largest_ap_drop,
        "bar": asdict(evidence.bar),
        "images_sha256": evidence.images_sha256,
        "weights_sha256": weights_sha256,
        "graph_sha256": graph_sha256,
        "devices": dict(devices or {}),
        "versions": {"streamdet": __version__, **{name: version for name, version in versions.items() if version}},
        "date": _today(),
    }


def with_class_names(detector: DetectFunction, theirs: Sequence[str], ours: Sequence[str]) -> DetectFunction:
    """A detector with class ids into our names instead of its own; a name that we lack gets an id behind ours.

    The detector itself if no name is common.
    """
    if tuple(theirs) == tuple(ours) or not set(theirs) & set(ours):
        return detector
    our_ids = {name: class_id for class_id, name in enumerate(ours)}
    table = np.array([our_ids.get(name, len(ours) + index) for index, name in enumerate(theirs)], np.int64)

    def renamed(pictures: Sequence[Picture]) -> list[Detections]:
        return [replace(detections, class_ids=table[detections.class_ids]) for detections in detector(pictures)]

    return renamed


def _version(distribution: str) -> str | None:
    for name in (distribution, f"{distribution}-gpu"):
        try:
            return importlib.metadata.version(name).split("+")[0]
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


def _today() -> str:
    """The date in UTC, or that of SOURCE_DATE_EPOCH, so that a build can be repeated byte for byte."""
    seconds = os.environ.get("SOURCE_DATE_EPOCH")
    moment = (
        datetime.datetime.fromtimestamp(int(seconds), datetime.UTC) if seconds else datetime.datetime.now(datetime.UTC)
    )
    return moment.date().isoformat()
