"""What can this machine truly run a network on?

ONNX Runtime lists providers that were compiled in, and falls back to the CPU in silence when one of them cannot be
loaded. Here a device is believed only when a session on it says so, node by node; else the cause is named.
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import importlib
import importlib.metadata
import io
import json
import logging
import time
from collections.abc import Container, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from pipeline.cuda_driver import let_waits_sleep
from pipeline.detector.tensorrt import (
    ShapeRange,
    engine_folder,
    has_engine,
    preload_tensorrt,
    tensorrt_options,
    tensorrt_version,
    this_machine,
)
from pipeline.errors import DeviceError, MissingExtraError, ModelError

logger = logging.getLogger(__name__)

Device = Literal["cpu", "openvino", "cuda", "tensorrt"]
Precision = Literal["fp32", "fp16", "bf16"]

RUNTIME_DISTRIBUTIONS = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-directml", "onnxruntime-openvino")
OPENCV_DISTRIBUTIONS = (
    "opencv-python",
    "opencv-python-headless",
    "opencv-contrib-python",
    "opencv-contrib-python-headless",
)

_PROVIDER_NAMES: dict[Device, str] = {
    "cpu": "CPUExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
_LIBRARY_EXTRAS = {"nvinfer": "tensorrt", "nvonnxparser": "tensorrt"}
# The operators that are the work; shape arithmetic is put on the CPU on purpose.
_HEAVY = frozenset({"Conv", "ConvTranspose", "ConvInteger", "Gemm", "GridSample", "MatMul", "MatMulInteger", "Resize"})
# What gives more or less, as the picture is, or goes another way.
_SIZED_BY_DATA = frozenset({"If", "Loop", "NonMaxSuppression", "NonZero", "Scan", "Unique"})
_QUANTISED = frozenset({"ConvInteger", "DequantizeLinear", "MatMulInteger", "QLinearConv", "QLinearMatMul"})
# y = Conv(x, 2): x and y float32 [1, 1, 1, 2], opset 13. tests/detector/test_engine.py builds it with `onnx`.
_PROBE_MODEL = base64.b64decode(
    "CAg6YwoPCgF4CgF3EgF5IgRDb252EgFnKhMIAQgBCAEIARABIgQAAABAQgF3WhsKAXgSFgoUCAESEAoCCAEKAggBCgIIAQoCCAJiGwoBeRIWChQI"
    "ARIQCgIIAQoCCAEKAggBCgIIAkIECgAQDQ=="
)
# Doubled exactly by fp32 only: bf16 rounds both to 1, fp16 the second.
_PROBE_INPUT = np.array([1 + 2**-9, 1 + 2**-12], np.float32).reshape(1, 1, 1, 2)


@dataclass(frozen=True, slots=True)
class ProviderReport:
    """Whether a device ran a node on this machine, and what it said."""

    device: Device
    works: bool
    detail: str  # the precision and version where it works, else the cause and the cure


@dataclass(frozen=True, slots=True)
class OpenedSession:
    """A session that truly runs on `device`."""

    session: Any  # onnxruntime.InferenceSession
    device: Device
    precision: str
    remarks: tuple[str, ...]  # what is not as one would wish, one line each
    operators: frozenset[str] = frozenset()  # of the graph as it is run


def runtime_distribution(installed: Container[str] | None = None) -> str:
    """The one ONNX Runtime distribution that is installed.

    Takes the names of the installed distributions; asks this environment by default. Raises MissingExtraError if
    there is none and DeviceError if there are several, which overwrite each other's files.
    """
    found = [name for name in RUNTIME_DISTRIBUTIONS if _is_installed(name, installed)]
    if not found:
        raise MissingExtraError(
            'ONNX Runtime is not installed: pip install "streamdet[cpu]", '
            'or pip install "streamdet[cuda]" on a machine with an NVIDIA GPU'
        )
    if len(found) > 1:
        extra = "cuda" if "onnxruntime-gpu" in found else "cpu"
        raise DeviceError(
            f"exactly one ONNX Runtime must be installed, found {' and '.join(found)}, which overwrite each other: "
            f'pip uninstall -y {" ".join(found)} && pip install "streamdet[{extra}]"'
        )
    return found[0]


def opencv_conflict(installed: Container[str] | None = None) -> str | None:
    """What is wrong with the installed OpenCV wheels and the command that mends it, or None."""
    found = [name for name in OPENCV_DISTRIBUTIONS if _is_installed(name, installed)]
    if len(found) < 2:
        return None
    return (
        f"exactly one OpenCV must be installed, found {' and '.join(found)}, which overwrite each other: "
        f"pip uninstall -y {' '.join(found)} && pip install opencv-python"
    )


@lru_cache(maxsize=1)
def load_runtime() -> Any:
    """The module `onnxruntime`, ready to open sessions, its own log lines silenced.

    Raises MissingExtraError or DeviceError as `runtime_distribution`, and DeviceError for a damaged installation.
    """
    distribution = runtime_distribution()
    runtime = importlib.import_module("onnxruntime")
    if not hasattr(runtime, "InferenceSession"):
        raise DeviceError(
            f"the installed {distribution} is damaged, as after removing one of two: "
            f"pip install --force-reinstall --no-deps {distribution}"
        )
    runtime.set_default_logger_severity(4)  # what matters comes as an exception, with its cause
    if distribution == "onnxruntime-gpu":
        let_waits_sleep()
        # The CUDA libraries of the nvidia-* wheels; prints what it misses, which an error will name when it matters.
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            runtime.preload_dlls()
        logger.debug("preload_dlls: %s", printed.getvalue().strip() or "complete")
    return runtime


def probe_providers() -> tuple[ProviderReport, ...]:
    """Run a node on every device. Raises MissingExtraError or DeviceError as `load_runtime`."""
    load_runtime()
    return tuple(_probe(device) for device in get_args(Device))


def open_session(
    model: Path | bytes,
    device: Device,
    *,
    intra_op_threads: int | None = None,
    spin_microseconds: int | None = None,
    precision: Precision | None = None,
    shapes: Mapping[str, ShapeRange] | None = None,
    cuda_graph: bool = False,
    channels_last: bool = False,
) -> OpenedSession:
    """Open a model (a file, or its bytes) on a device, and on no other.

    `intra_op_threads` are for one run (None: one a physical core); `spin_microseconds` is how long an idle one burns
    its core before it sleeps (None: ONNX Runtime's choice, 0: not at all). `precision` is asked of OpenVINO and
    TensorRT; None leaves it to them. `shapes` of inputs whose batch is open is what TensorRT builds its engine for.
    `cuda_graph` lets runs be recorded and played back; `channels_last` lets CUDA convolve in that layout.

    Raises ModelError for what is no model, and DeviceError, with cause and cure, for a device that does not run it.
    """
    runtime = load_runtime()
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    if intra_op_threads is not None:
        options.intra_op_num_threads = intra_op_threads
    if spin_microseconds == 0:
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    elif spin_microseconds is not None:
        options.add_session_config_entry("session.intra_op.spin_duration_us", str(spin_microseconds))

    _check_precision(device, precision)
    if cuda_graph and device not in ("cuda", "tensorrt"):
        raise DeviceError(f"engine.cuda_graph needs engine.device cuda or tensorrt, got {device}")
    subject = model if isinstance(model, bytes) else str(model)
    providers: list[Any] | None = None
    folder: Path | None = None
    builds_engine = False
    began = time.monotonic()
    if device == "openvino":
        options.add_provider_for_devices(_openvino_devices()[:1], _openvino_options(intra_op_threads, precision))
    else:
        _refuse_what_is_not_built_in(device)
        if device == "tensorrt":
            folder = tensorrt_folder(model, precision, shapes or {})
            builds_engine = folder is not None and tensorrt_version() > 0 and not has_engine(folder)
        providers = _providers(device, folder, precision, shapes or {}, cuda_graph, channels_last)
    if builds_engine:
        logger.warning("%s: TensorRT builds an engine for this GPU, which takes minutes, once: %s", model, folder)
    try:
        session = runtime.InferenceSession(subject, options, providers=providers, enable_fallback=0)
    except Exception as error:  # ONNX Runtime's exceptions have no common base
        name = "the probe" if isinstance(model, bytes) else str(model)
        reason = first_line(error)
        if device == "cpu":
            raise ModelError(f"{name} must be a model that ONNX Runtime can load: {reason}") from error
        raise DeviceError(f"{device} cannot run {name}: {_load_failure(device) or reason}") from error
    if builds_engine:
        logger.info("%s: opened in %.0f s", model, time.monotonic() - began)
    session.disable_fallback()  # else a failing run would go on, silently, on the CPU

    wanted = _PROVIDER_NAMES[device]
    if wanted not in session.get_providers():
        raise DeviceError(f"{device} cannot be used: {_load_failure(device) or 'ONNX Runtime gives no cause'}")
    operators = _operators_by_provider(session)
    elsewhere = sorted(
        {operator for name, found in operators.items() if name != wanted for operator in found if operator in _HEAVY}
    )
    remarks: tuple[str, ...] = ()
    if elsewhere and not operators.get(wanted, frozenset()) & _HEAVY:
        raise DeviceError(f"{device} runs none of the model's {', '.join(elsewhere)} nodes; use --device cpu")
    if elsewhere:
        remarks = (f"{', '.join(elsewhere)} nodes run outside {device}",)
    all_operators = frozenset[str]().union(*operators.values())
    refused = sorted(all_operators & _SIZED_BY_DATA) if cuda_graph else []
    if refused:
        raise DeviceError(
            f"engine.cuda_graph needs shapes that no picture changes, the model has {', '.join(refused)} inside; "
            "leave it out, or export --form boxes"
        )
    return OpenedSession(session, device, _precision_of(device, precision, operators), remarks, all_operators)


def _probe(device: Device) -> ProviderReport:
    try:
        opened = open_session(_PROBE_MODEL, device, intra_op_threads=1)
        doubled = opened.session.run(None, {"x": _PROBE_INPUT})[0]
    except Exception as error:  # whatever keeps a device from running a node is what the report is about
        return ProviderReport(device, False, first_line(error))
    if not np.allclose(doubled, 2, atol=0.01):
        return ProviderReport(device, False, f"computed {doubled.ravel().tolist()} where 2 was right")
    return ProviderReport(device, True, opened.precision)


def tensorrt_folder(model: Path | bytes, precision: Precision | None, shapes: Mapping[str, ShapeRange]) -> Path | None:
    """Where TensorRT's engine of a file is kept, made if need be; None for a model that is no file."""
    preload_tensorrt()
    if isinstance(model, bytes):
        return None
    machine = this_machine(load_runtime().__version__)
    folder = engine_folder(model, precision=precision, shapes=shapes, machine=machine)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def cuda_options(*, precision: Precision | None, cuda_graph: bool, channels_last: bool = False) -> dict[str, str]:
    """The options of ONNX Runtime's CUDA provider."""
    # Memory grows by what is asked for only. cuDNN's own choice of algorithms is as good as a search among all of them,
    # which takes seconds for each shape, at each start.
    options = {"arena_extend_strategy": "kSameAsRequested", "cudnn_conv_algo_search": "HEURISTIC"}
    if precision == "fp32":
        options["use_tf32"] = "0"
    if cuda_graph:
        options["enable_cuda_graph"] = "1"
    if channels_last:
        options["prefer_nhwc"] = "1"
    return options


def _providers(
    device: Device,
    folder: Path | None,
    precision: Precision | None,
    shapes: Mapping[str, ShapeRange],
    cuda_graph: bool,
    channels_last: bool,
) -> list[Any]:
    """ONNX Runtime's list of providers, with options, for a device that is built into it."""
    providers: list[Any] = ["CPUExecutionProvider"]
    if device in ("cuda", "tensorrt"):
        own_graph = cuda_graph and device == "cuda"
        options = cuda_options(precision=precision, cuda_graph=own_graph, channels_last=channels_last)
        providers.insert(0, ("CUDAExecutionProvider", options))
    if device == "tensorrt":
        options = tensorrt_options(folder, precision=precision, shapes=shapes, cuda_graph=cuda_graph)
        providers.insert(0, ("TensorrtExecutionProvider", options))
    return providers


def refuse_device(device: Device, precision: Precision | None) -> None:
    """Raise DeviceError for a device that is not installed, and for one that does not let the precision be chosen."""
    _check_precision(device, precision)
    if device == "openvino":
        _openvino_devices()
    else:
        _refuse_what_is_not_built_in(device)


def _refuse_what_is_not_built_in(device: Device) -> None:
    if device not in _PROVIDER_NAMES:
        *first, last = _PROVIDER_NAMES
        raise DeviceError(f"device must be {', '.join(first)} or {last}, got {device!r}")
    if _PROVIDER_NAMES[device] not in load_runtime().get_available_providers():
        raise DeviceError(
            f"{device} is not in the installed {runtime_distribution()}: "
            f'pip uninstall -y {runtime_distribution()} && pip install "streamdet[{_extras(device)}]"'
        )


@lru_cache(maxsize=1)
def _openvino_devices() -> list[Any]:
    """The devices of the OpenVINO plugin."""
    plugin = _registered_openvino()
    devices = [each for each in load_runtime().get_ep_devices() if each.ep_name == plugin.get_ep_name()]
    if not devices:
        raise DeviceError("openvino supports no device of this machine, it needs an Intel processor; use --device cpu")
    return devices


@lru_cache(maxsize=1)
def _registered_openvino() -> Any:
    """The plugin's module, registered with ONNX Runtime, which takes it once a process."""
    try:
        plugin = importlib.import_module("onnxruntime_ep_openvino")
    except ImportError as error:
        raise DeviceError('openvino is not installed: pip install "streamdet[openvino]"') from error
    try:
        load_runtime().register_execution_provider_library("streamdet.openvino", plugin.get_library_path())
    except Exception as error:  # ONNX Runtime's exceptions have no common base
        raise DeviceError(f"openvino cannot be loaded: {first_line(error)}; use --device cpu") from error
    return plugin


def _openvino_options(intra_op_threads: int | None, precision: Precision | None) -> dict[str, str]:
    settings = {"PERFORMANCE_HINT": "LATENCY"}
    if intra_op_threads is not None:
        settings["INFERENCE_NUM_THREADS"] = str(intra_op_threads)
    if precision is not None:
        settings["INFERENCE_PRECISION_HINT"] = precision.replace("fp", "f")
    return {"load_config": json.dumps({"CPU": settings})}


def _check_precision(device: Device, precision: Precision | None) -> None:
    choices = {"cpu": ("fp32",), "cuda": ("fp32",)}.get(device, get_args(Precision))
    if precision is not None and precision not in choices:
        raise DeviceError(
            f"{device} computes as the model was exported, precision must be {' or '.join(choices)}, got {precision}"
        )


def _precision_of(device: Device, precision: Precision | None, operators: dict[str, frozenset[str]]) -> str:
    if frozenset().union(*operators.values()) & _QUANTISED:
        return "int8"
    if device == "openvino":
        return _measured_openvino_precision(precision)
    if device == "tensorrt" and precision not in (None, "fp32"):
        return f"{precision} where TensorRT finds it faster"
    return "fp32 with tf32 products" if device in ("cuda", "tensorrt") and precision is None else "fp32"


@lru_cache(maxsize=4)
def _measured_openvino_precision(precision: Precision | None) -> str:
    """OpenVINO takes bf16 in silence where the processor has it, and leaves it where not: look how it rounds."""
    runtime = load_runtime()
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    options.add_provider_for_devices(_openvino_devices()[:1], _openvino_options(1, precision))
    doubled = runtime.InferenceSession(_PROBE_MODEL, options).run(None, {"x": _PROBE_INPUT})[0].ravel()
    if doubled[0] == 2:
        return "bf16"
    return "fp16" if doubled[1] == 2 else "fp32"


def _operators_by_provider(session: Any) -> dict[str, frozenset[str]]:
    """Provider name → operators of the nodes that were given to it."""
    operators: dict[str, set[str]] = {}
    for part in session.get_provider_graph_assignment_info():
        operators.setdefault(part.ep_name, set()).update(node.op_type for node in part.get_nodes())
    return {name: frozenset(found) for name, found in operators.items()}


def _load_failure(device: Device) -> str | None:
    """What the loader says about a provider's library, and the cure; None if it loads.

    Called only after ONNX Runtime has tried the same, which sets up what the library expects.
    """
    for library in Path(load_runtime().__file__).parent.glob(f"capi/*onnxruntime_providers_{device}.*"):
        try:
            ctypes.CDLL(str(library))
        except OSError as error:
            reason = first_line(error)
            if "libcuda.so" in reason or "nvcuda.dll" in reason:
                return f"{reason}; install the NVIDIA driver, or start the container with the GPU"
            missing = next((extra for name, extra in _LIBRARY_EXTRAS.items() if name in reason), "cuda")
            return f'{reason}; pip install "streamdet[{missing}]"'
    return None


def _extras(device: Device) -> str:
    return "cuda,tensorrt" if device == "tensorrt" else "cuda"


def _is_installed(name: str, installed: Container[str] | None) -> bool:
    if installed is not None:
        return name in installed
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def first_line(error: BaseException) -> str:
    """The first line that says something, without ONNX Runtime's prefix `[ONNXRuntimeError] : 7 : NAME : `."""
    text = str(error).strip()
    if text.startswith("[ONNXRuntimeError]"):
        text = text.split(" : ", 3)[-1]
    return text.splitlines()[0] if text else type(error).__name__
