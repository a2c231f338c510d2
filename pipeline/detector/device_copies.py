"""Copies into and out of buffers that a network is run in: host arrays and decoder's planes → device memory, and back.

On a GPU everything goes through one CUDA stream, which waits by itself for what a decoder still writes: libav works on
CUDA's default stream, and an ordinary stream begins after what was given to that one before.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from pipeline.cuda_driver import tolerate_capture
from pipeline.detector.pinned import CudaRuntime, cuda_runtime, pinned_array
from pipeline.detector.runtime_types import Array
from pipeline.errors import DeviceError
from pipeline.picture.nv12 import DevicePlane, host_plane

DeviceType = Literal["cpu", "cuda"]
"""ONNX Runtime's word for where buffers lie."""

_ANY_DIRECTION = 4  # cudaMemcpyDefault: the addresses say it


class Copies(Protocol):
    """For one thread. `wait` must be called before what was copied is used."""

    def host_array(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
        """Host memory, all zeros, from and into which copies are fast."""

    def upload(self, address: int, values: Array) -> None:
        """Copy a contiguous array of `host_array` to the device."""

    def gather(self, address: int, plane: DevicePlane, *, num_rows: int, num_bytes: int, pitch: int) -> None:
        """Copy the used bytes of each row of a plane. Raises DeviceError for one that lies on another device."""

    def download(self, values: Array, address: int) -> None:
        """Fill a contiguous array of `host_array` from the device."""

    def wait(self) -> None:
        """Wait until everything has been copied."""


def copies_for(device: DeviceType) -> Copies:
    """What copies to a device. Raises DeviceError where CUDA's runtime cannot be loaded."""
    return CudaCopies(cuda_runtime()) if device == "cuda" else HostCopies()


class HostCopies:
    """Where the device is the host: a buffer and its host array are the same memory, so only planes are copied."""

    def host_array(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
        return np.zeros(shape, dtype)

    def upload(self, address: int, values: Array) -> None:
        """The same memory."""

    def gather(self, address: int, plane: DevicePlane, *, num_rows: int, num_bytes: int, pitch: int) -> None:
        target = DevicePlane(address, (1, num_rows, pitch), "cpu", 0, None)
        host_plane(target)[0, :, :num_bytes] = host_plane(plane)[0, :num_rows, :num_bytes]

    def download(self, values: Array, address: int) -> None:
        """The same memory."""

    def wait(self) -> None:
        """Nothing is on its way."""


class CudaCopies:
    """Copies in a CUDA stream of its own. Raises DeviceError, with CUDA's words, for what fails.

    cuda: CUDA's runtime as ctypes loads it, None where there is none.
    """

    def __init__(self, cuda: CudaRuntime | None) -> None:
        if cuda is None:
            raise DeviceError('CUDA\'s runtime library cannot be loaded; pip install "streamdet[cuda]"')
        tolerate_capture()
        self._cuda = cuda
        self._quick = _quick(cuda)
        self._stream = ctypes.c_void_p()
        self._check(cuda.cudaStreamCreate(ctypes.byref(self._stream)), "a stream")

    def host_array(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
        array = pinned_array(shape, dtype, cuda=self._cuda)
        array[...] = 0
        return array

    def upload(self, address: int, values: Array) -> None:
        self._copy(address, values.ctypes.data, values.nbytes)

    def gather(self, address: int, plane: DevicePlane, *, num_rows: int, num_bytes: int, pitch: int) -> None:
        if plane.device != "cuda":
            raise DeviceError(f"frames must lie where the network runs, got {plane.device} and cuda")
        status = self._quick.cudaMemcpy2DAsync(
            ctypes.c_void_p(address),
            ctypes.c_size_t(pitch),
            ctypes.c_void_p(plane.address),
            ctypes.c_size_t(plane.shape[2]),
            ctypes.c_size_t(num_bytes),
            ctypes.c_size_t(num_rows),
            ctypes.c_int(_ANY_DIRECTION),
            self._stream,
        )
        self._check(status, "a copy of a decoded frame")

    def download(self, values: Array, address: int) -> None:
        self._copy(values.ctypes.data, address, values.nbytes)

    def wait(self) -> None:
        self._check(self._cuda.cudaStreamSynchronize(self._stream), "waiting for copies")

    def _copy(self, target: int, source: int, num_bytes: int) -> None:
        status = self._quick.cudaMemcpyAsync(
            ctypes.c_void_p(target),
            ctypes.c_void_p(source),
            ctypes.c_size_t(num_bytes),
            ctypes.c_int(_ANY_DIRECTION),
            self._stream,
        )
        self._check(status, "a copy")

    def _check(self, status: int, what: str) -> None:
        if status:
            words = self._cuda.cudaGetErrorString(ctypes.c_int(status))
            raise DeviceError(f"the GPU refused {what}: {words.decode() if words else status}")


@cache
def _quick(cuda: CudaRuntime) -> CudaRuntime:
    """The same library, called without letting go of the interpreter lock: to take it back costs more than these do."""
    return ctypes.PyDLL(None, handle=cuda._handle) if isinstance(cuda, ctypes.CDLL) else cuda
