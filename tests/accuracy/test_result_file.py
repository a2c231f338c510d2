"""Result files: detections come back as they went in, and a wrong file is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.accuracy.result_file import read_result_file, write_result_file
from pipeline.accuracy.truth import LabelledData, LabelledImage, Truth, marked
from pipeline.errors import ConfigError, SinkError
from pipeline.picture.detections import Detections

NOTHING = Truth.of(marked([], []))
IMAGES = tuple(LabelledImage(f"{number}.jpg", number, NOTHING) for number in (40, 7, 12))
DATA = LabelledData("labels.json", ("cat", "dog"), (18, 3), IMAGES)
ROW = {"image_id": 7, "category_id": 3, "bbox": [1.5, 2, 10, 20.25], "score": 0.236}


def written(path: Path, rows: Any) -> Path:
    path.write_text(json.dumps(rows))
    return path


def test_rows_are_what_coco_says(tmp_path: Path) -> None:
    found = Detections(
        np.array([[258.15, 41.29, 606.41, 285.07]], np.float32), np.array([0.236], np.float32), np.array([1])
    )
    write_result_file(tmp_path / "f.json", [Detections.empty(), found, Detections.empty()], DATA)
    (row,) = json.loads((tmp_path / "f.json").read_text())
    assert row == {
        "image_id": 7,
        "category_id": 3,
        "bbox": [258.15, 41.29, 348.26, 243.78],  # as it was before it was float32 corners
        "score": pytest.approx(0.236, abs=1e-7),
    }
    assert [path.name for path in tmp_path.iterdir()] == ["f.json"]


def test_detections_come_back_image_by_image(tmp_path: Path) -> None:
    chance = np.random.default_rng(3)
    found = []
    for num in (0, 1, 50):
        corners = chance.uniform(0, 2000, (num, 2, 2)).astype(np.float32)
        boxes = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
        found.append(Detections(boxes, chance.random(num, np.float32), chance.integers(0, 2, num)))
    write_result_file(tmp_path / "f.json", found, DATA)
    for before, after in zip(found, read_result_file(tmp_path / "f.json", DATA), strict=True):
        assert after.boxes_xyxy == pytest.approx(before.boxes_xyxy, abs=1.1e-3)
        assert after.scores.tolist() == before.scores.tolist()
        assert after.class_ids.tolist() == before.class_ids.tolist()


def test_a_file_without_rows_found_nothing(tmp_path: Path) -> None:
    assert list(map(len, read_result_file(written(tmp_path / "f.json", []), DATA))) == [0, 0, 0]


def test_rows_of_other_images_do_not_count(tmp_path: Path) -> None:
    rows = [{**ROW, "image_id": 99}, ROW]
    assert list(map(len, read_result_file(written(tmp_path / "f.json", rows), DATA))) == [0, 1, 0]
    with pytest.raises(ConfigError, match=r"f.json: none of its 1 results is of an image of labels.json"):
        read_result_file(written(tmp_path / "f.json", rows[:1]), DATA)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (
            {"annotations": []},
            "f.json must hold COCO's results, a list of image_id, category_id, bbox and score: .*dict",
        ),
        ([{"image_id": 7}], "f.json must hold COCO's results.*'bbox'"),
        ([{**ROW, "bbox": [1, 2, 3]}], "f.json must hold COCO's results"),
        ([ROW, {**ROW, "category_id": 1}], "f.json: result 1: labels.json has no category 1"),
        ([{**ROW, "score": 17.5}], "f.json: result 0: a box must be finite and a score within 0 and 1, got .* 17.5"),
        ([{**ROW, "score": float("nan")}], "f.json: result 0: a box must be finite and a score within 0 and 1"),
        ([{**ROW, "bbox": [1, 2, float("inf"), 3]}], "f.json: result 0: a box must be finite"),
    ],
)
def test_rows_that_cannot_be_are_refused(tmp_path: Path, rows: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        read_result_file(written(tmp_path / "f.json", rows), DATA)


def test_a_file_that_cannot_be_read_or_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"f.json must hold COCO's results.*: No such file or directory$"):
        read_result_file(tmp_path / "f.json", DATA)
    (tmp_path / "file").touch()
    with pytest.raises(SinkError, match=r"f.json: the detections cannot be written there: Not a directory"):
        write_result_file(tmp_path / "file" / "f.json", [Detections.empty()] * 3, DATA)
