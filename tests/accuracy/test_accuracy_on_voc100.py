"""Do real detectors, run through the whole pipeline, find in real photographs what others measured?

AP and AP50 on a hundred VOC photographs against the table in ../shared/assets/README.md.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pipeline
from pipeline.picture.boxes import intersection_over_union
from pipeline.picture.detections import Result
from pipeline.sources.images import ImagesSource
from tests.support.assets import ASSETS, MODELS, VOC100, needs_assets

VOC_NAMES = {
    "potted plant": "pottedplant",
    "motorcycle": "motorbike",
    "tv": "tvmonitor",
    "airplane": "aeroplane",
    "couch": "sofa",
    "dining table": "diningtable",
}
SCORE_THRESHOLD = 0.05

pytestmark = needs_assets


@pytest.mark.parametrize(
    ("name", "ap", "ap50"),
    [
        ("yolox_nano_coco_416", 0.506, 0.745),
        ("yolov5n_coco_640", 0.472, 0.733),
        ("yolov5n_coco_320", 0.477, 0.737),
        ("yolov8n_coco_640_dynint8", 0.585, 0.796),
        ("deimv2_atto_coco_320", 0.475, 0.699),
        ("deimv2_atto_coco_320_rawdetr", 0.475, 0.699),
        ("deimv2_atto_coco_320_dynint8", 0.058, 0.138),  # ruined by its quantisation, and seen to be
        ("nanodet_m_coco_416", 0.483, 0.754),
        ("ssd_mobilenet_v1_coco_nms", 0.384, 0.655),
        ("ssd_mobilenet_v1_coco_raw", 0.384, 0.652),
        ("fastestdet_coco_352", 0.284, 0.499),
    ],
)
def test_a_detector_is_as_good_as_its_publisher_says(
    name: str, ap: float, ap50: float, capsys: pytest.CaptureFixture[str]
) -> None:
    pycocotools = pytest.importorskip("pycocotools", reason="computes AP with pycocotools")
    assert pycocotools
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth_path = VOC100 / "instances_default.json"
    truth = COCO(str(truth_path))
    evaluation = COCOeval(truth, truth.loadRes(detect_all(name, json.loads(truth_path.read_text()))), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    capsys.readouterr()  # pycocotools prints
    assert evaluation.stats[:2] == pytest.approx([ap, ap50], abs=0.01)


# Faces that anyone sees, as a person drew them: left, top, right, bottom.
FACES = {
    "fd_3": [(87, 75, 118, 107), (213, 140, 233, 167), (242, 141, 262, 164), (330, 146, 357, 176)],
    "zidane": [(545, 235, 660, 430), (925, 100, 1055, 285)],
    "fd_0": [],  # three people whose faces cannot be seen
}


@pytest.mark.parametrize("photograph", FACES)
def test_a_face_detector_finds_the_faces_that_are_plainly_there_and_no_others(photograph: str) -> None:
    found = faces_in(photograph)
    assert {found.class_name(index) for index in found.detections.class_ids} <= {"face"}
    drawn = np.array(FACES[photograph], np.float32).reshape(-1, 4)
    overlaps = intersection_over_union(drawn, found.detections.boxes_xyxy)  # [drawn, found]
    assert overlaps.shape == (len(drawn), len(drawn))
    assert (overlaps.max(axis=1, initial=0) > 0.5).all()


def test_a_face_detector_finds_nearly_every_face_of_a_class_of_fifty() -> None:
    assert 44 <= len(faces_in("ulfd_1").detections) <= 52


def faces_in(photograph: str) -> Result:
    model = MODELS / "ulfd_rfb_face_320.onnx"
    picture = ASSETS / "images" / "stills" / f"{photograph}.jpg"
    (result,) = pipeline.detect(str(picture), model=str(model), settings={"engine.device": "cpu"})
    return result


def detect_all(name: str, truth: dict[str, Any]) -> list[dict[str, Any]]:
    """What a detector finds in every photograph when the whole pipeline runs over the folder, as COCO has it."""
    photographs = ImagesSource(str(VOC100 / "images")).paths
    image_ids = {Path(image["file_name"]).name: image["id"] for image in truth["images"]}
    category_ids = {category["name"]: category["id"] for category in truth["categories"]}
    found: list[dict[str, Any]] = []
    results = pipeline.detect(
        str(VOC100 / "images"),
        model=str(MODELS / f"{name}.onnx"),
        settings={"detection.score_threshold": SCORE_THRESHOLD, "engine.device": "cpu"},
    )
    for result in results:
        image_id = image_ids[photographs[int(result.frame.pts_seconds)].name]
        found += as_coco(result, image_id, category_ids)
    return found


def as_coco(result: Result, image_id: int, category_ids: dict[str, int]) -> list[dict[str, Any]]:
    detections = result.detections
    rows = []
    for (left, top, right, bottom), score, class_id in zip(
        detections.boxes_xyxy.tolist(), detections.scores.tolist(), detections.class_ids.tolist(), strict=True
    ):
        name = VOC_NAMES.get(result.class_name(class_id), result.class_name(class_id))
        if name in category_ids:
            box_xywh = [left, top, right - left, bottom - top]
            rows.append({"image_id": image_id, "category_id": category_ids[name], "bbox": box_xywh, "score": score})
    return rows
