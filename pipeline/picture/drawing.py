"""How are detections drawn on a picture?

Text is drawn once for each wording, size and colour onto a small plate, which is then copied wherever it is needed:
a copy costs a few microseconds, the text of a label more than its box.
"""

from __future__ import annotations

import colorsys
import zlib
from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.picture.coco import COCO_80
from pipeline.picture.detections import Result
from pipeline.picture.frame import PixelArray

Colour = tuple[int, int, int]
"""Blue, green, red, each 0..255."""

_KEYPOINT_SCORE = 0.3


def draw_result(
    canvas: PixelArray, result: Result, *, labels: bool = True, scores: bool = True, overlay: Sequence[str] = ()
) -> None:
    """Draw every detection onto a canvas uint8 [H, W, 3] BGR, the surest on top, and the overlay's lines top left.

    Colours go by class name, the same in every run; line and text grow with the picture. Labels keep inside the
    picture and, where there is room, off each other and off the overlay.
    """
    order = _inside_first_surest(canvas, result)
    boxes = np.clip(np.rint(result.detections.boxes_xyxy), -9999, 99999).astype(int).tolist()
    thickness = max(2, round(sum(canvas.shape[:2]) * 0.001))
    _draw_shapes(canvas, result, order, boxes, thickness)
    taken = _Taken(1 + len(order))
    taken.add(*_draw_overlay(canvas, overlay))
    if labels:
        _draw_labels(canvas, result, order, boxes, thickness, taken, scores=scores)


def _inside_first_surest(canvas: PixelArray, result: Result) -> list[int]:
    """The detections that touch the picture, the surest first."""
    found = result.detections
    right_bottom = np.array([canvas.shape[1], canvas.shape[0]], np.float32)
    is_inside = np.logical_and(found.boxes_xyxy[:, 2:] > 0, found.boxes_xyxy[:, :2] < right_bottom)  # [N, 2]
    order = np.argsort(-found.scores, kind="stable")
    chosen: list[int] = order[is_inside[order].all(axis=1)].tolist()
    return chosen


def _draw_shapes(canvas: PixelArray, result: Result, order: list[int], boxes: list[list[int]], thickness: int) -> None:
    """Masks, boxes and keypoints, the surest last."""
    found = result.detections
    height, width = canvas.shape[:2]
    if found.masks is not None:
        for index in reversed(order):
            _tint(canvas, found.masks[index], class_colour(result.class_name(int(found.class_ids[index]))))
    for index in reversed(order):
        colour = class_colour(result.class_name(int(found.class_ids[index])))
        left, top, right, bottom = boxes[index]
        # A box ends before its right and lower edge: pixel i covers [i, i + 1).
        corner = (max(left, right - 1), max(top, bottom - 1))
        cv2.rectangle(canvas, (left, top), corner, colour, thickness)
        if found.keypoints is not None:
            for x, y, score in found.keypoints[index].tolist():
                # A point that is not a number fails the comparison, and is left out as one outside is.
                if score >= _KEYPOINT_SCORE and 0 <= x < width and 0 <= y < height:
                    cv2.circle(canvas, (int(x), int(y)), thickness + 1, colour, cv2.FILLED, cv2.LINE_AA)


def _draw_labels(
    canvas: PixelArray,
    result: Result,
    order: list[int],
    boxes: list[list[int]],
    thickness: int,
    taken: _Taken,
    *,
    scores: bool,
) -> None:
    """The surest chooses its place first and is pasted last."""
    found, size = result.detections, _text_size(canvas)
    plates = []
    for index in order:
        text = result.class_name(int(found.class_ids[index]))
        colour = class_colour(text)
        if found.track_ids is not None:
            text = f"#{found.track_ids[index]} {text}"
        if scores:
            text += f" {found.scores[index]:.0%}"
        plate = _plate(text, size, colour)
        plates.append((plate, taken.place(plate.shape, boxes[index], canvas.shape, thickness)))
    for plate, (left, top) in reversed(plates):
        _paste(canvas, plate, left, top)


def _draw_overlay(canvas: PixelArray, lines: Sequence[str]) -> tuple[int, int, int, int]:
    """Write lines over the top left on a darkened ground; returns the place that they take, xyxy."""
    size = _text_size(canvas)
    left = top = size // 2
    right = left
    for line in lines:
        plate = _plate(line, size, (0, 0, 0))  # white on black
        ground = canvas[top : top + plate.shape[0], left : left + plate.shape[1]]
        height, width = ground.shape[:2]
        np.maximum(ground // 3, plate[:height, :width], out=ground)
        top += plate.shape[0]
        right = max(right, left + plate.shape[1])
    return (left, size // 2, right, top)


@lru_cache(maxsize=4096)
def class_colour(name: str) -> Colour:
    """A strong colour that belongs to a class name, whatever model or run it comes from."""
    # COCO's names follow each other by the golden ratio, so that no two of them look alike; others go by a checksum.
    number = COCO_80.index(name) if name in COCO_80 else zlib.crc32(name.encode(errors="replace"))
    hue, lightness = (number * 0.618034 + 0.95) % 1, (0.45, 0.55, 0.65)[number % 3]
    red, green, blue = colorsys.hls_to_rgb(hue, lightness, 0.85)
    return round(255 * blue), round(255 * green), round(255 * red)


def text_colour(ground: Colour) -> Colour:
    """Black or white, whichever reads better on a ground (relative luminance of WCAG 2.1, contrast even at 0.18)."""
    blue, green, red = ((channel / 255) ** 2.2 for channel in ground)
    return (0, 0, 0) if 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.18 else (255, 255, 255)


def _text_size(canvas: PixelArray) -> int:
    """Pixels; 20 on 1080p."""
    return int(np.clip(round(sum(canvas.shape[:2]) * 0.0068), 11, 48))


@lru_cache(maxsize=1)
def _font() -> cv2.FontFace:
    return cv2.FontFace("sans")  # in every OpenCV 5 wheel


@lru_cache(maxsize=2048)
def _plate(text: str, size: int, ground: Colour) -> PixelArray:
    """Text on a coloured ground, uint8 [h, w, 3], read-only."""
    padding = max(2, size // 3)
    _, _, width, _ = cv2.getTextSize((9999, 9999), text, (0, size), _font(), size, 500)
    plate = np.empty((size + padding + 2, width + 2 * padding, 3), np.uint8)
    plate[:] = ground
    cv2.putText(plate, text, (padding, size + padding // 2 - size // 8), text_colour(ground), _font(), size, 500)
    plate.flags.writeable = False
    return plate


class _Taken:
    """The places that are covered so far."""

    def __init__(self, capacity: int) -> None:
        self._rectangles = np.zeros((capacity, 4), np.int64)  # left, top, right, bottom
        self._num = 0

    def place(
        self, plate_shape: tuple[int, ...], box: list[int], canvas_shape: tuple[int, ...], thickness: int
    ) -> tuple[int, int]:
        """Left and top for a plate: above its box, inside, below, wherever it covers no other; else above."""
        height, width = plate_shape[:2]
        left = max(0, min(box[0] - thickness // 2, canvas_shape[1] - width))
        lowest = max(0, canvas_shape[0] - height)
        tops = [box[1] - height, box[1], box[3], box[3] - height]
        tops = [top for top in tops if 0 <= top <= lowest] or [min(max(0, tops[0]), lowest)]
        top = next((each for each in tops if self._is_free(left, each, left + width, each + height)), tops[0])
        self.add(left, top, left + width, top + height)
        return left, top

    def add(self, left: int, top: int, right: int, bottom: int) -> None:
        """Take a place."""
        self._rectangles[self._num] = left, top, right, bottom
        self._num += 1

    def _is_free(self, left: int, top: int, right: int, bottom: int) -> bool:
        others = self._rectangles[: self._num]
        covers = (others[:, 0] < right) & (others[:, 2] > left) & (others[:, 1] < bottom) & (others[:, 3] > top)
        return not covers.any()


def _paste(canvas: PixelArray, plate: PixelArray, left: int, top: int) -> None:
    """Copy what fits; the place is inside the canvas at its left and top."""
    place = canvas[top : top + plate.shape[0], left : left + plate.shape[1]]
    place[:] = plate[: place.shape[0], : place.shape[1]]


def _tint(canvas: PixelArray, mask: npt.NDArray[np.bool_], colour: Colour) -> None:
    """Mix half of a colour into the pixels of a mask [H, W]."""
    inked = mask.view(np.uint8)
    left, top, width, height = cv2.boundingRect(inked)
    if not width:
        return
    rows, columns = slice(top, top + height), slice(left, left + width)
    ground = canvas[rows, columns]
    mixed = cv2.addWeighted(ground, 0.5, np.full_like(ground, colour), 0.5, 0)
    cv2.copyTo(mixed, inked[rows, columns], ground)
