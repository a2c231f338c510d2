"""Detector from Python: its results are those of detect, of every kind of picture, from any thread."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, assert_type

import cv2
import numpy as np
import pytest

import streamdet
from pipeline.errors import ConfigError, ModelError, SourceError, StreamdetError
from pipeline.picture.detections import Result
from tests.support.assets import ASSETS, MODELS, needs_assets
from tests.support.pictures import noise, smooth

ONE_THREAD = {"engine.threads": 1}


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "naïve '1' 100%.png"
    path.write_bytes(cv2.imencode(".png", np.zeros((64, 96, 3), np.uint8))[1].tobytes())
    return path


def assert_same(ours: Result, theirs: Result) -> None:
    assert np.array_equal(ours.frame.pixels, theirs.frame.pixels)
    for name in ("boxes_xyxy", "scores", "class_ids"):
        assert np.array_equal(getattr(ours.detections, name), getattr(theirs.detections, name))
    assert (ours.frame.source_id, ours.frame.image, ours.class_names) == (
        theirs.frame.source_id,
        theirs.frame.image,
        theirs.class_names,
    )


def test_its_results_are_those_of_detect(small_detector: Path, photo: Path) -> None:
    pictures: list[Any] = [smooth(70, 50), np.zeros((48, 64), np.uint8), noise(31, 17)]
    with streamdet.Detector(small_detector, settings=ONE_THREAD) as detector:
        results = detector(pictures)
        for ours, theirs in zip(results, streamdet.detect(pictures, model=small_detector), strict=True):
            assert_same(ours, theirs)
        (theirs,) = streamdet.detect(photo, model=small_detector)
        assert_same(detector(photo), theirs)
        assert_same(detector(str(photo)), theirs)
    assert str(theirs) == f"1 cat, 1 dog in {photo} (96×64)"


@needs_assets
@pytest.mark.parametrize("name", ["yolox_nano_coco_416", "ssd_mobilenet_v1_coco_raw", "deimv2_atto_coco_320"])
def test_a_real_model_finds_the_same_to_the_bit(name: str) -> None:
    photos = [str(ASSETS / "images" / "stills" / f"{stem}.jpg") for stem in ("bus", "zidane", "tc_grayscale")]
    model = MODELS / f"{name}.onnx"
    by_name = {
        result.frame.source_id: result
        for result in streamdet.detect(photos, model=model, score_threshold=0.3, settings=ONE_THREAD)
    }
    with streamdet.Detector(model, score_threshold=0.3, settings=ONE_THREAD) as detector:
        results = detector(photos)
    assert sum(len(result.detections) for result in results) > 5
    for result in results:
        assert_same(result, by_name[result.frame.source_id])


def test_a_list_gives_a_list_and_a_picture_a_result(small_detector: Path) -> None:
    with streamdet.Detector(small_detector) as detector:
        black = np.zeros((8, 8, 3), np.uint8)
        assert_type(detector(black), Result)
        assert_type(detector([black]), list[Result])
        assert isinstance(detector(black), Result)
        assert [result.frame.index for result in detector((black, black))] == [0, 1]
        assert detector([]) == []


def test_it_takes_images_of_pil(small_detector: Path, photo: Path) -> None:
    pil_image: Any = pytest.importorskip("PIL.Image", reason="Pillow is no dependency")
    with streamdet.Detector(small_detector) as detector, pil_image.open(photo) as image:
        results = detector([image, np.zeros((8, 8, 3), np.uint8)])
    assert [result.counts() for result in results] == [{"cat": 1, "dog": 1}] * 2
    assert results[0].frame.image == str(photo)
    (theirs,) = streamdet.detect(pil_image.open(photo), model=small_detector)
    assert_same(results[0], theirs)


def test_it_applies_what_a_run_applies(small_detector: Path) -> None:
    black = np.zeros((64, 64, 3), np.uint8)
    assert streamdet.Detector(small_detector, score_threshold=0.5)(black).counts() == {"cat": 1}
    assert streamdet.Detector(small_detector, classes="dog")(black).counts() == {"dog": 1}
    settings = {"detection.class_score_thresholds": {"dog": 0.95}}
    assert streamdet.Detector(small_detector, settings=settings)(black).counts() == {"cat": 1}
    assert streamdet.Detector(small_detector, max_detections=1)(black).counts() == {"cat": 1}


def test_several_at_once_are_the_same_as_one_by_one(small_detector: Path) -> None:
    pictures = [smooth(40 + index, 30) for index in range(7)]
    one, three = streamdet.Detector(small_detector), streamdet.Detector(small_detector, batch=3)
    for ours, theirs in zip(three(pictures), one(pictures), strict=True):
        assert_same(ours, theirs)


def test_threads_may_share_it(small_detector: Path) -> None:
    pictures = [smooth(40 + index % 5, 30 + index % 3) for index in range(40)]
    with streamdet.Detector(small_detector) as detector, ThreadPoolExecutor(4) as pool:
        for ours, theirs in zip(pool.map(detector, pictures), detector(pictures), strict=True):
            assert np.array_equal(ours.detections.boxes_xyxy, theirs.detections.boxes_xyxy)


def test_closed_it_says_so(small_detector: Path) -> None:
    detector = streamdet.Detector(small_detector)
    assert repr(detector).startswith("<Detector: cats on cpu, fp32")
    assert (detector.class_names, detector.device) == (("cat", "dog"), "cpu")
    detector.close()
    detector.close()
    assert repr(detector).endswith(", closed>")
    with pytest.raises(ModelError, match="this Detector is closed; make a new one"):
        detector(np.zeros((8, 8, 3), np.uint8))


@pytest.mark.parametrize(
    ("picture", "said"),
    [
        (0, r"^a Detector takes an image file, an array .*, got int; detect\(\) takes cameras as well$"),
        (None, "got NoneType"),
        ("", "got '', no single image"),
        ("photos", r"^a Detector takes one image a picture, got 'photos', 2 images; detect\(\) takes every source$"),
        ("photos/*.png", "2 images"),
        ("empty", "got 'empty', no single image"),
        ("black.mp4", "got 'black.mp4', no single image"),
        ("0", "got '0', no single image"),
        ("sim:traffic", "no single image"),
        ("rtsp://user:secret@camera/stream", r"got 'rtsp://user:\*\*\*@camera/stream', no single image"),
        ("photos/a.pgn", r"photos/a\.png"),
        ("broken.png", r"^broken\.png: is not an image that can be decoded$"),
        (np.zeros((8, 8, 4), np.uint8), r"picture 0 must be a uint8 array \[H, W, 3\].*\[8, 8, 4\]"),
        ([np.zeros((8, 8, 3), np.uint8), np.zeros(5)], "picture 1 must be a uint8 array"),
    ],
)
def test_what_is_not_one_picture_is_refused(
    picture: Any, said: str, small_detector: Path, small_video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(small_video, "black.mp4")
    for folder in ("photos", "empty"):
        Path(folder).mkdir()
    for name in ("a", "b"):
        cv2.imwrite(f"photos/{name}.png", noise(20, 20))
    Path("broken.png").write_bytes(b"no image")
    with streamdet.Detector(small_detector) as detector, pytest.raises(SourceError, match=said) as raised:
        detector(picture)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"model": None}, r"^Detector\(\) needs a model: an ONNX file, or demo"),
        ({"model": "missing.onnx"}, r"missing\.onnx"),
        ({"score": 0.5}, r"^Detector\(\) has no keyword score; there are device, precision, "),
        (
            {"settings": {"flow.every": 2}},
            r"^Detector\(\) has no use for flow\.every; it takes keys of hints, .*detect",
        ),
        ({"settings": {"engine.inflight": 2}}, "runs as many pictures at once as threads call it"),
        ({"settings": {"detection.treshold": 2}}, r"^Detector\(\): there is no key detection\.treshold"),
        ({"classes": ["dgo"]}, "did you mean 'dog'"),
        ({"classes": []}, "^classes must name at least one"),
    ],
)
def test_what_it_cannot_be_made_of_is_refused(wrong: dict[str, Any], said: str, small_detector: Path) -> None:
    with pytest.raises(StreamdetError, match=said):
        streamdet.Detector(**{"model": small_detector, **wrong})


def test_errors_speak_of_settings_and_not_of_a_command_line(small_detector: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        streamdet.Detector(small_detector, config="fiel")
    assert str(raised.value).startswith("config must be a YAML file or a preset")
