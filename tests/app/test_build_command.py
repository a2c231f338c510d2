"""Does `build` refuse in one line what cannot be built, or not ahead?"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from pipeline.app.model_files import DEMO_MODEL
from pipeline.app.models.build import run_build
from pipeline.app.models.options import BuildOptions
from pipeline.detector.onnx_file import copy_with_metadata
from pipeline.detector.probe_devices import probe_providers
from pipeline.detector.recognise import recognise
from pipeline.errors import ConfigError, DeviceError
from pipeline.picture.detector_spec import METADATA_KEY
from tests.support.command_line import Streamdet, refused
from tests.support.tiny_detector import write_boxes_detector

TENSORRT = next(report for report in probe_providers() if report.device == "tensorrt")
needs_none = pytest.mark.skipif(TENSORRT.works, reason="TensorRT works on this machine")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_boxes_detector(tmp_path / "pets.onnx", [(1, 2, 30, 40, 0.5, 1)], dtype="uint8")


def options(model: Path, **changed: object) -> BuildOptions:
    return dataclasses.replace(BuildOptions(model, "tensorrt", "auto", 1, None), **changed)  # type: ignore[arg-type]


def any_size(model: Path) -> Path:
    spec = dataclasses.replace(recognise(model), resize="in-graph", form="frame", provenance=())
    return copied(model, spec.to_json())


def copied(model: Path, metadata: str) -> Path:
    copy_with_metadata(model, model.with_name("copy.onnx"), {METADATA_KEY: metadata})
    return model.with_name("copy.onnx")


def test_the_size_of_frames_is_asked_for_where_it_decides_and_nowhere_else(model: Path) -> None:
    with pytest.raises(ConfigError, match=r"copy.onnx takes frames of any size, .*: --frame-size 1920x1080"):
        run_build(options(any_size(model)))
    with pytest.raises(ConfigError, match=r"--frame-size is for models that take frames of any size, .*pets.onnx does"):
        run_build(options(model, frame_wh=(64, 64)))


@needs_none
@pytest.mark.parametrize("precision", ["auto", "fp16"])
def test_without_tensorrt_the_cause_and_the_cure_are_named(model: Path, precision: str) -> None:
    with pytest.raises(DeviceError, match=r"^tensorrt .*(pip install|driver)"):
        run_build(options(model, precision=precision))


@needs_none
def test_it_is_one_line_on_the_command_line(streamdet: Streamdet, model: Path) -> None:
    assert refused(streamdet("build", model, "--precision", "fp16"), "tensorrt")
    assert refused(streamdet("build", model, "--device", "cpu"), "--device must be one of tensorrt, got 'cpu'")
    assert refused(
        streamdet("build", model, "--precision", "int4"), "must be one of auto, fp32, fp16, bf16, got 'int4'"
    )
    assert refused(streamdet("build", model.with_name("no.onnx")), "no such file")


@pytest.mark.gpu
@pytest.mark.skipif(not TENSORRT.works, reason=f"needs tensorrt: {TENSORRT.detail}")
def test_an_engine_is_built_kept_and_found_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    run_build(options(DEMO_MODEL))
    assert "kept in" in capsys.readouterr().err
    (engine,) = tmp_path.rglob("*.engine")
    built = engine.stat().st_mtime_ns
    run_build(options(DEMO_MODEL))
    assert engine.stat().st_mtime_ns == built
