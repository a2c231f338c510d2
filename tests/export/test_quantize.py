"""Quantize: an INT8 file within the bound and with its decoding in float, or none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.detector.detector import EngineDetector
from pipeline.detector.engine import OrtEngine
from pipeline.detector.onnx_file import graph_hash
from pipeline.detector.recognise import recognise
from pipeline.errors import ModelError
from pipeline.picture.detector_spec import METADATA_KEY
from pipeline.picture.parity import FP16_BAR

pytest.importorskip("onnx", reason="the extra export is not installed")
pytest.importorskip("pycocotools", reason="AP needs pycocotools")

import onnx

from export.graph.quantize import quantize
from export.proof.verify import gather_evidence
from pipeline.accuracy.truth import LabelledData, LabelledImage, Truth, marked
from tests.support.float_detector import DECODING, LAYERS, images, write_float_detector


def op_types(path: Path) -> list[str]:
    return [node.op_type for node in onnx.load(path).graph.node]


def num_int8_kernels(path: Path) -> int:
    kernels = [tensor for tensor in onnx.load(path).graph.initializer if len(tensor.dims) == 4]
    return sum(kernel.data_type == onnx.TensorProto.INT8 for kernel in kernels)


@pytest.mark.parametrize(("opset", "batch"), [(17, "batch"), (11, "batch"), (17, 1), (17, 2)])
def test_a_file_within_the_bound_is_written(tmp_path: Path, opset: int, batch: int | str) -> None:
    model = write_float_detector(tmp_path / "float.onnx", opset=opset, batch=batch)
    output = tmp_path / "int8.onnx"
    lines: list[str] = []
    done = quantize(model, recognise(model), output, images=images(), labels=None, largest_drop=1.0, say=lines.append)
    assert (done.path, done.num_layers, done.kept_in_float) == (output, 5, ())
    assert done.evidence.passes
    assert op_types(output).count("QuantizeLinear") >= 3
    assert num_int8_kernels(output) == len(LAYERS)
    assert any("5 of 5 layers in INT8: AP" in line for line in lines)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["float.onnx", "int8.onnx"]


@pytest.fixture(scope="module")
def quantized(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Any]:
    folder = tmp_path_factory.mktemp("quantized")
    model = write_float_detector(folder / "float.onnx")
    done = quantize(model, recognise(model), folder / "int8.onnx", images=images(), labels=None, largest_drop=1.0)
    return model, folder / "int8.onnx", done


def test_what_decodes_stays_in_float(quantized: tuple[Path, Path, Any]) -> None:
    """Its inputs, the outputs of the last layers, are INT8, and nothing after them is."""
    _, output, done = quantized
    graph = onnx.load(output).graph
    users = {name: node for node in graph.node for name in node.input}
    rounded = [node.input[0] for node in graph.node if node.op_type == "QuantizeLinear"]
    assert set(rounded) == {"images", "first_relu", "second_relu", "third_relu", "boxes_out", "classes_out"}
    decoding = [op for op, _, _ in DECODING]
    assert sorted(node.op_type for node in graph.node if node.op_type in decoding) == sorted(decoding)
    assert users["boxes_last"].op_type == "Tanh"
    assert len(done.tail) == len(decoding)


def test_its_metadata_says_what_it_is_and_what_it_cost(quantized: tuple[Path, Path, Any]) -> None:
    _, output, done = quantized
    spec = recognise(output)
    assert (spec.head, spec.class_names, spec.network_wh) == ("ssd_decoded", ("cat", "dog"), (64, 64))
    assert "INT8: 5 of 5 layers, float32: the decoding" in spec.provenance
    assert spec.parity is not None
    assert spec.parity["against"] == "float.onnx in float32"
    assert spec.parity["graph_sha256"] == graph_hash(output)
    assert (spec.parity["passed"], spec.parity["largest_ap_drop"], spec.parity["num_images"]) == (True, 1.0, 8)
    assert spec.parity["accuracy"]["reference_ap"] == pytest.approx(1)
    written = {entry.key: entry.value for entry in onnx.load(output).metadata_props}
    assert json.loads(written[METADATA_KEY]) == json.loads(done.spec.to_json())
    assert written["author"] == "a test"


def test_it_says_nearly_the_same(quantized: tuple[Path, Path, Any]) -> None:
    model, output, done = quantized
    ours, theirs = (
        EngineDetector(OrtEngine(path, recognise(path), device="cpu"), score_threshold=0.25) for path in (output, model)
    )
    evidence = gather_evidence(ours, theirs, images(), bar=FP16_BAR)
    assert evidence.parity.num_detections >= 50
    assert evidence.parity.least_iou >= 0.5
    assert evidence.parity.largest_score_difference <= 0.1
    assert done.evidence.accuracy.ap >= 0.5


def test_the_float_file_is_not_touched(tmp_path: Path) -> None:
    model = write_float_detector(tmp_path / "float.onnx")
    before = model.read_bytes()
    quantize(model, recognise(model), tmp_path / "int8.onnx", images=images(2), labels=None, largest_drop=1.0)
    assert model.read_bytes() == before


def test_layers_that_hurt_are_kept_in_float(tmp_path: Path) -> None:
    """One channel between the first layer and the second is far too large."""
    model = write_float_detector(tmp_path / "float.onnx", outlier=3e4, passed_on_by=("first",))
    done = quantize(model, recognise(model), tmp_path / "int8.onnx", images=images(), labels=None, largest_drop=0.1)
    assert done.kept_in_float == ("first", "second")
    assert done.evidence.accuracy is not None
    assert done.evidence.accuracy.ap >= 0.9
    assert num_int8_kernels(done.path) == 3
    assert "INT8: 3 of 5 layers, float32: the decoding and first, second" in recognise(done.path).provenance


def test_a_bound_that_no_layer_can_keep_is_an_error_and_leaves_no_file(tmp_path: Path) -> None:
    model = write_float_detector(tmp_path / "float.onnx", outlier=3e4)
    with pytest.raises(
        ModelError, match=r"^no file was written: even with 1 layers in INT8, AP falls from 1.0000 to 0"
    ):
        quantize(model, recognise(model), tmp_path / "int8.onnx", images=images(), labels=None, largest_drop=0.0)
    assert [path.name for path in tmp_path.iterdir()] == ["float.onnx"]


def test_labels_judge_where_there_are_any(tmp_path: Path) -> None:
    model = write_float_detector(tmp_path / "float.onnx")
    image = LabelledImage("0.png", 1, Truth.of(marked([(0, 0, 5, 5)], [0])))
    labels = LabelledData("labels.json", ("cat",), (1,), (image,))
    done = quantize(model, recognise(model), tmp_path / "int8.onnx", images=images(), labels=labels, largest_drop=0.0)
    assert done.evidence.accuracy is not None
    assert done.evidence.accuracy.reference_ap == 0
    assert done.kept_in_float == ()


def test_what_is_quantized_already_is_refused(tmp_path: Path, quantized: tuple[Path, Path, Any]) -> None:
    _, model, _ = quantized
    with pytest.raises(ModelError, match=r"int8.onnx must be float32, it is quantized already"):
        quantize(model, recognise(model), tmp_path / "o.onnx", images=images(2), labels=None, largest_drop=1.0)
    assert not list(tmp_path.iterdir())


def test_float16_is_refused(tmp_path: Path) -> None:
    model = write_float_detector(tmp_path / "half.onnx", weights="float16")
    with pytest.raises(ModelError, match=r"half.onnx must be float32, its layers are float16"):
        quantize(model, recognise(model), tmp_path / "o.onnx", images=images(2), labels=None, largest_drop=1.0)


def test_a_file_without_layers_is_refused(tmp_path: Path, small_detector: Path) -> None:
    with pytest.raises(ModelError, match="has no layer that can be quantized"):
        quantize(
            small_detector,
            recognise(small_detector),
            tmp_path / "o.onnx",
            images=images(2),
            labels=None,
            largest_drop=1.0,
        )
