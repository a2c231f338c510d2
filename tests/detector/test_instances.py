"""Are files with masks and keypoints recognised by what they are, and read as a slow, plain decoder reads them?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.detector.detector import EngineDetector
from pipeline.detector.engine import OrtEngine
from pipeline.detector.heads import head_of
from pipeline.detector.postprocess import Postprocess
from pipeline.detector.recognise import recognise
from pipeline.errors import ModelError, OutputError
from pipeline.picture.coco import COCO_80
from pipeline.picture.detections import Detections
from pipeline.picture.detector_spec import DetectorSpec
from pipeline.picture.frame import ArrayPicture
from pipeline.picture.keypoints import COCO_POINTS
from pipeline.picture.letterbox import Letterbox
from tests.support import realistic_outputs as real
from tests.support.foreign_detector import check_finds_the_object, write

RANDOM = np.random.default_rng(5)
PROTOTYPES = RANDOM.normal(0, 1, (32, 16, 24)).astype(np.float32)
SEGMENT = {"task": "segment", "stride": "32", "names": repr(dict(enumerate(COCO_80)))}
POSE = {"task": "pose", "stride": "32", "names": "{0: 'car'}", "kpt_shape": "[17, 3]"}
WEIGHTS = RANDOM.normal(0, 1, (32, real.num_cells())).astype(np.float32)


def keypoints(num: int) -> real.Array:
    """17 points of each of `num` boxes, in pixels of the network, flat [51, num]."""
    points = RANDOM.uniform(0, 60, (17, 3, num))
    points[:, 2] /= 60
    return points.reshape(51, num).astype(np.float32)


def yolov8_seg() -> dict[str, Any]:
    return {"output0": np.concatenate([real.yolov8()["output0"], WEIGHTS]), "output1": PROTOTYPES}


def finished(values: real.Array) -> real.Array:
    """Rows [300, 6 + E] as YOLO26 has them: the object first, then padding."""
    rows = np.zeros((300, 6 + len(values)), np.float32)
    rows[0] = [*real.BOX_XYXY, real.SCORE, 2, *values]
    return rows


def detections_of(path: Path, spec: DetectorSpec, size_wh: tuple[int, int] = (96, 64)) -> Detections:
    engine = OrtEngine(path, spec, device="cpu", intra_op_threads=1)
    (detections,) = EngineDetector(engine)([ArrayPicture(np.zeros((size_wh[1], size_wh[0], 3), np.uint8))])
    return detections


def mask_slowly(weights: real.Array, box: real.Array, letterbox: Letterbox) -> tuple[real.Array, real.Array]:
    """Pixel by pixel: the logits at the centres of a picture's pixels, and which of these the box [4] holds."""
    logits = sum(weight * prototype for weight, prototype in zip(weights, PROTOTYPES, strict=True))
    width, height = letterbox.source_wh
    values, inside = np.zeros((height, width)), np.zeros((height, width), bool)
    for row in range(height):
        for column in range(width):
            x = (column + 0.5) * letterbox.scale_xy[0] + letterbox.pad_left
            y = (row + 0.5) * letterbox.scale_xy[1] + letterbox.pad_top
            inside[row, column] = box[0] <= x < box[2] and box[1] <= y < box[3]
            u, v = min(max(x / 4 - 0.5, 0), 23), min(max(y / 4 - 0.5, 0), 15)
            left, top = int(u), int(v)
            right, bottom = min(left + 1, 23), min(top + 1, 15)
            upper = logits[top, left] * (1 - u + left) + logits[top, right] * (u - left)
            lower = logits[bottom, left] * (1 - u + left) + logits[bottom, right] * (u - left)
            values[row, column] = upper * (1 - v + top) + lower * (v - top)
    return values, inside


@pytest.mark.parametrize("metadata", [None, SEGMENT])
def test_a_segmenting_yolov8_is_recognised_and_read(metadata: dict[str, str] | None, tmp_path: Path) -> None:
    path = write(tmp_path / "seg.onnx", yolov8_seg(), metadata=metadata)
    spec = recognise(path)
    assert (spec.head, spec.class_names, spec.outputs) == ("yolov8", COCO_80, ("output0", "output1"))
    assert DetectorSpec.from_json(spec.to_json()) == spec
    check_finds_the_object(path, spec)
    masks = detections_of(path, spec).masks
    assert masks is not None
    assert masks.shape[1:] == (64, 96)
    assert 0 < masks.num_pixels()[0] < masks.crop(0).size


def test_a_segmenting_yolov5_is_recognised_and_read(tmp_path: Path) -> None:
    (rows,) = real.yolov5().values()
    rows = np.concatenate([rows, RANDOM.normal(0, 1, (len(rows), 32)).astype(np.float32)], axis=1)
    path = write(tmp_path / "seg.onnx", {"output0": rows, "output1": PROTOTYPES})
    spec = recognise(path)
    assert (spec.head, len(spec.class_names), spec.outputs) == ("yolov5", 80, ("output0", "output1"))
    check_finds_the_object(path, spec)
    assert detections_of(path, spec).masks is not None


def test_finished_detections_with_masks_are_recognised_and_read(tmp_path: Path) -> None:
    outputs = {"output0": finished(WEIGHTS[:, 0]), "output1": PROTOTYPES}
    path = write(tmp_path / "seg26.onnx", outputs, metadata=SEGMENT)
    spec = recognise(path)
    assert (spec.head, spec.needs_nms, spec.outputs) == ("table", False, ("output0", "output1"))
    check_finds_the_object(path, spec)
    masks = detections_of(path, spec).masks
    values, inside = mask_slowly(WEIGHTS[:, 0], np.array(real.BOX_XYXY), Letterbox.fit((96, 64), (96, 64), "stretch"))
    assert masks is not None
    certain = np.abs(values) > 0.3
    np.testing.assert_array_equal(masks[0][certain], (inside & (values > 0))[certain])


@pytest.mark.parametrize("size_wh", [(96, 64), (150, 40), (31, 77), (300, 200)])
def test_masks_of_prototypes_are_those_of_a_slow_loop_over_pixels(size_wh: tuple[int, int]) -> None:
    spec = DetectorSpec("images", (96, 64), "yolov8", ("car",), outputs=("a", "b"))
    boxes = np.array([[30, 20, 20, 30], [60, 40, 90, 70], [48.3, 32.7, 11.2, 7.9], [50, 30, 0.3, 0.3]], np.float32)
    table = np.zeros((1, 37, 126), np.float32)
    table[0, :4, :4], table[0, 4, :4], table[0, 5:, :4] = boxes.T, [0.9, 0.8, 0.7, 0.6], WEIGHTS[:, :4]
    spec = DetectorSpec("images", (96, 64), "yolov8", ("car",), outputs=("a", "b"), box_format="cxcywh")
    outputs = {"a": table, "b": PROTOTYPES[None]}
    letterbox = Letterbox.fit(size_wh, (96, 64), "letterbox-center")
    candidates = head_of(spec)(outputs, spec, score_threshold=0.25, batch_index=0)
    found = Postprocess(spec)(candidates, letterbox)
    assert found.masks is not None
    for index, score in enumerate(found.scores.tolist()):
        source = int(np.argmin(np.abs(candidates.scores - score)))
        values, inside = mask_slowly(WEIGHTS[:, source], candidates.boxes_xyxy[source], letterbox)
        certain = np.abs(values) > 0.3  # OpenCV may interpolate with 5 bits
        np.testing.assert_array_equal(found.masks[index][certain], (inside & (values > 0))[certain])


def test_weights_that_are_no_numbers_are_refused() -> None:
    spec = DetectorSpec("images", (96, 64), "yolov8", ("car",), outputs=("a", "b"), box_format="cxcywh")
    table = np.full((1, 37, 126), 0.5, np.float32)
    table[0, 20, 3] = np.nan
    with pytest.raises(OutputError, match="returns NaN for weights of masks"):
        head_of(spec)({"a": table, "b": PROTOTYPES[None]}, spec, score_threshold=0.25, batch_index=0)
    with pytest.raises(ModelError, match="a weight for each of the 5 prototypes in b, it has 32"):
        head_of(spec)({"a": table, "b": PROTOTYPES[None, :5]}, spec, score_threshold=0.25, batch_index=0)


@pytest.mark.parametrize("metadata", [None, POSE])
@pytest.mark.parametrize("is_finished", [False, True])
def test_a_pose_yolo_is_recognised_and_read(metadata: dict[str, str] | None, is_finished: bool, tmp_path: Path) -> None:
    points = keypoints(real.num_cells())
    boxes = real.yolov8()["output0"]
    best = int(boxes[4:].max(axis=0).argmax())
    one_class = np.concatenate([boxes[:4], boxes[4:].max(axis=0, keepdims=True), points])
    rows = finished(points[:, best])
    rows[0, 5] = 0
    path = write(tmp_path / "pose.onnx", {"output0": rows if is_finished else one_class}, metadata=metadata)
    spec = recognise(path)
    assert (spec.head, spec.keypoint_names) == ("table" if is_finished else "yolov8", COCO_POINTS)
    assert spec.class_names == (("car",) if metadata else ("person",))
    detections = detections_of(path, spec)
    assert detections.keypoints is not None
    np.testing.assert_allclose(detections.boxes_xyxy[0], real.BOX_XYXY, atol=0.05)
    np.testing.assert_allclose(detections.keypoints[0].reshape(51), points[:, best], atol=1e-4)


def test_a_detector_of_52_classes_is_not_taken_for_a_pose_model_nor_one_of_112_for_masks(tmp_path: Path) -> None:
    boxes = real.yolov8()["output0"]
    path = write(tmp_path / "many.onnx", {"output0": boxes[:56]})
    assert (recognise(path).keypoint_names, len(recognise(path).class_names)) == ((), 52)
    scores = RANDOM.uniform(0, 0.01, (32, real.num_cells())).astype(np.float32)
    path = write(tmp_path / "more.onnx", {"output0": np.concatenate([boxes, scores])})
    assert (recognise(path).outputs, len(recognise(path).class_names)) == (("output0",), 112)
