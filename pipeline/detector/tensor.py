"""Tensors: a picture → the network's input tensor, resized, padded and normalised as its spec says."""

from __future__ import annotations

import cv2
import numpy as np

from pipeline.detector.runtime_types import Array
from pipeline.picture.detector_spec import DetectorSpec
from pipeline.picture.frame import Picture, PixelArray
from pipeline.picture.letterbox import Letterbox

Tensor = Array
"""The network's input, batch first: [1, 3, H, W] or [1, H, W, 3], float32, float16 or uint8."""


class TensorWriter:
    """Lays pictures into tensors as a spec says. May be used from several threads."""

    def __init__(self, spec: DetectorSpec) -> None:
        self._spec = spec
        self._table = _normalised_values(spec)  # [3, 256]
        self._interleaved_table = self._table.T[None].copy()  # [1, 256, 3]
        self._padding = self._table[np.arange(3), spec.pad_values]  # [3]

    def tensor_of(self, picture: Picture) -> tuple[Letterbox, Tensor]:
        """A new tensor with this picture in it, and how it lies there."""
        letterbox = Letterbox.fit(picture.size_wh, self._spec.network_wh, self._spec.resize)
        tensor = self.new_tensor(letterbox)
        self.pad(tensor)
        self.write(picture.resized(letterbox.content_wh, colour=self._spec.colour), tensor[0], letterbox)
        return letterbox, tensor

    def new_tensor(self, letterbox: Letterbox) -> Tensor:
        """A tensor for one image, whose values are nothing yet."""
        width, height = letterbox.network_wh
        return np.empty((1, 3, height, width) if self._spec.channels_first else (1, height, width, 3), self._spec.dtype)

    def pad(self, tensor: Tensor) -> None:
        """Fill a tensor with the padding."""
        tensor[...] = self._padding.reshape(3, 1, 1) if self._spec.channels_first else self._padding

    def write(self, content: PixelArray, image: Tensor, letterbox: Letterbox) -> None:
        """Write content [h, w, 3] into its place in an image [3, H, W] or [H, W, 3], in one pass."""
        rows, columns = letterbox.content_window
        if not self._spec.channels_first:
            if self._spec.dtype == "uint8":
                image[rows, columns] = content
            else:
                cv2.LUT(content, self._interleaved_table, dst=image[rows, columns])
            return
        # By tables, because they are exact for every dtype, mean and std, and five to ten times as fast as
        # cv2.dnn.blobFromImage or arithmetic on a transposed view: 0.2 ms for 640 x 360 into float32.
        for channel, values, target in zip(cv2.split(content), self._table, image[:, rows, columns], strict=True):
            cv2.LUT(channel, values, dst=target)


def _normalised_values(spec: DetectorSpec) -> Tensor:
    """What each pixel value 0..255 of each channel becomes, [3, 256] in the spec's dtype."""
    values = np.arange(256)
    if spec.dtype == "uint8":
        return np.tile(values, (3, 1)).astype(np.uint8)
    normalised = (values - np.array(spec.mean)[:, None]) / np.array(spec.std)[:, None]  # [3, 256]
    return np.asarray(normalised, spec.dtype)
