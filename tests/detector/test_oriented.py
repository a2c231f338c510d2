"""Oriented boxes and lists of keypoints: files are recognised by what they are, and turned boxes lie where they lay."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.detector.detector import EngineDetector
from pipeline.detector.engine import OrtEngine
from pipeline.detector.heads import head_of
from pipeline.detector.postprocess import Postprocess
from pipeline.detector.recognise import recognise
from pipeline.errors import OutputError
from pipeline.picture.coco import COCO_80
from pipeline.picture.detections import Detections
from pipeline.picture.detector_spec import DetectorSpec
from pipeline.picture.frame import ArrayPicture
from pipeline.picture.keypoints import COCO_POINTS
from pipeline.picture.letterbox import Letterbox, ResizeMode
from tests.support import realistic_outputs as real
from tests.support.foreign_detector import check_finds_the_object, write

OBB = {"task": "obb", "stride": "32", "names": repr(dict(enumerate(COCO_80)))}
SPEC = DetectorSpec("images", (96, 64), "yolov8", ("ship", "plane"), box_format="cxcywh", has_angles=True)
TURN = 0.5  # radians


def detections_of(path: Path, spec: DetectorSpec, size_wh: tuple[int, int] = (96, 64)) -> Detections:
    engine = OrtEngine(path, spec, device="cpu", intra_op_threads=1)
    (detections,) = EngineDetector(engine)([ArrayPicture(np.zeros((size_wh[1], size_wh[0], 3), np.uint8))])
    return detections


def turned_corners(cx: float, cy: float, width: float, height: float, angle: float) -> real.Array:
    """One corner after the other, with a rotation matrix."""
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    signs = ((-1, -1), (1, -1), (1, 1), (-1, 1))
    return np.array([turn @ (x * width / 2, y * height / 2) + (cx, cy) for x, y in signs])


def yolov8_oriented(angle: float) -> dict[str, Any]:
    output = real.yolov8_oriented()["output0"]
    output[-1, real.INDEX] = angle
    return {"output0": output}


@pytest.mark.parametrize("layout", ["as usual", "turned", "finished"])
def test_an_oriented_yolo_is_recognised_and_read(layout: str, tmp_path: Path) -> None:
    outputs = yolov8_oriented(TURN)
    if layout == "turned":
        outputs["output0"] = outputs["output0"].T
    if layout == "finished":
        outputs = real.table_oriented()
        outputs["output0"][0, 6] = TURN
    path = write(tmp_path / "obb.onnx", outputs, metadata=OBB)
    spec = recognise(path)
    assert (spec.head, spec.has_angles, spec.class_names) == (
        "table" if layout == "finished" else "yolov8",
        True,
        COCO_80,
    )
    assert spec.needs_nms == (layout != "finished")
    assert DetectorSpec.from_json(spec.to_json()) == spec
    detections = detections_of(path, spec)
    assert detections.corners is not None
    corners = turned_corners(*real.CXCYWH, TURN)
    np.testing.assert_allclose(detections.corners[0], corners, atol=1e-3)
    bounds = [*corners.min(axis=0).clip(0), *corners.max(axis=0).clip(0, (96, 64))]
    np.testing.assert_allclose(detections.boxes_xyxy[0], bounds, atol=1e-3)


@pytest.mark.parametrize("num_classes", [1, 3])
def test_a_finished_oriented_yolo_of_few_classes_is_no_queries_of_a_detr(num_classes: int, tmp_path: Path) -> None:
    names = repr(dict(enumerate("abc"[:num_classes])))
    outputs = real.table_oriented()
    outputs["output0"][:, 5] = 0
    spec = recognise(write(tmp_path / "obb.onnx", outputs, metadata={**OBB, "names": names}))
    assert (spec.head, spec.has_angles, len(spec.class_names)) == ("table", True, num_classes)


def test_finished_oriented_boxes_without_metadata_are_told_by_their_values(tmp_path: Path) -> None:
    assert recognise(write(tmp_path / "obb.onnx", real.table_oriented())).has_angles
    columns = ("image", "x1", "y1", "x2", "y2", "class", "score")
    path = write(tmp_path / "v7.onnx", real.table(*columns), unbatched=("output0",))
    assert (recognise(path).has_angles, recognise(path).columns) == (False, columns)


@pytest.mark.parametrize("num_classes", [1, 2, 15, 79, 80])
@pytest.mark.parametrize("has_metadata", [True, False])
def test_a_detector_with_a_class_more_is_no_oriented_one(num_classes: int, has_metadata: bool, tmp_path: Path) -> None:
    names = {"stride": "32", "task": "detect", "names": repr({number: f"c{number}" for number in range(num_classes)})}
    outputs = {"output0": real.yolov8()["output0"][: 4 + num_classes]}
    spec = recognise(write(tmp_path / "many.onnx", outputs, metadata=names if has_metadata else None))
    assert (spec.has_angles, len(spec.class_names)) == (False, num_classes)


@pytest.mark.parametrize("mode", ["letterbox-center", "letterbox-topleft", "stretch"])
@pytest.mark.parametrize("source_wh", [(96, 64), (50, 200), (640, 200)])
def test_corners_come_back_to_the_picture_as_each_point_does(source_wh: tuple[int, int], mode: ResizeMode) -> None:
    letterbox = Letterbox.fit(source_wh, (96, 64), mode)
    (scale_x, scale_y), left, top = letterbox.scale_xy, letterbox.pad_left, letterbox.pad_top
    boxes = np.random.default_rng(3).uniform([20, 15, 3, 3, -1], [70, 45, 30, 15, 3], (9, 5)).astype(np.float32)
    columns = np.zeros((1, 7, 126), np.float32)
    columns[0, :4, :9], columns[0, 6, :9] = boxes[:, :4].T, boxes[:, 4]
    columns[0, 4, :9] = np.linspace(0.9, 0.4, 9)
    options = replace(SPEC.suppression, iou_threshold=1.0)
    candidates = head_of(SPEC)({"output0": columns}, SPEC, score_threshold=0.25, batch_index=0)
    detections = Postprocess(SPEC, options)(candidates, letterbox)
    expected = [(turned_corners(*row) - (left, top)) / (scale_x, scale_y) for row in boxes.tolist()]
    lies_inside = [(corners.max(axis=0) > 0).all() and (corners.min(axis=0) < source_wh).all() for corners in expected]
    expected = [corners for corners, is_inside in zip(expected, lies_inside, strict=True) if is_inside]
    assert detections.corners is not None
    np.testing.assert_allclose(detections.corners, expected, atol=0.01)
    bounds = [[*corners.min(axis=0).clip(0), *np.minimum(corners.max(axis=0), source_wh)] for corners in expected]
    np.testing.assert_allclose(detections.boxes_xyxy, np.maximum(bounds, 0), atol=0.01)


def test_angles_that_are_no_numbers_are_refused() -> None:
    columns = np.full((1, 7, 126), 0.5, np.float32)
    columns[0, 6, 4] = np.nan
    with pytest.raises(OutputError, match="returns NaN for angles"):
        head_of(SPEC)({"output0": columns}, SPEC, score_threshold=0.25, batch_index=0)


def test_no_detection_has_no_corners_and_one_has_four() -> None:
    columns = np.zeros((1, 7, 126), np.float32)
    candidates = head_of(SPEC)({"output0": columns}, SPEC, score_threshold=0.25, batch_index=0)
    detections = Postprocess(SPEC)(candidates, Letterbox.fit((96, 64), (96, 64), "stretch"))
    assert detections.corners is not None
    assert detections.corners.shape == (0, 4, 2)


@pytest.mark.parametrize("names", [("dets", "keypoints"), ("a", "b")])
@pytest.mark.parametrize("num_points", [17, 5])
def test_boxes_with_keypoints_beside_them_are_recognised_and_read(
    names: tuple[str, str], num_points: int, tmp_path: Path
) -> None:
    boxes, points = real.poses().values()
    points = points[:, :num_points]
    path = write(tmp_path / "rtmo.onnx", dict(zip(names, (boxes, points), strict=True)))
    spec = recognise(path)
    assert (spec.head, spec.class_names, spec.needs_nms, spec.outputs) == ("lists", ("person",), False, names)
    assert (spec.colour, spec.resize, spec.std) == ("bgr", "letterbox-topleft", (1.0, 1.0, 1.0))
    assert len(spec.keypoint_names) == num_points
    assert (spec.keypoint_names == COCO_POINTS) == (num_points == 17)
    detections = detections_of(path, spec)
    assert detections.keypoints is not None
    np.testing.assert_allclose(detections.boxes_xyxy[0], real.BOX_XYXY, atol=0.05)
    np.testing.assert_allclose(detections.keypoints[0], points[0], atol=1e-4)


def test_boxes_that_are_upright_stay_the_boxes_of_an_oriented_file(tmp_path: Path) -> None:
    path = write(tmp_path / "obb.onnx", real.yolov8_oriented(), metadata=OBB)
    check_finds_the_object(path, recognise(path))
