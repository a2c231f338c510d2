"""NVIDIA's driver: what must be set in it before a decoder, ONNX Runtime and others meet in one process.

Everything here does nothing where there is no driver.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

_BLOCKING_SYNC = 4  # CU_CTX_SCHED_BLOCKING_SYNC
_RELAXED = 2  # CU_STREAM_CAPTURE_MODE_RELAXED


@cache
def cuda_driver() -> Any:
    """The driver's library with the first GPU found, or None."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return None
    return None if driver.cuInit(0) else driver


def let_waits_sleep(driver: Any = None) -> None:
    """Let threads that wait for the first GPU sleep instead of spinning, which takes a core from a pipeline of threads.

    Heeded only before anything has been done on the GPU; without effect later.
    """
    driver = driver or cuda_driver()
    device = ctypes.c_int()
    if driver is not None and not driver.cuDeviceGet(ctypes.byref(device), 0):
        driver.cuDevicePrimaryCtxSetFlags(device, ctypes.c_uint(_BLOCKING_SYNC))


@contextmanager
def primary_context(driver: Any = None) -> Iterator[bool]:
    """Make the first GPU's primary context, which CUDA's runtime works in, current in this thread.

    Gives whether libav takes it when it is asked for the primary context. Where somebody else, such as PyTorch, has
    opened that with other flags, libav says "Primary context already active with incompatible flags"
    (libavutil/hwcontext_cuda.c), and must be asked for the current one.
    """
    driver = driver or cuda_driver()
    context = None if driver is None else _retained_context(driver)
    if context is None:
        yield True
        return
    device, flags, is_active = ctypes.c_int(), ctypes.c_uint(), ctypes.c_int()
    driver.cuDeviceGet(ctypes.byref(device), 0)
    driver.cuDevicePrimaryCtxGetState(device, ctypes.byref(flags), ctypes.byref(is_active))
    driver.cuCtxPushCurrent_v2(context)
    try:
        yield flags.value == _BLOCKING_SYNC
    finally:
        driver.cuCtxPopCurrent_v2(ctypes.byref(ctypes.c_void_p()))


def tolerate_capture(driver: Any = None) -> None:
    """Let this thread allocate and copy on the GPU while another records a CUDA graph, without spoiling the recording.

    ONNX Runtime records in the mode that forbids it to every thread which has not opted out
    (cudaStreamCaptureModeGlobal), and a decoder allocates whenever it likes.
    """
    driver = driver or cuda_driver()
    if driver is not None:
        driver.cuThreadExchangeStreamCaptureMode(ctypes.byref(ctypes.c_int(_RELAXED)))


@cache
def _retained_context(driver: Any) -> ctypes.c_void_p | None:
    """The first GPU's primary context, kept for the rest of the process; None where there is none."""
    let_waits_sleep(driver)  # before this opens it
    device, context = ctypes.c_int(), ctypes.c_void_p()
    if driver.cuDeviceGet(ctypes.byref(device), 0):
        return None
    return None if driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), device) else context
