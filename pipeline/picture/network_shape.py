"""Network shape: the size of a network and of a video → the smallest size that loses only padding.

A picture of 16:9 in a square network leaves 44 % of it grey. At the same scale, its longer side filled, the network
needs no more rows than the picture has there, rounded up to its coarsest stride.
"""

from __future__ import annotations

from pipeline.picture.letterbox import ResizeMode

STRIDE = 32
"""Of the coarsest level of most detectors: YOLOv5 to YOLO12, YOLOX, NanoDet, RT-DETR."""


def shape_for(
    source_wh: tuple[int, int], network_wh: tuple[int, int], mode: ResizeMode, *, stride: int = STRIDE
) -> tuple[int, int]:
    """The network's width and height for pictures of this size, seen at the same scale with less padding.

    Never larger than `network_wh`, and that itself where nothing is padded, as by a network that stretches.

    >>> shape_for((1920, 1080), (640, 640), "letterbox-center")
    (640, 384)
    """
    if not mode.startswith("letterbox"):
        return network_wh
    (width, height), (source_width, source_height) = network_wh, source_wh
    if width * source_height <= height * source_width:  # it fills the width
        return width, min(height, -(-source_height * width // (source_width * stride)) * stride)
    return min(width, -(-source_width * height // (source_height * stride)) * stride), height
