"""TensorRT: a network and a GPU → the options of its provider, and the folder in which the built engine is kept.

TensorRT compiles a network for one GPU, which takes minutes. The result only serves the same weights, shapes,
precision, versions and GPU, so all of them are hashed into the name of that folder.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import importlib.util
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from pipeline.cache_folder import cache_folder
from pipeline.cuda_driver import cuda_driver
from pipeline.detector.installation import load_runtime
from pipeline.detector.onnx_file import graph_hash
from pipeline.picture.detector_spec import DetectorSpec

_LIBRARIES = ("libnvinfer.so.10", "libnvinfer_plugin.so.10", "libnvonnxparser.so.10")


class ShapeRange(NamedTuple):
    """The shapes of an input that one engine serves, and the one for which it shall be fast."""

    least: tuple[int, ...]
    best: tuple[int, ...]
    most: tuple[int, ...]


class Machine(NamedTuple):
    """What an engine is tied to beside the network; empty or 0 where it is not known."""

    gpu: str
    driver: int
    tensorrt: int
    onnxruntime: str


def input_shapes(spec: DetectorSpec, *, max_batch: int) -> dict[str, ShapeRange]:
    """The shapes of a network's inputs for batches of 1 to `max_batch`, to be fast for the largest.

    Empty where the file fixes them, or where they follow the frames', which only a run knows.
    """
    if spec.batch is not None or spec.resize == "in-graph" or spec.pixels != "packed":
        return {}
    width, height = spec.network_wh
    image = (3, height, width) if spec.channels_first else (height, width, 3)
    sides: dict[str, tuple[int, ...]] = {spec.input_name: image}
    sides |= {extra.name: (len(extra.values),) for extra in spec.extra_inputs}
    return {name: ShapeRange((1, *rest), (max_batch, *rest), (max_batch, *rest)) for name, rest in sides.items()}


def tensorrt_options(
    folder: Path | None, *, precision: str | None, shapes: Mapping[str, ShapeRange], cuda_graph: bool = False
) -> dict[str, str]:
    """The options of ONNX Runtime's provider; `folder` is where the engine is kept (None: nowhere)."""
    options = {"trt_fp16_enable": str(int(precision == "fp16")), "trt_bf16_enable": str(int(precision == "bf16"))}
    if cuda_graph:
        options["trt_cuda_graph_enable"] = "1"
    for key, index in (("min", 0), ("opt", 1), ("max", 2)) if shapes else ():
        options[f"trt_profile_{key}_shapes"] = ",".join(
            f"{name}:{'x'.join(map(str, shape[index]))}" for name, shape in shapes.items()
        )
    if folder is not None:
        options |= {"trt_engine_cache_enable": "1", "trt_engine_cache_path": str(folder)}
        options |= {"trt_timing_cache_enable": "1", "trt_timing_cache_path": str(folder)}
    return options


def engine_folder(model: Path, *, precision: str | None, shapes: Mapping[str, ShapeRange], machine: Machine) -> Path:
    """Where the engine of a model is kept, whether it is there or not. Raises ModelError for a missing file."""
    key = json.dumps([graph_hash(model), precision, sorted(shapes.items()), machine])
    return cache_folder() / "tensorrt" / f"{model.stem}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"


def tensorrt_folder(model: Path | bytes, precision: str | None, shapes: Mapping[str, ShapeRange]) -> Path | None:
    """Where the engine of a file is kept on this machine, made if need be; None for a model that is not a file."""
    preload_tensorrt()
    if isinstance(model, bytes):
        return None
    machine = this_machine(load_runtime().__version__)
    folder = engine_folder(model, precision=precision, shapes=shapes, machine=machine)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def has_engine(folder: Path) -> bool:
    """Whether an engine is kept there."""
    return any(folder.glob("*.engine"))


def this_machine(onnxruntime_version: str) -> Machine:
    """The machine that this process runs on."""
    return Machine(*_gpu_and_driver(), tensorrt_version(), onnxruntime_version)


def tensorrt_version() -> int:
    """TensorRT's version as one number; 0 where its library cannot be loaded."""
    try:
        return int(ctypes.CDLL("nvinfer_10.dll" if sys.platform == "win32" else _LIBRARIES[0]).getInferLibVersion())
    except OSError:
        return 0


def preload_tensorrt() -> None:
    """Load the libraries of the TensorRT wheel, which lie where the loader does not look."""
    package = importlib.util.find_spec("tensorrt_libs")
    for folder in package.submodule_search_locations or () if package else ():
        for name in _LIBRARIES:
            with contextlib.suppress(OSError):  # a missing one is named when the provider fails to load
                ctypes.CDLL(str(Path(folder) / name), mode=ctypes.RTLD_GLOBAL)


def _gpu_and_driver() -> tuple[str, int]:
    """The first GPU's name and the CUDA version of the driver, from the driver itself."""
    driver = cuda_driver()
    name, device, version = ctypes.create_string_buffer(256), ctypes.c_int(), ctypes.c_int()
    if driver is None:
        return "", 0
    if driver.cuDeviceGet(ctypes.byref(device), 0) or driver.cuDeviceGetName(name, 256, device):
        return "", 0
    driver.cuDriverGetVersion(ctypes.byref(version))
    return name.value.decode(errors="replace"), version.value
