"""OpenVINO: its plugin for ONNX Runtime → the devices, options and true precision of a session.

https://onnxruntime.ai/docs/execution-providers/OpenVINO-ExecutionProvider.html
"""

from __future__ import annotations

import importlib
import json
from functools import lru_cache
from typing import Any

from pipeline.detector.installation import load_runtime
from pipeline.detector.rounding import DOUBLING_MODEL, doubled_by, precision_of
from pipeline.detector.runtime_types import ProviderDevice
from pipeline.errors import DeviceError, first_line

PLUGIN = "onnxruntime_ep_openvino"


def openvino_options(*, intra_op_threads: int | None, precision: str | None) -> dict[str, str]:
    """The options of the plugin; None leaves it the choice."""
    settings = {"PERFORMANCE_HINT": "LATENCY"}
    if intra_op_threads is not None:
        settings["INFERENCE_NUM_THREADS"] = str(intra_op_threads)
    if precision is not None:
        settings["INFERENCE_PRECISION_HINT"] = precision.replace("fp", "f")
    return {"load_config": json.dumps({"CPU": settings})}


@lru_cache(maxsize=1)
def openvino_devices() -> list[ProviderDevice]:
    """The devices of the plugin. Raises DeviceError where it is not installed, or supports nothing of the machine."""
    plugin = _registered_plugin()
    every_device: list[ProviderDevice] = load_runtime().get_ep_devices()
    devices = [device for device in every_device if device.ep_name == plugin.get_ep_name()]
    if not devices:
        raise DeviceError("openvino supports no device of this machine, it needs an Intel processor; use --device cpu")
    return devices


@lru_cache(maxsize=4)
def openvino_precision(precision: str | None) -> str:
    """The precision that OpenVINO computes in: it takes bf16 in silence if the processor has it, else leaves it."""
    runtime = load_runtime()
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    options.add_provider_for_devices(openvino_devices()[:1], openvino_options(intra_op_threads=1, precision=precision))
    return precision_of(doubled_by(runtime.InferenceSession(DOUBLING_MODEL, options)))


@lru_cache(maxsize=1)
def _registered_plugin() -> Any:
    """The plugin's module, registered with ONNX Runtime, which takes it once a process."""
    try:
        plugin = importlib.import_module(PLUGIN)
    except ImportError as error:
        raise DeviceError('openvino is not installed: pip install "streamdet[openvino]"') from error
    try:
        load_runtime().register_execution_provider_library("streamdet.openvino", plugin.get_library_path())
    except Exception as error:  # ONNX Runtime's exceptions have no common base
        raise DeviceError(f"openvino cannot be loaded: {first_line(error)}; use --device cpu") from error
    return plugin
