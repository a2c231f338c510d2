"""Is every known convention told from every other by a file that answers as such a detector does?

Each file finds one object that stands out; to have it come out in the right place is to have read the file rightly.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.detector.heads.hints import Hints
from pipeline.detector.recognise import examine, recognise
from pipeline.errors import ModelError
from pipeline.picture.coco import COCO_80, COCO_91
from pipeline.picture.detector_spec import ExtraInput
from tests.support import realistic_outputs as real
from tests.support.foreign_detector import any_number, check_finds_the_object, write

CORNERS = ("x1", "y1", "x2", "y2")
ULTRALYTICS = {"names": repr(dict(enumerate(COCO_80))), "stride": "32", "task": "detect"}
UINT8: dict[str, Any] = {"input_shape": (1, 64, 96, 3), "input_type": "uint8"}
RANK_3: dict[str, Any] = {"input_shape": (3, 64, 96)}
SIZES: dict[str, Any] = {
    "extra_inputs": {"orig_target_sizes": ("int64", ("N", 2))},
    "scaled_by": {"boxes": "orig_target_sizes"},
    "input_shape": ("N", 3, 64, 96),
}
YOLOV7 = ("image", *CORNERS, "class", "score")
AUTOML = ("image", "y1", "x1", "y2", "x2", "score", "class")


@pytest.mark.parametrize(
    ("outputs", "options", "expected"),
    [
        pytest.param(real.yolov5(), {}, {"head": "yolov5", "colour": "rgb"}, id="yolov5"),
        pytest.param(real.yolov5_with_its_maps(), {}, {"head": "yolov5"}, id="yolov5 with its raw maps"),
        pytest.param(real.yolov6(), {}, {"head": "yolov5", "colour": "rgb", "resize": "letterbox-center"}, id="yolov6"),
        pytest.param(real.yolox(), {}, {"head": "yolox", "colour": "bgr", "std": (1, 1, 1)}, id="yolox"),
        pytest.param(
            real.yolox_decoded(),
            {},
            {"head": "yolov5", "colour": "bgr", "resize": "letterbox-topleft"},
            id="yolox decoded in the graph",
        ),
        pytest.param(real.yolov8(), {}, {"head": "yolov8", "boxes_are_normalised": False}, id="yolov8"),
        pytest.param(
            real.yolov8_normalised(), {}, {"head": "yolov8", "boxes_are_normalised": True}, id="yolov8 in 0..1"
        ),
        pytest.param(real.yolov8_turned(), {}, {"head": "yolov8", "boxes_are_normalised": False}, id="yolov8 turned"),
        pytest.param(
            real.yolov8(), {"input_shape": (1, 64, 96, 3)}, {"head": "yolov8", "layout": "nhwc"}, id="yolov8 nhwc"
        ),
        pytest.param(real.yolov8(), {"input_shape": ("N", 3, 64, 96)}, {"batch": None}, id="yolov8, any batch"),
        pytest.param(real.yolov8(), {"input_shape": (4, 3, 64, 96)}, {"batch": 4}, id="yolov8, a batch of 4"),
        pytest.param(
            real.table(*CORNERS, "score", "class", num=300),
            {"metadata": ULTRALYTICS},
            {"head": "table", "columns": (*CORNERS, "score", "class"), "needs_nms": False},
            id="yolov10",
        ),
        pytest.param(
            real.table(*CORNERS, "score", "class", num=7, padded_to=300),
            {"metadata": ULTRALYTICS},
            {"head": "table", "columns": (*CORNERS, "score", "class"), "resize": "letterbox-center"},
            id="ultralytics nms=True, padded with zeros",
        ),
        pytest.param(
            real.table("class", "score", *CORNERS),
            any_number(real.table("class", "score", *CORNERS)),
            {"head": "table", "columns": ("class", "score", *CORNERS), "batch": 1, "resize": "stretch"},
            id="paddledetection",
        ),
        pytest.param(
            {**real.table("class", "score", *CORNERS), "num": np.array([20], np.int32)},
            {"unbatched": ("output0", "num"), "declared_shapes": {"output0": ("n", 6), "num": (1,)}},
            {"head": "table", "columns": ("class", "score", *CORNERS), "outputs": ("output0",)},
            id="paddledetection with its count",
        ),
        pytest.param(
            {**real.table("class", "score", *CORNERS), "num": np.array([20], np.int32)},
            {
                "unbatched": ("output0", "num"),
                "declared_shapes": {"output0": ("n", 6)},
                "extra_inputs": {"im_shape": ("float32", (1, 2)), "scale_factor": ("float32", (1, 2))},
            },
            {
                "head": "table",
                "extra_inputs": (
                    ExtraInput("im_shape", "float32", (64.0, 96.0)),
                    ExtraInput("scale_factor", "float32", (1.0, 1.0)),
                ),
            },
            id="paddledetection with all its inputs",
        ),
        pytest.param(
            real.table(*YOLOV7),
            any_number(real.table(*YOLOV7)),
            {"head": "table", "columns": YOLOV7},
            id="yolov7 with NMS",
        ),
        pytest.param(
            real.table(*AUTOML, num=100, first_class_id=1),
            UINT8,
            {"head": "table", "columns": AUTOML, "first_class_id": 1, "class_names": COCO_91},
            id="automl's efficientdet",
        ),
        pytest.param(
            real.tensorflow(),
            {**UINT8, "declared_shapes": {"num_detections:0": (1,)}},
            {"head": "lists", "box_format": "yxyx", "boxes_are_normalised": True, "class_names": COCO_91},
            id="tensorflow",
        ),
        pytest.param(real.efficient_nms(), {}, {"head": "lists", "needs_nms": False}, id="efficientnms"),
        pytest.param(
            real.mmdeploy(), {}, {"head": "lists", "outputs": ("dets", "labels"), "colour": "rgb"}, id="mmdeploy"
        ),
        pytest.param(
            real.detectron2(),
            {**any_number(real.detectron2()), **RANK_3},
            {"head": "lists", "layout": "chw", "colour": "bgr", "outputs": ("769", "770", "771")},
            id="detectron2",
        ),
        pytest.param(
            real.torchvision(),
            any_number(real.torchvision()),
            {"head": "lists", "first_class_id": 1, "class_names": COCO_91, "batch": 1},
            id="torchvision",
        ),
        pytest.param(
            real.torchvision(("2770", "2773", "2772")),
            any_number(real.torchvision(("2770", "2773", "2772"))),
            {"head": "lists", "outputs": ("2770", "2773", "2772")},
            id="torchvision, without names",
        ),
        pytest.param(
            real.torchvision(),
            {**any_number(real.torchvision()), **RANK_3},
            {"head": "lists", "layout": "chw"},
            id="torchvision, one image",
        ),
        pytest.param(
            real.detr_with_sizes(), SIZES, {"head": "lists", "resize": "stretch"}, id="detr with post-processor"
        ),
        pytest.param(
            real.detr("sigmoid"),
            {},
            {"head": "detr", "score_activation": "sigmoid", "resize": "stretch", "std": (255,) * 3},
            id="detr by sigmoid",
        ),
        pytest.param(
            real.detr("softmax"),
            {},
            {"head": "detr", "score_activation": "softmax", "resize": "letterbox-topleft"},
            id="detr by softmax",
        ),
        pytest.param(
            real.ssd_decoded("none"), {}, {"head": "ssd_decoded", "score_activation": "none"}, id="ssd, scores"
        ),
        pytest.param(
            real.ssd_decoded("softmax"), {}, {"head": "ssd_decoded", "score_activation": "softmax"}, id="ssd, softmax"
        ),
        pytest.param(
            real.ssd_decoded("sigmoid"), {}, {"head": "ssd_decoded", "score_activation": "sigmoid"}, id="ssd, sigmoid"
        ),
        pytest.param(real.nanodet(), {}, {"head": "nanodet", "colour": "bgr", "pad_value": 0}, id="nanodet"),
        pytest.param(real.nanodet_plus(), {}, {"head": "nanodet_plus", "colour": "bgr"}, id="nanodet-plus"),
        pytest.param(real.picodet(), {}, {"head": "picodet", "colour": "rgb", "resize": "stretch"}, id="picodet"),
        pytest.param(real.fastestdet(), {}, {"head": "fastestdet", "colour": "bgr"}, id="fastestdet"),
    ],
)
def test_a_convention_is_told_and_read(
    outputs: dict[str, Any], options: dict[str, Any], expected: dict[str, Any], tmp_path: Path
) -> None:
    path = write(tmp_path / "foreign.onnx", outputs, **options)
    spec = recognise(path)
    assert {name: getattr(spec, name) for name in expected} == expected
    assert spec.network_wh == real.NETWORK_WH
    assert any(reason.startswith("preprocessing: ") for reason in spec.provenance)
    check_finds_the_object(path, spec)


@pytest.mark.parametrize(
    ("outputs", "options", "columns"),
    [
        ({"output0": np.zeros((300, 6), np.float32)}, {}, (*CORNERS, "score", "class")),
        ({"output0": np.zeros((0, 6), np.float32)}, {"unbatched": ("output0",)}, ("class", "score", *CORNERS)),
        ({"output0": np.zeros((100, 7), np.float32)}, UINT8, AUTOML),
    ],
)
def test_a_table_that_finds_nothing_in_the_pictures_is_taken_for_what_has_its_structure(
    outputs: dict[str, Any], options: dict[str, Any], columns: tuple[str, ...], tmp_path: Path
) -> None:
    recognition = examine(write(tmp_path / "foreign.onnx", outputs, **options))
    assert recognition.spec().columns == columns
    others = [reason for reason in recognition.refused if "its last column does not look like angles" not in reason]
    assert all("another is likelier" in reason for reason in others)
    assert recognition.spec().provenance[-1] == "not proved: it answers every picture alike"


def test_seven_columns_that_find_nothing_are_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path / "foreign.onnx", {"output0": np.zeros((0, 7), np.float32)}, unbatched=("output0",))
    with pytest.raises(ModelError, match=r"can be read in 3 ways: .*--columns image,x1,y1,x2,y2,class,score\|"):
        recognise(path)
    assert recognise(path, Hints(columns=YOLOV7)).columns == YOLOV7


@pytest.mark.parametrize("columns", [(*CORNERS, "score", "class"), ("class", "score", *CORNERS)])
def test_padding_does_not_hide_which_column_is_which(columns: tuple[str, ...], tmp_path: Path) -> None:
    rows = real.table(*columns, num=4)["output0"]
    padded = {"output0": np.pad(rows, ((0, 20), (0, 0)), constant_values=-1)}
    path = write(tmp_path / "foreign.onnx", padded)
    spec = recognise(path)
    assert spec.columns == columns
    check_finds_the_object(path, spec)


def test_a_batch_of_yolov7_tables_counts_its_images(tmp_path: Path) -> None:
    rows = np.concatenate([real.table(*YOLOV7)["output0"]] * 2)
    rows[20:, 0] = 1
    path = write(tmp_path / "foreign.onnx", {"output": rows}, input_shape=(2, 3, 64, 96), unbatched=("output",))
    spec = recognise(path)
    assert (spec.columns, spec.batch) == (YOLOV7, 2)


def test_the_second_input_of_a_detr_gets_the_networks_width_and_height(tmp_path: Path) -> None:
    (size,) = recognise(write(tmp_path / "foreign.onnx", real.detr_with_sizes(), **SIZES)).extra_inputs
    assert (size.name, size.dtype, size.values) == ("orig_target_sizes", "int64", (96, 64))


def test_anchors_are_found_beside_the_file_or_by_hint(tmp_path: Path) -> None:
    path = write(tmp_path / "street_raw.onnx", real.ssd_raw())
    with pytest.raises(ModelError, match="ssd_raw: its anchors are not in the graph, give them with --anchors FILE"):
        recognise(path)
    elsewhere = tmp_path / "elsewhere.npy"
    for anchors_path, hints in (
        (elsewhere, Hints(anchors=elsewhere)),
        (tmp_path / "street_raw_anchors.npy", Hints()),
        (tmp_path / "street_anchors.npy", Hints()),
    ):
        np.save(anchors_path, real.anchors())
        spec = recognise(path, hints)
        assert (spec.head, spec.score_activation, spec.first_class_id) == ("ssd_raw", "sigmoid", 1)
        assert anchors_path.name in spec.provenance[0]
        check_finds_the_object(path, spec)
        anchors_path.unlink()


def test_the_class_values_of_a_raw_ssd_may_be_for_softmax(tmp_path: Path) -> None:
    path = write(tmp_path / "street.onnx", real.ssd_raw("softmax"))
    np.save(tmp_path / "street_anchors.npy", real.anchors())
    spec = recognise(path)
    assert (spec.head, spec.score_activation) == ("ssd_raw", "softmax")
    check_finds_the_object(path, spec)


@pytest.mark.parametrize(
    ("anchors", "message"),
    [
        (np.zeros((399, 4), np.float32) + 0.5, "the graph has 400 anchors, the file 399"),
        (np.zeros((400, 4), np.float32), "must be centre y, centre x, height, width in 0..1"),
        (np.full((400, 4), np.nan, np.float32), "must be centre y, centre x, height, width in 0..1"),
        (np.full((400, 4), 50.0, np.float32), "must be centre y, centre x, height, width in 0..1"),
        (np.ones((400, 4), np.int64), r"anchors must be floats \[A, 4\], got int64 \[400, 4\]"),
        (np.ones((4, 400), np.float32), r"anchors must be floats \[A, 4\], got float32 \[4, 400\]"),
    ],
)
def test_anchors_that_cannot_be_are_refused(anchors: Any, message: str, tmp_path: Path) -> None:
    path = write(tmp_path / "street.onnx", real.ssd_raw())
    np.save(tmp_path / "wrong.npy", anchors)
    with pytest.raises(ModelError, match=message):
        recognise(path, Hints(anchors=tmp_path / "wrong.npy"))


@pytest.mark.parametrize("content", [None, b"", b"no numpy", b"\x93NUMPY"])
def test_anchors_that_cannot_be_read_are_refused(content: bytes | None, tmp_path: Path) -> None:
    path = write(tmp_path / "street.onnx", real.ssd_raw())
    if content is not None:
        (tmp_path / "wrong.npy").write_bytes(content)
    with pytest.raises(ModelError, match=r"--anchors must be a \.npy file, got .*wrong\.npy"):
        recognise(path, Hints(anchors=tmp_path / "wrong.npy"))
