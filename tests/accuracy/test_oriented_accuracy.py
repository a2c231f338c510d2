"""AP of oriented boxes: that of pycocotools where they are upright, and else that of a plain reference."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from pipeline.accuracy.coco import coco_accuracy
from pipeline.accuracy.coco_json import read_coco_json
from pipeline.accuracy.shapes import shape_accuracy
from pipeline.accuracy.truth import LabelledData
from pipeline.picture.detections import Detections

pytest.importorskip("pycocotools", reason="AP needs pycocotools")
SIDE = 400
Rectangles = npt.NDArray[np.float64]  # [N, 5]: centre x, y, width, height, degrees


def corners_of(rectangles: Rectangles) -> npt.NDArray[np.float32]:
    boxes = [cv2.boxPoints(((x, y), (w, h), angle)) for x, y, w, h, angle in rectangles.tolist()]
    return np.array(boxes, np.float32).reshape(-1, 4, 2)


def detections_of(rectangles: Rectangles, scores: npt.NDArray[np.float32], class_ids: Any) -> Detections:
    corners = corners_of(rectangles)
    boxes = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
    return Detections(boxes, scores, np.array(class_ids, np.int64), corners=corners)


def data_of(
    folder: Path, truth: list[tuple[Rectangles, list[int]]], *, crowds: frozenset[tuple[int, int]] = frozenset()
) -> LabelledData:
    annotations: list[dict[str, Any]] = []
    for image_id, (rectangles, class_ids) in enumerate(truth):
        for number, (corners, class_id) in enumerate(zip(corners_of(rectangles), class_ids, strict=True)):
            (left, top), (right, bottom) = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
            annotations.append({
                "id": len(annotations) + 1, "image_id": image_id, "category_id": class_id,
                "bbox": [left, top, right - left, bottom - top], "area": float(np.prod(rectangles[number, 2:4])),
                "segmentation": [corners.reshape(-1).tolist()], "iscrowd": int((image_id, number) in crowds),
            })  # fmt: skip
    images = [
        {"id": image_id, "file_name": f"{image_id}.png", "width": SIDE, "height": SIDE}
        for image_id in range(len(truth))
    ]
    categories = [{"id": class_id, "name": name} for class_id, name in enumerate(("ship", "plane"))]
    path = folder / "labels.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return read_coco_json(path)


def scene(seed: int, *, turned: bool) -> tuple[list[tuple[Rectangles, list[int]]], list[Detections]]:
    """Rectangles in 5 images, of two classes, and detections: a little off, some missed, some made up."""
    chance = np.random.default_rng(seed)
    truth, detections = [], []
    for num in (0, 1, 4, 9, 9):
        lows, highs = (100, 100, 12, 12, 0), (300, 300, 90, 40, 180 if turned else 0)
        rectangles = chance.uniform(lows, highs, (num, 5))
        class_ids = chance.integers(0, 2, num)
        off = chance.normal(0, (2, 2, 2, 2, 4 if turned else 0), (num, 5))
        guesses = np.concatenate([rectangles + off, chance.uniform(lows, highs, (3, 5))])[1:]
        guesses[:, 2:4] = np.maximum(guesses[:, 2:4], 4)
        guessed_ids = np.concatenate([class_ids, chance.integers(0, 2, 3)])[1:]
        scores = np.asarray((chance.permutation(len(guesses)) + 1) / 20, np.float32)
        truth.append((rectangles, class_ids.tolist()))
        detections.append(detections_of(guesses, scores, guessed_ids))
    return truth, detections


@pytest.mark.parametrize("seed", range(4))
def test_upright_boxes_have_the_numbers_of_pycocotools_with_crowds_too(seed: int, tmp_path: Path) -> None:
    truth, detections = scene(seed, turned=False)
    data = data_of(tmp_path, truth, crowds=frozenset({(2, 1), (3, 0), (3, 4)}))
    expected = coco_accuracy([replace(one, corners=None) for one in detections], [image.truth for image in data.images])
    numbers = shape_accuracy(detections, data)["oriented_boxes"]
    assert numbers == pytest.approx(expected.numbers, abs=1e-3)
    assert numbers["AP"] not in (None, 0, 1)


@pytest.mark.parametrize("seed", range(4))
def test_the_numbers_are_those_of_a_plain_reference(seed: int, tmp_path: Path) -> None:
    truth, detections = scene(seed, turned=True)
    numbers = shape_accuracy(detections, data_of(tmp_path, truth))["oriented_boxes"]
    thresholds = np.arange(0.5, 1, 0.05)
    of_classes = [
        [reference_ap(truth, detections, class_id, threshold) for threshold in thresholds] for class_id in (0, 1)
    ]
    assert numbers["AP50"] == pytest.approx(np.mean([aps[0] for aps in of_classes]), abs=1e-3)
    assert numbers["AP"] == pytest.approx(np.mean(of_classes), abs=1e-3)
    boxes = [replace(one, corners=None) for one in detections]
    upright = coco_accuracy(boxes, [image.truth for image in data_of(tmp_path, truth).images]).numbers
    assert numbers["AP"] != pytest.approx(upright["AP"], abs=1e-3)  # upright bounds would be something else


def reference_iou(a: Any, b: Any) -> float:
    """By OpenCV, of rectangles."""
    kind, points = cv2.rotatedRectangleIntersection(cv2.minAreaRect(a), cv2.minAreaRect(b))
    shared = 0.0 if kind == cv2.INTERSECT_NONE or points is None else cv2.contourArea(cv2.convexHull(points))
    return shared / (cv2.contourArea(a) + cv2.contourArea(b) - shared)


def reference_ap(truth: Any, detections: list[Detections], class_id: int, threshold: float) -> float:
    """COCO's AP at one IoU: greedy matching by score, precision at 101 recalls."""
    scores, is_right, num_objects = [], [], 0
    for (rectangles, class_ids), in_image in zip(truth, detections, strict=True):
        objects = corners_of(rectangles)[np.array(class_ids, int) == class_id]
        num_objects += len(objects)
        of_class = in_image.select(in_image.class_ids == class_id)
        free = set(range(len(objects)))
        assert of_class.corners is not None
        for index in np.argsort(-of_class.scores, kind="stable").tolist():
            ious = {number: reference_iou(of_class.corners[index], objects[number]) for number in free}
            best = max(ious, key=ious.__getitem__, default=None)
            is_match = best is not None and ious[best] >= threshold
            if is_match:
                free.remove(best)  # type: ignore[arg-type]
            scores.append(float(of_class.scores[index]))
            is_right.append(is_match)
    right = np.array(is_right)[np.argsort(-np.array(scores), kind="stable")]
    recall, precision = np.cumsum(right) / num_objects, np.cumsum(right) / np.arange(1, len(right) + 1)
    return float(np.mean([precision[recall >= level - 1e-12].max(initial=0) for level in np.linspace(0, 1, 101)]))


def test_labels_without_four_corners_are_not_missed_and_nothing_is_counted_without_any(tmp_path: Path) -> None:
    truth, detections = scene(1, turned=True)
    data = data_of(tmp_path, truth)
    (tmp_path / "labels.json").write_text((tmp_path / "labels.json").read_text().replace('"segmentation"', '"other"'))
    assert shape_accuracy(detections, read_coco_json(tmp_path / "labels.json")) == {}
    assert shape_accuracy([replace(one, corners=None) for one in detections], data) == {}
    document = json.loads((tmp_path / "labels.json").read_text().replace('"other"', '"segmentation"'))
    first, *others = document["annotations"]
    for annotation in others:
        annotation["segmentation"] = [[10, 10, 60, 60, 60, 10, 10, 60]]  # crosses itself
    (tmp_path / "labels.json").write_text(json.dumps(document))
    rectangles, class_ids = truth[first["image_id"]]
    exact = [Detections.empty()] * len(truth)
    exact[first["image_id"]] = detections_of(rectangles[:1], np.ones(1, np.float32), class_ids[:1])
    numbers = shape_accuracy(exact, read_coco_json(tmp_path / "labels.json"))["oriented_boxes"]
    assert (numbers["AP"], numbers["AR1"]) == pytest.approx((1, 1))
