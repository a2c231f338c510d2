"""Is each file taken for what it is, and is every other one refused with the reason?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.detector.recognise import ModelFacts, TensorFacts, read_facts, recognise, recognise_facts
from pipeline.errors import ModelError
from pipeline.picture.coco import COCO_80
from pipeline.picture.detector_spec import METADATA_KEY
from tests.tiny_detector import write_boxes_detector, write_detector

MODELS = Path(__file__).parents[1] / ".." / "shared" / "assets" / "models"
needs_assets = pytest.mark.skipif(not MODELS.is_dir(), reason="needs the detectors in ../shared/assets/models")


def facts(
    output: tuple[int | None, ...],
    *,
    input_shape: tuple[int | None, ...] = (1, 3, 640, 640),
    input_type: str = "float",
    metadata: dict[str, str] | None = None,
) -> ModelFacts:
    """What a model with one input and one output says about itself."""
    return ModelFacts(
        Path("street.onnx"),
        (TensorFacts("images", input_shape, input_type),),
        (TensorFacts("output0", output, "float"),),
        metadata or {},
    )


def test_yolov5_is_told_by_three_anchors_for_each_cell() -> None:
    spec = recognise_facts(facts((1, 25200, 85)))
    assert (spec.head, spec.colour, spec.std, spec.resize) == ("yolov5", "rgb", (255.0,) * 3, "letterbox-center")
    assert spec.class_names == COCO_80
    assert spec.box_format == "cxcywh"
    assert "3 anchors for each of 8400 cells" in spec.provenance[0]


def test_yolox_is_told_by_one_row_for_each_cell() -> None:
    spec = recognise_facts(facts((1, 3549, 85), input_shape=(1, 3, 416, 416)))
    assert (spec.head, spec.colour, spec.std, spec.resize) == ("yolox", "bgr", (1.0,) * 3, "letterbox-topleft")
    assert spec.pad_value == 114


def test_yolov8_is_told_by_one_column_for_each_cell() -> None:
    spec = recognise_facts(facts((1, 84, 8400)))
    assert (spec.head, spec.colour, spec.resize) == ("yolov8", "rgb", "letterbox-center")


def test_a_transposed_yolov8_is_not_taken_for_yolox() -> None:
    assert recognise_facts(facts((1, 8400, 84))).head == "yolov8"
    three = {"names": "{0: 'a', 1: 'b', 2: 'c'}"}
    assert recognise_facts(facts((1, 8400, 7), metadata=three)).head == "yolov8"
    assert recognise_facts(facts((1, 8400, 8), metadata=three)).head == "yolox"


@pytest.mark.parametrize(
    ("output", "head", "input_shape"),
    [
        ((1, 84, 34000), "yolov8", (1, 3, 640, 640)),  # P2: a grid of stride 4 as well
        ((1, 102000, 85), "yolov5", (1, 3, 1280, 1280)),  # P6 with 1280: strides 8 to 64
        ((1, 84, 5040), "yolov8", (1, 3, 384, 640)),
        ((4, 25200, 85), "yolov5", (4, 3, 640, 640)),
        ((None, 25200, 85), "yolov5", (None, 3, 640, 640)),
        ((1, 84, 8400), "yolov8", (1, 640, 640, 3)),
    ],
)
def test_other_grids_sizes_batches_and_layouts_are_recognised(
    output: tuple[int | None, ...], head: str, input_shape: tuple[int | None, ...]
) -> None:
    spec = recognise_facts(facts(output, input_shape=input_shape))
    assert (spec.head, spec.batch) == (head, input_shape[0])
    assert spec.layout == ("nhwc" if input_shape[3] == 3 else "nchw")


def test_a_wide_network_keeps_width_and_height_apart() -> None:
    assert recognise_facts(facts((1, 84, 5040), input_shape=(1, 3, 384, 640))).network_wh == (640, 384)


@pytest.mark.parametrize(("declared", "dtype"), [("float", "float32"), ("float16", "float16"), ("uint8", "uint8")])
def test_the_input_type_is_that_of_the_graph(declared: str, dtype: str) -> None:
    assert recognise_facts(facts((1, 84, 8400), input_type=declared)).dtype == dtype


@pytest.mark.parametrize("names", ["{0: 'car', 2: 'van', 1: 'bus'}", "['car', 'bus', 'van']"])
def test_class_names_come_from_the_exporters_metadata(names: str) -> None:
    spec = recognise_facts(facts((1, 7, 8400), metadata={"names": names}))
    assert spec.class_names == ("car", "bus", "van")


@pytest.mark.parametrize("names", ["", "__import__('os')", "{0: 'car'}", "{'a': 1}", "3"])
def test_names_that_cannot_be_read_or_do_not_fit_are_not_used(names: str) -> None:
    spec = recognise_facts(facts((1, 7, 8400), metadata={"names": names}))
    assert spec.class_names == ("class 0", "class 1", "class 2")
    assert any("names unknown" in reason for reason in spec.provenance)


@pytest.mark.parametrize(
    ("imgsz", "network_wh"), [("[384, 512]", (512, 384)), ("320", (320, 320)), ("", (640, 640)), ("[1]", (640, 640))]
)
def test_a_dynamic_size_is_that_of_the_metadata_or_640(imgsz: str, network_wh: tuple[int, int]) -> None:
    metadata = {"stride": "32", "imgsz": imgsz}
    spec = recognise_facts(facts((None, 84, None), input_shape=(None, 3, None, None), metadata=metadata))
    assert (spec.head, spec.network_wh) == ("yolov8", network_wh)


def test_a_dynamic_yolov5_is_told_by_its_exporters_metadata() -> None:
    spec = recognise_facts(facts((1, None, 85), input_shape=(1, 3, None, None), metadata={"stride": "32"}))
    assert spec.head == "yolov5"


@pytest.mark.parametrize(
    ("unknown", "message"),
    [
        (
            facts((1, 1000, 85)),
            r"not recognised: at 640 x 640 YOLOv5 has 3 x 8400 boxes.*output0 float \[1, 1000, 85\]",
        ),
        (facts((1, None, 85)), "number of boxes is dynamic.*fixed size"),
        (facts((1, 85, 20, 20)), r"YOLOv5 and YOLOX have one output.*output0 float \[1, 85, 20, 20\]"),
        (facts((1, 4, 8400)), "a box has 4 values before its classes, got 4 in all"),
        (facts((1, 84, 8400), input_shape=(1, 1, 640, 640)), "an image has 3 channels"),
        (facts((1, 84, 8400), input_shape=(1, 640, 640)), "one input, an image"),
        (facts((1, 84, 8400), input_type="int64"), "an image is float, float16, uint8, not int64"),
        (facts((1, 56, 8400), metadata={"task": "pose"}), "task pose, only detectors are read"),
        (facts((1, 300, 6), metadata={"end2end": "True"}), "NMS is inside the graph.*export it with nms=False"),
        (facts((1, 300, 6), metadata={"args": "{'nms': True}"}), "NMS is inside the graph"),
    ],
)
def test_what_is_not_known_is_refused_with_the_reason(unknown: ModelFacts, message: str) -> None:
    with pytest.raises(ModelError, match=message) as raised:
        recognise_facts(unknown)
    assert str(raised.value).startswith("street.onnx: ")
    assert "\n" not in str(raised.value)


def test_our_own_metadata_comes_first(tmp_path: Path) -> None:
    spec = recognise(write_boxes_detector(tmp_path / "pets.onnx", [(1, 2, 3, 4, 0.9, 1)]))
    assert (spec.head, spec.class_names, spec.batch, spec.model_name) == ("boxes", ("cat", "dog"), None, "pets")
    assert METADATA_KEY in spec.provenance[-1]


def test_our_own_metadata_for_another_graph_is_refused() -> None:
    other = facts((1, 10, 4), metadata={METADATA_KEY: '{"schema": 1}'})
    with pytest.raises(ModelError, match=r"incomplete.*export it again"):
        recognise_facts(other)


def test_our_own_metadata_must_fit_the_graph(tmp_path: Path) -> None:
    path = write_boxes_detector(tmp_path / "pets.onnx", [], dtype="uint8")
    ours = read_facts(path).metadata[METADATA_KEY]
    with pytest.raises(ModelError, match="describes an input images uint8 nhwc that the graph has not"):
        recognise_facts(facts((1, 10, 4), metadata={METADATA_KEY: ours}))
    with pytest.raises(ModelError, match=r"head must be one of boxes, .*, its metadata says crystal-ball"):
        recognise_facts(facts((1, 10, 4), metadata={METADATA_KEY: ours.replace('"boxes"', '"crystal-ball"')}))


def test_a_foreign_file_is_recognised_from_disk(tmp_path: Path) -> None:
    output = np.zeros((3 * 84, 85), np.float32)
    spec = recognise(write_detector(tmp_path / "five.onnx", {"output": output}, metadata={"imgsz": "64"}))
    assert (spec.head, spec.input_name, spec.network_wh) == ("yolov5", "images", (64, 64))


def test_a_missing_file_and_one_that_is_no_model_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"nothing\.onnx: no such file"):
        recognise(tmp_path / "nothing.onnx")
    weights = tmp_path / "weights.pt"
    weights.write_bytes(b"no protobuf")
    with pytest.raises(ModelError, match=r"must be an ONNX model: .*must be exported to ONNX first"):
        recognise(weights)


@needs_assets
@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("yolox_nano_coco_416", "yolox"),
        ("yolov5n_coco_640", "yolov5"),
        ("yolov5n_coco_320", "yolov5"),
        ("yolov8n_coco_640_dynint8", "yolov8"),
    ],
)
def test_real_detectors_are_recognised(name: str, head: str) -> None:
    spec = recognise(MODELS / f"{name}.onnx")
    assert (spec.head, spec.network_wh[0]) == (head, int(name.split("_coco_")[1].split("_")[0]))
    assert spec.class_names == COCO_80


@needs_assets
@pytest.mark.parametrize(
    "name",
    ["fastestdet_coco_352", "nanodet_m_coco_416", "ssd_mobilenet_v1_coco_nms", "ulfd_rfb_face_320"],
)
def test_real_detectors_of_other_conventions_are_refused_with_their_outputs(name: str) -> None:
    with pytest.raises(ModelError, match=r"not recognised: .*outputs: "):
        recognise(MODELS / f"{name}.onnx")
