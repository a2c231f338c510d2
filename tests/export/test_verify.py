"""Verification: the evidence of a comparison, and the certificate made of it."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pytest

from export.proof.images import ProofImage, images_hash, images_of
from export.proof.verify import Evidence, accuracy_of, certificate, gather_evidence, with_class_names
from pipeline.accuracy.truth import LabelledData, LabelledImage, Truth, marked
from pipeline.app.certificates import rows_of
from pipeline.detector.detector import EngineDetector
from pipeline.detector.engine import OrtEngine
from pipeline.detector.recognise import recognise
from pipeline.picture.detections import Detections
from pipeline.picture.frame import ArrayPicture, Picture
from pipeline.picture.parity import FP16_BAR, FP32_BAR
from tests.support.assets import MODELS, needs_assets

IMAGES = tuple(
    ProofImage(f"{number}.png", ArrayPicture(np.full((48, 64, 3), number, np.uint8))) for number in range(11)
)


def detections(score: float, *, class_id: int = 0) -> Detections:
    return Detections(
        np.array([[8, 8, 40, 40]], np.float32), np.array([score], np.float32), np.array([class_id], np.int64)
    )


class Recorder:
    """Finds one object in every picture, and remembers in what batches it was asked."""

    def __init__(self, *, score: float = 0.9, worse_from_batch: int = 99, blind_to: int = 99) -> None:
        self.batches: list[list[int]] = []
        self.score, self.worse_from_batch, self.blind_to = score, worse_from_batch, blind_to

    def __call__(self, pictures: Sequence[Picture]) -> list[Detections]:
        numbers = [int(picture.pixels[0, 0, 0]) for picture in pictures]
        self.batches.append(numbers)
        score = self.score - 0.1 * (len(pictures) >= self.worse_from_batch)
        return [Detections.empty() if number == self.blind_to else detections(score) for number in numbers]


def test_each_image_is_asked_alone_and_in_batches_of_every_size() -> None:
    detector, reference = Recorder(), Recorder()
    evidence = gather_evidence(detector, reference, IMAGES, bar=FP32_BAR)
    alone = [[number] for number in range(11)]
    assert reference.batches == alone
    assert detector.batches == [*alone, [0], [1, 2], [3, 4, 5], [6, 7, 8, 9], [10]]
    assert evidence.passes
    assert (evidence.num_images, evidence.batch_sizes, evidence.worst_image) == (11, (1, 2, 3, 4), None)
    assert evidence.images_sha256 == images_hash(IMAGES)


def test_a_file_that_takes_one_image_is_asked_once() -> None:
    detector = Recorder()
    gather_evidence(detector, Recorder(), IMAGES, bar=FP32_BAR, batch_sizes=(1,))
    assert len(detector.batches) == 11


def test_a_batch_that_says_something_else_than_its_images_alone_does_not_pass() -> None:
    evidence = gather_evidence(Recorder(worse_from_batch=3), Recorder(), IMAGES, bar=FP32_BAR)
    assert not evidence.passes
    assert evidence.parity.largest_score_difference == pytest.approx(0.1, abs=1e-6)
    assert evidence.parity.num_matched == 2 * 4  # of the batches of one and two


def test_the_worst_image_is_named() -> None:
    evidence = gather_evidence(Recorder(blind_to=7), Recorder(), IMAGES, bar=FP32_BAR)
    assert not evidence.passes
    assert evidence.worst_image == "7.png"
    assert "the worst image is '7.png'" in evidence.shortfall()
    assert "the bar is 100.0% at IoU 0.99 and 0.001 in score" in evidence.shortfall()


def test_nothing_found_is_said_as_such() -> None:
    def blind(pictures: Sequence[Picture]) -> list[Detections]:
        return [Detections.empty() for _ in pictures]

    evidence = gather_evidence(blind, blind, IMAGES, bar=FP32_BAR)
    assert not evidence.passes
    assert evidence.shortfall().startswith(
        "nothing was found in 11 images by either detector, so nothing was compared; "
    )


def labels(num: int) -> LabelledData:
    """A cat where it is found, in the first `num` images."""
    cats = [
        Truth.of(marked([(8, 8, 40, 40)] if number < num else [], [0] if number < num else [])) for number in range(11)
    ]
    images = tuple(LabelledImage(f"{number}.png", number, cat) for number, cat in enumerate(cats))
    return LabelledData("labels.json", ("cat",), (5,), images)


def test_labels_add_how_accurate_both_are() -> None:
    pytest.importorskip("pycocotools", reason="AP needs pycocotools")
    reference = Recorder()
    evidence = gather_evidence(
        Recorder(blind_to=3), reference, IMAGES, bar=FP32_BAR, labels=labels(11), class_names=("cat",)
    )
    assert evidence.accuracy is not None
    assert evidence.accuracy.reference_ap == 1
    assert 0.8 < evidence.accuracy.ap < 1
    assert evidence.accuracy.difference_ap == pytest.approx(evidence.accuracy.ap - 1)
    assert f"; AP is {evidence.accuracy.ap:.3f} instead of 1.000" in evidence.shortfall()


@pytest.mark.parametrize(("drop", "passes"), [(0.01, True), (0.0099, False)])
def test_a_rougher_file_is_judged_by_its_accuracy_alone(drop: float, passes: bool) -> None:
    evidence = gather_evidence(Recorder(score=0.5), Recorder(), IMAGES, bar=FP16_BAR)
    assert not evidence.passes
    judged = Evidence(
        evidence.parity,
        FP16_BAR,
        11,
        evidence.images_sha256,
        (1,),
        None,
        accuracy_of((0.49, 0.7), (0.5, 0.7)),
        largest_ap_drop=drop,
    )
    assert judged.passes is passes


def made(evidence: Evidence) -> dict[str, object]:
    return certificate(evidence, against="PyTorch own", graph_sha256="abc", weights_sha256="def")


def test_a_certificate_survives_json_and_says_what_was_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    evidence = gather_evidence(Recorder(score=0.90012), Recorder(), IMAGES, bar=FP32_BAR)
    written = made(evidence)
    assert json.loads(json.dumps(written)) == written
    assert (
        written.items()
        >= {
            "passed": True,
            "forced": False,
            "against": "PyTorch own",
            "num_images": 11,
            "num_detections": 22,
            "num_on_edge": 0,
            "matched_share": 1.0,
            "least_iou": 1.0,
            "largest_score_difference": 0.00012,
            "num_class_flips": 0,
            "accuracy": None,
            "graph_sha256": "abc",
            "weights_sha256": "def",
            "date": "1970-01-02",
        }.items()
    )
    assert "streamdet" in written["versions"]  # type: ignore[operator]


def test_a_certificate_can_be_read_as_words() -> None:
    evidence = gather_evidence(Recorder(blind_to=7), Recorder(), IMAGES, bar=FP32_BAR)
    words = dict(rows_of(made(evidence)))
    assert words["matched"] == "95.24% of 21 in 11 images"
    assert words["bar"].startswith("NOT met: 100.0% of all detections from score 0.05 at IoU 0.99 and 0.001 in score")
    assert words["SHA-256"].endswith("weights def…, graph abc…")
    forced = certificate(evidence, against="x", graph_sha256="abc", is_forced=True)
    assert dict(rows_of(forced))["bar"].startswith("NOT met, written with --force: ")


@pytest.mark.parametrize(
    ("theirs", "ours", "expected"),
    [
        (("a", "b", "c"), ("a", "b", "c"), [0, 1, 2]),
        (("a", "b", "c"), ("c", "a", "b"), [1, 2, 0]),
        (("a", "b", "c"), ("b", "x"), [2, 0, 4]),  # unknown ones are classes of their own
        (("a", "b", "c"), ("x", "y", "z"), [0, 1, 2]),  # other words for the same, for all we know
    ],
)
def test_classes_are_matched_by_their_names(
    theirs: tuple[str, ...], ours: tuple[str, ...], expected: list[int]
) -> None:
    def detector(pictures: Sequence[Picture]) -> list[Detections]:
        return [detections(0.9, class_id=int(picture.pixels[0, 0, 0])) for picture in pictures]

    renamed = with_class_names(detector, theirs, ours)
    detected = renamed([image.picture for image in IMAGES[:3]])
    assert [int(objects.class_ids[0]) for objects in detected] == expected


@needs_assets
@pytest.mark.parametrize(("name", "passes", "is_ruined"), [("rawdetr", True, False), ("dynint8", False, True)])
def test_a_real_file_is_told_to_be_the_same_or_ruined(name: str, passes: bool, is_ruined: bool) -> None:
    pytest.importorskip("pycocotools", reason="counts the average precision")
    images = images_of(str(MODELS.parent / "images" / "voc100" / "images"), most=12)
    paths = (MODELS / f"deimv2_atto_coco_320{suffix}.onnx" for suffix in (f"_{name}", ""))
    ours, theirs = (
        EngineDetector(OrtEngine(path, recognise(path), device="cpu"), score_threshold=0.04) for path in paths
    )
    evidence = gather_evidence(ours, theirs, images, bar=FP32_BAR, batch_sizes=(1,))
    assert (evidence.passes, evidence.is_ruined) == (passes, is_ruined)
