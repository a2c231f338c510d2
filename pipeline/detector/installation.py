"""Installed packages → the one ONNX Runtime, loaded; or what is wrong among them and the command that mends it."""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import io
import logging
from collections.abc import Container
from functools import lru_cache
from typing import Any

from pipeline.cuda_driver import let_waits_sleep
from pipeline.errors import DeviceError, MissingExtraError

logger = logging.getLogger(__name__)

RUNTIME_DISTRIBUTIONS = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-directml", "onnxruntime-openvino")
OPENCV_DISTRIBUTIONS = (
    "opencv-python",
    "opencv-python-headless",
    "opencv-contrib-python",
    "opencv-contrib-python-headless",
)


def runtime_distribution(installed: Container[str] | None = None) -> str:
    """The one ONNX Runtime distribution that is installed.

    installed: names of distributions; None: those of this environment. Raises MissingExtraError if none of them is
    ONNX Runtime, and DeviceError if several are, which overwrite each other's files.
    """
    names = _installed_among(RUNTIME_DISTRIBUTIONS, installed)
    if not names:
        raise MissingExtraError(
            'ONNX Runtime is not installed: pip install "streamdet[cpu]", '
            'or pip install "streamdet[cuda]" on a machine with an NVIDIA GPU'
        )
    if len(names) > 1:
        extra = "cuda" if "onnxruntime-gpu" in names else "cpu"
        raise DeviceError(
            f"exactly one ONNX Runtime must be installed, found {' and '.join(names)}, which overwrite each other: "
            f'pip uninstall -y {" ".join(names)} && pip install "streamdet[{extra}]"'
        )
    return names[0]


def opencv_conflict(installed: Container[str] | None = None) -> str | None:
    """Several OpenCV wheels that overwrite each other, with the command that mends it; None for one or none."""
    names = _installed_among(OPENCV_DISTRIBUTIONS, installed)
    if len(names) < 2:
        return None
    return (
        f"exactly one OpenCV must be installed, found {' and '.join(names)}, which overwrite each other: "
        f"pip uninstall -y {' '.join(names)} && pip install opencv-python"
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
    runtime.set_default_logger_severity(4)  # errors come as exceptions, with their cause
    if distribution == "onnxruntime-gpu":
        let_waits_sleep()
        # The CUDA libraries of the nvidia-* wheels; prints the missing ones, which an error names when it matters.
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            runtime.preload_dlls()
        logger.debug("preload_dlls: %s", printed.getvalue().strip() or "complete")
    return runtime


def _installed_among(names: tuple[str, ...], installed: Container[str] | None) -> list[str]:
    return [name for name in names if (_is_installed(name) if installed is None else name in installed)]


def _is_installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
