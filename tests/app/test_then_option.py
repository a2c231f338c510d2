"""The options --then and --then-on: a second model names the objects of the first, and nonsense is refused."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import streamdet
from pipeline.app.assemble import assemble
from pipeline.app.config.loading import load_config
from pipeline.detector.classifier import Classifier
from pipeline.flow.running import Running
from pipeline.picture.boxes import FloatArray
from pipeline.picture.detector_spec import METADATA_KEY, DetectorSpec
from pipeline.picture.frame import PixelArray
from tests.support.command_line import Streamdet, refused
from tests.support.tiny_classifier import write_classifier
from tests.support.tiny_detector import write_detector

CAT, DOG = (8, 16, 24, 32), (32, 24, 56, 44)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A detector of a cat and a dog that stay, a classifier of colours, and 12 frames of a red cat and a blue dog."""
    import av

    folder = tmp_path_factory.mktemp("cascade")
    spec = DetectorSpec(input_name="images", network_wh=(64, 64), head="boxes", class_names=("cat", "dog"))
    rows: dict[str, Any] = {
        "boxes": np.array([CAT, DOG], np.float32),
        "scores": np.array([0.9, 0.8], np.float32),
        "class_ids": np.array([0, 1], np.int64),
    }
    write_detector(folder / "pets.onnx", rows, metadata={METADATA_KEY: spec.to_json()}, adds_mean=False)
    write_classifier(folder / "colours.onnx", metadata={"task": "classify"})
    pixels = np.zeros((64, 64, 3), np.uint8)
    for (left, top, right, bottom), channel in ((CAT, 2), (DOG, 0)):
        pixels[top:bottom, left:right, channel] = 220
    with av.open(str(folder / "pets.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"crf": "8"})
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv444p"
        stream.codec_context.time_base = Fraction(1, 10)
        for index in range(12):
            frame = av.VideoFrame.from_ndarray(pixels, format="bgr24")
            frame.pts = index
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return folder


def test_a_run_writes_what_the_second_model_says_beside_each_box(
    streamdet: Streamdet, files: Path, tmp_path: Path
) -> None:
    lines, table = tmp_path / "out.jsonl", tmp_path / "out.csv"
    words = ("-m", files / "pets.onnx", "--then", files / "colours.onnx", "--set", "then.min_score=0.9")
    done = streamdet("run", files / "pets.mp4", *words, "--jsonl", lines, "--csv", table, "--max-frames", "2")
    assert done.returncode == 0, done
    first = json.loads(lines.read_text().splitlines()[0])
    names = {box["class_name"]: [row["name"] for row in box["attributes"]] for box in first["detections"]}
    assert names == {"cat": ["red"], "dog": ["blue"]}
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert [(row["class_name"], row["attribute"]) for row in rows] == [("cat", "red"), ("dog", "blue")] * 2
    assert all(0.9 <= float(row["attribute_score"]) <= 1 for row in rows)


def test_objects_of_other_classes_have_no_attributes(files: Path) -> None:
    settings = {"then.model": str(files / "colours.onnx"), "then.classes": ["DOG"], "flow.max_frames": 1}
    (result,) = streamdet.detect(str(files / "pets.mp4"), model=files / "pets.onnx", settings=settings)
    names = {row.class_name: row.attribute for row in result.rows()}
    assert names == {"cat": None, "dog": "blue"}


def test_the_parquet_columns_have_types(files: Path) -> None:
    pytest.importorskip("pandas", reason="the extra tables is not installed")
    settings = {"then.model": str(files / "colours.onnx"), "then.classes": "cat", "flow.max_frames": 1}
    (result,) = streamdet.detect(str(files / "pets.mp4"), model=files / "pets.onnx", settings=settings)
    table = result.to_pandas()
    assert table["attribute"].tolist()[0] == "red"
    assert table["attribute_score"].isna().tolist() == [False, True]


def test_objects_that_are_followed_are_classified_every_n_frames(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    scores_of = Classifier.scores_of

    def counted(self: Classifier, crops: Sequence[PixelArray]) -> FloatArray:
        calls.append(len(crops))
        return scores_of(self, crops)

    monkeypatch.setattr(Classifier, "scores_of", counted)
    options = {
        "sources": (str(files / "pets.mp4"),),
        "model": str(files / "pets.onnx"),
        "output.show": False,
        "track.kind": "bytetrack",
        "track.confirm_hits": 1,
        "then.model": str(files / "colours.onnx"),
        "then.every": 5,
    }
    with Running(assemble(load_config(None, options=options)).flow, results=True) as running:
        results = list(running)
    assert calls == [2, 2, 2]  # in frames 0, 5 and 10
    assert all([row.attribute for row in result.rows()] == ["red", "blue"] for result in results)


def test_a_private_class_is_left_out_or_refused(streamdet: Streamdet, files: Path, tmp_path: Path) -> None:
    words = ("run", files / "pets.mp4", "-m", files / "pets.onnx", "--then", files / "colours.onnx", "--blur", "cat")
    lines = tmp_path / "out.jsonl"
    done = streamdet(*words, "--max-frames", "1", "--jsonl", lines)
    assert done.returncode == 0, done
    names = {box["class_name"]: len(box["attributes"]) for box in json.loads(lines.read_text())["detections"]}
    assert names == {"cat": 0, "dog": 1}
    assert refused(
        streamdet(*words, "--then-on", "cat,dog"), "--then-on cat: what is concealed", "leave one of them out"
    )


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("--then-on", "cat"), ("--then-on is for --then, which is missing",)),
        (("--set", "then.top=3"), ("then.model must name the second model",)),
        (("--then", "{}/pets.onnx"), ("pets.onnx: --then needs a classifier", "run with --model")),
        (("--then", "yolox-nano"), ("yolox-nano is a detector",)),
        (("--then", "nothing.onnx"), ("nothing.onnx: no such file",)),
        (("--then", "{}/colours.onnx", "--then-on", "cow"), ("then.classes: the model has no class 'cow'",)),
        (("--then", "{}/colours.onnx", "--set", "then.mean=[1,2,3]"), ("then.mean and then.std must be set both",)),
        (
            ("--then", "{}/colours.onnx", "--set", "then.mean=[1,2,3]", "--set", "then.std=[0.2,0.2,0.2]"),
            ("then.std", "must be of pixels in 0..255"),
        ),
        (("--then", "{}/colours.onnx", "--set", "then.class_names=no.txt"), ("then.class_names must be a text file",)),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    streamdet: Streamdet, files: Path, words: tuple[str, ...], parts: tuple[str, ...]
) -> None:
    typed = (word.format(files) for word in words)
    assert refused(streamdet("run", files / "pets.mp4", "-m", files / "pets.onnx", *typed), *parts)
