"""Pinned memory: a shape and dtype → a host array that a GPU reads and writes by itself.

From memory that the operating system may move, the driver copies in pieces through a buffer of its own, and the
processor waits. CUDA's runtime is loaded with ONNX Runtime's provider; without it the memory is ordinary.
"""

from __future__ import annotations

import ctypes
import logging
import sys
import weakref
from functools import cache
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.detector.installation import load_runtime
from pipeline.detector.runtime_types import Array

logger = logging.getLogger(__name__)

CudaRuntime = Any
"""CUDA's runtime library as ctypes loads it, or a stand-in: its functions by name."""
_PORTABLE = 1  # cudaHostAllocPortable: for every context of the process


def pinned_array(shape: tuple[int, ...], dtype: npt.DTypeLike, *, cuda: CudaRuntime | None = None) -> Array:
    """A new array whose values are nothing yet, freed with the last view of it.

    cuda: CUDA's runtime as ctypes loads it; the one of this process if None.
    """
    cuda = cuda or cuda_runtime()
    size = prod(shape) * np.dtype(dtype).itemsize
    address = ctypes.c_void_p()
    if cuda is None or not size:
        return np.empty(shape, dtype)
    status = cuda.cudaHostAlloc(ctypes.byref(address), ctypes.c_size_t(size), ctypes.c_uint(_PORTABLE))
    if status or not address.value:
        logger.info("CUDA gives no pinned memory of %d bytes (status %d): ordinary memory is used", size, status)
        return np.empty(shape, dtype)
    block = (ctypes.c_uint8 * size).from_address(address.value)
    # Not at exit, when the runtime may be gone already.
    weakref.finalize(block, cuda.cudaFreeHost, address).atexit = False
    pinned: Array = np.frombuffer(memoryview(block), np.uint8).view(dtype).reshape(shape)
    return pinned


@cache
def cuda_runtime() -> CudaRuntime | None:
    """CUDA's runtime of the version that ONNX Runtime was built for, or None."""
    major = str(getattr(load_runtime(), "cuda_version", "")).split(".")[0]
    if not major:
        return None
    name = f"cudart64_{major}.dll" if sys.platform == "win32" else f"libcudart.so.{major}"
    try:
        cuda = ctypes.CDLL(name)
    except OSError as error:
        logger.info("no pinned memory: %s", error)
        return None
    cuda.cudaGetErrorString.restype = ctypes.c_char_p
    return cuda
