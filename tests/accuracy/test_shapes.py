"""AP of masks and keypoints: what pycocotools says when it reads files itself, crowds and sizes included."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.accuracy.coco_json import read_coco_json
from pipeline.accuracy.shapes import shape_accuracy
from pipeline.errors import ConfigError
from pipeline.picture.detections import Detections
from pipeline.picture.masks import Masks

coco = pytest.importorskip("pycocotools.coco", reason="AP needs pycocotools")
WIDTH, HEIGHT = 160, 120


def scene(seed: int) -> tuple[dict[str, Any], list[Detections]]:
    """Labels of 6 images with rectangles, crowds and persons' points, and detections that are a little off."""
    chance = np.random.default_rng(seed)
    annotations: list[dict[str, Any]] = []
    detections = []
    for image_id in range(6):
        masks, points, boxes = [], [], []
        for _ in range(int(chance.integers(0, 6))):
            left, top = chance.integers(0, 60, 2).tolist()
            width, height = chance.integers(8, 60, 2).tolist()
            flat = chance.uniform(0, 60, (17, 3))
            flat[:, 2] = chance.integers(0, 3, 17)
            polygon = [left, top, left + width, top, left + width, top + height, left, top + height]
            is_crowd = bool(chance.random() < 0.2)
            counts = [left * HEIGHT, width * HEIGHT, (WIDTH - left - width) * HEIGHT]
            annotations.append({
                "id": len(annotations) + 1, "image_id": image_id, "category_id": 1, "area": width * height,
                "bbox": [left, top, width, height], "iscrowd": int(is_crowd),
                "segmentation": {"size": [HEIGHT, WIDTH], "counts": counts} if is_crowd else [polygon],
                "keypoints": flat.reshape(-1).tolist(), "num_keypoints": int((flat[:, 2] > 0).sum()),
            })  # fmt: skip
            mask = np.zeros((HEIGHT, WIDTH), np.bool_)
            dx, dy = chance.integers(0, 6, 2).tolist()
            mask[top + dy : top + dy + height, left + dx : left + dx + width] = True
            masks.append(mask)
            points.append(np.concatenate([flat[:, :2] + chance.normal(0, 2, (17, 2)), np.ones((17, 1))], axis=1))
            boxes.append([left + dx, top + dy, left + dx + width, top + dy + height])
        num = len(masks)
        detections.append(
            Detections(
                np.array(boxes, np.float32).reshape(-1, 4),
                np.array(chance.permutation(num) / 10, np.float32),
                np.zeros(num, np.int64),
                Masks.of(np.array(masks).reshape(num, HEIGHT, WIDTH)).packed(),
                np.array(points, np.float32).reshape(num, 17, 3),
            )
        )
    images = [{"id": index, "file_name": f"{index}.jpg", "width": WIDTH, "height": HEIGHT} for index in range(6)]
    categories = [{"id": 1, "name": "person"}]
    return {"images": images, "annotations": annotations, "categories": categories}, detections


def theirs(labels: Path, detections: list[Detections], iou_type: str, folder: Path) -> list[float]:
    """What pycocotools makes of two files."""
    from pycocotools.cocoeval import COCOeval
    from pycocotools.mask import encode

    rows: list[dict[str, Any]] = []
    for image_id, in_image in enumerate(detections):
        assert in_image.masks is not None
        assert in_image.keypoints is not None
        for index, mask in enumerate(in_image.masks):
            row = {"image_id": image_id, "category_id": 1, "score": float(in_image.scores[index])}
            rle = encode(np.asfortranarray(mask.astype(np.uint8)))
            segmentation = {"size": rle["size"], "counts": rle["counts"].decode()}
            points = in_image.keypoints[index].astype(float).reshape(-1).tolist()
            rows.append(row | ({"segmentation": segmentation} if iou_type == "segm" else {"keypoints": points}))
    (folder / "results.json").write_text(json.dumps(rows))
    with contextlib.redirect_stdout(io.StringIO()):
        truth = coco.COCO(str(labels))
        evaluation = COCOeval(truth, truth.loadRes(str(folder / "results.json")), iou_type)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    numbers: list[float] = evaluation.stats.tolist()
    return numbers


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("kind", "iou_type"), [("masks", "segm"), ("keypoints", "keypoints")])
def test_the_numbers_are_those_of_pycocotools(kind: str, iou_type: str, seed: int, tmp_path: Path) -> None:
    labels, detections = scene(seed)
    (tmp_path / "labels.json").write_text(json.dumps(labels))
    ours = shape_accuracy(detections, read_coco_json(tmp_path / "labels.json"))[kind]
    expected = theirs(tmp_path / "labels.json", detections, iou_type, tmp_path)
    assert [-1 if value is None else value for value in ours.values()] == pytest.approx(expected, abs=1e-9)
    assert 0 < (ours["AP"] or 0) < 1


def test_keypoints_that_are_no_triples_are_refused(tmp_path: Path) -> None:
    labels, _ = scene(0)
    labels["annotations"][0]["keypoints"] = [1, 2]
    (tmp_path / "labels.json").write_text(json.dumps(labels))
    with pytest.raises(ConfigError, match=r"annotation 1: keypoints must be x, y and v of each point, got \[1, 2\]"):
        read_coco_json(tmp_path / "labels.json")


def test_detections_without_shapes_have_no_such_numbers(tmp_path: Path) -> None:
    labels, detections = scene(0)
    (tmp_path / "labels.json").write_text(json.dumps(labels))
    boxes = [Detections(one.boxes_xyxy, one.scores, one.class_ids) for one in detections]
    assert shape_accuracy(boxes, read_coco_json(tmp_path / "labels.json")) == {}
