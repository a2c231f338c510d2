"""Is a provider that finds something else caught, whatever it does wrong, and one that only rounds let through?"""

from __future__ import annotations

import functools
import itertools
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from pipeline.app.config.loading import load_config
from pipeline.app.engines import known_agreements, model_digest, open_engine
from pipeline.app.model_files import DEMO_MODEL
from pipeline.app.proof_pictures import proof_pictures
from pipeline.detector.agreement import Agreement, agreement_of
from pipeline.detector.devices import Precision
from pipeline.detector.engine import OrtEngine
from pipeline.detector.heads import Outputs
from pipeline.detector.probe_devices import probe_providers
from pipeline.detector.recognise import recognise
from pipeline.errors import DeviceError
from pipeline.picture.frame import Picture
from pipeline.picture.nv12 import HasNv12
from tests.support.assets import ASSETS
from tests.support.tiny_detector import write_boxes_detector

Change = Callable[[dict[str, npt.NDArray[Any]]], dict[str, npt.NDArray[Any]]]


@functools.cache
def pictures() -> tuple[Picture, ...]:
    return proof_pictures([], as_planes=False)


class Provider(OrtEngine):
    """ONNX Runtime's own, called another, whose outputs are changed on the way."""

    def __init__(self, change: Change, *, precision: str = "fp32", model: Path = DEMO_MODEL) -> None:
        super().__init__(model, recognise(model), device="cpu")
        self._change = change
        self.device, self.precision = "openvino", precision

    def infer(self, tensor: npt.NDArray[Any]) -> Outputs:
        return self._change({name: value.copy() for name, value in super().infer(tensor).items()})


def agreement(change: Change, *, precision: str = "fp32", model: Path = DEMO_MODEL, batch: int = 1) -> Agreement:
    reference = OrtEngine(model, recognise(model), device="cpu")
    return agreement_of(Provider(change, precision=precision, model=model), reference, pictures(), batch=batch)


def scaled(name: str, factor: float) -> Change:
    return lambda outputs: {**outputs, name: (outputs[name] * factor).astype(outputs[name].dtype)}


def one_class_dead(outputs: dict[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    return {**outputs, "scores": np.where(outputs["class_ids"] == 0, 0, outputs["scores"]).astype(np.float32)}


def class_off_by_one(outputs: dict[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    return {**outputs, "class_ids": np.where(outputs["class_ids"] == 0, 1, outputs["class_ids"])}


def nan_somewhere(outputs: dict[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    outputs["scores"][:, 3] = np.nan
    return outputs


def x_for_y(outputs: dict[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    return {**outputs, "boxes": outputs["boxes"][..., [1, 0, 3, 2]]}


def rounded(outputs: dict[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    """To a 256th, and to a quarter of a pixel."""
    return {
        **outputs,
        "scores": np.round(outputs["scores"] * 256) / np.float32(256),
        "boxes": np.round(4 * outputs["boxes"]) / np.float32(4),
    }


FAULTS = {
    "zeros": scaled("scores", 0.0),
    "scores scaled": scaled("scores", 0.8),
    "boxes scaled": scaled("boxes", 1.2),
    "x for y": x_for_y,
    "one class dead": one_class_dead,
    "another class": class_off_by_one,
    "NaN": nan_somewhere,
}


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
@pytest.mark.parametrize("fault", FAULTS)
def test_every_planted_fault_is_found(fault: str, precision: str) -> None:
    found = agreement(FAULTS[fault], precision=precision)
    assert not found.passes, found


def test_the_same_numbers_agree_in_every_detection() -> None:
    found = agreement(lambda outputs: outputs, batch=4)
    assert found.passes
    assert (found.matched_share, found.largest_score_difference) == (1.0, 0.0)
    assert found.num_detections > 100
    assert found.num_images == 8


def test_rounding_is_allowed_where_it_is_said_and_nowhere_else() -> None:
    assert agreement(rounded, precision="bf16").passes
    assert not agreement(rounded, precision="fp32").passes


def test_numbers_say_what_is_wrong() -> None:
    words = str(agreement(FAULTS["zeros"], precision="bf16"))
    assert words.startswith("0.0% of ")
    assert "detections from score 0.25 on are those of the CPU in fp32 (asked: 98.0%)" in words
    assert "its outputs cannot be read" in str(agreement(FAULTS["NaN"]))


def test_where_nothing_is_found_raw_outputs_are_compared(tmp_path: Path) -> None:
    nothing = write_boxes_detector(tmp_path / "nothing.onnx", [(1.0, 2.0, 30.0, 40.0, -2.0, 1)])
    found = agreement(lambda outputs: outputs, model=nothing)
    assert found.passes
    assert "nothing is found in the pictures; raw outputs differ by 0 of their size" in str(found)
    assert not agreement(scaled("boxes", 1.5), model=nothing).passes


def test_a_device_that_finds_something_else_is_an_error_with_numbers_unless_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    opened: list[Provider] = []

    def open_wrong(path: Path, spec: object, *, device: str, **_: object) -> OrtEngine:
        if device == "cpu":
            return OrtEngine(path, recognise(path), device="cpu")
        opened.append(Provider(FAULTS["x for y"], precision="bf16"))
        return opened[-1]

    monkeypatch.setattr("pipeline.app.engines.OrtEngine", open_wrong)
    asked = load_config(options={"engine.device": "openvino"})
    with pytest.raises(
        DeviceError,
        match=r"openvino in bf16 does not detect what the CPU detects with .*: \d.*; use --device cpu, or --un",
    ):
        open_engine(asked, DEMO_MODEL, recognise(DEMO_MODEL), pictures=pictures)
    unproved = load_config(options={"engine.device": "openvino", "engine.unproved": True})
    engine, _ = open_engine(unproved, DEMO_MODEL, recognise(DEMO_MODEL), pictures=lambda: ())  # remembered
    assert engine.agreement is not None
    assert "of the CPU in fp32 (asked: 98.0%)" in engine.agreement
    (known,) = known_agreements(DEMO_MODEL).values()
    assert not known.passes


def test_what_was_found_is_of_a_model_with_its_weights_wherever_they_are(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="writes weights into a file of their own")
    model = onnx.load(DEMO_MODEL)
    path = tmp_path / "apart.onnx"
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    before = model_digest(path)
    weights = bytearray((tmp_path / "weights.bin").read_bytes())
    weights[100] ^= 1
    (tmp_path / "weights.bin").write_bytes(weights)
    assert model_digest(path) != before


def test_proof_pictures_are_about_16_and_have_the_first_frames_of_files(small_video: Path) -> None:
    with_video = proof_pictures([str(small_video), "rtsp://nowhere/camera", "0"], as_planes=True)
    assert len(with_video) == 16
    assert all(isinstance(each, HasNv12) for each in with_video)
    assert len(pictures()) == 8


WORKS = {report.device: report for report in probe_providers()}


@pytest.mark.skipif(not WORKS["openvino"].works, reason=f"needs openvino: {WORKS['openvino'].detail}")
def test_openvino_finds_the_same_in_the_demo_detector_and_not_in_what_it_is_known_to_ruin() -> None:
    reference = OrtEngine(DEMO_MODEL, recognise(DEMO_MODEL), device="cpu")
    precisions: tuple[Precision | None, ...] = (None, "fp32")
    for precision in precisions:
        engine = OrtEngine(DEMO_MODEL, recognise(DEMO_MODEL), device="openvino", precision=precision)
        assert agreement_of(engine, reference, pictures()).passes
    ruined = ASSETS / "models" / "yolov8n_person_256_w4w8.onnx"
    if ruined.exists():
        engine = OrtEngine(ruined, recognise(ruined), device="openvino")
        street = [timed.picture for timed in itertools.islice(_video("ds_retail02.mp4"), 4)]
        assert not agreement_of(engine, OrtEngine(ruined, recognise(ruined), device="cpu"), street).passes


def _video(name: str) -> Any:
    from pipeline.sources.video.source import VideoSource

    return VideoSource(ASSETS / "videos" / name).pictures(threading.Event())
