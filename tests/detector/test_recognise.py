"""Is each file taken for what it is, and is every other one refused with the reason?"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from pipeline.detector.facts import ModelFacts, TensorFacts, read_facts
from pipeline.detector.heads.hints import Hints
from pipeline.detector.recognise import claims_of, examine, recognise
from pipeline.detector.recognition import Recognition
from pipeline.errors import ModelError
from pipeline.picture.coco import COCO_80, COCO_91
from pipeline.picture.detector_spec import METADATA_KEY, DetectorSpec
from tests.support.assets import MODELS, needs_assets
from tests.support.tiny_detector import write_boxes_detector, write_detector


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


def likeliest(model: ModelFacts, hints: Hints | None = None) -> DetectorSpec:
    """The first claim that fits the facts, without a run; ModelError where there is none."""
    claims, near_misses, far_misses = claims_of(model, hints or Hints())
    return claims[0].spec if claims else Recognition(model, (), (), tuple(near_misses), tuple(far_misses)).spec()


def test_yolov5_is_told_by_three_anchors_for_each_cell() -> None:
    spec = likeliest(facts((1, 25200, 85)))
    assert (spec.head, spec.colour, spec.std, spec.resize) == ("yolov5", "rgb", (255.0,) * 3, "letterbox-center")
    assert spec.class_names == COCO_80
    assert spec.box_format == "cxcywh"
    assert "3 anchors for each of 8400 cells" in spec.provenance[0]


def test_yolox_is_told_by_one_row_for_each_cell() -> None:
    spec = likeliest(facts((1, 3549, 85), input_shape=(1, 3, 416, 416)))
    assert (spec.head, spec.colour, spec.std, spec.resize) == ("yolox", "bgr", (1.0,) * 3, "letterbox-topleft")
    assert spec.pad_value == 114


def test_yolov8_is_told_by_one_column_for_each_cell() -> None:
    spec = likeliest(facts((1, 84, 8400)))
    assert (spec.head, spec.colour, spec.resize) == ("yolov8", "rgb", "letterbox-center")


def test_a_transposed_yolov8_is_not_taken_for_yolox() -> None:
    assert likeliest(facts((1, 8400, 84))).head == "yolov8"
    three = {"names": "{0: 'a', 1: 'b', 2: 'c'}"}
    assert likeliest(facts((1, 8400, 7), metadata=three)).head == "yolov8"
    assert likeliest(facts((1, 8400, 8), metadata=three)).head == "yolox"


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
    spec = likeliest(facts(output, input_shape=input_shape))
    assert (spec.head, spec.batch) == (head, input_shape[0])
    assert spec.layout == ("nhwc" if input_shape[3] == 3 else "nchw")


def test_a_wide_network_keeps_width_and_height_apart() -> None:
    assert likeliest(facts((1, 84, 5040), input_shape=(1, 3, 384, 640))).network_wh == (640, 384)


@pytest.mark.parametrize(("declared", "dtype"), [("float", "float32"), ("float16", "float16"), ("uint8", "uint8")])
def test_the_input_type_is_that_of_the_graph(declared: str, dtype: str) -> None:
    assert likeliest(facts((1, 84, 8400), input_type=declared)).dtype == dtype


@pytest.mark.parametrize("names", ["{0: 'car', 2: 'van', 1: 'bus'}", "['car', 'bus', 'van']"])
def test_class_names_come_from_the_exporters_metadata(names: str) -> None:
    spec = likeliest(facts((1, 7, 8400), metadata={"names": names}))
    assert spec.class_names == ("car", "bus", "van")


@pytest.mark.parametrize("names", ["", "__import__('os')", "{0: 'car'}", "{'a': 1}", "3"])
def test_names_that_cannot_be_read_or_do_not_fit_are_not_used(names: str) -> None:
    spec = likeliest(facts((1, 7, 8400), metadata={"names": names}))
    assert spec.class_names == ("class 0", "class 1", "class 2")
    assert any("names unknown" in reason for reason in spec.provenance)


@pytest.mark.parametrize(
    ("imgsz", "network_wh"), [("[384, 512]", (512, 384)), ("320", (320, 320)), ("", (640, 640)), ("[1]", (640, 640))]
)
def test_a_dynamic_size_is_that_of_the_metadata_or_640(imgsz: str, network_wh: tuple[int, int]) -> None:
    metadata = {"stride": "32", "imgsz": imgsz}
    spec = likeliest(facts((None, 84, None), input_shape=(None, 3, None, None), metadata=metadata))
    assert (spec.head, spec.network_wh) == ("yolov8", network_wh)


def test_a_dynamic_yolov5_is_told_by_its_exporters_metadata() -> None:
    spec = likeliest(facts((1, None, 85), input_shape=(1, 3, None, None), metadata={"stride": "32"}))
    assert spec.head == "yolov5"


@pytest.mark.parametrize(
    ("unknown", "message"),
    [
        (
            facts((1, 1000, 85)),
            r"not recognised: yolo: at 640 x 640 YOLOv5 has 3 x 8400 boxes.*output0 float \[1, 1000, 85\]",
        ),
        (facts((1, None, 85)), "number of boxes is dynamic.*fixed size"),
        (facts((1, 85, 20, 20)), r"YOLOv5 and YOLOX have one output.*output0 float \[1, 85, 20, 20\]"),
        (facts((1, 4, 8400)), "a box has 4 values before its classes, got 4 in all"),
        (facts((1, 84, 8400), input_shape=(1, 1, 640, 640)), "one image among its inputs.*this file has 0"),
        (facts((1, 84, 8400), input_shape=(1, 640, 640)), "one image among its inputs.*with or without the batch"),
        (facts((1, 84, 8400), input_type="int64"), "one image among its inputs.*of float, float16, uint8"),
        (facts((1, 56, 8400), metadata={"task": "depth"}), "task depth, only detectors are read"),
        (facts((1, 1001, 6)), "table: 1001 rows are more than finished detections have"),
    ],
)
def test_what_is_not_known_is_refused_with_the_reason(unknown: ModelFacts, message: str) -> None:
    with pytest.raises(ModelError, match=message) as raised:
        likeliest(unknown)
    assert str(raised.value).startswith("street.onnx: ")
    assert "\n" not in str(raised.value)


def test_our_own_metadata_comes_first(tmp_path: Path) -> None:
    spec = recognise(write_boxes_detector(tmp_path / "pets.onnx", [(1, 2, 3, 4, 0.9, 1)]))
    assert (spec.head, spec.class_names, spec.batch, spec.model_name) == ("boxes", ("cat", "dog"), None, "pets")
    assert METADATA_KEY in spec.provenance[-1]


def test_our_own_metadata_that_is_incomplete_is_refused(tmp_path: Path) -> None:
    metadata = {METADATA_KEY: '{"schema": 1}'}
    other = write_detector(tmp_path / "other.onnx", {"output": np.zeros((10, 4), np.float32)}, metadata=metadata)
    with pytest.raises(ModelError, match=r"other\.onnx: .*network_wh is missing.*export it again"):
        recognise(other)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"nhwc"', '"nchw"', "describes an input images uint8 nchw that the graph has not"),
        ('"images"', '"pixels"', "describes an input pixels uint8 nhwc that the graph has not"),
        ('"boxes"', '"crystal-ball"', r"head must be one of boxes, .*, got crystal-ball; update"),
        (
            '"extra_inputs": []',
            '"extra_inputs": [{"name": "size", "dtype": "int64", "values": [64, 64]}]',
            "that the graph has not; export it again",
        ),
    ],
)
def test_our_own_metadata_must_fit_the_graph(tmp_path: Path, old: str, new: str, message: str) -> None:
    ours = read_facts(write_boxes_detector(tmp_path / "pets.onnx", [], dtype="uint8")).metadata[METADATA_KEY]
    assert old in ours
    outputs = {"boxes": np.zeros((0, 4), np.float32)}
    metadata = {METADATA_KEY: ours.replace(old, new)}
    path = write_detector(
        tmp_path / "other.onnx", outputs, input_shape=(1, 64, 64, 3), input_type="uint8", metadata=metadata
    )
    with pytest.raises(ModelError, match=message):
        recognise(path)


def test_a_missing_file_and_one_that_is_no_model_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"nothing\.onnx: no such file"):
        recognise(tmp_path / "nothing.onnx")
    weights = tmp_path / "weights.pt"
    weights.write_bytes(b"no protobuf")
    with pytest.raises(ModelError, match=r"must be an ONNX model: .*a PyTorch model is exported with streamdet export"):
        recognise(weights)


@needs_assets
@pytest.mark.parametrize(
    ("name", "head", "names"),
    [
        ("yolox_nano_coco_416", "yolox", COCO_80),
        ("yolov5n_coco_640", "yolov5", COCO_80),
        ("yolov5n_coco_320", "yolov5", COCO_80),
        ("yolov8n_coco_640_dynint8", "yolov8", COCO_80),
        ("deimv2_atto_coco_320", "lists", COCO_80),
        ("deimv2_atto_coco_320_rawdetr", "detr", COCO_80),
        ("nanodet_m_coco_416", "nanodet", COCO_80),
        ("fastestdet_coco_352", "fastestdet", COCO_80),
        ("ssd_mobilenet_v1_coco_nms", "lists", COCO_91),
        ("ssd_mobilenet_v1_coco_raw", "ssd_raw", COCO_91),
        ("ulfd_rfb_face_320", "ssd_decoded", ("face",)),
    ],
)
def test_real_detectors_are_recognised(name: str, head: str, names: tuple[str, ...]) -> None:
    spec = recognise(MODELS / f"{name}.onnx")
    assert (spec.head, spec.class_names) == (head, names)
    sides = [part for part in name.split("_") if part.isdigit()]
    assert not sides or spec.network_wh[0] == int(sides[0])


@needs_assets
def test_a_wrong_number_of_class_names_does_not_make_another_kind_of_a_model() -> None:
    """85 columns are YOLOX's 80 classes and its objectness, or 81 classes without one: that has to be proved."""
    names = tuple(f"class {number}" for number in range(81))
    recognition = examine(MODELS / "yolox_nano_coco_416.onnx", Hints(class_names=names))
    assert recognition.accepted == ()
    assert re.search(r"no objectness .*but only \d+% of what it finds moves along", "; ".join(recognition.refused))
