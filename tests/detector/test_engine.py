"""Does a network run on what was asked for, and does the refusal say what to do?"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from pipeline.app import engines
from pipeline.app.config.loading import load_config
from pipeline.detector.devices import Device
from pipeline.detector.engine import OrtEngine
from pipeline.detector.installation import load_runtime, opencv_conflict, runtime_distribution
from pipeline.detector.probe_devices import probe_providers
from pipeline.detector.recognise import recognise
from pipeline.detector.rounding import DOUBLING_MODEL
from pipeline.detector.session import open_session
from pipeline.errors import DeviceError, MissingExtraError, ModelError
from pipeline.picture.detector_spec import ExtraInput
from tests.support.tiny_detector import write_boxes_detector, write_detector

REPORTS = {report.device: report for report in probe_providers()}
ROWS = [(1.0, 2.0, 30.0, 40.0, 0.5, 1)]


def works(device: Device) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not REPORTS[device].works, reason=f"needs {device}: {REPORTS[device].detail}")


def open_engine(path: Path, **options: Any) -> OrtEngine:
    return OrtEngine(path, recognise(path), **{"device": "cpu", "intra_op_threads": 1, **options})


def image(value: float, *, batch: int = 1) -> npt.NDArray[np.float32]:
    return np.full((batch, 3, 64, 64), value, np.float32)


def test_outputs_come_by_name(tmp_path: Path) -> None:
    engine = open_engine(write_boxes_detector(tmp_path / "pets.onnx", ROWS))
    outputs = engine.infer(image(0.25))
    assert outputs["boxes"].shape == (1, 1, 4)
    assert outputs["scores"].tolist() == [[0.75]]
    assert outputs["class_ids"].tolist() == [[1]]


def test_a_batch_is_run_at_once(tmp_path: Path) -> None:
    engine = open_engine(write_boxes_detector(tmp_path / "pets.onnx", ROWS))
    outputs = engine.infer(np.concatenate([image(0), image(0.25), image(0.5)]))
    assert outputs["scores"].tolist() == [[0.5], [0.75], [1.0]]


def test_what_is_not_a_path_is_refused(tmp_path: Path) -> None:
    spec = recognise(write_boxes_detector(tmp_path / "pets.onnx", ROWS))
    with pytest.raises(ModelError, match="a model must be the path of an ONNX file, got NoneType"):
        OrtEngine(None, spec)  # type: ignore[arg-type]


@pytest.mark.parametrize("batch", [1, 3])
def test_extra_inputs_are_fed_for_every_image(tmp_path: Path, batch: int) -> None:
    boxes = np.array([[0.25, 0.5, 0.5, 1]], np.float32)
    path = write_detector(
        tmp_path / "detr.onnx",
        {"boxes": boxes, "scores": np.array([0.5], np.float32), "labels": np.array([3])},
        input_shape=("n", 3, 32, 64),
        adds_mean=False,
        extra_inputs={"sizes": ("int64", ("n", 2))},
        scaled_by={"boxes": "sizes"},
    )
    engine = open_engine(path)
    assert engine.spec.extra_inputs == (ExtraInput("sizes", "int64", (64.0, 32.0)),)
    outputs = engine.infer(np.zeros((batch, 3, 32, 64), np.float32))
    assert outputs["boxes"].tolist() == [[[16, 16, 32, 32]]] * batch
    engine.warm_up(runs=1)


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_a_network_that_takes_one_image_gets_it_without_a_batch(tmp_path: Path, dtype: str) -> None:
    outputs: dict[str, npt.NDArray[Any]] = {
        "boxes": np.array([[1, 2, 30, 40]], np.float32),
        "labels": np.array([3]),
        "scores": np.array([0.5], np.float32),
    }
    path = write_detector(
        tmp_path / "rank3.onnx",
        outputs,
        input_shape=(3, 64, 64),
        input_type=dtype,
        unbatched=tuple(outputs),
        adds_mean=False,
    )
    engine = open_engine(path)
    assert (engine.spec.layout, engine.blank_input().shape) == ("chw", (1, 3, 64, 64))
    engine.warm_up(runs=1)
    assert engine.infer(engine.blank_input())["boxes"].tolist() == [[1, 2, 30, 40]]


def test_several_threads_get_their_own_answers(tmp_path: Path) -> None:
    engine = open_engine(write_boxes_detector(tmp_path / "pets.onnx", ROWS))
    values = [index / 256 for index in range(128)]
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda value: engine.infer(image(value))["scores"].item(), values))
    assert answers == [0.5 + value for value in values]


@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8"])
def test_warm_up_feeds_what_the_network_takes(tmp_path: Path, dtype: str) -> None:
    engine = open_engine(write_boxes_detector(tmp_path / "pets.onnx", ROWS, batch=2, dtype=dtype))
    engine.warm_up(runs=1)
    assert engine.blank_input().dtype == dtype
    assert engine.infer(engine.blank_input())["boxes"].shape == (2, 1, 4)


def test_an_engine_describes_itself_in_a_line(tmp_path: Path) -> None:
    engine = open_engine(write_boxes_detector(tmp_path / "pets.onnx", ROWS))
    assert engine.describe() == f"pets on cpu, fp32, ONNX Runtime {load_runtime().__version__}"
    assert (engine.device, engine.precision, engine.reason) == ("cpu", "fp32", "cpu: as asked for")


def test_closing_twice_is_harmless(tmp_path: Path) -> None:
    engine = open_engine(write_boxes_detector(tmp_path / "pets.onnx", ROWS))
    engine.close()
    engine.close()


def test_auto_takes_what_works_and_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    path = write_boxes_detector(tmp_path / "pets.onnx", ROWS)
    engine, _ = engines.open_engine(load_config(), path, recognise(path), pictures=lambda: ())
    assert engine.device == ("cuda" if REPORTS["cuda"].works else "cpu")
    assert engine.reason.startswith(f"{engine.device}: ")
    assert len(engine.reason) > len("cuda: ")


def test_a_device_that_is_none_is_refused_with_those_that_are(tmp_path: Path) -> None:
    path = write_boxes_detector(tmp_path / "pets.onnx", ROWS)
    with pytest.raises(DeviceError, match="device must be cpu, openvino, cuda or tensorrt, got 'auto'"):
        open_engine(path, device="auto")


@pytest.mark.parametrize("device", ["openvino", "cuda", "tensorrt"])
def test_a_device_that_does_not_work_is_refused_with_cause_and_cure(tmp_path: Path, device: Device) -> None:
    if REPORTS[device].works:
        pytest.skip(f"{device} works on this machine")
    path = write_boxes_detector(tmp_path / "pets.onnx", ROWS)
    with pytest.raises(DeviceError, match=rf"^{device} .*(pip |driver|--device cpu)") as raised:
        open_engine(path, device=device)
    assert "\n" not in str(raised.value)


def test_a_provider_that_is_not_in_the_wheel_is_named_with_the_extra(tmp_path: Path) -> None:
    if runtime_distribution() != "onnxruntime":
        pytest.skip("needs the CPU distribution of ONNX Runtime")
    path = write_boxes_detector(tmp_path / "pets.onnx", ROWS)
    with pytest.raises(DeviceError, match=r'cuda is not in the installed onnxruntime: .*"streamdet\[cuda\]"'):
        open_engine(path, device="cuda")


def test_a_precision_that_the_device_does_not_choose_is_refused(tmp_path: Path) -> None:
    path = write_boxes_detector(tmp_path / "pets.onnx", ROWS)
    with pytest.raises(DeviceError, match="cpu computes as the model was exported, precision must be fp32, got bf16"):
        open_engine(path, precision="bf16")


def test_a_file_that_cannot_be_loaded_is_a_model_error(tmp_path: Path) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"no protobuf")
    with pytest.raises(ModelError, match=r"broken\.onnx must be a model that ONNX Runtime can load"):
        open_session(path, "cpu")


@pytest.mark.parametrize("spin_microseconds", [None, 0, 200])
def test_threads_and_their_spinning_can_be_set(tmp_path: Path, spin_microseconds: int | None) -> None:
    path = write_boxes_detector(tmp_path / "pets.onnx", ROWS)
    engine = open_engine(path, intra_op_threads=2, spin_microseconds=spin_microseconds)
    assert engine.infer(image(0))["scores"].item() == 0.5


def test_the_cpu_always_works() -> None:
    assert REPORTS["cpu"].works
    assert REPORTS["cpu"].detail == "fp32"


def test_every_device_that_does_not_work_says_why() -> None:
    assert set(REPORTS) == {"cpu", "openvino", "cuda", "tensorrt"}
    assert all(report.detail and "\n" not in report.detail for report in REPORTS.values())


def test_the_probe_is_the_model_that_its_comment_says() -> None:
    onnx = pytest.importorskip("onnx", reason="builds the probe model again")
    value = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, (1, 1, 1, 2)) for name in "xy"]
    weight = onnx.helper.make_tensor("w", onnx.TensorProto.FLOAT, (1, 1, 1, 1), [2.0])
    node = onnx.helper.make_node("Conv", ["x", "w"], ["y"])
    graph = onnx.helper.make_graph([node], "g", value[:1], value[1:], [weight])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8)
    assert model.SerializeToString() == DOUBLING_MODEL


@works("openvino")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_openvino_runs_what_was_asked_for(tmp_path: Path, precision: str) -> None:
    engine = open_engine(write_boxes_detector(tmp_path / "pets.onnx", ROWS), device="openvino", precision=precision)
    assert engine.device == "openvino"
    assert engine.precision in (precision, "fp32")  # bf16 only where the processor has it
    assert engine.infer(image(0))["scores"].item() == pytest.approx(0.5, abs=0.01)


@pytest.mark.gpu
@works("cuda")
def test_cuda_gives_the_answers_of_the_cpu_from_several_threads(tmp_path: Path) -> None:
    engine = open_engine(write_boxes_detector(tmp_path / "pets.onnx", ROWS), device="cuda")
    assert engine.device == "cuda"
    values = [index / 256 for index in range(64)]
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda value: engine.infer(image(value))["scores"].item(), values))
    assert answers == pytest.approx([0.5 + value for value in values])


def test_one_runtime_is_found_by_name() -> None:
    assert runtime_distribution({"numpy", "onnxruntime-gpu"}) == "onnxruntime-gpu"


def test_no_runtime_is_a_missing_extra() -> None:
    with pytest.raises(MissingExtraError, match=r'pip install "streamdet\[cpu\]".*pip install "streamdet\[cuda\]"'):
        runtime_distribution({"numpy"})


def test_two_runtimes_are_refused_with_the_command_that_mends_it() -> None:
    with pytest.raises(DeviceError) as raised:
        runtime_distribution({"onnxruntime", "onnxruntime-gpu"})
    assert str(raised.value).endswith('pip uninstall -y onnxruntime onnxruntime-gpu && pip install "streamdet[cuda]"')


def test_two_opencv_wheels_are_a_conflict_and_one_is_none() -> None:
    assert opencv_conflict({"opencv-python"}) is None
    assert opencv_conflict(set()) is None
    conflict = opencv_conflict({"opencv-python", "opencv-python-headless"})
    assert conflict is not None
    assert "pip uninstall -y opencv-python opencv-python-headless && pip install opencv-python" in conflict
