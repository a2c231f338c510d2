"""What is a picture as a video decoder leaves it: a plane of brightness, and one of colour of half its size?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from pipeline.errors import SourceError
from pipeline.picture.frame import Picture

NV12_INPUTS = ("y", "uv", "frame_wh", "yuv_to_bgr")
"""What a graph that takes NV12 calls its inputs; see `Nv12.inputs`."""

BT601 = (0.299, 0.114)
BT709 = (0.2126, 0.0722)
BT2020 = (0.2627, 0.0593)
"""The shares of red and of blue in brightness (ITU-R BT.601, BT.709, BT.2020)."""


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
    uv: Plane  # [1, ceil(H / 2), pitch], U and V in turns
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
    def inputs(self) -> dict[str, npt.NDArray[np.generic] | DevicePlane]:
        """What a graph that takes NV12 is fed, by name: the planes, the true size [2] and the colours [3, 4]."""
        values = (self.y, self.uv, np.array(self.size_wh, np.float32), self.yuv_to_bgr)
        return dict(zip(NV12_INPUTS, values, strict=True))


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


def yuv_to_bgr(shares: tuple[float, float], *, full_range: bool) -> npt.NDArray[np.float32]:
    """The matrix [3, 4] that makes B, G, R in 0..255 of Y, U, V and 1, as ITU-R BT.601 and its successors define it.

    shares: of red and blue in brightness, such as `BT709`. full_range: brightness has all of 0..255, else 16..235
    (colour 16..240).
    """
    red, blue = shares
    green = 1 - red - blue
    scale, colour_scale, black = (1.0, 1.0, 0.0) if full_range else (255 / 219, 255 / 224, 16.0)
    per_u = np.array([2 * (1 - blue), -2 * (1 - blue) * blue / green, 0]) * colour_scale  # B, G, R
    per_v = np.array([0, -2 * (1 - red) * red / green, 2 * (1 - red)]) * colour_scale
    per_y = np.full(3, scale)
    offset = -black * per_y - 128 * (per_u + per_v)
    return np.stack([per_y, per_u, per_v, offset], axis=1).astype(np.float32)
