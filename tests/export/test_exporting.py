"""Export: the proof of a file passes for the same detector, and fails for every injected fault."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="the extra export is not installed")
pytest.importorskip("torchvision", reason="the extra export is not installed")

import onnx
import torch

from export.exporting import Exported, TorchPath, export_detector
from export.families.demo_network import DemoDecode
from export.graph.forms import FitFrame
from export.proof.images import ProofImage, drawn_images
from export.proof.verify import ASKED_SHARE, Evidence, gather_evidence
from pipeline.detector.detector import EngineDetector
from pipeline.detector.engine import OrtEngine
from pipeline.detector.onnx_file import copy_with_metadata, graph_hash
from pipeline.detector.recognise import recognise
from pipeline.detector.tensor import TensorWriter
from pipeline.errors import ModelError
from pipeline.picture.detector_spec import METADATA_KEY, DetectorSpec
from pipeline.picture.letterbox import ResizeMode
from pipeline.picture.parity import FP32_BAR
from tests.support.small_exportable import CLASS_NAMES, NETWORK_WH, exportable

LEAST_SCORE = FP32_BAR.score_from * ASKED_SHARE


@pytest.fixture(scope="module")
def images() -> tuple[ProofImage, ...]:
    return drawn_images()


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, images: tuple[ProofImage, ...]) -> Exported:
    return export_detector(exportable(), tmp_path_factory.mktemp("exported") / "small.onnx", images=images)


def verify(path: Path, spec: DetectorSpec, images: tuple[ProofImage, ...], *, seed: int = 0) -> Evidence:
    """The comparison of a file, read by a spec, with the PyTorch detector."""
    detector = EngineDetector(OrtEngine(path, spec, device="cpu"), score_threshold=LEAST_SCORE)
    reference = TorchPath(exportable(seed=seed), score_threshold=LEAST_SCORE)
    return gather_evidence(detector, reference, images, bar=FP32_BAR, iou_threshold=spec.iou_threshold)


def test_a_file_says_what_pytorch_says_in_every_kind_of_image_and_batch(exported: Exported) -> None:
    evidence = exported.evidence
    assert evidence.passes
    assert evidence.parity.num_detections > 200
    assert evidence.parity.matched_share == 1.0
    assert evidence.batch_sizes == (1, 2, 3, 4)


def test_the_certificate_stands_in_the_file(exported: Exported) -> None:
    spec = recognise(exported.path)
    assert spec.form == "boxes"
    assert spec.parity is not None
    assert spec.parity == exported.spec.parity
    assert spec.parity["passed"] is True
    assert spec.parity["graph_sha256"] == graph_hash(exported.path)
    assert set(spec.parity["versions"]) >= {"streamdet", "torch", "onnxruntime", "onnx"}
    assert all(spec.parity[name] for name in ("images_sha256", "weights_sha256", "date"))


def test_the_same_detector_gives_the_same_bytes(
    exported: Exported, images: tuple[ProofImage, ...], tmp_path: Path
) -> None:
    again = export_detector(exportable(), tmp_path / "again.onnx", images=images)
    assert again.path.read_bytes() == exported.path.read_bytes()


def test_the_file_is_self_contained_small_and_readable(exported: Exported) -> None:
    model = onnx.load(exported.path)
    assert [value.name for value in model.graph.input] == ["pixels"]
    assert [value.name for value in model.graph.output] == ["boxes", "scores", "class_ids", "num_detections"]
    assert not [tensor for tensor in model.graph.initializer if tensor.external_data]
    assert any(tensor.name.startswith("body.body.to_stride_8") for tensor in model.graph.initializer)
    assert not any(node.metadata_props for node in model.graph.node)
    assert list(exported.path.parent.iterdir()) == [exported.path]


def test_padding_is_counted(exported: Exported) -> None:
    engine = OrtEngine(exported.path, exported.spec, device="cpu")
    outputs = engine.infer(np.random.default_rng(0).integers(0, 256, (3, 64, 96, 3), np.uint8))
    assert outputs["num_detections"].shape == (3,)
    for scores, class_ids, num in zip(outputs["scores"], outputs["class_ids"], outputs["num_detections"], strict=True):
        assert (scores[:num] > 0).all()
        assert not scores[num:].any()
        assert (class_ids[num:] == -1).all()


def edited(source: Path, target: Path, output: str, edit: Callable[[str, str], list[Any]]) -> Path:
    """A copy whose output goes through more nodes: `edit` makes them from the names of their input and output."""
    model = onnx.load(source)
    for node in model.graph.node:
        for index, name in enumerate(node.output):
            if name == output:
                node.output[index] = "before"
    model.graph.node.extend(edit("before", output))
    onnx.checker.check_model(model)
    onnx.save(model, target)
    return target


def plus(value: Any) -> Callable[[str, str], list[Any]]:
    constant = onnx.numpy_helper.from_array(np.asarray(value), "added")
    return lambda before, after: [
        onnx.helper.make_node("Constant", [], ["added"], value=constant),
        onnx.helper.make_node("Add", [before, "added"], [after]),
    ]


def swapped_sides(before: str, after: str) -> list[Any]:
    order = onnx.numpy_helper.from_array(np.array([1, 0, 3, 2]), "order")
    return [
        onnx.helper.make_node("Constant", [], ["order"], value=order),
        onnx.helper.make_node("Gather", [before, "order"], [after], axis=2),
    ]


def sigmoid(before: str, after: str) -> list[Any]:
    return [onnx.helper.make_node("Sigmoid", [before], [after])]


@pytest.mark.parametrize(
    ("output", "edit"),
    [
        pytest.param("boxes", swapped_sides, id="(h, w) for (w, h)"),
        pytest.param("class_ids", plus(np.int64(1)), id="labels off by one"),
        pytest.param("scores", sigmoid, id="sigmoid twice"),
        pytest.param("boxes", plus(np.float32(0.5)), id="half a pixel off"),
    ],
)
def test_a_fault_in_the_graph_is_found(
    exported: Exported, images: tuple[ProofImage, ...], tmp_path: Path, output: str, edit: Any
) -> None:
    faulty = edited(exported.path, tmp_path / "faulty.onnx", output, edit)
    spec = dataclasses.replace(exported.spec, class_names=(*CLASS_NAMES, "d"))
    evidence = verify(faulty, spec, images)
    assert not evidence.passes, evidence.parity
    assert "matched" in evidence.shortfall()


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param({"colour": "bgr"}, id="swapped colours"),
        pytest.param({"resize": "letterbox-topleft"}, id="padding on the wrong side"),
        pytest.param({"resize": "stretch"}, id="stretched instead of padded"),
        pytest.param({"pad_value": 0}, id="another padding"),
        pytest.param({"box_format": "cxcywh"}, id="another box format"),
        pytest.param({"iou_threshold": 0.9}, id="another NMS"),
    ],
)
def test_a_fault_in_what_the_file_says_of_itself_is_found(
    exported: Exported, images: tuple[ProofImage, ...], fault: dict[str, Any]
) -> None:
    assert not verify(exported.path, dataclasses.replace(exported.spec, **fault), images).passes


def test_stale_weights_are_found(exported: Exported, images: tuple[ProofImage, ...]) -> None:
    assert not verify(exported.path, exported.spec, images, seed=1).passes
    assert verify(exported.path, exported.spec, images, seed=0).passes


@pytest.fixture
def _drifting(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is exported is not what was meant."""
    forward = DemoDecode.forward

    def drifting(self: DemoDecode, logits: torch.Tensor, offsets: torch.Tensor) -> Any:
        boxes, scores, class_ids = forward(self, logits, offsets)
        return boxes + 1.5, scores, class_ids

    monkeypatch.setattr(DemoDecode, "forward", drifting)


@pytest.mark.usefixtures("_drifting")
def test_a_file_that_is_wrong_is_not_left_behind(images: tuple[ProofImage, ...], tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"was not written: .* of .* detections in 8 images matched .*--force"):
        export_detector(exportable(), tmp_path / "wrong.onnx", images=images)
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("_drifting")
def test_a_file_that_is_wrong_is_written_by_force_and_says_so(images: tuple[ProofImage, ...], tmp_path: Path) -> None:
    path = tmp_path / "wrong.onnx"
    export_detector(exportable(), path, images=images, force=True)
    assert (recognise(path).parity or {})["forced"] is True


def test_images_without_objects_prove_nothing(tmp_path: Path, images: tuple[ProofImage, ...]) -> None:
    empty = [image for image in images if image.name == "empty"]
    blind = exportable()
    for classify in blind.body.classify:  # type: ignore[union-attr]
        classify[-1].bias.data.view(-1, 1 + len(CLASS_NAMES))[:, 0] += 99
    with pytest.raises(ModelError, match="nothing was found in 1 images by either"):
        export_detector(blind, tmp_path / "blind.onnx", images=empty)


@pytest.mark.parametrize("form", ["frame", "body"])
def test_the_other_faces_say_the_same(form: Any, images: tuple[ProofImage, ...], tmp_path: Path) -> None:
    other = export_detector(exportable(), tmp_path / f"{form}.onnx", images=images, form=form)
    assert other.evidence.passes
    spec = recognise(other.path)
    assert (spec.form, spec.needs_nms) == (form, form == "body")
    assert spec.resize == ("in-graph" if form == "frame" else "letterbox-center")


def test_half_a_body_is_half_the_size_and_within_its_own_bar(
    exported: Exported, images: tuple[ProofImage, ...], tmp_path: Path
) -> None:
    # Only its form: a network with random weights magnifies rounding as no trained one does.
    half = export_detector(exportable(), tmp_path / "half.onnx", images=images, half=True, force=True)
    types = {tensor.name: tensor.data_type for tensor in onnx.load(half.path).graph.initializer}
    assert onnx.TensorProto.FLOAT not in {kind for name, kind in types.items() if "classify" in name}
    assert onnx.load(half.path).graph.output[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    assert (recognise(half.path).parity or {})["bar"]["least_iou"] == 0.95


@pytest.mark.parametrize("resize", ["letterbox-center", "letterbox-topleft", "stretch"])
def test_the_frame_form_lays_a_frame_as_opencv_does(resize: ResizeMode, images: tuple[ProofImage, ...]) -> None:
    spec = DetectorSpec(
        input_name="x",
        network_wh=NETWORK_WH,
        head="boxes",
        class_names=("a",),
        layout="nhwc",
        dtype="uint8",
        colour="bgr",
        resize=resize,
        pad_value=(1, 2, 3),
    )
    for image in images:
        letterbox, by_opencv = TensorWriter(spec).tensor_of(image.picture)
        pixels, scale, offset, _ = FitFrame(spec)(torch.from_numpy(np.array(image.picture.pixels))[None])
        assert np.abs(pixels.numpy() - by_opencv).max() <= 1, image.name
        assert scale[:2].tolist() == pytest.approx(letterbox.scale_xy)
        assert offset[:2].tolist() == [letterbox.pad_left, letterbox.pad_top]


def test_a_file_whose_certificate_was_edited_away_still_runs(exported: Exported, tmp_path: Path) -> None:
    bare = dataclasses.replace(exported.spec, parity=None)
    copy_with_metadata(exported.path, tmp_path / "bare.onnx", {METADATA_KEY: bare.to_json()})
    assert recognise(tmp_path / "bare.onnx").parity is None
    assert graph_hash(tmp_path / "bare.onnx") == graph_hash(exported.path)
