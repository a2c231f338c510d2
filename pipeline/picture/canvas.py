"""Canvas: rectangles, dots, tints and plates of text → BGR pixels, or the planes of a video frame.

Both are layers of samples: BGR is one layer of three channels; I420 is three layers of one, of which two have a
sample for each 2 × 2 pixels. Whatever touches such a sample colours it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import get_args

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.picture.frame import PixelArray
from pipeline.picture.i420 import I420, Matrix, yuv_of
from pipeline.picture.strokes import InkedPixels, Strokes, inked_pixels

Colour = tuple[int, int, int]
"""Blue, green, red, each 0..255."""

Rectangle = tuple[int, int, int, int]
"""Left, top, right, bottom, in pixels; the right and lower edges are outside."""

Ink = tuple[tuple[int, ...], ...]
"""A colour as each layer has it."""

_PLANES_SHARE = 0.5  # of the bytes of BGR: luma, and a quarter of it for each chroma
_PLATE_BYTES = 2_000  # of the objects of a plate and its key, beside the pixels
_SHIFT = 4  # bits of a fraction of a pixel
_BGR_DARKER = (np.arange(256) // 3).astype(np.uint8)
_LUMA_DARKER = (16 + np.maximum(np.arange(256) - 16, 0) // 3).astype(np.uint8)
_CHROMA_NEUTRAL = np.full(256, 128, np.uint8)


class Plate:
    """A small opaque picture that is pasted often, uint8 [h, w, 3] BGR, h and w even."""

    def __init__(self, pixels: PixelArray) -> None:
        if pixels.shape[0] % 2 or pixels.shape[1] % 2:
            raise ValueError(f"a plate's sides must be even, got {list(pixels.shape)}")
        self.height, self.width = pixels.shape[:2]
        self._layers: dict[Matrix | None, tuple[npt.NDArray[np.uint8], ...]] = {None: (pixels,)}

    @property
    def most_bytes(self) -> int:
        """What it takes once it was pasted onto pictures of every kind."""
        return round(self._layers[None][0].nbytes * (1 + _PLANES_SHARE * len(get_args(Matrix)))) + _PLATE_BYTES

    def layers(self, matrix: Matrix | None) -> tuple[npt.NDArray[np.uint8], ...]:
        """Its samples for a canvas in BGR (None) or in planes, made once."""
        if matrix is not None and matrix not in self._layers:
            (pixels,) = self._layers[None]
            halves = cv2.resize(pixels, (self.width // 2, self.height // 2), interpolation=cv2.INTER_AREA)
            luma = yuv_of(pixels, matrix)[..., 0]  # [h, w]
            chroma = yuv_of(np.asarray(halves, np.uint8), matrix)  # [h / 2, w / 2, 3]
            self._layers[matrix] = (luma.copy(), chroma[..., 1].copy(), chroma[..., 2].copy())
        return self._layers[matrix]


@dataclass(frozen=True, slots=True)
class _Layer:
    samples: npt.NDArray[np.uint8]  # [h, w] or [h, w, 3]
    step: int  # pixels from one sample to the next
    darker: npt.NDArray[np.uint8]  # [256], what becomes of a sample under dark glass

    def window(self, area: Rectangle) -> npt.NDArray[np.uint8]:
        """The samples that a rectangle within the picture touches."""
        (left, top, right, bottom), step = area, self.step
        return self.samples[top // step : -(-bottom // step), left // step : -(-right // step)]

    def fill(self, area: Rectangle, ink: tuple[int, ...]) -> None:
        if len(ink) == 1:
            self.window(area)[:] = ink
        else:  # numpy takes three times as long to repeat three values
            left, top, right, bottom = area
            cv2.rectangle(self.samples, (left, top), (right - 1, bottom - 1), ink, cv2.FILLED)


class Canvas:
    """A picture to draw on, in place; what is outside of it is left out.

    target: uint8 [H, W, 3] BGR, or planes.
    """

    def __init__(self, target: PixelArray | I420) -> None:
        self._matrix: Matrix | None
        if isinstance(target, I420):
            luma, cb, cr = target.yuv
            self.size_wh, self._matrix = target.size_wh, target.matrix
            self._layers = [
                _Layer(luma, 1, _LUMA_DARKER),
                _Layer(cb, 2, _CHROMA_NEUTRAL),
                _Layer(cr, 2, _CHROMA_NEUTRAL),
            ]
        else:
            self.size_wh, self._matrix = (target.shape[1], target.shape[0]), None
            self._layers = [_Layer(target, 1, _BGR_DARKER)]

    def outline(self, box: Sequence[int], thickness: int, colour: Colour) -> None:
        """The edge of a box, its line half inside and half outside."""
        out = thickness // 2
        left, top = box[0] - out, box[1] - out
        right, bottom = max(box[2] + out, left + 1), max(box[3] + out, top + 1)
        if min(right - left, bottom - top) <= 2 * thickness:
            sides = [(left, top, right, bottom)]
        else:
            upper, lower = top + thickness, bottom - thickness
            sides = [
                (left, top, right, upper),
                (left, lower, right, bottom),
                (left, upper, left + thickness, lower),
                (right - thickness, upper, right, lower),
            ]
        self._fill_areas(sides, colour)

    def brackets(self, box: Sequence[int], thickness: int, length: int, colour: Colour) -> None:
        """The corners of a box as `outline` has them, each of two lines of a length."""
        out = thickness // 2
        left, top, right, bottom = box[0] - out, box[1] - out, box[2] + out, box[3] + out
        length += out
        areas = [
            area
            for start, end in ((left, left + length), (right - length, right))
            for area in ((start, top, end, top + thickness), (start, bottom - thickness, end, bottom))
        ] + [
            area
            for start, end in ((top, top + length), (bottom - length, bottom))
            for area in ((left, start, left + thickness, end), (right - thickness, start, right, end))
        ]
        self._fill_areas(areas, colour)

    def dashes(self, box: Sequence[int], thickness: int, colour: Colour) -> None:
        """The edge of a box as `outline` has it, dashed from its corners on."""
        out = thickness // 2
        left, top, right, bottom = box[0] - out, box[1] - out, box[2] + out, box[3] + out
        length = 4 * thickness
        areas = [
            area
            for start, end in _dashes(left, right, length)
            for area in ((start, top, end, top + thickness), (start, bottom - thickness, end, bottom))
        ] + [
            area
            for start, end in _dashes(top, bottom, length)
            for area in ((left, start, left + thickness, end), (right - thickness, start, right, end))
        ]
        self._fill_areas(areas, colour)

    def path(self, points_xy: npt.NDArray[np.floating], thickness: int, colour: Colour, opacity: float) -> None:
        """A line through points [P, 2], mixed into what is under it by its opacity, above 0 and at most 1."""
        for layer, ground, line, ink in self._grounds(points_xy, colour, margin=thickness + 1):
            drawn = ground.copy()
            cv2.polylines(drawn, [line], False, ink, max(1, thickness // layer.step), cv2.LINE_AA)
            cv2.addWeighted(drawn, opacity, ground, 1 - opacity, 0, dst=ground)

    def strokes(self, strokes: Strokes, thickness: int) -> None:
        """Many segments of lines, all mixed into what is under them at once."""
        if not len(strokes.starts_xy):
            return
        inks = strokes.colours if self._matrix is None else yuv_of(strokes.colours[None], self._matrix)[0]  # [S, 3]
        pixels_by_step: dict[int, InkedPixels] = {}  # of both layers of chroma they are the same
        for number, layer in enumerate(self._layers):
            height, width = layer.samples.shape[:2]
            if layer.step not in pixels_by_step:
                width_of_line = max(1, thickness / layer.step)
                pixels_by_step[layer.step] = inked_pixels(strokes, width_of_line, (width, height), step=layer.step)
            pixels = pixels_by_step[layer.step]
            ground = layer.samples[pixels.rows, pixels.columns].astype(np.float32)  # [P] or [P, 3]
            ink = (inks if self._matrix is None else inks[:, number])[pixels.segments]
            opacities = pixels.opacities if self._matrix is not None else pixels.opacities[:, None]
            layer.samples[pixels.rows, pixels.columns] = (ground + (ink - ground) * opacities + 0.5).astype(np.uint8)

    def polygon(
        self, corners_xy: npt.NDArray[np.floating], thickness: int, colour: Colour, *, is_closed: bool = True
    ) -> None:
        """The edge of a polygon [P, 2], in continuous pixels, its line half inside and half outside."""
        corners = np.clip(corners_xy, -9999, 99999)
        for layer, ink in zip(self._layers, _ink(colour, self._matrix), strict=True):
            sixteenths = np.rint((corners / layer.step - 0.5) * (1 << _SHIFT)).astype(np.int32).reshape(-1, 1, 2)
            width = -(-thickness // layer.step)
            cv2.polylines(layer.samples, [sixteenths], is_closed, ink, width, cv2.LINE_AA, _SHIFT)

    def fill(self, polygon_xy: npt.NDArray[np.floating], colour: Colour, opacity: float) -> None:
        """Mix a colour into the inside of a polygon [P, 2], by its opacity."""
        for _, ground, outline, ink in self._grounds(polygon_xy, colour):
            drawn = ground.copy()
            cv2.fillPoly(drawn, [outline], ink)
            cv2.addWeighted(drawn, opacity, ground, 1 - opacity, 0, dst=ground)

    def _grounds(
        self, points_xy: npt.NDArray[np.floating], colour: Colour, *, margin: int = 0
    ) -> Iterator[tuple[_Layer, npt.NDArray[np.uint8], npt.NDArray[np.int32], tuple[int, ...]]]:
        """Of each layer what lies under points [P, 2] and a margin around them, the points there [P, 1, 2], the ink."""
        points = np.rint(np.clip(points_xy, -9999, 99999)).astype(np.int32)  # [P, 2]
        low, high = points.min(axis=0) - margin, points.max(axis=0) + margin + 1
        left, top, right, bottom = self._clipped((int(low[0]), int(low[1]), int(high[0]), int(high[1])))
        if left >= right or top >= bottom:
            return
        left, top = left // 2 * 2, top // 2 * 2
        for layer, ink in zip(self._layers, _ink(colour, self._matrix), strict=True):
            ground = layer.window((left, top, right, bottom))
            yield layer, ground, ((points - (left, top)) // layer.step).reshape(-1, 1, 2), ink

    def dot(self, x: float, y: float, radius: int, colour: Colour) -> None:
        """A disc around a point."""
        for layer, ink in zip(self._layers, _ink(colour, self._matrix), strict=True):
            centre = (int(x) // layer.step, int(y) // layer.step)
            cv2.circle(layer.samples, centre, -(-radius // layer.step), ink, cv2.FILLED, cv2.LINE_AA)

    def line(self, start: Sequence[float], end: Sequence[float], thickness: int, colour: Colour) -> None:
        """A line from x, y to x, y, both within the picture."""
        for layer, ink in zip(self._layers, _ink(colour, self._matrix), strict=True):
            ends = [(int(x) // layer.step, int(y) // layer.step) for x, y in (start, end)]
            cv2.line(layer.samples, ends[0], ends[1], ink, -(-thickness // layer.step), cv2.LINE_AA)

    def tint(self, crop: npt.NDArray[np.bool_], left_top: tuple[int, int], colour: Colour) -> None:
        """Mix half of a colour into the pixels of a mask [h, w] that begins at left, top, within the picture."""
        if not crop.size:
            return
        left, top = left_top
        for layer, ink in zip(self._layers, _ink(colour, self._matrix), strict=True):
            step = layer.step
            inked = np.ascontiguousarray(crop[-top % step :: step, -left % step :: step]).view(np.uint8)
            if not inked.size:
                continue
            row, column = -(-top // step), -(-left // step)
            ground = layer.samples[row : row + inked.shape[0], column : column + inked.shape[1]]
            cv2.copyTo(cv2.addWeighted(ground, 0.5, np.full_like(ground, ink), 0.5, 0), inked, ground)

    def paste(self, plate: Plate, left: int, top: int) -> None:
        """Copy what fits of a plate; left and top are even and within the picture."""
        for ground, samples in self._under(plate, left, top):
            ground[:] = samples[: ground.shape[0], : ground.shape[1]]

    def write_on_glass(self, plate: Plate, left: int, top: int) -> None:
        """Darken what is under a plate of light text on black, and leave the text; as `paste`."""
        for layer, (ground, samples) in zip(self._layers, self._under(plate, left, top), strict=True):
            np.maximum(layer.darker[ground], samples[: ground.shape[0], : ground.shape[1]], out=ground)

    def _under(self, plate: Plate, left: int, top: int) -> list[tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]]:
        area = self._clipped((left, top, left + plate.width, top + plate.height))
        return [
            (layer.window(area), samples)
            for layer, samples in zip(self._layers, plate.layers(self._matrix), strict=True)
        ]

    def _fill_areas(self, areas: Sequence[Rectangle], colour: Colour) -> None:
        clipped = [area for area in map(self._clipped, areas) if area[0] < area[2] and area[1] < area[3]]
        for layer, ink in zip(self._layers, _ink(colour, self._matrix), strict=True):
            for area in clipped:
                layer.fill(area, ink)

    def _clipped(self, area: Rectangle) -> Rectangle:
        (left, top, right, bottom), (width, height) = area, self.size_wh
        return max(left, 0), max(top, 0), min(right, width), min(bottom, height)


def _dashes(start: int, end: int, length: int) -> list[tuple[int, int]]:
    """Dashes from start to end with gaps as long between them, so that both ends have one."""
    num = max(1, round(((end - start) / length + 1) / 2))
    edges = np.rint(np.linspace(start, end, 2 * num)).astype(int).tolist()
    return list(zip(edges[::2], edges[1::2], strict=True))


@lru_cache(maxsize=4096)
def _ink(colour: Colour, matrix: Matrix | None) -> Ink:
    if matrix is None:
        return (colour,)
    luma, cb, cr = yuv_of(np.array([[colour]], np.uint8), matrix)[0, 0].tolist()
    return (luma,), (cb,), (cr,)
