"""Network size: a file made for another input size is the file that would have been exported for it, or is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pipeline.detector.engine import OrtEngine
from pipeline.detector.recognise import recognise
from pipeline.errors import ModelError
from pipeline.picture.detector_spec import METADATA_KEY, DetectorSpec
from pipeline.picture.frame import ArrayPicture

pytest.importorskip("onnx", reason="the extra export is not installed")
pytest.importorskip("pycocotools", reason="AP needs pycocotools")

import onnx
from onnx import helper, numpy_helper

from export.graph.network_size import resized_network
from export.proof.images import ProofImage
from export.proof.other_size import prove_size
from tests.support.assets import MODELS, needs_assets
from tests.support.grid_detector import Style, write_grid_detector

SIDES = st.integers(1, 6).map(lambda number: 32 * number)


def noise_out(path: Path, spec: DetectorSpec) -> np.ndarray:
    (values,) = OrtEngine(path, spec).infer_noise().values()
    return values


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sizes")


@pytest.mark.parametrize("style", ["by level", "flat"])
@given(old_wh=st.tuples(SIDES, SIDES), new_wh=st.tuples(SIDES, SIDES), seed=st.integers(0, 99))
@settings(max_examples=12)
def test_it_is_the_file_that_is_exported_for_that_size(
    folder: Path, style: Style, old_wh: tuple[int, int], new_wh: tuple[int, int], seed: int
) -> None:
    old_wh = (max(64, old_wh[0]), max(64, old_wh[1]))  # of a single row the next one cannot be known
    assume(old_wh == new_wh or old_wh[0] * old_wh[1] != new_wh[0] * new_wh[1])
    old = write_grid_detector(folder / "old.onnx", old_wh, style=style, weights_seed=seed)
    exported = write_grid_detector(folder / "exported.onnx", new_wh, style=style, weights_seed=seed)
    spec = resized_network(old, recognise(old), folder / "resized.onnx", new_wh)
    assert spec == dataclasses.replace(recognise(folder / "resized.onnx"), provenance=spec.provenance)
    np.testing.assert_array_equal(noise_out(folder / "resized.onnx", spec), noise_out(exported, recognise(exported)))


def test_a_size_of_as_many_cells_is_refused(tmp_path: Path) -> None:
    path = write_grid_detector(tmp_path / "m.onnx", (96, 64), style="flat")
    assert "64 x 96: that has as many cells as its own 96 x 64" in refusal(path, recognise(path), (64, 96))


@needs_assets
@pytest.mark.parametrize(("old", "new"), [(640, 320), (320, 640)])
def test_yolov5_made_for_another_size_is_its_authors_export_of_that_size(tmp_path: Path, old: int, new: int) -> None:
    theirs = MODELS / f"yolov5n_coco_{new}.onnx"
    path = MODELS / f"yolov5n_coco_{old}.onnx"
    spec = resized_network(path, recognise(path), tmp_path / "resized.onnx", (new, new))
    np.testing.assert_array_equal(noise_out(tmp_path / "resized.onnx", spec), noise_out(theirs, recognise(theirs)))


@needs_assets
@pytest.mark.parametrize("name", ["yolox_nano_coco_416", "nanodet_m_coco_416", "yolov8n_coco_640_dynint8"])
def test_other_families_come_back_as_they_were(tmp_path: Path, name: str) -> None:
    path = MODELS / f"{name}.onnx"
    spec = recognise(path)
    width, height = spec.network_wh
    there = resized_network(path, spec, tmp_path / "there.onnx", (width - 64, height // 64 * 32))
    back = resized_network(tmp_path / "there.onnx", there, tmp_path / "back.onnx", spec.network_wh)
    ours, theirs = (OrtEngine(file, of).infer_noise() for file, of in ((tmp_path / "back.onnx", back), (path, spec)))
    for output, values in theirs.items():
        np.testing.assert_allclose(ours[output], values, rtol=0, atol=1e-4 * np.abs(values).max())


def refusal(path: Path, spec: DetectorSpec, network_wh: tuple[int, int] = (64, 32)) -> str:
    output = path.with_name("refused.onnx")
    with pytest.raises(ModelError) as error:
        resized_network(path, spec, output, network_wh)
    assert not output.exists()
    return str(error.value)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"resize": "stretch"}, "no padding can be left out"),
        ({"resize": "in-graph"}, "it resizes frames in its graph"),
        ({"anchors": "AAAA"}, "its anchors are shares of a picture"),
        ({"boxes_are_normalised": True}, "shares of a size"),
        ({"form": "boxes"}, "streamdet export NAME --for VIDEO"),
    ],
)
def test_what_a_detector_says_of_itself_is_refused(tmp_path: Path, fields: dict[str, Any], words: str) -> None:
    path = write_grid_detector(tmp_path / "m.onnx", (64, 64))
    assert words in refusal(path, dataclasses.replace(recognise(path), **fields))


def write_with(path: Path, nodes: list[onnx.NodeProto], constants: dict[str, np.ndarray]) -> tuple[Path, DetectorSpec]:
    """A network whose nodes make `output` of `cells`, [1, 7, 8, 8]."""
    kernel = np.random.default_rng(0).normal(0, 1, (7, 3, 8, 8)).astype(np.float32)
    first = helper.make_node("Conv", ["images", "kernel"], ["cells"], strides=[8, 8])
    image = helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT, (1, 3, 64, 64))
    output = helper.make_tensor_value_info("output", onnx.TensorProto.FLOAT, None)
    tensors = [numpy_helper.from_array(values, name) for name, values in {"kernel": kernel, **constants}.items()]
    graph = helper.make_graph([first, *nodes], "m", [image], [output], tensors)
    spec = DetectorSpec("images", (64, 64), "yolov5", ("a", "b"), outputs=("output",), box_format="cxcywh")
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {METADATA_KEY: spec.to_json()})
    onnx.save(model, str(path))
    return path, spec


def flattened(source: str = "cells") -> list[onnx.NodeProto]:
    return [
        helper.make_node("Reshape", [source, "flat"], ["flattened"]),
        helper.make_node("Transpose", ["flattened"], ["output"], perm=[0, 2, 1]),
    ]


@pytest.mark.parametrize(
    "positions",
    [
        np.random.default_rng(1).normal(0, 1, (1, 7, 8, 8)),  # learnt
        np.tile((np.arange(8) + 0.5) / 8, (1, 7, 8, 1)).transpose(0, 1, 3, 2),  # shares of the picture
        np.tile(np.arange(8.0) ** 2, (1, 7, 8, 1)).transpose(0, 1, 3, 2),
        np.full((1, 7, 8, 8), np.nan),
    ],
    ids=["learnt", "shares", "squares", "nan"],
)
def test_positions_that_are_no_grid_are_refused_by_the_name_of_their_node(
    tmp_path: Path, positions: np.ndarray
) -> None:
    constants = {"flat": np.array([1, 7, -1]), "positions": positions.astype(np.float32)}
    add = helper.make_node("Add", ["cells", "positions"], ["moved"], name="where_it_is")
    path, spec = write_with(tmp_path / "m.onnx", [add, *flattened("moved")], constants)
    assert "Add where_it_is has a constant of [1, 7, 8, 8]" in refusal(path, spec)


def test_parts_by_numbers_of_the_old_size_are_refused(tmp_path: Path) -> None:
    constants = {"flat": np.array([1, 7, -1]), "from": np.array([0]), "to": np.array([4]), "axis": np.array([2])}
    cut = helper.make_node("Slice", ["cells", "from", "to", "axis"], ["upper"], name="half")
    path, spec = write_with(tmp_path / "m.onnx", [cut, *flattened("upper")], constants)
    assert "Slice half cuts a part out of [1, 7, 8, 8]" in refusal(path, spec)
    mean = helper.make_node("AveragePool", ["cells"], ["mean"], name="pool", kernel_shape=[8, 8])
    path, spec = write_with(tmp_path / "n.onnx", [mean, *flattened("mean")], {"flat": np.array([1, 7, -1])})
    assert "AveragePool pool takes the mean of a whole map of [8, 8]" in refusal(path, spec)


def test_what_does_not_run_then_is_refused(tmp_path: Path) -> None:
    product = helper.make_node("MatMul", ["flattened", "mixing"], ["output"])
    nodes = [helper.make_node("Reshape", ["cells", "flat"], ["flattened"]), product]
    constants = {"flat": np.array([1, 7, -1]), "mixing": np.ones((64, 7), np.float32)}
    path, spec = write_with(tmp_path / "m.onnx", nodes, constants)
    assert "it does not run then" in refusal(path, spec)


def test_a_file_of_any_size_needs_no_copy(tmp_path: Path) -> None:
    path, spec = write_with(tmp_path / "m.onnx", flattened(), {"flat": np.array([1, 7, -1])})
    model = onnx.load(path)
    for axis in (2, 3):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = f"side{axis}"
    onnx.save(model, path)
    assert "run it with --size 64x32" in refusal(path, spec)


def red_squares(num: int = 4) -> list[ProofImage]:
    """Pictures of 128 × 64 with red squares on whole cells."""
    random, images = np.random.default_rng(0), []
    for number in range(num):
        pixels = np.zeros((64, 128, 3), np.uint8)
        for x in random.choice(4, 2, replace=False):
            y = random.integers(0, 2)
            pixels[32 * y : 32 * y + 32, 32 * x : 32 * x + 32] = (0, 0, 255)
        images.append(ProofImage(f"{number}.png", ArrayPicture(pixels)))
    return images


def test_a_copy_that_detects_the_same_passes_and_has_the_certificate(tmp_path: Path) -> None:
    path = write_grid_detector(tmp_path / "m.onnx", (128, 128))
    spec = recognise(path)
    copy = resized_network(path, spec, tmp_path / "copy.onnx", (128, 64))
    proof = prove_size(path, spec, tmp_path / "copy.onnx", copy, red_squares(), largest_drop=0.0)
    assert proof.passes
    assert proof.of_copy == proof.of_moved == (1.0, 1.0)  # cells that do not overlap see nothing of the padding
    kept = recognise(tmp_path / "copy.onnx").parity
    assert kept is not None
    assert (kept["passed"], kept["against"][:19]) == (True, "m.onnx at 128 x 128")


def test_a_copy_with_a_wrong_grid_does_not_pass(tmp_path: Path) -> None:
    path = write_grid_detector(tmp_path / "m.onnx", (128, 128))
    spec = recognise(path)
    copy = resized_network(path, spec, tmp_path / "copy.onnx", (128, 64))
    broken = onnx.load(tmp_path / "copy.onnx")
    for tensor in broken.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.ndim == 5 and values.shape[1] == 1:  # a grid
            tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values[..., ::-1]), tensor.name))
    onnx.save(broken, tmp_path / "copy.onnx")
    proof = prove_size(path, spec, tmp_path / "copy.onnx", copy, red_squares(), largest_drop=0.05)
    assert not proof.passes
    assert proof.of_copy[0] < 0.5


def test_pictures_of_nothing_prove_nothing(tmp_path: Path) -> None:
    path = write_grid_detector(tmp_path / "m.onnx", (128, 128))
    spec = recognise(path)
    copy = resized_network(path, spec, tmp_path / "copy.onnx", (128, 64))
    blank = [ProofImage("blank", ArrayPicture(np.zeros((64, 128, 3), np.uint8)))]
    with pytest.raises(ModelError, match=r"it detects nothing from score 0\.25 on in 1 pictures; take a video"):
        prove_size(path, spec, tmp_path / "copy.onnx", copy, blank, largest_drop=0.05)
