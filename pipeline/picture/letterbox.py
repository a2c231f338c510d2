"""Letterbox: maps boxes and pictures between source and network size, and back.

A letterbox keeps the aspect ratio and fills the rest; stretch is its other mode. Positions are
continuous: pixel i covers [i, i + 1), as in `cv2.resize` and half-pixel ONNX Resize.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from pipeline.picture.boxes import FloatArray

ResizeMode = Literal["letterbox-center", "letterbox-topleft", "stretch", "in-graph"]
"""in-graph: the network takes images of any size and resizes them itself."""


@dataclass(frozen=True, slots=True)
class Letterbox:
    """The geometry of one source size in one network size.

    `content_wh` is the size of the resized image inside the network's input, in whole pixels; the
    scales follow from it, axis by axis, so that its rounding does not shift boxes.

    >>> letterbox = Letterbox.fit((1920, 1080), (640, 640), "letterbox-center")
    >>> letterbox.content_wh, letterbox.pad_left, letterbox.pad_top
    ((640, 360), 0, 140)
    >>> letterbox.boxes_to_source(np.array([[320, 320, 330, 330]], np.float32)).tolist()
    [[960.0, 540.0, 990.0, 570.0]]
    """

    source_wh: tuple[int, int]
    network_wh: tuple[int, int]
    content_wh: tuple[int, int]
    pad_left: int
    pad_top: int

    @classmethod
    def fit(cls, source_wh: tuple[int, int], network_wh: tuple[int, int], mode: ResizeMode) -> Letterbox:
        """Fit an image of `source_wh` into `network_wh`. Raises ValueError if a size is below 1."""
        if min(*source_wh, *network_wh) < 1:
            raise ValueError(f"sizes must be at least 1 x 1, got source {source_wh} and network {network_wh}")
        if mode == "in-graph":
            return cls(source_wh, source_wh, source_wh, 0, 0)
        if mode == "stretch":
            return cls(source_wh, network_wh, network_wh, 0, 0)
        scale = min(network_wh[0] / source_wh[0], network_wh[1] / source_wh[1])
        width, height = (max(1, round(side * scale)) for side in source_wh)
        if mode == "letterbox-topleft":
            return cls(source_wh, network_wh, (width, height), 0, 0)
        # An odd rest puts the spare pixel right and below, as the YOLO family's letterbox does.
        left, top = (network_wh[0] - width) // 2, (network_wh[1] - height) // 2
        return cls(source_wh, network_wh, (width, height), left, top)

    @property
    def content_window(self) -> tuple[slice, slice]:
        """The rows and columns of the network's input in which the resized image lies."""
        width, height = self.content_wh
        return slice(self.pad_top, self.pad_top + height), slice(self.pad_left, self.pad_left + width)

    @property
    def scale_xy(self) -> tuple[float, float]:
        """Network pixels per source pixel, along x and along y."""
        return self.content_wh[0] / self.source_wh[0], self.content_wh[1] / self.source_wh[1]

    def boxes_to_source(self, boxes_xyxy: FloatArray, *, clip: bool = True) -> FloatArray:
        """Map boxes [N, 4] from network pixels to source pixels, clipped to the source image unless `clip` is False."""
        scale_x, scale_y = self.scale_xy
        offset = np.array([self.pad_left, self.pad_top] * 2, np.float32)
        scale = np.array([scale_x, scale_y] * 2, np.float32)
        boxes = (boxes_xyxy - offset) / scale  # [N, 4]
        if clip:
            boxes = np.clip(boxes, 0, np.array(self.source_wh * 2, np.float32))
        return np.asarray(boxes, np.float32)

    def points_to_source(self, points: FloatArray) -> FloatArray:
        """Map points [..., 3], x and y in network pixels and a score, to source pixels."""
        scale_x, scale_y = self.scale_xy
        offset = np.array([self.pad_left, self.pad_top, 0], np.float32)
        return np.asarray((points - offset) / np.array([scale_x, scale_y, 1], np.float32), np.float32)

    def corners_to_source(self, corners: FloatArray) -> FloatArray:
        """Map corners [N, 4, 2], x and y in network pixels, to source pixels, not clipped."""
        offset = np.array([self.pad_left, self.pad_top], np.float32)
        return np.asarray((corners - offset) / np.array(self.scale_xy, np.float32), np.float32)

    def boxes_to_network(self, boxes_xyxy: FloatArray) -> FloatArray:
        """Map boxes [N, 4] from source pixels to network pixels."""
        scale_x, scale_y = self.scale_xy
        offset = np.array([self.pad_left, self.pad_top] * 2, np.float32)
        scale = np.array([scale_x, scale_y] * 2, np.float32)
        return np.asarray(boxes_xyxy * scale + offset, np.float32)  # [N, 4]
