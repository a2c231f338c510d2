"""NV12: a picture as a video decoder leaves it, a plane of luma and one of chroma of half its size; and its batches."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from pipeline.errors import DeviceError, SourceError
from pipeline.picture.frame import Picture

NV12_INPUTS = ("y", "uv", "frame_wh", "yuv_to_bgr")
"""What a graph that takes NV12 calls its inputs; see `inputs_of`."""

_PITCH_STEP = 256
"""The pitch of a batch is a multiple of this, so that frames whose decoders pad differently share one shape."""


@dataclass(frozen=True, slots=True)
class LumaWeights:
    """The weights of red and of blue in luma; that of green is what they leave of 1."""

    kr: float
    kb: float

    @property
    def kg(self) -> float:
        """The weight of green."""
        return 1 - self.kr - self.kb


BT601 = LumaWeights(kr=0.299, kb=0.114)
BT709 = LumaWeights(kr=0.2126, kb=0.0722)
BT2020 = LumaWeights(kr=0.2627, kb=0.0593)
"""As ITU-R BT.601, BT.709 and BT.2020 define them."""


@dataclass(frozen=True, slots=True)
class DevicePlane:
    """Rows of bytes in a device's memory, which is kept for as long as this exists."""

    address: int
    shape: tuple[int, int, int]  # 1, rows, bytes from one row to the next
    device: str  # ONNX Runtime's word for where it lies, such as cuda
    device_id: int
    owner: object  # what the memory belongs to


Plane = npt.NDArray[np.uint8] | DevicePlane
"""uint8 [1, rows, pitch], the last of them not all of the picture; on the host read-only for whoever gets it."""


@dataclass(frozen=True, slots=True)
class Nv12:
    """A picture in two planes, with what its bytes mean.

    Raises ValueError for planes that do not hold a picture of that size.
    """

    y: Plane  # [1, H, pitch]
    uv: Plane  # [1, ceil(H / 2), pitch], Cb and Cr in turns
    size_wh: tuple[int, int]
    yuv_to_bgr: npt.NDArray[np.float32]  # [3, 4], see `yuv_to_bgr`

    def __post_init__(self) -> None:
        width, height = self.size_wh
        least = {"y": (1, height, width), "uv": (1, (height + 1) // 2, width + width % 2)}
        for name, (_, rows, pitch) in least.items():
            shape = getattr(self, name).shape
            if len(shape) != 3 or shape[0] != 1 or shape[1] < rows or shape[2] < pitch:
                raise ValueError(
                    f"{name} of {width} × {height} must be at least [1, {rows}, {pitch}], got {list(shape)}"
                )

    @property
    def kind(self) -> tuple[tuple[int, int], bytes]:
        """What pictures of one batch must have in common: their size and their colours."""
        return self.size_wh, self.yuv_to_bgr.tobytes()


@dataclass(frozen=True, slots=True)
class PlaneBatch:
    """The same plane of several pictures of one size, each where its decoder left it."""

    planes: tuple[Plane, ...]
    num_rows: int
    num_bytes: int  # of a row that belong to the picture

    @property
    def shape(self) -> tuple[int, int, int]:
        """[N, rows, pitch] of a buffer that holds them all, whatever pitch each of them has."""
        return len(self.planes), self.num_rows, -(-self.num_bytes // _PITCH_STEP) * _PITCH_STEP

    def gathered(self) -> npt.NDArray[np.uint8]:
        """The planes [N, rows, pitch] in host memory: a view of a single one, else a copy.

        Raises DeviceError for a plane that lies on another device.
        """
        planes = [host_plane(plane) for plane in self.planes]
        if len(planes) == 1:
            return planes[0]
        gathered = np.empty(self.shape, np.uint8)
        for row, plane in zip(gathered, planes, strict=True):
            row[:, : self.num_bytes] = plane[0, : self.num_rows, : self.num_bytes]
        return gathered


def inputs_of(pictures: Sequence[Nv12]) -> dict[str, PlaneBatch | npt.NDArray[np.float32]]:
    """What a graph that takes NV12 is fed for a batch: the planes, the true size [2] and the colours [3, 4], by name.

    Raises ValueError for no picture, and for pictures of different sizes or colours.
    """
    if len({picture.kind for picture in pictures}) != 1:
        raise ValueError("a batch of NV12 pictures must be of one size and one kind of colours, and not empty")
    width, height = pictures[0].size_wh
    num_chroma_bytes, num_chroma_rows = width + width % 2, (height + 1) // 2
    values = (
        PlaneBatch(tuple(picture.y for picture in pictures), height, width),
        PlaneBatch(tuple(picture.uv for picture in pictures), num_chroma_rows, num_chroma_bytes),
        np.array((width, height), np.float32),
        pictures[0].yuv_to_bgr,
    )
    return dict(zip(NV12_INPUTS, values, strict=True))


def host_plane(plane: Plane) -> npt.NDArray[np.uint8]:
    """A plane as an array [1, rows, pitch]. Raises DeviceError for one that lies on another device."""
    if not isinstance(plane, DevicePlane):
        return plane
    if plane.device != "cpu":
        raise DeviceError(
            f"frames must lie where the network runs, got {plane.device} and cpu; set decode.device=cpu, or "
            "engine.device=cuda"
        )
    block = (ctypes.c_uint8 * int(np.prod(plane.shape))).from_address(plane.address)
    return np.frombuffer(memoryview(block), np.uint8).reshape(plane.shape)


def blank_nv12(size_wh: tuple[int, int]) -> Nv12:
    """A picture of zeros in both planes, on the host."""
    width, height = size_wh
    y, uv = (np.zeros((1, rows, width + width % 2), np.uint8) for rows in (height, (height + 1) // 2))
    return Nv12(y, uv, size_wh, yuv_to_bgr(BT601, full_range=False))


@runtime_checkable
class HasNv12(Protocol):
    """A picture that can be had as its decoder left it."""

    def nv12(self) -> Nv12:
        """Its planes, on the host or on the device. Raises SourceError if they are of another kind."""


def nv12_of(picture: Picture) -> Nv12:
    """The planes of a picture. Raises SourceError for one that has none, as from a camera or an image file."""
    if isinstance(picture, HasNv12):
        return picture.nv12()
    raise SourceError(
        "the model takes NV12 planes, which only a decoded video has; this source gives BGR pixels: "
        "export the model with --pixels packed"
    )


@cache
def yuv_to_bgr(weights: LumaWeights, *, full_range: bool) -> npt.NDArray[np.float32]:
    """The matrix [3, 4] that makes B, G, R in 0..255 of Y, Cb, Cr and 1, as ITU-R BT.601 and its successors define it.

    Read-only, and the same array each time.

    full_range: luma and chroma have all of 0..255, else luma has 16..235 and chroma 16..240.
    """
    kr, kg, kb = weights.kr, weights.kg, weights.kb
    luma_scale, chroma_scale, black = (1.0, 1.0, 0.0) if full_range else (255 / 219, 255 / 224, 16.0)
    per_luma = np.full(3, luma_scale)
    per_cb = np.array([2 * (1 - kb), -2 * (1 - kb) * kb / kg, 0]) * chroma_scale  # B, G, R
    per_cr = np.array([0, -2 * (1 - kr) * kr / kg, 2 * (1 - kr)]) * chroma_scale
    offset = -black * per_luma - 128 * (per_cb + per_cr)
    matrix = np.stack([per_luma, per_cb, per_cr, offset], axis=1).astype(np.float32)
    matrix.flags.writeable = False
    return matrix
