"""Instance masks: the small masks, or the prototypes, of candidates → the masks of detections in source pixels."""

from __future__ import annotations

import math
from collections.abc import Iterator

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.picture.candidates import Candidates
from pipeline.picture.detections import FloatArray
from pipeline.picture.letterbox import Letterbox
from pipeline.picture.masks import Masks
from pipeline.picture.run_lengths import MaskArray

_Corners = tuple[float, float, float, float]
_Window = tuple[slice, slice]
"""Rows and columns of the picture."""


def masks_of(chosen: Candidates, letterbox: Letterbox) -> Masks | None:
    """The masks of chosen candidates, where they have some, clipped to the picture."""
    if chosen.box_masks is None and (chosen.mask_weights is None or chosen.prototypes is None):
        return None
    corners = letterbox.boxes_to_source(chosen.boxes_xyxy, clip=False).tolist()  # [K][4]
    window_of = _centres_in if chosen.box_masks is None else _window_of
    windows = [window_of(sides, letterbox) for sides in corners]
    if chosen.box_masks is not None:
        crops = list(map(_stretched, chosen.box_masks, corners, windows))
    else:
        crops = list(_mixed(chosen, letterbox, windows))
    return Masks(letterbox.source_wh, crops, [(columns.start, rows.start) for rows, columns in windows])


def _window_of(corners: _Corners, letterbox: Letterbox) -> _Window:
    """The pixels that a box touches."""
    left, top, right, bottom = corners
    return _clipped(math.floor(left), math.floor(top), math.ceil(right), math.ceil(bottom), letterbox)


def _centres_in(corners: _Corners, letterbox: Letterbox) -> _Window:
    """The pixels whose centres a box holds."""
    left, top, right, bottom = (math.ceil(side - 0.5) for side in corners)
    return _clipped(left, top, right, bottom, letterbox)


def _clipped(left: int, top: int, right: int, bottom: int, letterbox: Letterbox) -> _Window:
    width, height = letterbox.source_wh
    left, top = min(max(left, 0), width), min(max(top, 0), height)
    return slice(top, max(top, min(bottom, height))), slice(left, max(left, min(right, width)))


def _stretched(mask: FloatArray, corners: _Corners, window: _Window) -> MaskArray:
    """A mask [h, w] in 0..1 that is stretched over its whole box, where it reaches 0.5."""
    left, top, right, bottom = corners
    if right <= left or bottom <= top:
        return np.zeros(_shape(window), np.bool_)
    per_pixel = mask.shape[1] / (right - left), mask.shape[0] / (bottom - top)
    values = _resampled(mask, window, per_pixel, (-left * per_pixel[0], -top * per_pixel[1]), cv2.BORDER_CONSTANT)
    return np.asarray(values >= 0.5)


def _mixed(chosen: Candidates, letterbox: Letterbox, windows: list[_Window]) -> Iterator[MaskArray]:
    """Sums of prototypes [K, h, w] by each candidate's weights, where they exceed 0, which is half of a sigmoid.

    As in YOLACT, Bolya et al. 2019, https://arxiv.org/abs/1904.02689. Only what lies under the box is summed.
    """
    assert chosen.mask_weights is not None
    assert chosen.prototypes is not None
    num, height, width = chosen.prototypes.shape
    per_network = width / letterbox.network_wh[0], height / letterbox.network_wh[1]
    per_pixel = letterbox.scale_xy[0] * per_network[0], letterbox.scale_xy[1] * per_network[1]
    origin = letterbox.pad_left * per_network[0], letterbox.pad_top * per_network[1]
    for weights, window in zip(chosen.mask_weights, windows, strict=True):
        rows = _under(window[0], per_pixel[1], origin[1], height)
        columns = _under(window[1], per_pixel[0], origin[0], width)
        below = np.asarray(chosen.prototypes[:, rows, columns], np.float32)  # [K, h, w]
        logits = (weights @ below.reshape(num, -1)).reshape(below.shape[1:])  # [h, w]
        shifted = origin[0] - columns.start, origin[1] - rows.start
        yield np.asarray(_resampled(logits, window, per_pixel, shifted, cv2.BORDER_REPLICATE) > 0)


def _under(pixels: slice, per_pixel: float, origin: float, num: int) -> slice:
    """The samples of a side between which the centres of pixels lie."""
    first = math.floor((pixels.start + 0.5) * per_pixel + origin - 0.5)
    last = math.floor((pixels.stop - 0.5) * per_pixel + origin - 0.5) + 1
    first = min(max(first, 0), num - 1)
    return slice(first, min(max(last, first), num - 1) + 1)


def _resampled(
    values: FloatArray, window: _Window, per_pixel: tuple[float, float], origin: tuple[float, float], border: int
) -> npt.NDArray[np.float32]:
    """Values [h, w] at the centres of a window's pixels, bilinearly; sample i has its centre at i + 0.5.

    per_pixel: samples along x and y. origin: in samples, where the picture begins.
    """
    rows, columns = window
    height, width = _shape(window)
    if not (height and width):
        return np.zeros((height, width), np.float32)
    (scale_x, scale_y), (x, y) = per_pixel, origin
    to_samples = np.array(
        [
            [scale_x, 0, (columns.start + 0.5) * scale_x + x - 0.5],
            [0, scale_y, (rows.start + 0.5) * scale_y + y - 0.5],
        ]
    )
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(
        cv2.warpAffine(values, to_samples, (width, height), flags=flags, borderMode=border, borderValue=0), np.float32
    )


def _shape(window: _Window) -> tuple[int, int]:
    rows, columns = window
    return rows.stop - rows.start, columns.stop - columns.start
