"""A run of images says what is in them, which have nothing, and which could not be read."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.support.command_line import Streamdet


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Five black images of 96 × 64 with awkward names, and a broken one."""
    folder = tmp_path / "my photos"
    folder.mkdir()
    for name in ("a b.png", "ü [1].png", "100 %.png", "d'.png", "e.png"):
        (folder / name).write_bytes(cv2.imencode(".png", np.zeros((64, 96, 3), np.uint8))[1].tobytes())
    (folder / "broken.png").write_bytes(b"no image")
    return folder


def test_one_image_is_a_list_of_detections_without_stages(
    streamdet: Streamdet, photos: Path, small_detector: Path
) -> None:
    done = streamdet("run", photos / "ü [1].png", "-m", small_detector, "--no-show")
    assert done.returncode == 0, done.stderr
    assert f"found    2 objects in {photos}/ü [1].png, 96×64" in done.stdout
    (cat,) = [line.split() for line in done.stdout.splitlines() if line.split()[:1] == ["cat"]]
    assert [float(number) for number in cat[1:]] == pytest.approx([0.9, 12, 9, 36, 33], abs=1)
    for word in ("stage", "latency", "Limited by"):
        assert word not in done.stdout


def test_a_folder_is_counted_and_what_cannot_be_read_is_named(
    streamdet: Streamdet, photos: Path, small_detector: Path
) -> None:
    done = streamdet("run", photos, "-m", small_detector, "--no-show")
    assert done.returncode == 0, done.stderr
    assert "objects in 5 of 5 images" in done.stdout
    assert "images   5 read, 1 could not be read" in done.stdout
    assert "broken.png" in done.stdout
    assert "stage" not in done.stdout


def test_verbose_adds_the_stages(streamdet: Streamdet, photos: Path, small_detector: Path) -> None:
    done = streamdet("run", photos, "-m", small_detector, "--no-show", "--verbose")
    assert "5 frames say nothing about speed" in done.stdout
    assert "preprocess" in done.stdout
    assert "images   5 read, 1 could not be read" in done.stdout


def test_nothing_is_explained(streamdet: Streamdet, photos: Path, small_detector: Path) -> None:
    done = streamdet("run", photos, "-m", small_detector, "--no-show", "--score-threshold", "0.99", "--classes", "dog")
    assert (
        "found    nothing in 5 images: kept is dog (--classes) with a score of at least 0.99 (--score-threshold); "
        "the model knows 2 classes: cat, dog" in done.stdout
    )


def test_images_that_cannot_be_read_at_all_are_one_error(
    streamdet: Streamdet, tmp_path: Path, small_detector: Path
) -> None:
    (tmp_path / "broken.png").write_bytes(b"no image")
    done = streamdet("run", tmp_path / "broken.png", "-m", small_detector, "--no-show")
    assert done.returncode == 1
    assert "none of its images could be read" in done.stderr
    assert "Traceback" not in done.stderr


def test_images_that_an_output_lost_are_read_all_the_same_and_an_empty_folder_is_not_said_to_be_written(
    streamdet: Streamdet, photos: Path, small_detector: Path, tmp_path: Path
) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    typed = ("run", photos, "-m", small_detector, "--no-show", "--classes", "dog", "--score-threshold", "0.99")
    done = streamdet(*typed, "--csv", "/dev/full", "--crops", tmp_path / "crops")
    assert done.returncode == 1
    assert re.search(r"images   5 read, 1 could not be read, [1-5] not in every output, in ", done.stdout)
    assert "written" not in done.stdout


def test_options_of_saved_frames_without_a_condition_are_refused(
    streamdet: Streamdet, photos: Path, small_detector: Path
) -> None:
    done = streamdet("run", photos, "-m", small_detector, "--frames", "kept")
    assert done.returncode == 1
    assert "--frames is for --save-frames, which is missing" in done.stderr
