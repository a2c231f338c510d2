"""Devices: a device's name → its provider in ONNX Runtime, the options of a session, and its extra in pip.

A new device is a row in `DEVICES`.
"""

from __future__ import annotations

import ctypes
import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Literal, get_args

from pipeline.detector.installation import load_runtime, runtime_distribution
from pipeline.detector.openvino import PLUGIN, openvino_devices, openvino_options, openvino_precision
from pipeline.detector.runtime_types import ProviderDevice, SessionOptions
from pipeline.detector.tensorrt import ShapeRange, tensorrt_options
from pipeline.errors import DeviceError, first_line

Device = Literal["cpu", "openvino", "cuda", "tensorrt"]
Precision = Literal["fp32", "fp16", "bf16"]
Providers = list[tuple[str, dict[str, str]]]
"""ONNX Runtime's names of providers, the first choice first, each with its options."""


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """What a session shall have beside the network; None and empty leave it to the device."""

    intra_op_threads: int | None = None
    precision: Precision | None = None
    shapes: Mapping[str, ShapeRange] = field(default_factory=dict)
    cuda_graph: bool = False
    channels_last: bool = False
    engine_folder: Path | None = None  # of a device that keeps engines


@dataclass(frozen=True, slots=True)
class Provider:
    """Everything that sets one device apart from the others."""

    name: str  # ONNX Runtime's
    extras: str  # of streamdet, that pip installs it with
    options: Callable[[SessionSettings], dict[str, str]]
    precisions: tuple[str, ...]  # that a user may choose among
    precision_in_words: Callable[[Precision | None], str]  # of a float network, for the precision that was chosen
    plugin: str | None = None  # the module of a provider that is not built into ONNX Runtime
    plugin_devices: Callable[[], list[ProviderDevice]] | None = None  # of that module
    falls_back_on: tuple[Device, ...] = ()  # for nodes that it does not run, in this order
    records_graphs: bool = False  # whether it can play runs back as a CUDA graph
    keeps_engines: bool = False  # whether it builds an engine, which takes minutes and is kept in a folder
    extra_of_library: Mapping[str, str] = field(default_factory=dict)  # a part of a missing library's name → its extra


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
        # The biases are added by the convolutions themselves. In the other layout that is wrong in ONNX Runtime 1.31:
        # it adds what the output's memory held before.
        options |= {"prefer_nhwc": "1", "fuse_conv_bias": "1"}
    return options


def _cuda(settings: SessionSettings) -> dict[str, str]:
    return cuda_options(
        precision=settings.precision, cuda_graph=settings.cuda_graph, channels_last=settings.channels_last
    )


def _cuda_precision(precision: Precision | None) -> str:
    return "fp32" if precision else "fp32 with tf32 products"


def _openvino(settings: SessionSettings) -> dict[str, str]:
    return openvino_options(intra_op_threads=settings.intra_op_threads, precision=settings.precision)


def _tensorrt(settings: SessionSettings) -> dict[str, str]:
    return tensorrt_options(
        settings.engine_folder,
        precision=settings.precision,
        shapes=settings.shapes,
        cuda_graph=settings.cuda_graph,
    )


def _tensorrt_precision(precision: Precision | None) -> str:
    return _cuda_precision(precision) if precision in (None, "fp32") else f"{precision} where TensorRT finds it faster"


DEVICES: Mapping[Device, Provider] = MappingProxyType(
    {
        "cpu": Provider(
            name="CPUExecutionProvider",
            extras="cpu",
            options=lambda settings: {},
            precisions=("fp32",),
            precision_in_words=lambda precision: "fp32",
        ),
        "openvino": Provider(
            name="OpenVINOExecutionProvider",
            extras="openvino",
            options=_openvino,
            precisions=get_args(Precision),
            precision_in_words=openvino_precision,
            plugin=PLUGIN,
            plugin_devices=openvino_devices,
        ),
        "cuda": Provider(
            name="CUDAExecutionProvider",
            extras="cuda",
            options=_cuda,
            precisions=("fp32",),
            precision_in_words=_cuda_precision,
            falls_back_on=("cpu",),
            records_graphs=True,
        ),
        "tensorrt": Provider(
            name="TensorrtExecutionProvider",
            extras="cuda,tensorrt",
            options=_tensorrt,
            precisions=get_args(Precision),
            precision_in_words=_tensorrt_precision,
            falls_back_on=("cuda", "cpu"),
            records_graphs=True,
            keeps_engines=True,
            extra_of_library={"nvinfer": "tensorrt", "nvonnxparser": "tensorrt"},
        ),
    }
)
"""A device → how ONNX Runtime runs on it."""


def refuse_device(device: Device, precision: Precision | None) -> None:
    """Raise DeviceError for a device that is not installed, and for one that does not let the precision be chosen."""
    if device not in DEVICES:
        *first, last = DEVICES
        raise DeviceError(f"device must be {', '.join(first)} or {last}, got {device!r}")
    provider = DEVICES[device]
    if precision not in (None, *provider.precisions):
        raise DeviceError(
            f"{device} computes as the model was exported, precision must be {' or '.join(provider.precisions)}, "
            f"got {precision}"
        )
    if provider.plugin_devices is not None:
        provider.plugin_devices()
    elif not is_offered(device):
        raise DeviceError(
            f"{device} is not in the installed {runtime_distribution()}: "
            f'pip uninstall -y {runtime_distribution()} && pip install "streamdet[{provider.extras}]"'
        )


def is_offered(device: Device) -> bool:
    """Whether the package is installed that has the device's provider; it may still fail on this machine."""
    provider = DEVICES[device]
    if provider.plugin is not None:
        return importlib.util.find_spec(provider.plugin) is not None
    return provider.name in load_runtime().get_available_providers()


def add_device(options: SessionOptions, device: Device, settings: SessionSettings) -> Providers | None:
    """ONNX Runtime's list of providers for a session on a device; None for a plugin, which is added to `options`."""
    provider = DEVICES[device]
    if provider.plugin_devices is not None:
        options.add_provider_for_devices(provider.plugin_devices()[:1], provider.options(settings))
        return None
    without_graph = replace(settings, cuda_graph=False)
    fallbacks = [DEVICES[name] for name in provider.falls_back_on]
    return [
        (provider.name, provider.options(settings)),
        *((fallback.name, fallback.options(without_graph)) for fallback in fallbacks),
    ]


def load_failure(device: Device) -> str | None:
    """What the loader says about a provider's library, and the cure; None if it loads.

    Called only after ONNX Runtime has tried the same, which sets up what the library expects.
    """
    for library in Path(load_runtime().__file__).parent.glob(f"capi/*onnxruntime_providers_{device}.*"):
        try:
            ctypes.CDLL(str(library))
        except OSError as error:
            return _with_cure(first_line(error), DEVICES[device])
    return None


def _with_cure(reason: str, provider: Provider) -> str:
    if "libcuda.so" in reason or "nvcuda.dll" in reason:
        return f"{reason}; install the NVIDIA driver, or start the container with the GPU"
    extra = next((extra for name, extra in provider.extra_of_library.items() if name in reason), "cuda")
    return f'{reason}; pip install "streamdet[{extra}]"'
