"""How does a frame become what the network wants?"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.picture.detector_spec import DetectorSpec
from pipeline.picture.frame import Frame, PixelArray
from pipeline.picture.letterbox import Letterbox

Tensor = npt.NDArray[Any]
"""The network's input, batch first: [1, 3, H, W] or [1, H, W, 3], float32, float16 or uint8."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A frame and the network input that was made of it.

    Whoever has read `tensor` for the last time calls `give_back`, once, and another frame is written into it. One
    that is never given back, because its frame was dropped, is simply garbage.
    """

    frame: Frame
    letterbox: Letterbox
    tensor: Tensor  # batch of 1
    give_back: Callable[[], None]


class Preprocess:
    """Resizes, pads and normalises frames as the spec says, into buffers that are used again."""

    def __init__(self, spec: DetectorSpec) -> None:
        self._spec = spec
        width, height = spec.network_wh
        self._shape = (1, 3, height, width) if spec.layout == "nchw" else (1, height, width, 3)
        self._table = _normalised_values(spec)  # [3, 256]
        self._interleaved_table = self._table.T[None].copy()  # [1, 256, 3]
        self._free: list[tuple[Letterbox, Tensor]] = []  # padding is in place for that letterbox
        self._free_lock = threading.Lock()

    def process(self, frame: Frame) -> Iterable[Prepared]:
        """One Prepared. May be called from several threads at once."""
        letterbox = Letterbox.fit(frame.size_wh, self._spec.network_wh, self._spec.resize)
        content = frame.picture.resized(letterbox.content_wh, colour=self._spec.colour)  # [h, w, 3]
        tensor = self._padded_tensor(letterbox)
        self._write(content, tensor[0], letterbox)
        return (Prepared(frame, letterbox, tensor, partial(self._free.append, (letterbox, tensor))),)

    def drain(self) -> Iterable[Prepared]:
        """Nothing is held."""
        return ()

    def close(self) -> None:
        """Forget the buffers."""
        self._free.clear()

    def _padded_tensor(self, letterbox: Letterbox) -> Tensor:
        """A buffer whose padding is in place, best one that was used for the same geometry."""
        with self._free_lock:
            for place in reversed(range(len(self._free))):  # the last one back is still in the cache
                if self._free[place][0] == letterbox:
                    return self._free.pop(place)[1]
            tensor: Tensor = self._free.pop(0)[1] if self._free else np.empty(self._shape, self._spec.dtype)
        padding = self._table[:, self._spec.pad_value]  # [3]
        tensor[...] = padding.reshape(3, 1, 1) if self._spec.layout == "nchw" else padding
        return tensor

    def _write(self, content: PixelArray, image: Tensor, letterbox: Letterbox) -> None:
        """Write content [h, w, 3] into its place in an image [3, H, W] or [H, W, 3], in one pass."""
        rows, columns = letterbox.content_window
        if self._spec.layout == "nhwc":
            if self._spec.dtype == "uint8":
                image[rows, columns] = content
            else:
                cv2.LUT(content, self._interleaved_table, dst=image[rows, columns])
            return
        # By tables, because they are exact for every dtype, mean and std, and five to ten times as fast as
        # cv2.dnn.blobFromImage or arithmetic on a transposed view: 0.2 ms for 640 x 360 into float32.
        for channel, values, place in zip(cv2.split(content), self._table, image[:, rows, columns], strict=True):
            cv2.LUT(channel, values, dst=place)


def _normalised_values(spec: DetectorSpec) -> npt.NDArray[Any]:
    """What each pixel value 0..255 of each channel becomes, [3, 256] in the spec's dtype."""
    values = np.arange(256)
    if spec.dtype == "uint8":
        return np.tile(values, (3, 1)).astype(np.uint8)
    normalised = (values - np.array(spec.mean)[:, None]) / np.array(spec.std)[:, None]  # [3, 256]
    return np.asarray(normalised, spec.dtype)
