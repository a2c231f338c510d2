"""Session: a model and a device → an ONNX Runtime session that truly runs there, or the cause why none does.

ONNX Runtime lists providers that were compiled in, and falls back to the CPU in silence when one of them cannot be
loaded. Here a device is believed only when a session on it says so, node by node; else the cause is named.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.detector.devices import (
    DEVICES,
    Device,
    Precision,
    Providers,
    SessionSettings,
    add_device,
    load_failure,
    refuse_device,
)
from pipeline.detector.installation import load_runtime
from pipeline.detector.runtime_types import Session, SessionOptions
from pipeline.detector.tensorrt import ShapeRange, has_engine, tensorrt_folder, tensorrt_version
from pipeline.errors import DeviceError, ModelError, first_line

logger = logging.getLogger(__name__)

# The operators that are the work; shape arithmetic is put on the CPU on purpose.
_HEAVY = frozenset({"Conv", "ConvTranspose", "ConvInteger", "Gemm", "GridSample", "MatMul", "MatMulInteger", "Resize"})
# Those whose outputs have another size with another picture, or that go another way.
_SIZED_BY_DATA = frozenset({"If", "Loop", "NonMaxSuppression", "NonZero", "Scan", "Unique"})
_QUANTIZED = frozenset({"ConvInteger", "DequantizeLinear", "MatMulInteger", "QLinearConv", "QLinearMatMul"})

_OperatorsByProvider = Mapping[str, frozenset[str]]


@dataclass(frozen=True, slots=True)
class OpenedSession:
    """A session that truly runs on `device`."""

    session: Session
    device: Device
    precision: str
    remarks: tuple[str, ...]  # what is not as one would wish, one line each
    operators: frozenset[str] = frozenset()  # of the graph as it is run


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

    Raises ModelError for a file that is not a model, and DeviceError, with cause and cure, for a device that does not
    run it.
    """
    refuse_device(device, precision)
    if cuda_graph and not DEVICES[device].records_graphs:
        recording = " or ".join(name for name, provider in DEVICES.items() if provider.records_graphs)
        raise DeviceError(f"engine.cuda_graph needs engine.device {recording}, got {device}")
    folder = tensorrt_folder(model, precision, shapes or {}) if DEVICES[device].keeps_engines else None
    settings = SessionSettings(intra_op_threads, precision, shapes or {}, cuda_graph, channels_last, folder)
    options = _session_options(intra_op_threads, spin_microseconds)
    providers = add_device(options, device, settings)
    with _log_of_build(model, folder):
        session = _create(model, device, options, providers)
    operators = _operators_by_provider(session)
    remarks = _remarks_on_placement(device, operators)
    all_operators = frozenset[str]().union(*operators.values())
    if cuda_graph:
        _refuse_sized_by_data(all_operators)
    words = "int8" if all_operators & _QUANTIZED else DEVICES[device].precision_in_words(precision)
    return OpenedSession(session, device, words, remarks, all_operators)


def _session_options(intra_op_threads: int | None, spin_microseconds: int | None) -> SessionOptions:
    options: SessionOptions = load_runtime().SessionOptions()
    options.log_severity_level = 4
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    if intra_op_threads is not None:
        options.intra_op_num_threads = intra_op_threads
    if spin_microseconds == 0:
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    elif spin_microseconds is not None:
        options.add_session_config_entry("session.intra_op.spin_duration_us", str(spin_microseconds))
    return options


@contextlib.contextmanager
def _log_of_build(model: Path | bytes, folder: Path | None) -> Iterator[None]:
    """Log that TensorRT builds an engine into a folder, which takes minutes, where it does, and how long it took."""
    if folder is None or tensorrt_version() == 0 or has_engine(folder):
        yield
        return
    logger.warning("%s: TensorRT builds an engine for this GPU, which takes minutes, once: %s", model, folder)
    began = time.monotonic()
    yield
    logger.info("%s: opened in %.0f s", model, time.monotonic() - began)


def _create(model: Path | bytes, device: Device, options: SessionOptions, providers: Providers | None) -> Session:
    """The session, which runs on the device or has raised ModelError or DeviceError."""
    subject, name = (model, "the probe") if isinstance(model, bytes) else (str(model), str(model))
    try:
        session: Session = load_runtime().InferenceSession(subject, options, providers=providers, enable_fallback=0)
    except Exception as error:  # ONNX Runtime's exceptions have no common base
        reason = first_line(error)
        if device == "cpu":
            raise ModelError(f"{name} must be a model that ONNX Runtime can load: {reason}") from error
        raise DeviceError(f"{device} cannot run {name}: {load_failure(device) or reason}") from error
    session.disable_fallback()  # else a failing run would go on, silently, on the CPU
    if DEVICES[device].name not in session.get_providers():
        raise DeviceError(f"{device} cannot be used: {load_failure(device) or 'ONNX Runtime gives no cause'}")
    return session


def _operators_by_provider(session: Session) -> _OperatorsByProvider:
    """Provider name → operators of the nodes that were given to it."""
    operators: dict[str, set[str]] = {}
    for part in session.get_provider_graph_assignment_info():
        operators.setdefault(part.ep_name, set()).update(node.op_type for node in part.get_nodes())
    return {name: frozenset(op_types) for name, op_types in operators.items()}


def _remarks_on_placement(device: Device, operators: _OperatorsByProvider) -> tuple[str, ...]:
    """Which heavy nodes run elsewhere than on the device. Raises DeviceError where all of them do."""
    own = DEVICES[device].name
    others = frozenset[str]().union(*(op_types for name, op_types in operators.items() if name != own))
    elsewhere = sorted(others & _HEAVY)
    if not elsewhere:
        return ()
    if not operators.get(own, frozenset()) & _HEAVY:
        raise DeviceError(f"{device} runs none of the model's {', '.join(elsewhere)} nodes; use --device cpu")
    return (f"{', '.join(elsewhere)} nodes run outside {device}",)


def _refuse_sized_by_data(operators: frozenset[str]) -> None:
    refused = sorted(operators & _SIZED_BY_DATA)
    if refused:
        raise DeviceError(
            f"engine.cuda_graph needs shapes that no picture changes, the model has {', '.join(refused)} inside; "
            "leave it out, or export --form boxes"
        )
