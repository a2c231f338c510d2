"""Heat picture: a picture, its heat and the object that it explains → both side by side, with a legend."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from pipeline.picture.boxes import FloatArray
from pipeline.picture.canvas import Canvas
from pipeline.picture.drawing import draw_lines
from pipeline.picture.frame import PixelArray
from pipeline.saliency.target import Target

_GAP_PX = 8
_BOX = (255, 255, 255)
_SHADOW = (0, 0, 0)
_LEAST_WIDTH = 480  # of one half, so that the lines below it can be read
_STRONG = 0.75  # how much of the colour covers the picture at the maximum


def heat_picture(
    pixels: PixelArray, heat: FloatArray, target: Target, *, lines: Sequence[str] = (), legend: Sequence[str] = ()
) -> PixelArray:
    """The picture uint8 [H, W, 3] BGR with the object's box, and beside it the same in grey under its heat [H, W].

    Colours go from nothing at 0 to yellow at the maximum; what is negative has none. lines: over the left half's lower
    edge; legend: over the right half's. A small picture is enlarged. Raises ValueError for heat of another size.
    """
    if heat.shape != pixels.shape[:2]:
        raise ValueError(f"heat must have the picture's size {list(pixels.shape[:2])}, got {list(heat.shape)}")
    factor = max(1, -(-_LEAST_WIDTH // pixels.shape[1]))
    left, right = _enlarged(pixels, factor), _enlarged(_heated(pixels, heat), factor)
    for half, text in ((left, lines), (right, legend)):
        _draw_box(half, target.box_xyxy * factor)
        draw_lines(half, text, at="bottom")
    gap = np.full((left.shape[0], _GAP_PX, 3), 255, np.uint8)
    return np.concatenate([left, gap, right], axis=1)


def _heated(pixels: PixelArray, heat: FloatArray) -> PixelArray:
    grey = cv2.cvtColor(cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    share = np.maximum(heat, 0) / max(float(heat.max(initial=0)), 1e-12)  # [H, W], 0..1
    colour = cv2.applyColorMap(np.asarray(np.rint(255 * share), np.uint8), cv2.COLORMAP_INFERNO)
    opacity = (_STRONG * np.sqrt(share))[:, :, None]
    return np.asarray(np.rint(0.8 * grey * (1 - opacity) + colour * opacity), np.uint8)


def _enlarged(pixels: PixelArray, factor: int) -> PixelArray:
    size_wh = (pixels.shape[1] * factor, pixels.shape[0] * factor)
    return np.array(cv2.resize(pixels, size_wh, interpolation=cv2.INTER_LINEAR), np.uint8)


def _draw_box(pixels: PixelArray, box_xyxy: FloatArray) -> None:
    """A white box with a dark line around it, which shows on any ground."""
    corners = np.rint(box_xyxy).astype(int).tolist()
    thickness = max(2, round(sum(pixels.shape[:2]) * 0.002))
    canvas = Canvas(pixels)
    canvas.outline(corners, thickness + 2, _SHADOW)
    canvas.outline(corners, thickness, _BOX)
