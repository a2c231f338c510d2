"""Labels of a run, read back: as truth, they say of the same detector that it finds everything."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.support.assets import MODELS, VOC100, needs_assets
from tests.support.command_line import Streamdet, refused


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three black photographs, of which two are called alike."""
    folder = tmp_path / "set" / "images"
    for name in ("a b.png", "ü.png", "sub/a b.png"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        encoded = cv2.imencode(".png", np.zeros((64, 64, 3), np.uint8))[1]
        path.write_bytes(encoded.tobytes())
    return folder


def average_precisions(report: Path) -> tuple[float, float]:
    """AP and AP50 of the one model in a report of `eval`."""
    (model,) = json.loads(report.read_text())["results"]
    return model["coco"]["AP"], model["coco"]["AP50"]


def judged(streamdet: Streamdet, model: Path, report: Path, *data: object) -> tuple[float, float]:
    words = ("eval", "-m", model, "--score-threshold", 0.3, "--report", report, "--overwrite", "--data", *data)
    done = streamdet(*words)
    assert done.returncode == 0, done.stderr
    return average_precisions(report)


def test_labels_of_photographs_are_the_truth_of_the_same_detector(
    tmp_path: Path, photos: Path, small_detector: Path, streamdet: Streamdet
) -> None:
    pytest.importorskip("pycocotools", reason="eval needs it")
    paths = {"yolo": photos.parent, "coco": tmp_path / "c.json", "voc": tmp_path / "ann", "cvat": tmp_path / "c.xml"}
    labels = [word for name, path in paths.items() for word in ("--labels", f"{name}={path}")]
    everything = f"{photos}/**/*.png"
    done = streamdet("run", everything, "-m", small_detector, "--score-threshold", 0.3, *labels)
    assert done.returncode == 0, done.stderr
    assert f"written  {paths['yolo']}, {paths['coco']}, {paths['voc']}, {paths['cvat']}" in done.stdout
    report = tmp_path / "report.json"
    assert judged(streamdet, small_detector, report, paths["coco"], "--images", photos) == (1.0, 1.0)
    assert judged(streamdet, small_detector, report, paths["voc"], "--images", photos) == (1.0, 1.0)
    assert judged(streamdet, small_detector, report, paths["yolo"]) == (1.0, 1.0)


@needs_assets
def test_labels_of_real_photographs_are_the_truth_of_the_same_detector(tmp_path: Path, streamdet: Streamdet) -> None:
    pytest.importorskip("pycocotools", reason="eval needs it")
    images, model = tmp_path / "set" / "images", MODELS / "yolox_nano_coco_416.onnx"
    images.mkdir(parents=True)
    for path in sorted((VOC100 / "images").glob("*.jpg"))[:12]:
        shutil.copy(path, images)
    paths = {"yolo": tmp_path / "set", "coco": tmp_path / "c.json", "voc": tmp_path / "ann"}
    labels = [word for name, path in paths.items() for word in ("--labels", f"{name}={path}")]
    assert streamdet("run", images, "-m", model, "--score-threshold", 0.3, *labels).returncode == 0
    report = tmp_path / "report.json"
    assert judged(streamdet, model, report, paths["yolo"]) == (1.0, 1.0)
    assert judged(streamdet, model, report, paths["coco"], "--images", images) == (1.0, 1.0)
    ap, ap50 = judged(streamdet, model, report, paths["voc"], "--images", images)
    assert (ap >= 0.98, ap50) == (True, 1.0)  # VOC has whole pixels only


def test_frames_of_videos_are_named_after_source_and_number(
    tmp_path: Path, small_video: Path, small_detector: Path, streamdet: Streamdet
) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        shutil.copy(small_video, tmp_path / name / "cam 1.mp4")
    words = ("run", tmp_path / "a" / "cam 1.mp4", tmp_path / "b" / "cam 1.mp4", "-m", small_detector)
    done = streamdet(*words, "--every", 10, "--labels", f"yolo={tmp_path / 'set'}")
    assert done.returncode == 0, done.stderr
    numbers = ("000000", "000010", "000020")
    expected = {f"{stem}-{number}.txt" for stem in ("cam_1", "cam_1-1") for number in numbers}
    assert {path.name for path in (tmp_path / "set" / "labels").iterdir()} == expected


def test_a_dry_run_writes_no_label(tmp_path: Path, photos: Path, small_detector: Path, streamdet: Streamdet) -> None:
    before = sorted(tmp_path.rglob("*"))
    labels = ("--labels", f"yolo={tmp_path / 'new'}", "--labels", f"coco={tmp_path / 'new.json'}")
    assert streamdet("run", photos, "-m", small_detector, *labels, "--dry-run").returncode == 0
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("yollo=x", "--labels must be NAME=PATH with a name of yolo, coco, voc, label-studio, cvat, got 'yollo=x'"),
        ("yolo=", "--labels must be NAME=PATH"),
        ("coco", "--labels must be NAME=PATH"),
        ("coco=-", "COCO labels must have a path, got -"),
        ("coco=/dev/null/c.json", "/dev/null/c.json: COCO labels cannot be written there: Not a directory"),
    ],
)
def test_a_word_that_means_no_labels_is_refused(
    photos: Path, small_detector: Path, streamdet: Streamdet, words: str, message: str
) -> None:
    assert refused(streamdet("run", photos / "ü.png", "-m", small_detector, "--labels", words), message)


def test_a_format_is_there_once(photos: Path, small_detector: Path, streamdet: Streamdet) -> None:
    done = streamdet("run", photos, "-m", small_detector, "--labels", "voc=a", "--labels", "voc=b")
    assert refused(done, "--labels voc=… must be there once, got 'a' and 'b'")


def test_labels_of_other_people_stay(tmp_path: Path, photos: Path, small_detector: Path, streamdet: Streamdet) -> None:
    (tmp_path / "set" / "labels").mkdir()
    theirs = tmp_path / "set" / "labels" / "ü.txt"
    theirs.write_text("0 .5 .5 .1 .1\n")
    done = streamdet("run", photos / "ü.png", "-m", small_detector, "--labels", f"yolo={tmp_path / 'set'}")
    assert refused(done, f"YOLO labels must not replace others, and {theirs} is there already")
    assert theirs.read_text() == "0 .5 .5 .1 .1\n"
