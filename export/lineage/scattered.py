"""Scattered: small drawn pictures of four shapes on a canvas of 224 x 224 → scenes, as one draws them in a classroom.

Each object is a shape in two colours, turned, stretched and pasted where it covers little of the others; the canvas has
spots and strokes that are no objects. Equal numbers give equal pictures. Nothing is downloaded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from export.examples import Example
from export.lineage.scenes import FIRST_HELD_OUT_SEED, OnPicture, Scenes, World
from pipeline.picture.boxes import FloatArray, share_inside

CANVAS_WH = (224, 224)
MOST_COVERED = 0.1  # of the smaller of two boxes, by the other
LARGEST_NUM = 9  # objects in a picture; 0 is the smallest number
SIDES_PX = (24.0, 84.0)  # of an object, before it is stretched and turned
_FINE = 4  # as many times as large an object is drawn, for smooth edges
_ATTEMPTS = 12  # to find room for an object
Outline = npt.NDArray[np.float64]
Layer = npt.NDArray[np.float32]


def _turn(radius: float, num_points: int) -> Outline:
    """Points [P, 2] of a circle, the first at the top."""
    angles = np.arange(num_points) * 2 * np.pi / num_points
    return radius * np.stack([np.sin(angles), -np.cos(angles)], axis=1)


def _star() -> Outline:
    return _turn(1.0, 10) * np.where(np.arange(10) % 2, 0.45, 1.0)[:, None]


def _heart() -> Outline:
    t = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return np.stack([np.sin(t) ** 3, -(y + 2.5) / 15], axis=1)


def _box(left: float, top: float, right: float, bottom: float) -> Outline:
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]])


SHAPES: Mapping[str, tuple[Outline, ...]] = {
    "star": (_star(),),
    "ring": (_turn(1.0, 48), _turn(0.5, 48)),
    "heart": (_heart(),),
    "house": (np.array([[-0.9, 1], [-0.9, -0.1], [0, -1], [0.9, -0.1], [0.9, 1]]), _box(-0.25, 0.3, 0.25, 1)),
}
"""The outlines [P, 2] of each class, x right and y down in -1..1; what lies in two of them is a hole."""


def training_scattered(num_pictures: int = 320, *, on_picture: OnPicture = lambda *_: None) -> Scenes:
    """As many pictures to learn from."""
    return _scattered(num_pictures, 0, on_picture)


def held_out_scattered(num_pictures: int = 96, *, on_picture: OnPicture = lambda *_: None) -> Scenes:
    """Other pictures, for judging."""
    return _scattered(num_pictures, FIRST_HELD_OUT_SEED, on_picture)


def _scattered(num_pictures: int, first: int, on_picture: OnPicture) -> Scenes:
    if not 0 < num_pictures <= FIRST_HELD_OUT_SEED:
        raise ValueError(f"num_pictures must lie within 1..{FIRST_HELD_OUT_SEED}, got {num_pictures}")
    examples = []
    for number in range(first, first + num_pictures):
        examples.append(scattered_picture(number))
        on_picture(len(examples), num_pictures)
    world = World(tuple(SHAPES), CANVAS_WH)
    return Scenes(world, tuple(examples), f"scattered pictures {first} to {first + num_pictures - 1}")


def scattered_picture(number: int) -> Example:
    """One picture with its ground truth: boxes round the visible edges of the objects, the last pasted one on top."""
    chance = np.random.default_rng((224, number))
    pixels = _canvas(chance)
    object_map = np.zeros(pixels.shape[:2], np.uint16)
    boxes, class_ids = np.zeros((0, 4), np.float32), list[int]()
    for _ in range(int(chance.integers(0, LARGEST_NUM + 1))):
        class_id = int(chance.integers(len(SHAPES)))
        sticker = Sticker.drawn(tuple(SHAPES.values())[class_id], chance)
        box = sticker.placed(boxes, chance)
        if box is not None:
            boxes = np.concatenate([boxes, box[None]])
            class_ids.append(class_id)
            sticker.paste(pixels, object_map, box, len(boxes))
    shown = np.clip(pixels + chance.normal(0, 3, pixels.shape), 0, 255).astype(np.uint8)
    return Example(shown, boxes, np.array(class_ids, np.int64), np.zeros((0, 4), np.float32), object_map)


@dataclass(frozen=True, slots=True)
class Sticker:
    """A small picture that is cut out along its edges: cover [h, w] in 0..1, colours [h, w, 3] RGB in 0..255."""

    cover: Layer
    colours: Layer

    @classmethod
    def drawn(cls, outlines: Sequence[Outline], chance: np.random.Generator) -> Sticker:
        """A shape of some size, slant and colours, its box cut to where it covers half a pixel."""
        size = np.exp(chance.uniform(*np.log(SIDES_PX)))
        angle = chance.uniform(-0.35, 0.35)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        stretch = chance.uniform(0.8, 1.0, 2) * size / 2
        moved = [outline * stretch @ turn.T for outline in outlines]
        low, high = np.concatenate(moved).min(axis=0), np.concatenate(moved).max(axis=0)
        width, height = np.ceil(high - low).astype(int) + 2
        fine = np.zeros((height * _FINE, width * _FINE), np.uint8)
        cv2.fillPoly(fine, [np.rint((outline - low + 1) * _FINE).astype(np.int32) for outline in moved], 255)
        cover = cv2.resize(fine, (int(width), int(height)), interpolation=cv2.INTER_AREA) / np.float32(255)
        rows, columns = (np.flatnonzero((cover >= 0.5).any(axis=axis)) for axis in (1, 0))
        cut: Layer = cover[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        return cls(cut, _shaded(cut.shape, _vivid(chance), _vivid(chance), chance))

    def placed(self, boxes_xyxy: FloatArray, chance: np.random.Generator) -> FloatArray | None:
        """A box [4] of whole pixels for it on the canvas that covers little of those boxes; None: no room."""
        height, width = self.cover.shape
        for _ in range(_ATTEMPTS):
            corner = chance.integers(0, np.array(CANVAS_WH) - (width, height) + 1)
            box = np.concatenate([corner, corner + np.array([width, height])]).astype(np.float32)
            covered = share_inside(box[None], boxes_xyxy)[0], share_inside(boxes_xyxy, box[None])[:, 0]
            if (np.maximum(*covered) <= MOST_COVERED).all():
                return box
        return None

    def paste(self, pixels: Layer, object_map: npt.NDArray[np.uint16], box_xyxy: FloatArray, number: int) -> None:
        """Into pixels [H, W, 3] and, where it covers half a pixel, as that number into the map [H, W]."""
        left, top, right, bottom = box_xyxy.astype(int).tolist()
        window = slice(top, bottom), slice(left, right)
        pixels[window] += self.cover[:, :, None] * (self.colours - pixels[window])
        object_map[window][self.cover >= 0.5] = number


def _canvas(chance: np.random.Generator) -> Layer:
    """Pixels float [H, W, 3] in 0..255: two dull colours with spots and strokes, blurred."""
    width, height = CANVAS_WH
    canvas = _shaded((height, width), _dull(chance), _dull(chance), chance)
    for _ in range(int(chance.integers(2, 8))):
        centre, radius = chance.integers(0, CANVAS_WH), int(chance.integers(5, 40))
        cv2.circle(canvas, centre.tolist(), radius, _dull(chance).tolist(), cv2.FILLED)
    canvas = cv2.GaussianBlur(canvas, (0, 0), 4.0).astype(np.float32)
    for _ in range(int(chance.integers(0, 6))):
        start, end = (chance.integers(0, CANVAS_WH).tolist() for _ in range(2))
        cv2.line(canvas, start, end, _dull(chance).tolist(), int(chance.integers(1, 4)), cv2.LINE_AA)
    return canvas


def _shaded(size_hw: tuple[int, ...], first: Layer, second: Layer, chance: np.random.Generator) -> Layer:
    """Pixels [h, w, 3] from one colour [3] to another, in some direction."""
    height, width = size_hw
    down, across = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    angle = chance.uniform(0, 2 * np.pi)
    along = (np.cos(angle) * (across - 0.5) + np.sin(angle) * (down - 0.5)) / np.sqrt(2) + 0.5  # 0..1
    return np.asarray(first + along[:, :, None] * (second - first), np.float32)


def _vivid(chance: np.random.Generator) -> Layer:
    """A colour RGB [3] of an object: strong, light or dark."""
    return _colour(chance.uniform(0, 180), chance.uniform(150, 256), chance.uniform(90, 256))


def _dull(chance: np.random.Generator) -> Layer:
    """A colour RGB [3] of the canvas: nearly grey."""
    return _colour(chance.uniform(0, 180), chance.uniform(0, 60), chance.uniform(90, 220))


def _colour(hue: float, saturation: float, value: float) -> Layer:
    """RGB [3] in 0..255 of OpenCV's HSV: hue below 180, the others below 256."""
    hsv = np.array([[[hue, saturation, value]]]).astype(np.uint8)
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0, 0], np.float32)
