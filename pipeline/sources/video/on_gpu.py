"""GPU picture: a frame decoded by NVDEC → planes in GPU memory for the network, or pixels once they are needed.

By default, libav's NVDEC decoder copies every frame into memory of its own, in the GPU's primary context, which
is ONNX Runtime's as well: a network can read it by its address for as long as the frame is kept.
"""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction

from av.codec.hwaccel import HWAccel, hwdevices_available
from av.video.frame import VideoFrame

from pipeline.cuda_driver import primary_context
from pipeline.errors import SourceError
from pipeline.picture.frame import ColourOrder, PixelArray
from pipeline.picture.gate.luma import LumaArray
from pipeline.picture.i420 import I420
from pipeline.picture.nv12 import DevicePlane, Nv12
from pipeline.picture.pixel_aspect import SQUARE
from pipeline.sources.video.picture import VideoPicture, colours_of

_DEVICES = {1: "cpu", 2: "cuda"}  # DLDeviceType of DLPack


@contextmanager
def gpu_decoder() -> Iterator[HWAccel]:
    """Inside this context, a decoder for `av.open` on the first NVIDIA GPU, or an error; frames stay there."""
    with primary_context() as is_taken:
        # Inside, the current context is the primary one as well.
        options: dict[str, object] = {"primary_ctx": "1"} if is_taken else {"primary_ctx": "0", "current_ctx": "1"}
        yield HWAccel("cuda", device=0, allow_software_fallback=False, is_hw_owned=True, options=options)


def what_is_missing() -> str | None:
    """Why this machine cannot decode on an NVIDIA GPU, and the cure; None if nothing is known to be missing."""
    if "cuda" not in hwdevices_available():
        return "this build of av is built without CUDA: pip install --force-reinstall av"
    for name in ("nvcuda.dll", "nvcuvid.dll") if sys.platform == "win32" else ("libcuda.so.1", "libnvcuvid.so.1"):
        try:
            ctypes.CDLL(name)
        except OSError:
            return (
                f"{name} cannot be loaded: install the NVIDIA driver, or start the container with the GPU and "
                "NVIDIA_DRIVER_CAPABILITIES=compute,video,utility"
            )
    return None


class GpuPicture:
    """A decoded picture in two planes on the device; its pixels are downloaded at their first use."""

    __slots__ = ("_downloaded", "_frame", "_lock", "pixel_aspect", "size_wh")

    def __init__(self, frame: VideoFrame, *, stored_pixel_aspect: Fraction = SQUARE) -> None:
        self._frame = frame
        self._lock = threading.Lock()
        self._downloaded: VideoPicture | None = None
        self.size_wh = (frame.width, frame.height)
        self.pixel_aspect = stored_pixel_aspect

    @property
    def pixels(self) -> PixelArray:
        return self._on_host().pixels

    def copy_pixels(self) -> PixelArray:
        return self._on_host().copy_pixels()

    def copy_i420(self) -> I420 | None:
        return self._on_host().copy_i420()

    def luma(self, step: int) -> LumaArray | None:
        return self._on_host().luma(step)

    def resized(self, size_wh: tuple[int, int], *, colour: ColourOrder) -> PixelArray:
        return self._on_host().resized(size_wh, colour=colour)

    def nv12(self) -> Nv12:
        kind = (self._frame.sw_format or self._frame.format).name
        if kind != "nv12":
            raise SourceError(
                f"the model takes NV12 planes of 8 bits, got {kind} from this video; "
                "export the model with --pixels packed"
            )
        planes = []
        for plane in self._frame.planes:
            kind_of_device, device_id = plane.__dlpack_device__()
            shape = (1, plane.height, plane.line_size)
            planes.append(DevicePlane(plane.buffer_ptr, shape, _DEVICES[kind_of_device], device_id, self._frame))
        y, uv = planes
        return Nv12(y, uv, self.size_wh, colours_of(self._frame))

    def _on_host(self) -> VideoPicture:
        with self._lock:
            if self._downloaded is None:
                kind = (self._frame.sw_format or self._frame.format).name
                self._downloaded = VideoPicture(self._frame.reformat(format=kind))
            return self._downloaded
