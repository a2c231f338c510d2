"""Drawing: detections and lines of text → a picture with them on it.

Text is drawn once for each wording, size and colour onto a small plate, which is then copied wherever it is needed:
a copy costs a few microseconds, the text of a label more than its box. Plates take MOST_PLATE_BYTES at most: lines
with numbers in them, such as the overlay's, are new twice a second for months.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Literal, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.picture.box_outlines import brackets, corner_length, corners_of, rounded
from pipeline.picture.boxes import FloatArray
from pipeline.picture.canvas import Canvas, Colour, Plate, Rectangle
from pipeline.picture.colours import BLACK, WHITE, text_colour
from pipeline.picture.counting.counts import Counts
from pipeline.picture.counting.drawn import Caption, captions, draw_counted_shapes
from pipeline.picture.frame import PixelArray
from pipeline.picture.i420 import I420
from pipeline.picture.keypoints import COCO_EDGES, COCO_POINTS, SURE_SCORE
from pipeline.picture.look import PLAIN, Look
from pipeline.picture.masks import Masks
from pipeline.picture.sized_cache import SizedCache
from pipeline.picture.strokes import Strokes

Side = Literal["top", "bottom", "centre"]
FloatCorners = npt.NDArray[np.float64]

MOST_PLATE_BYTES = 16_000_000  # of all texts together; a score on 1080p takes 7 kB
_NO_TRACK = -1
_MOST_POINTS = 24  # of a trail
_FAINTEST = 0.1  # the opacity of a trail's end


class DrawnDetections(Protocol):
    """What is drawn of `Detections`, whose file stands above this one, because a result draws itself."""

    @property
    def boxes_xyxy(self) -> FloatArray: ...
    @property
    def scores(self) -> FloatArray: ...
    @property
    def class_ids(self) -> npt.NDArray[np.int64]: ...
    @property
    def masks(self) -> Masks | None: ...
    @property
    def keypoints(self) -> FloatArray | None: ...
    @property
    def track_ids(self) -> npt.NDArray[np.int64] | None: ...
    @property
    def corners(self) -> FloatArray | None: ...
    @property
    def attributes(self) -> Sequence[Sequence[tuple[str, float]]] | None: ...
    @property
    def carried(self) -> npt.NDArray[np.bool_] | None: ...


class DrawnCentres(Protocol):
    """What is drawn of `TrackedCentres`."""

    @property
    def pts_seconds(self) -> float: ...
    @property
    def track_ids(self) -> npt.NDArray[np.int64]: ...
    @property
    def centres_xy(self) -> FloatArray: ...


class DrawnTracks(Protocol):
    """What is drawn of `Tracks`."""

    @property
    def predicted(self) -> DrawnDetections: ...
    @property
    def trail(self) -> Sequence[DrawnCentres]: ...


class Drawable(Protocol):
    """What is drawn of a `Result`."""

    @property
    def detections(self) -> DrawnDetections: ...
    @property
    def tracks(self) -> DrawnTracks | None: ...
    @property
    def counting(self) -> Counts | None: ...
    def class_name(self, class_id: int) -> str: ...


def draw_result(
    target: PixelArray | I420,
    result: Drawable,
    *,
    labels: bool = True,
    scores: bool = True,
    overlay: Sequence[str] = (),
    predicted: bool = True,
    boxes: bool = True,
    look: Look = PLAIN,
) -> None:
    """Draw every detection onto uint8 [H, W, 3] BGR or planes, the surest on top, and the overlay's lines top left.

    Colours go by class name, the same in every run, or by track, and sizes by the picture: see `Look`. Labels keep
    inside the picture and, where there is room, off each other and off the overlay. Objects that are followed have
    their number, their trail below everything, and, while they are not seen, dashed boxes where they are supposed.
    Lines and zones are below the boxes, an arrow points to the side of a line that is in; their numbers are on top.
    """
    canvas = Canvas(target)
    pen = _Pen(canvas, look, look.thickness(canvas.size_wh), look.text_px(canvas.size_wh))
    order = _inside_first_surest(canvas, result)
    sides = _whole(result.detections.boxes_xyxy)
    colours = _colours(result, result.detections, look)
    if result.counting is not None:
        draw_counted_shapes(canvas, result.counting, pen.thickness)
    if result.tracks is not None:
        _draw_trails(canvas, result.detections, result.tracks.trail, colours, pen.thickness)
        if predicted:
            _draw_predicted(pen, result, result.tracks.predicted)
    _draw_shapes(pen, result.detections, order, sides if boxes else None, colours)
    taken = _Taken(canvas.size_wh)
    taken.add(_draw_overlay(canvas, overlay))
    beside = [] if result.counting is None else captions(result.counting, canvas.size_wh, pen.thickness)
    plates = _placed_captions(pen, beside, taken)
    if labels:
        _draw_labels(pen, result, order, sides, taken, colours, scores=scores)
    for plate, left, top in plates:
        canvas.paste(plate, left, top)


@dataclass(frozen=True, slots=True)
class _Pen:
    """A canvas with a look, and its sizes there in pixels."""

    canvas: Canvas
    look: Look
    thickness: int
    text_px: int


def _whole(boxes_xyxy: FloatArray) -> list[list[int]]:
    """Boxes [N, 4] in whole pixels."""
    sides: list[list[int]] = np.clip(np.rint(boxes_xyxy), -9999, 99999).astype(int).tolist()
    return sides


def _inside_first_surest(canvas: Canvas, result: Drawable) -> list[int]:
    """The detections that touch the picture, the surest first."""
    detections = result.detections
    right_bottom = np.array(canvas.size_wh, np.float32)
    is_inside = np.logical_and(detections.boxes_xyxy[:, 2:] > 0, detections.boxes_xyxy[:, :2] < right_bottom)  # [N, 2]
    order = np.argsort(-detections.scores, kind="stable")
    chosen: list[int] = order[is_inside[order].all(axis=1)].tolist()
    return chosen


def _colours(result: Drawable, detections: DrawnDetections, look: Look) -> list[Colour]:
    """The colour of each detection [N]."""
    names = [result.class_name(class_id) for class_id in detections.class_ids.tolist()]
    colours = look.colours(names, None if detections.track_ids is None else detections.track_ids.tolist())
    carried = [False] * len(colours) if detections.carried is None else detections.carried.tolist()
    return [_lighter(colour) if is_old else colour for is_old, colour in zip(carried, colours, strict=True)]


def _lighter(colour: Colour) -> Colour:
    """Half way to white, for objects of an earlier frame."""
    blue, green, red = ((channel + 255) // 2 for channel in colour)
    return blue, green, red


def _draw_trails(
    canvas: Canvas,
    detections: DrawnDetections,
    trail: Sequence[DrawnCentres],
    colours: Sequence[Colour],
    thickness: int,
) -> None:
    """The way of each object that is followed and seen, fading with its age."""
    if detections.track_ids is None or len(trail) < 2:
        return
    colour_of = dict(zip(detections.track_ids.tolist(), colours, strict=True))
    numbers = np.concatenate([frame.track_ids for frame in trail])  # [R]
    chosen = np.flatnonzero(np.isin(numbers, [track_id for track_id in colour_of if track_id != _NO_TRACK]))
    chosen = chosen[np.argsort(numbers[chosen], kind="stable")]  # track by track, the oldest first
    numbers, centres = numbers[chosen], np.concatenate([frame.centres_xy for frame in trail])[chosen].astype(np.float64)
    seconds = np.repeat([frame.pts_seconds for frame in trail], [len(frame.track_ids) for frame in trail])[chosen]
    from_newest = np.searchsorted(numbers, numbers, side="right") - 1 - np.arange(len(numbers))  # [R]
    kept = from_newest % -(-len(trail) // _MOST_POINTS) == 0
    numbers, centres, seconds = numbers[kept], centres[kept], seconds[kept]
    begin, end = trail[0].pts_seconds, trail[-1].pts_seconds
    opacities = _FAINTEST + (1 - _FAINTEST) * (seconds - begin) / max(end - begin, 1e-9)  # [R]
    first = np.flatnonzero(numbers[:-1] == numbers[1:])  # [S], where a segment begins
    pairs = np.stack([opacities[first], opacities[first + 1]], axis=1)
    inks = np.array([colour_of[number] for number in numbers[first].tolist()], np.uint8).reshape(-1, 3)
    canvas.strokes(Strokes(centres[first], centres[first + 1], pairs, inks), thickness)


def _draw_predicted(pen: _Pen, result: Drawable, predicted: DrawnDetections) -> None:
    """Dashed boxes of objects that are lost, with a thinner line."""
    for box, colour in zip(_whole(predicted.boxes_xyxy), _colours(result, predicted, pen.look), strict=True):
        pen.canvas.dashes(box, max(1, pen.thickness - 1), colour)


def _draw_shapes(
    pen: _Pen, detections: DrawnDetections, order: list[int], boxes: list[list[int]] | None, colours: Sequence[Colour]
) -> None:
    """Masks, boxes, which may be oriented, and keypoints, the surest last; without boxes [N, 4] none of them."""
    if detections.masks is not None:
        for index in reversed(order):
            pen.canvas.tint(detections.masks.crop(index), detections.masks.left_tops[index], colours[index])
    for index in reversed(order):
        if boxes is not None:
            corners = None if detections.corners is None else detections.corners[index].astype(np.float64)
            _draw_box(pen, boxes[index], corners, colours[index])
        if detections.keypoints is not None:
            _draw_skeleton(pen.canvas, detections.keypoints[index], colours[index], pen.thickness)


def _draw_box(pen: _Pen, box: list[int], corners: FloatCorners | None, colour: Colour) -> None:
    """A box, or the oriented one of corners [4, 2], in the style of the look."""
    style, thickness = pen.look.style, pen.thickness
    if style.fill:
        outline = corners_of(box) if corners is None else corners
        inside = rounded(outline, thickness) if pen.look.shape == "rounded" else outline
        pen.canvas.fill(inside, colour, style.fill)
    if style.edge is not None:
        _draw_outline(pen, box, corners, thickness + 2 * max(1, thickness // 2), style.edge)
    _draw_outline(pen, box, corners, thickness, colour)


def _draw_outline(pen: _Pen, box: list[int], corners: FloatCorners | None, thickness: int, colour: Colour) -> None:
    if corners is None and pen.look.shape == "box":
        pen.canvas.outline(box, thickness, colour)
        return
    outline = corners_of(box) if corners is None else corners
    if pen.look.shape == "rounded":
        pen.canvas.polygon(rounded(outline, pen.thickness), thickness, colour)
    elif pen.look.shape == "box":
        pen.canvas.polygon(outline, thickness, colour)
    elif corners is None:
        pen.canvas.brackets(box, thickness, round(corner_length(outline, pen.thickness)), colour)
    else:
        for bracket in brackets(outline, corner_length(outline, pen.thickness)):
            pen.canvas.polygon(bracket, thickness, colour, is_closed=False)


def _draw_skeleton(canvas: Canvas, keypoints: FloatArray, colour: Colour, thickness: int) -> None:
    """The points [points, 3] that are sure enough, and, of COCO's 17, the limbs between them."""
    width, height = canvas.size_wh
    points = keypoints.tolist()
    # A point that is not a number fails the comparison, and is left out as one outside is.
    shown = [score >= SURE_SCORE and 0 <= x < width and 0 <= y < height for x, y, score in points]  # [points]
    for start, end in COCO_EDGES if len(points) == len(COCO_POINTS) else ():
        if shown[start] and shown[end]:
            canvas.line(points[start][:2], points[end][:2], thickness, colour)
    for (x, y, _), is_shown in zip(points, shown, strict=True):
        if is_shown:
            canvas.dot(x, y, thickness + 2, WHITE)
            canvas.dot(x, y, thickness + 1, colour)


def _draw_labels(
    pen: _Pen,
    result: Drawable,
    order: list[int],
    boxes: list[list[int]],
    taken: _Taken,
    colours: Sequence[Colour],
    *,
    scores: bool,
) -> None:
    """The surest chooses its place first and is pasted last."""
    detections, size = result.detections, pen.text_px
    labels = []
    for index in order:
        name = result.class_name(int(detections.class_ids[index]))
        words = [name]
        if detections.track_ids is not None and detections.track_ids[index] != _NO_TRACK:
            words.insert(0, f"#{detections.track_ids[index]}")
        if scores:
            words.append(f"{detections.scores[index]:.0%}")
        # Plates of their own: there are as many scores as percents, but many more of names and scores together.
        plates = [_plate(word, size, *pen.look.label(colours[index])) for word in words]
        for name, score in () if detections.attributes is None else detections.attributes[index]:
            grounds = pen.look.attribute_label()
            plates += [_plate(word, size, *grounds) for word in ([name, f"{score:.0%}"] if scores else [name])]
        width = sum(plate.width for plate in plates)
        labels.append((plates, taken.place((width, plates[0].height), boxes[index], pen.thickness)))
    for plates, (left, top) in reversed(labels):
        for plate in plates:
            pen.canvas.paste(plate, left, top)
            left += plate.width


def _placed_captions(pen: _Pen, shown: Sequence[Caption], taken: _Taken) -> list[tuple[Plate, int, int]]:
    """Plates with their left and top, each around its middle, moved into the picture and off those before it."""
    placed = []
    for caption in shown:
        plate = _plate(caption.text, pen.text_px, caption.colour, text_colour(caption.colour))
        left, top = caption.left_top(plate.width, plate.height)
        box = [left, top + plate.height, left + plate.width, top + plate.height]
        placed.append((plate, *taken.place((plate.width, plate.height), box, 0)))
    return placed


def draw_lines(target: PixelArray, lines: Sequence[str], *, at: Side = "top") -> None:
    """Write lines on a darkened ground, at the left over the top or the bottom, or centred, on uint8 [H, W, 3] BGR."""
    _draw_overlay(Canvas(target), lines, at=at)


def _draw_overlay(canvas: Canvas, lines: Sequence[str], *, at: Side = "top") -> Rectangle:
    """Write lines on a darkened ground; returns the area that they take."""
    size = PLAIN.text_px(canvas.size_wh)
    left = first = top = size // 4 * 2
    right = left
    if at != "top":
        plates = [_plate(line, size, BLACK, WHITE) for line in lines]
        rest_wh = (
            canvas.size_wh[0] - max((plate.width for plate in plates), default=0),
            canvas.size_wh[1] - sum(plate.height for plate in plates),
        )
        first = top = max(0, rest_wh[1] - left if at == "bottom" else rest_wh[1] // 2) // 2 * 2
        left = right = left if at == "bottom" else max(0, rest_wh[0] // 2) // 2 * 2
    for line in lines:
        plate = _plate(line, size, BLACK, WHITE)  # white on black
        if top < canvas.size_wh[1] and left < canvas.size_wh[0]:
            canvas.write_on_glass(plate, left, top)
        top += plate.height
        right = max(right, left + plate.width)
    return (left, first, right, top)


@lru_cache(maxsize=1)
def _font() -> cv2.FontFace:
    return cv2.FontFace("sans")  # in every OpenCV 5 wheel


def drawable(text: str) -> str:
    """The same text without halves of characters, such as names that are not UTF-8 hold; OpenCV crashes on them."""
    return text.encode("utf-8", "replace").decode()


_plates: SizedCache[tuple[str, int, Colour, Colour], Plate] = SizedCache(
    MOST_PLATE_BYTES, bytes_of=lambda plate: plate.most_bytes
)


def _plate(text: str, size: int, ground: Colour, ink: Colour) -> Plate:
    """Text on a coloured ground."""
    return _plates.get((text, size, ground, ink), partial(_drawn_plate, text, size, ground, ink))


def _drawn_plate(text: str, size: int, ground: Colour, ink: Colour) -> Plate:
    text = drawable(text)
    padding = max(2, size // 4)
    _, _, width, _ = cv2.getTextSize((9999, 9999), text, (0, size), _font(), size, 500)
    height, width = size + size // 3 + 2, width + 2 * padding
    pixels = np.empty((height + height % 2, width + width % 2, 3), np.uint8)
    pixels[:] = ground
    cv2.putText(pixels, text, (padding, size + size // 6 - size // 8), ink, _font(), size, 500)
    return Plate(pixels)


class _Taken:
    """The areas that are covered so far. All plates begin and end at even pixels, so a cell has 2 × 2 of them."""

    def __init__(self, size_wh: tuple[int, int]) -> None:
        self._size_wh = size_wh
        self._cells = np.zeros((size_wh[1] // 2 + 1, size_wh[0] // 2 + 1), np.uint8)

    def place(self, plate_wh: tuple[int, int], box: list[int], thickness: int) -> tuple[int, int]:
        """Left and top for a plate, even: above its box, inside, below, wherever it covers no other; else above."""
        width, height = plate_wh
        left = max(0, min(box[0] - thickness // 2, self._size_wh[0] - width)) // 2 * 2
        lowest = max(0, self._size_wh[1] - height)
        tops = [box[1] - height, box[1], box[3], box[3] - height]
        tops = [top for top in tops if 0 <= top <= lowest] or [min(max(0, tops[0]), lowest)]
        tops = [top // 2 * 2 for top in tops]
        areas = [(left, top, left + width, top + height) for top in tops]
        chosen = next((area for area in areas if not cv2.hasNonZero(self._window(area))), areas[0])
        self.add(chosen)
        return chosen[:2]

    def add(self, area: Rectangle) -> None:
        """Cover an area."""
        self._window(area)[:] = 1

    def _window(self, area: Rectangle) -> npt.NDArray[np.uint8]:
        left, top, right, bottom = area
        return self._cells[top // 2 : bottom // 2, left // 2 : right // 2]
