"""Scenery: a street, its camera and its light → the picture of the empty street, and the masks of trees and posts.

Everything is a polygon of the world, projected and filled; only sky, asphalt and soft shadows are made by pixel.
It is painted once, at twice the size where that is affordable, and averaged down.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from random import Random

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.picture.frame import PixelArray
from pipeline.sources.street.bodies import Bgr, Corner, dimmed, lightened
from pipeline.sources.street.camera import NEAR_M, Camera, Points
from pipeline.sources.street.lighting import Light
from pipeline.sources.street.scene import Street

Weights = npt.NDArray[np.float32]
SUBPIXEL_BITS = 4
LAMP_COLOUR: Bgr = (150, 215, 255)
LIT_WINDOW: Bgr = (110, 190, 245)
PLASTERS: tuple[Bgr, ...] = (
    (168, 190, 206), (150, 172, 178), (186, 196, 200), (120, 150, 186), (92, 112, 158), (84, 98, 140),
    (160, 160, 160), (176, 188, 170), (140, 176, 200), (196, 190, 180),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Occluder:
    """A tree or a post, which hides the road users behind it, at `y_m` and beyond."""

    y_m: float
    left: int
    top: int
    weights: Weights  # [h, w], 1 where it hides everything

    @property
    def window(self) -> tuple[slice, slice]:
        """The rows and columns of the picture that it touches."""
        height, width = self.weights.shape
        return slice(self.top, self.top + height), slice(self.left, self.left + width)

    def touches(self, boxes_xyxy: Iterable[tuple[float, float, float, float]]) -> bool:
        """Whether it overlaps one of the boxes, in pixels."""
        height, width = self.weights.shape
        return any(
            x0 < self.left + width and x1 > self.left and y0 < self.top + height and y1 > self.top
            for x0, y0, x1, y1 in boxes_xyxy
        )


@dataclass(frozen=True, slots=True)
class Scenery:
    """The empty street, uint8 [H, W, 3] BGR, and the trees and posts in it that may hide road users, furthest first."""

    background: PixelArray
    occluders: tuple[Occluder, ...]


def to_subpixels(corners_px: Points) -> npt.NDArray[np.int32]:
    """Pixels → whole sixteenths for cv2, whose whole pixels are the centres."""
    return np.rint((corners_px - 0.5) * (1 << SUBPIXEL_BITS)).astype(np.int32)


def painted(street: Street, camera: Camera, light: Light) -> Scenery:
    """Paint the empty street as the camera sees it."""
    factor = 2 if camera.size_wh[0] * camera.size_wh[1] <= 1_000_000 else 1
    painter = _Painter(street, camera.scaled(factor), light)
    painter.sky()
    painter.ground()
    painter.houses()
    pieces = painter.furniture()
    size_wh = camera.size_wh
    background = cv2.resize(painter.canvas, size_wh, interpolation=cv2.INTER_AREA)
    occluders: list[Occluder] = []
    for y_m, alpha in pieces:
        weights = np.asarray(cv2.resize(alpha, size_wh, interpolation=cv2.INTER_AREA), np.float32) / np.float32(255)
        left, top, width, height = cv2.boundingRect(np.asarray(weights > 0, np.uint8))
        if width:
            occluders.append(Occluder(y_m, left, top, weights[top : top + height, left : left + width].copy()))
    return Scenery(np.asarray(background, np.uint8), tuple(occluders))


class _Painter:
    def __init__(self, street: Street, camera: Camera, light: Light) -> None:
        self._street = street
        self._camera = camera
        self._light = light
        self._chance = Random(f"scenery {street.seed}")
        self._noise = np.random.Generator(np.random.PCG64(street.seed))
        width, height = camera.size_wh
        self.canvas = np.zeros((height, width, 3), np.uint8)
        self._horizon_px = round(height / 2 - math.tan(camera.pitch_radians) * camera.focal_px)

    # Tools.

    def _face(self, corners: Sequence[Corner], colour: Bgr, normal: Corner = (0, 0, 1), *, glows: bool = False) -> None:
        """Fill a world polygon in its colour under this light and haze."""
        points = np.array(corners, np.float64)
        seen = self._camera.project_polygon(points)
        if not len(seen):
            return
        lit = np.array([colour], np.float64)
        if not glows:
            lit = self._light.on(lit, np.array([normal], np.float64))
        ahead = float(np.median(self._camera.to_camera(points)[:, 2]))
        self._fill(self.canvas, seen, self._light.through_haze(lit, ahead * (0.4 if glows else 1))[0])

    @staticmethod
    def _fill(canvas: npt.NDArray[np.uint8], corners_px: Points, colour: npt.ArrayLike) -> None:
        limited = np.clip(corners_px, -30000, 30000)
        values = [float(value) for value in np.asarray(colour).reshape(-1)]
        cv2.fillPoly(canvas, [to_subpixels(limited)], values, cv2.LINE_AA, SUBPIXEL_BITS)

    def _strip(self, y0: float, y1: float, colour: Bgr, *, z: float = 0.0, x: tuple[float, float] = (-30, 400)) -> None:
        """Fill a strip of ground along the street."""
        edges = np.geomspace(1, x[1] - x[0] + 1, 12) - 1 + x[0]
        for start, end in pairwise(edges):  # in pieces: haze depends on the distance
            self._face([(start, y0, z), (end, y0, z), (end, y1, z), (start, y1, z)], colour)

    def _clouds(self, shape: tuple[int, int], *, octaves: int, wide: float) -> Weights:
        """Smooth noise [h, w] in 0..1 that is `wide` times wider than high."""
        total = np.zeros(shape, np.float32)
        for octave in range(octaves):
            rows = 2 + 3 * 2**octave
            grid = self._noise.random((rows, max(2, round(rows * shape[1] / shape[0] / wide))), np.float32)
            layer = cv2.resize(grid, shape[::-1], interpolation=cv2.INTER_CUBIC)
            total += np.asarray(layer, np.float32) / 2**octave
        total -= total.min()
        return np.asarray(total / max(float(total.max()), 1e-6), np.float32)

    # Things.

    def sky(self) -> None:
        height, width = self.canvas.shape[:2]
        rows = max(self._horizon_px + 2, 2)
        light = self._light
        mix = np.linspace(0, 1, rows)[:, None, None] ** 0.8  # [rows, 1, 1]
        sky = np.array(light.sky_top) * (1 - mix) + np.array(light.sky_low) * mix  # [rows, 1, 3]
        clouds = self._clouds((rows, width), octaves=5, wide=3.0)[..., None]
        cover = np.clip((clouds - 0.5) * 2.6, 0, 1) * {"day": 0.8, "overcast": 0.35, "dusk": 0.5}[light.name]
        bright = np.array({"day": (252, 250, 248), "overcast": (170, 168, 166), "dusk": (130, 120, 190)}[light.name])
        sky = sky * (1 - cover) + bright * cover
        self.canvas[: min(rows, height)] = np.clip(sky, 0, 255).astype(np.uint8)[:height]
        self.canvas[rows:] = self.canvas[min(rows, height) - 1]  # as far as the ground goes, and then haze
        # Far roofs and trees, over the vanishing point too.
        for depth, colour in ((0.55, (150, 150, 140)), (0.75, (120, 135, 120))):
            for _ in range(26):
                x = self._chance.uniform(-0.1, 1.1) * width
                half = self._chance.uniform(0.02, 0.05) * width
                top = self._horizon_px - self._chance.uniform(0.3, 1) * 0.06 * height * (1.3 - depth)
                tone = (
                    np.array(light.sky_low) * (1 - depth * 0.6)
                    + np.array(dimmed(colour, light.ambient[1])) * depth * 0.6
                )
                self._fill(
                    self.canvas, np.array([(x - half, rows), (x - half, top), (x + half, top), (x + half, rows)]), tone
                )

    def ground(self) -> None:
        street, chance = self._street, self._chance
        asphalt: Bgr = chance.choice(((96, 95, 94), (86, 86, 87), (106, 104, 102)))
        slabs: Bgr = chance.choice(((150, 152, 156), (138, 146, 158), (146, 150, 150)))
        path: Bgr = chance.choice(((78, 82, 132), (96, 95, 94), (86, 110, 84)))
        near_y, far_y = street.near_kerb_m, street.far_kerb_m
        self._strip(-60, near_y, slabs)
        self._strip(near_y, far_y, asphalt)
        self._strip(near_y + 0.1, near_y + 1.75, path)
        self._strip(street.lane_edges_m[-1] + 0.05, street.lane_edges_m[-1] + 1.75, path)
        self._strip(far_y, far_y + 80, slabs)
        for y in (near_y, far_y):
            self._strip(y - 0.14, y + 0.14, (178, 178, 176))
        for y in (near_y + 0.3, far_y - 0.3):
            self._strip(y - 0.14, y + 0.14, dimmed(asphalt, 0.8))
        for start, end in ((-4, near_y), (far_y, street.house_front_m)):  # slab joints
            for step in range(1, int((end - start) / 0.9)):
                self._strip(start + 0.9 * step, start + 0.9 * step + 0.02, dimmed(slabs, 0.87), x=(-20, 40))
            for step in range(60):
                x = -6 + 0.9 * step
                self._face(
                    [(x, start, 0), (x + 0.025, start, 0), (x + 0.025, end, 0), (x, end, 0)], dimmed(slabs, 0.87)
                )
        for _ in range(7):  # mended patches
            x, y = chance.uniform(4, 60), chance.uniform(near_y + 2, far_y - 3)
            long, wide = chance.uniform(1.5, 6), chance.uniform(0.6, 1.6)
            corners = [(x, y, 0.0), (x + long, y, 0.0), (x + long, y + wide, 0.0), (x, y + wide, 0.0)]
            self._face(corners, dimmed(asphalt, chance.uniform(0.82, 0.93)))
        white: Bgr = (216, 220, 222)
        edges = street.lane_edges_m
        for y in (edges[0], edges[-1]):
            self._strip(y - 0.07, y + 0.07, white)
        middle = edges[street.lanes_each_way]
        centre: Bgr = chance.choice((white, (60, 180, 226)))
        for shift in (-0.16, 0.16):
            self._strip(middle + shift - 0.06, middle + shift + 0.06, centre)
        for y in edges[1:-1]:
            if y == middle:
                continue
            for step in range(24):
                x = -8 + 9 * step
                self._face([(x, y - 0.07, 0), (x + 3, y - 0.07, 0), (x + 3, y + 0.07, 0), (x, y + 0.07, 0)], white)
        crossing = chance.uniform(24, 34)
        for step in range(int((edges[-1] - edges[0]) / 1.0)):
            y = edges[0] + 0.35 + step
            corners = [
                (crossing, y, 0.0),
                (crossing + 3.2, y, 0.0),
                (crossing + 3.2, y + 0.5, 0.0),
                (crossing, y + 0.5, 0.0),
            ]
            self._face(corners, white)
        for _ in range(6):  # manholes
            x, y = chance.uniform(8, 45), chance.uniform(edges[0] + 0.8, edges[-1] - 0.8)
            for radius, shade in ((0.36, 0.6), (0.29, 0.75)):
                disc = [(x + radius * math.cos(t / 2), y + radius * math.sin(t / 2), 0.0) for t in range(13)]
                self._face(disc, dimmed(asphalt, shade))
        self._weather()

    def _weather(self) -> None:
        """Grain, wheel tracks, shade and pools of lamplight: lighter and darker, by the ground under each pixel."""
        rows = slice(max(self._horizon_px + 1, 0), self.canvas.shape[0])
        if rows.start >= rows.stop:
            return
        ground = self._camera.ground_under_pixels()[rows].astype(np.float32)  # [h, w, 2]
        x, y = np.clip(ground[..., 0], -1e4, 1e4), np.clip(ground[..., 1], -1e4, 1e4)
        grain = self._clouds((512, 512), octaves=7, wide=1.0) - 0.5
        fine = self._noise.random((512, 512), np.float32) - 0.5
        per_metre = (
            np.float32(self._camera.focal_px) * self._camera.height_m / np.maximum(x * x + y * y, 1)
        )  # px, upright
        sharp = np.clip(per_metre / 28, 0, 1)
        factor = 1 + 0.20 * _wrapped(grain, x * 9, y * 14) + 0.22 * sharp * _wrapped(fine, x * 42, y * 42)
        street = self._street
        for low, high in zip(street.lane_edges_m, street.lane_edges_m[1:], strict=False):
            middle = (low + high) / 2
            for track in (middle - 0.78, middle + 0.78):
                factor -= 0.075 * np.maximum(0, 1 - np.abs(y - track) / 0.45)
            factor -= 0.045 * np.maximum(0, 1 - np.abs(y - middle) / 0.5)
        shade = np.ones_like(factor)
        if self._light.name == "day":  # the houses behind the camera throw a long edge of shade
            reach = self._chance.uniform(1.5, 4.0) + 0.5 * np.sin(x / 9)
            shade = np.clip((y - reach) / 0.6, 0, 1)
        dark = np.array(self._light.shadow, np.float32)
        patch = self.canvas[rows].astype(np.float32) * factor[..., None]
        patch *= dark + (1 - dark) * shade[..., None]
        if self._light.are_lamps_on:
            pool = np.zeros_like(x)
            for lamp_x, lamp_y, _ in self._lamp_positions():
                pool += 1 / (1 + ((x - lamp_x) ** 2 + (y - lamp_y) ** 2) / 16) ** 1.5
            patch *= 1 + np.clip(pool, 0, 1.4)[..., None] * np.array((0.45, 0.75, 1.0), np.float32)
        self.canvas[rows] = np.clip(patch, 0, 255).astype(np.uint8)

    def houses(self) -> None:
        street = self._street
        rows: list[list[tuple[float, float, float, float]]] = []
        for front, behind, start in ((-5.0, -1.0, 9.0), (street.house_front_m, 1.0, -30.0)):
            x, row = start, []
            while x < 290:
                wide = self._chance.uniform(8, 15)
                if self._chance.random() < 0.93:
                    row.append((x, x + wide, front, behind))
                x += wide
            rows.append(row)
        for row in rows:
            for x0, x1, front, behind in sorted(row, reverse=True):
                self._house(x0, x1, front, behind)
        # The end of the street.
        y0, y1 = -5.0, street.house_front_m + 1
        far: Bgr = (120, 132, 142)
        if self._chance.random() < 0.7:
            self._wall((300, y0), (300, y1), (0, 14), far, (-1, 0, 0))

    def _wall(
        self, a: tuple[float, float], b: tuple[float, float], z: tuple[float, float], colour: Bgr, normal: Corner, *,
        glows: bool = False,
    ) -> None:  # fmt: skip
        self._face([(*a, z[0]), (*b, z[0]), (*b, z[1]), (*a, z[1])], colour, normal, glows=glows)

    def _house(self, x0: float, x1: float, front: float, behind: float) -> None:
        """A house of two to five floors between x0 and x1; `behind` says on which side of its front it stands."""
        chance = self._chance
        plaster: Bgr = chance.choice(PLASTERS)
        floors, storey = chance.randint(2, 5), chance.uniform(2.9, 3.4)
        top = floors * storey + 0.8
        normal: Corner = (0, -behind, 0)
        deep = front + behind * 10
        self._wall((x0, front), (x0, deep), (0, top), dimmed(plaster, 0.9), (-1, 0, 0))
        if chance.random() < 0.5:  # a pitched roof
            ridge, tiles = top + chance.uniform(1.8, 3.2), chance.choice(((62, 74, 120), (70, 72, 80), (60, 62, 96)))
            eaves, back = front - behind * 0.4, front + behind * 5
            self._face(
                [(x0, eaves, top), (x1, eaves, top), (x1, back, ridge), (x0, back, ridge)],
                tiles,
                (0, -behind * 0.5, 0.85),
            )
            self._face([(x0, front, top), (x0, deep, top), (x0, back, ridge)], dimmed(plaster, 0.9), (-1, 0, 0))
            if chance.random() < 0.6:
                at = chance.uniform(x0 + 1, x1 - 1)
                self._wall(
                    (at, back - behind * 1.2),
                    (at + 0.8, back - behind * 1.2),
                    (top + 1, ridge + 0.9),
                    (90, 100, 130),
                    normal,
                )
        self._wall((x0, front), (x1, front), (0, top), plaster, normal)
        self._wall((x0, front), (x1, front), (top - 0.45, top), lightened(plaster, 0.3), normal)
        self._wall((x0, front), (x1, front), (top - 0.52, top - 0.45), dimmed(plaster, 0.6), normal)
        self._wall((x0, front), (x1, front), (storey - 0.12, storey + 0.1), lightened(plaster, 0.2), normal)
        self._wall((x0, front), (x0 + 0.12, front), (0, top), dimmed(plaster, 0.75), normal)
        if math.hypot(x0, front) > 170:
            return
        bays = max(2, int((x1 - x0) / chance.uniform(2.2, 3.0)))
        pitch = (x1 - x0) / bays
        wide, high = pitch * chance.uniform(0.4, 0.55), storey * chance.uniform(0.48, 0.6)
        frame: Bgr = chance.choice(((226, 226, 224), (60, 66, 84), (200, 206, 210)))
        for floor in range(1, floors):
            for bay in range(bays):
                left, low = x0 + (bay + 0.5) * pitch - wide / 2, floor * storey + 0.85
                self._window(left, left + wide, low, low + high, front, normal, frame, plaster)
        if chance.random() < 0.6:
            self._shop(x0, x1, storey, front, behind, normal, plaster)
            return
        door = chance.randrange(bays)
        for bay in range(bays):
            left = x0 + (bay + 0.5) * pitch - wide / 2
            if bay == door:
                self._wall((left - 0.1, front), (left + wide + 0.1, front), (0, 2.45), frame, normal)
                self._wall(
                    (left, front),
                    (left + wide, front),
                    (0, 2.3),
                    chance.choice(((50, 60, 90), (70, 50, 40), (46, 80, 60))),
                    normal,
                )
            else:
                self._window(left, left + wide, 0.9, 0.9 + high, front, normal, frame, plaster)

    def _window(
        self, left: float, right: float, low: float, high: float, front: float, normal: Corner, frame: Bgr, wall: Bgr
    ) -> None:
        chance = self._chance
        is_lit = self._light.are_lamps_on and chance.random() < 0.45
        self._wall((left - 0.09, front), (right + 0.09, front), (low - 0.09, high + 0.09), frame, normal)
        glass: Bgr = chance.choice(((104, 92, 80), (128, 112, 96), (84, 76, 68)))
        glass = dimmed(LIT_WINDOW, chance.uniform(0.7, 1)) if is_lit else glass
        self._wall((left, front), (right, front), (low, high), glass, normal, glows=is_lit)
        if not is_lit:  # the sky in the upper half
            corners = [
                (left, front, high),
                (right, front, high),
                (right, front, low + (high - low) * 0.65),
                (left, front, low + (high - low) * 0.4),
            ]
            self._face(corners, lightened(glass, 0.2), normal)
        middle = (left + right) / 2
        self._wall((middle - 0.035, front), (middle + 0.035, front), (low, high), frame, normal)
        self._wall((left - 0.15, front), (right + 0.15, front), (low - 0.2, low - 0.09), dimmed(wall, 0.7), normal)

    def _shop(
        self, x0: float, x1: float, storey: float, front: float, behind: float, normal: Corner, wall: Bgr
    ) -> None:
        chance = self._chance
        is_lit = self._light.are_lamps_on and chance.random() < 0.8
        sign: Bgr = chance.choice(
            ((60, 50, 150), (120, 70, 40), (50, 100, 50), (40, 40, 42), (60, 140, 200), (130, 120, 40))
        )
        left, right = x0 + 0.5, x1 - 0.5
        self._wall((left, front), (right, front), (0.1, storey - 0.35), dimmed(sign, 0.55), normal)
        panes = max(2, round((right - left) / 2.2))
        for pane in range(panes):
            a = left + 0.12 + pane * (right - left - 0.12) / panes
            b = left + (pane + 1) * (right - left - 0.12) / panes
            low = 0.15 if pane == panes // 2 else 0.55
            glass: Bgr = dimmed(LIT_WINDOW, chance.uniform(0.85, 1)) if is_lit else (96, 86, 76)
            self._wall((a, front), (b, front), (low, storey - 0.95), glass, normal, glows=is_lit)
            for _ in range(3):  # goods in the window
                at, tall = chance.uniform(a, b - 0.3), chance.uniform(0.2, 0.9)
                self._wall(
                    (at, front),
                    (min(at + 0.35, b), front),
                    (low, low + tall),
                    dimmed(chance.choice((sign, wall, (60, 90, 140))), 0.8),
                    normal,
                )
        self._wall((left, front), (right, front), (storey - 0.85, storey - 0.3), sign, normal)
        letters = (right - left) * 0.3  # a sign that cannot be read
        for step in range(7):
            at = (left + right - letters) / 2 + step * letters / 7
            self._wall(
                (at, front),
                (at + letters / 11, front),
                (storey - 0.7, storey - 0.45),
                (225, 228, 230),
                normal,
                glows=is_lit,
            )
        if chance.random() < 0.6:  # an awning
            stripes = max(4, round((right - left) / 0.7))
            for stripe in range(stripes):
                a, b = left + stripe * (right - left) / stripes, left + (stripe + 1) * (right - left) / stripes
                colour: Bgr = (225, 226, 228) if stripe % 2 else lightened(sign, 0.15)
                out = front - behind * 1.2
                self._face(
                    [(a, front, 2.75), (b, front, 2.75), (b, out, 2.3), (a, out, 2.3)], colour, (0, -behind * 0.4, 0.9)
                )
                self._wall((a, out), (b, out), (2.1, 2.3), dimmed(colour, 0.9), normal)

    def _lamp_positions(self) -> list[tuple[float, float, float]]:
        """x, y of the lamp posts, and the side to which they lean over the road."""
        near_y, far_y = self._street.near_kerb_m - 0.45, self._street.far_kerb_m + 0.5
        return [(16.0 + 26 * step, near_y, 1.0) for step in range(6)] + [
            (28.0 + 26 * step, far_y, -1.0) for step in range(6)
        ]

    def furniture(self) -> list[tuple[float, npt.NDArray[np.uint8]]]:
        """Paint trees and lamp posts, furthest first; return their y and their masks, uint8 [H, W] in 0..255."""
        far_tree = self._street.far_kerb_m + 1.1
        spacing = self._chance.uniform(11, 17)
        things: list[tuple[float, float, float]] = [(y, x, lean) for x, y, lean in self._lamp_positions()]
        things += [(far_tree, 6 + spacing * (step + self._chance.uniform(0, 0.3)), 0.0) for step in range(9)]
        pieces: list[tuple[float, npt.NDArray[np.uint8]]] = []
        for y, x, lean in sorted(things, key=lambda thing: (-thing[0], -thing[1])):
            cover = np.zeros(self.canvas.shape[:2], np.uint8)
            polygons = self._lamp_post(x, y, lean) if lean else self._tree(x, y)
            haze_m = math.hypot(x, y)
            colours = self._light.through_haze(np.array([colour for _, colour in polygons]), haze_m)
            for (corners, _), colour in zip(polygons, colours, strict=True):
                self._fill(self.canvas, corners, colour)
                self._fill(cover, corners, 255)
            if lean and self._light.are_lamps_on:
                self._glow((x, y + 1.6 * lean, 5.55))
            if haze_m < 75:
                pieces.append((y, cover))
        return pieces

    def _tree(self, x: float, y: float) -> list[tuple[Points, Bgr]]:
        chance, light = self._chance, self._light
        tall, wide = chance.uniform(5.8, 8.0), chance.uniform(1.7, 2.5)
        centre = np.array((x, y, tall - wide * 0.9))
        bark, leaf = (52, 66, 84), chance.choice(((44, 104, 74), (40, 92, 88), (50, 112, 62), (40, 110, 128)))
        root = self._upright(x, y, 0.0, tall - wide, 0.16, 0.09)
        side = light.on(np.array([bark], np.float64), np.array([(0.0, -1.0, 0.0)]))[0]
        polygons: list[tuple[Points, Bgr]] = [(root, (side[0], side[1], side[2]))]
        unit = self._camera.focal_px / max(float(self._camera.to_camera(centre[None])[0, 2]), NEAR_M)
        blobs = []
        for _ in range(150 if unit * wide < 70 else 420):
            direction = np.array([chance.gauss(0, 1) for _ in range(3)])
            direction /= math.sqrt(float((direction**2).sum())) + 1e-9
            blobs.append((direction, chance.uniform(0.45, 1.0)))
        blobs.sort(key=lambda blob: (blob[0] * blob[1])[2] - 1.5 * (blob[0] * blob[1])[1])
        for direction, reach in blobs:
            blob_xyz = centre + direction * reach * np.array((wide, wide, wide * 0.9))
            middle = self._camera.project(blob_xyz[None])[0]
            size = unit * wide * chance.uniform(0.13, 0.24) * (1.0 if unit * wide < 70 else 0.62)
            turns = np.arange(8) * (math.tau / 8)
            radius = np.array([size * chance.uniform(0.7, 1.25) for _ in turns])
            lit = light.on(np.array([leaf], np.float64) * chance.uniform(0.75, 1.15), direction[None])[0] * (
                0.62 + 0.38 * reach
            )
            polygons.append(
                (middle + np.stack([radius * np.cos(turns), radius * np.sin(turns)], axis=1), (lit[0], lit[1], lit[2]))
            )
        return polygons

    def _lamp_post(self, x: float, y: float, lean: float) -> list[tuple[Points, Bgr]]:
        steel = self._light.on(np.array([(92.0, 92, 90)]), np.array([(0.0, -1.0, 0.0)]))[0]
        tone: Bgr = (steel[0], steel[1], steel[2])
        arm = self._camera.project_polygon(
            np.array([(x, y, 5.6), (x, y + 1.7 * lean, 5.75), (x, y + 1.7 * lean, 5.67), (x, y, 5.48)])
        )
        head = self._camera.project_polygon(
            np.array(
                [
                    (x - 0.14, y + 1.2 * lean, 5.62),
                    (x + 0.14, y + 1.2 * lean, 5.62),
                    (x + 0.14, y + 1.9 * lean, 5.66),
                    (x - 0.14, y + 1.9 * lean, 5.66),
                ]
            )
        )
        return [
            (self._upright(x, y, 0, 5.6, 0.08, 0.05), tone),
            (arm, tone),
            (head, LAMP_COLOUR if self._light.are_lamps_on else dimmed(tone, 0.8)),
        ]

    def _upright(self, x: float, y: float, low: float, high: float, radius_low: float, radius_high: float) -> Points:
        """The outline [4, 2] px of a post that is as broad from every side."""
        ends = self._camera.to_camera(np.array([(x, y, low), (x, y, high)], np.float64))
        (foot, tip), depths = self._camera.to_pixels(ends), ends[:, 2]
        broad = np.maximum(np.array((radius_low, radius_high)) * self._camera.focal_px / depths, 0.5)
        return np.array(
            [
                (foot[0] - broad[0], foot[1]),
                (tip[0] - broad[1], tip[1]),
                (tip[0] + broad[1], tip[1]),
                (foot[0] + broad[0], foot[1]),
            ]
        )

    def _glow(self, position: Corner) -> None:
        seen = self._camera.to_camera(np.array([position], np.float64))
        if seen[0, 2] > NEAR_M:
            radius = 1.1 * self._camera.focal_px / float(seen[0, 2])
            add_glow(self.canvas, self._camera.to_pixels(seen)[0], radius, LAMP_COLOUR, 0.9)


def add_glow(canvas: PixelArray, middle_px: Points, radius_px: float, colour: Bgr, strength: float) -> None:
    """Add light that fades out with the distance from a point."""
    reach = int(radius_px) + 1
    left, top = int(middle_px[0]) - reach, int(middle_px[1]) - reach
    height, width = canvas.shape[:2]
    x0, y0, x1, y1 = max(left, 0), max(top, 0), min(left + 2 * reach, width), min(top + 2 * reach, height)
    if x0 >= x1 or y0 >= y1:
        return
    across = (np.arange(x0, x1) + 0.5 - middle_px[0]) ** 2
    along = (np.arange(y0, y1) + 0.5 - middle_px[1]) ** 2
    fade = np.clip(1 - np.sqrt(across[None, :] + along[:, None]) / radius_px, 0, 1) ** 2.5 * strength  # [h, w]
    light = (fade[..., None] * np.array(colour)).astype(np.uint8)  # [h, w, 3]
    canvas[y0:y1, x0:x1] = cv2.add(canvas[y0:y1, x0:x1], light)


def _wrapped(tile: Weights, x: Weights, y: Weights) -> Weights:
    """The tile [h, w], repeated without end, read at x and y [H, W] in its pixels."""
    height, width = tile.shape
    tile_x = np.mod(x, width).astype(np.float32)
    tile_y = np.mod(y, height).astype(np.float32)
    return np.asarray(cv2.remap(tile, tile_x, tile_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP), np.float32)
