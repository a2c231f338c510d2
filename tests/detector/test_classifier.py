"""Classifier: its scores are those of ONNX Runtime on pictures prepared by hand, and other files are refused."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from pipeline.detector.classifier import ClassifierHints, open_classifier
from pipeline.errors import ModelError, OutputError
from pipeline.picture.boxes import FloatArray
from pipeline.picture.frame import PixelArray
from tests.support.tiny_classifier import NAMES, write_classifier
from tests.support.tiny_detector import write_boxes_detector

IMAGENET_MEAN, IMAGENET_STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


def crops() -> list[PixelArray]:
    """Of every shape: tall, wide, of one pixel, larger than the network."""
    random = np.random.default_rng(7)
    sizes = [(40, 9), (5, 61), (1, 1), (100, 90), (16, 16), (2, 300), (33, 17)]
    return [random.integers(0, 256, (height, width, 3), np.uint8) for height, width in sizes]


def by_hand(path: Path, pictures: list[PixelArray], mean: Any, std: Any) -> FloatArray:
    """The softmax of what ONNX Runtime gives for each picture alone, stretched and normalised."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (declared,) = session.get_inputs()
    rows = []
    for pixels in pictures:
        rgb = cv2.cvtColor(cv2.resize(pixels, (16, 16), interpolation=cv2.INTER_LINEAR), cv2.COLOR_BGR2RGB)
        tensor = ((rgb - np.array(mean)) / np.array(std)).transpose(2, 0, 1)[None].astype(np.float32)
        copies = declared.shape[0] if isinstance(declared.shape[0], int) else 1
        rows.append(session.run(None, {declared.name: np.repeat(tensor, copies, axis=0)})[0][0].reshape(-1))
    logits = np.array(rows, np.float64)
    return np.asarray(np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True), np.float32)


@pytest.mark.parametrize("batch", ["batch", 1, 3])
@pytest.mark.parametrize("answer", ["logits", "pooled"])
def test_its_scores_are_those_of_each_crop_alone(tmp_path: Path, batch: Any, answer: Any) -> None:
    path = write_classifier(tmp_path / "c.onnx", batch=batch, answer=answer, mean_std=(IMAGENET_MEAN, IMAGENET_STD))
    classifier = open_classifier(path, ClassifierHints(), threads=1)
    assert classifier.spec.class_names == NAMES
    np.testing.assert_allclose(
        classifier.scores_of(crops()), by_hand(path, crops(), IMAGENET_MEAN, IMAGENET_STD), atol=2e-6
    )
    assert classifier.scores_of([]).shape == (0, 3)


def test_many_crops_are_cut_into_batches(tmp_path: Path) -> None:
    classifier = open_classifier(write_classifier(tmp_path / "c.onnx"), ClassifierHints(), threads=1)
    many = crops() * 10  # more than run at once
    np.testing.assert_array_equal(
        classifier.scores_of(many), np.concatenate([classifier.scores_of([crop]) for crop in many])
    )


def test_what_the_user_says_of_pixels_comes_before_the_file_and_the_file_before_imagenet(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mean, std = (10.0, 20.0, 30.0), (60.0, 70.0, 80.0)
    hints = ClassifierHints(mean=mean, std=std)
    assert open_classifier(write_classifier(tmp_path / "a.onnx"), hints).spec.mean == mean
    shares = {"mean": "[0.485, 0.456, 0.406]", "std": "(0.229, 0.224, 0.225)"}
    spec = open_classifier(write_classifier(tmp_path / "b.onnx", metadata=shares), ClassifierHints()).spec
    np.testing.assert_allclose((spec.mean, spec.std), (IMAGENET_MEAN, IMAGENET_STD))
    spec = open_classifier(write_classifier(tmp_path / "c.onnx", metadata={"task": "classify"}), ClassifierHints()).spec
    assert (spec.mean, spec.std) == ((0.0,) * 3, (255.0,) * 3)
    assert not caplog.messages
    with caplog.at_level(logging.WARNING):
        spec = open_classifier(write_classifier(tmp_path / "d.onnx"), ClassifierHints(colour="bgr")).spec
    np.testing.assert_allclose((spec.mean, spec.std), (IMAGENET_MEAN[::-1], IMAGENET_STD[::-1]))
    assert "does not say how its pixels are normalised" in caplog.text


def test_pixels_in_bytes_and_a_size_that_the_file_leaves_open(tmp_path: Path) -> None:
    red = np.zeros((30, 20, 3), np.uint8)
    red[..., 2] = 255
    classifier = open_classifier(write_classifier(tmp_path / "u.onnx", dtype="uint8"), ClassifierHints())
    assert classifier.scores_of([red]).argmax() == NAMES.index("red")
    path = write_classifier(tmp_path / "o.onnx", side="side", metadata={"imgsz": "[48, 32]", "task": "classify"})
    assert open_classifier(path, ClassifierHints()).spec.network_wh == (32, 48)
    classifier = open_classifier(path, ClassifierHints(network_wh=(24, 24), resize="letterbox-center"))
    assert classifier.spec.network_wh == (24, 24)
    tall = np.concatenate([red] * 3)  # three quarters of it are grey margins
    assert classifier.scores_of([red])[0, 0] > classifier.scores_of([tall])[0, 0] > 0.5


@pytest.mark.parametrize(
    ("answer", "hint", "activation"),
    [
        ("logits", None, "softmax"),
        ("softmax", None, "none"),
        ("sigmoid", "none", "none"),
        ("logits", "sigmoid", "sigmoid"),
    ],
)
def test_what_scores_still_need_is_seen_or_said(tmp_path: Path, answer: Any, hint: Any, activation: str) -> None:
    path = write_classifier(tmp_path / "c.onnx", answer=answer)
    classifier = open_classifier(path, ClassifierHints(scores=hint))
    assert classifier.spec.score_activation == activation
    scores = classifier.scores_of(crops())
    assert scores.min() >= 0
    assert scores.max() <= 1
    if activation != "sigmoid" and hint is None:
        np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"answer": "map"}, "needs a classifier.*detector is run with --model"),
        ({"metadata": {"task": "detect"}}, "needs a classifier"),
        ({"inputs_outputs": (2, 1)}, "must have one input"),
        ({"inputs_outputs": (1, 2)}, r"must have one output \[N, classes\], it has 2"),
        ({"answer": "sigmoid"}, "set then.scores=none"),
    ],
)
def test_a_file_of_another_kind_is_refused(tmp_path: Path, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ModelError, match=words):
        open_classifier(write_classifier(tmp_path / "c.onnx", **options), ClassifierHints())


def test_detectors_names_too_few_and_sizes_that_cannot_be_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="a detector is run with --model"):
        open_classifier(write_boxes_detector(tmp_path / "d.onnx", [(1, 2, 3, 4, 0.5, 0)]), ClassifierHints())
    path = write_classifier(tmp_path / "c.onnx")
    with pytest.raises(ModelError, match="must name its 3 classes, got 2 names"):
        open_classifier(path, ClassifierHints(class_names=("a", "b")))
    with pytest.raises(ModelError, match=r"then\.size must be 16x16"):
        open_classifier(path, ClassifierHints(network_wh=(32, 32)))
    with pytest.raises(ModelError, match="no such file"):
        open_classifier(tmp_path / "missing.onnx", ClassifierHints())


def test_numbers_that_are_none_are_an_error_of_the_frame(tmp_path: Path) -> None:
    classifier = open_classifier(
        write_classifier(tmp_path / "c.onnx", answer="nan"), ClassifierHints(mean=(0.0,) * 3, std=(255.0,) * 3)
    )
    assert classifier.scores_of(crops()).shape == (7, 3)
    with pytest.raises(OutputError, match="got NaN or infinity"):
        classifier.scores_of([np.zeros((9, 9, 3), np.uint8)])


def test_names_that_do_not_fit_the_classes_become_numbers(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_classifier(tmp_path / "c.onnx", metadata={"names": "{0: 'a', 1: 'b'}"})
    assert open_classifier(path, ClassifierHints()).spec.class_names == ("class 0", "class 1", "class 2")
    assert "names 2 classes and has 3" in caplog.text
