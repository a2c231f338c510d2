"""Side by side: a frame in which a teacher and a candidate disagree → one picture of both."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from pipeline.measure.teacher import Disagreement, Labels
from pipeline.picture.canvas import Colour
from pipeline.picture.colours import text_colour
from pipeline.picture.detections import Detections
from pipeline.picture.drawing import drawable
from pipeline.picture.frame import PixelArray

_AGREED: Colour = (96, 174, 39)
_MISSED: Colour = (60, 50, 230)
_EXTRA: Colour = (0, 150, 255)
_UNSURE: Colour = (150, 150, 150)
_GROUND: Colour = (38, 32, 28)
_LEGEND = ((_AGREED, "both"), (_MISSED, "missed"), (_EXTRA, "extra"), (_UNSURE, "teacher unsure"))

_HALF_WH = (960, 720)  # a half is as large as fits in this
_TEXT_PX = 17
_BAR_PX = 34
_GAP_PX = 6


def side_by_side(
    pixels: PixelArray,
    labels: Labels,
    detections: Detections,
    differs: Disagreement,
    *,
    class_names: tuple[str, ...],
    teacher: str,
    candidate: str,
    where: str,
) -> PixelArray:
    """A picture uint8 [h, w, 3] BGR: left what the teacher says, right what the candidate shows, with what differs.

    `pixels` uint8 [H, W, 3] BGR are not changed; `where` says which frame it is.
    """
    scale = min(_HALF_WH[0] / pixels.shape[1], _HALF_WH[1] / pixels.shape[0])
    size = (max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale)))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    left = np.asarray(cv2.resize(pixels, size, interpolation=how), np.uint8)
    right = left.copy()
    sure, is_missed, is_extra = labels.sure, differs.is_missed, differs.is_extra
    missed, agreed, extra = sure.select(is_missed), sure.select(~is_missed), detections.select(is_extra)
    _draw(
        left,
        scale,
        [
            (labels.unsure, _UNSURE, 1, _texts(labels.unsure, class_names)),
            (agreed, _AGREED, 2, _texts(agreed, class_names)),
            (missed, _MISSED, 3, _texts(missed, class_names)),
        ],
    )
    agreed_right = detections.select(~is_extra)
    _draw(
        right,
        scale,
        [
            (agreed_right, _AGREED, 2, _texts(agreed_right, class_names)),
            (missed, _MISSED, 3, [f"missed {class_names[class_id]}" for class_id in missed.class_ids]),
            (extra, _EXTRA, 3, [f"extra {text}" for text in _texts(extra, class_names)]),
        ],
    )
    gap = np.full((left.shape[0], _GAP_PX, 3), _GROUND, np.uint8)
    both = np.concatenate([left, gap, right], axis=1)
    top, bottom = (np.full((_BAR_PX, both.shape[1], 3), _GROUND, np.uint8) for _ in range(2))
    _write(top, f"teacher {teacher}", (12, 24))
    _write(top, f"{candidate}: {len(missed)} missed, {len(extra)} extra", (left.shape[1] + _GAP_PX + 12, 24))
    x = _write(bottom, where, (12, 24)) + 28
    for colour, word in _LEGEND:
        cv2.rectangle(bottom, (x, 11), (x + 14, 25), colour, cv2.FILLED)
        x = _write(bottom, word, (x + 21, 24)) + 22
    return np.concatenate([top, both, bottom])


def _texts(detections: Detections, class_names: tuple[str, ...]) -> list[str]:
    return [
        f"{class_names[class_id]} {score:.0%}"
        for class_id, score in zip(detections.class_ids, detections.scores, strict=True)
    ]


def _draw(canvas: PixelArray, scale: float, marks: Sequence[tuple[Detections, Colour, int, list[str]]]) -> None:
    """All boxes, and above them all labels, off each other where there is room; the last matter most."""
    plates: list[tuple[tuple[int, int, int, int], Colour, str]] = []
    for boxes, colour, thickness, texts in marks:
        for box, text in zip(np.rint(boxes.boxes_xyxy * scale).astype(int).tolist(), texts, strict=True):
            left, top, right, bottom = box
            cv2.rectangle(canvas, (left, top), (max(left, right - 1), max(top, bottom - 1)), colour, thickness)
            plates.append(((left - thickness // 2, top, right, bottom), colour, text))
    height, taken = _TEXT_PX + 6, list[tuple[int, int, int]]()
    for (left, top, _, bottom), colour, text in reversed(plates):
        width = _width(text) + 10
        left = max(0, min(left, canvas.shape[1] - width))
        tops = [y for y in (top - height, top, bottom - height, bottom) if 0 <= y <= canvas.shape[0] - height] or [0]
        free = (y for y in tops if all(abs(y - v) >= height or left + width <= u or left >= w for u, v, w in taken))
        y = next(free, tops[0])
        taken.append((left, y, left + width))
        cv2.rectangle(canvas, (left, y), (left + width - 1, y + height - 1), colour, cv2.FILLED)
        _write(canvas, text, (left + 5, y + _TEXT_PX), colour=text_colour(colour))


def _write(canvas: PixelArray, text: str, at: tuple[int, int], *, colour: Colour = (255, 255, 255)) -> int:
    """Write from a point on the base line on; returns the x at which the text ends."""
    text = drawable(text)
    cv2.putText(canvas, text, at, colour, cv2.FontFace("sans"), _TEXT_PX, 500)
    return at[0] + _width(text)


def _width(text: str) -> int:
    text = drawable(text)
    _, _, width, _ = cv2.getTextSize((9999, 9999), text, (0, _TEXT_PX), cv2.FontFace("sans"), _TEXT_PX, 500)
    return int(width)
