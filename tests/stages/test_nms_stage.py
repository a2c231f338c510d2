"""NMS: boxes come out once, in source pixels, and inside the picture."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.detector.engine import OrtEngine
from pipeline.detector.recognise import recognise
from pipeline.picture.candidates import Candidates
from pipeline.picture.detections import Result
from pipeline.picture.detector_spec import DetectorSpec
from pipeline.picture.frame import Frame
from pipeline.picture.letterbox import Letterbox
from pipeline.stages.detect import Detect, RawDetections
from pipeline.stages.nms import Nms
from pipeline.stages.preprocess import Preprocess
from tests.support.tiny_detector import write_boxes_detector

SPEC = DetectorSpec("images", (100, 100), "boxes", ("cat", "dog"))
FRAME = Frame.from_pixels(np.zeros((100, 200, 3), np.uint8))
LETTERBOX = Letterbox.fit(FRAME.size_wh, SPEC.network_wh, "letterbox-center")  # half as large, 25 rows above


def detected(*rows: tuple[float, float, float, float, float, int]) -> RawDetections:
    """Candidates x1, y1, x2, y2 in network pixels, score, class."""
    table = np.array(rows, np.float32).reshape(-1, 6)
    candidates = Candidates(table[:, :4], table[:, 4], table[:, 5].astype(np.int64))
    return RawDetections(FRAME, LETTERBOX, candidates)


def run(item: RawDetections, spec: DetectorSpec = SPEC, **options: Any) -> Result:
    (result,) = Nms(spec, dataclasses.replace(spec.suppression, **options)).process(item)
    return result


def test_boxes_come_back_in_source_pixels_best_first() -> None:
    result = run(detected((10, 35, 20, 45, 0.6, 1), (11, 35, 20, 45, 0.7, 1), (50, 30, 60, 40, 0.9, 0)))
    assert result.frame is FRAME
    assert result.detections.boxes_xyxy.tolist() == [[100, 10, 120, 30], [22, 20, 40, 40]]
    assert result.detections.scores == pytest.approx([0.9, 0.7])
    assert [result.class_name(index) for index in result.detections.class_ids] == ["cat", "dog"]


def test_boxes_are_cut_at_the_picture_and_those_in_the_padding_are_dropped() -> None:
    result = run(detected((-5, 20, 20, 80, 0.9, 0), (10, 2, 90, 24, 0.8, 0), (10, 76, 90, 99, 0.7, 0)))
    assert result.detections.boxes_xyxy.tolist() == [[0, 0, 40, 100]]


def test_no_candidates_are_no_detections() -> None:
    assert len(run(detected()).detections) == 0


def test_thresholds_are_the_specs_unless_they_are_given() -> None:
    item = detected((0, 30, 10, 40, 0.3, 0), (20, 30, 30, 40, 0.2, 0), (40, 30, 50, 40, 0.28, 1))
    assert len(run(item).detections) == 2
    assert len(run(item, score_threshold=0.1).detections) == 3
    assert len(run(item, class_thresholds={0: 0.5}).detections) == 1


def test_other_classes_can_be_left_out_and_then_suppress_nothing() -> None:
    item = detected((0, 30, 10, 40, 0.9, 0), (0, 30, 10, 40, 0.8, 1))
    assert run(item, mode="class-agnostic", keep_class_ids=frozenset({1})).detections.class_ids.tolist() == [1]
    assert len(run(item, keep_class_ids=frozenset()).detections) == 0


def test_soft_suppression_lowers_scores() -> None:
    item = detected((0, 30, 10, 40, 0.9, 0), (0, 30, 10, 40, 0.8, 0), (0, 30, 10, 37.5, 0.8, 0))
    result = run(item, mode="soft-linear")
    assert result.detections.scores.tolist() == pytest.approx([0.9])
    gaussian = run(item, mode="soft-gaussian")
    assert gaussian.detections.scores.tolist() == pytest.approx([0.9, 0.8 * np.exp(-(0.75**2) / 0.5)])


def test_a_network_with_nms_inside_is_only_thresholded() -> None:
    item = detected((0, 30, 10, 40, 0.9, 0), (0, 30, 10, 40, 0.8, 0), (0, 30, 10, 40, 0.1, 0))
    result = run(item, dataclasses.replace(SPEC, needs_nms=False), mode="soft-linear")
    assert result.detections.scores == pytest.approx([0.9, 0.8])


def test_a_wrong_option_is_refused_at_the_start() -> None:
    with pytest.raises(ValueError, match="iou_threshold must lie within"):
        run(detected(), iou_threshold=2.0)


def test_a_network_that_returns_nan_is_not_believed() -> None:
    with pytest.raises(ValueError, match=r"must be finite.*float16"):
        run(detected((float("nan"), 0, 1, 1, 0.9, 0)))


def test_nothing_is_held_at_the_end() -> None:
    stage = Nms(SPEC)
    assert list(stage.drain()) == []
    stage.close()


def test_a_frame_goes_through_all_stages_without_threads(tmp_path: Path) -> None:
    path = write_boxes_detector(tmp_path / "pets.onnx", [(0, 16, 32, 48, 0.9, 1), (1, 17, 32, 48, 0.8, 1)])
    spec = recognise(path)
    engine = OrtEngine(path, spec, device="cpu", intra_op_threads=1)
    frame = Frame.from_pixels(np.zeros((320, 640, 3), np.uint8))
    (prepared,) = Preprocess(spec).process(frame)
    (detected,) = Detect(engine).process(prepared)
    (result,) = Nms(spec).process(detected)
    assert result.detections.boxes_xyxy.tolist() == [[0, 0, 320, 320]]
    assert result.class_names == ("cat", "dog")
