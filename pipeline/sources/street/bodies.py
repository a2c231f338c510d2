"""Bodies: a random generator → the shape and colours of a car, bus, truck, bicycle or person.

A body is a list of flat faces in the order in which they are painted, around the middle of its footprint: x ahead,
y to the left, z up, in metres. A limb is a rounded stick between two joints. Colours are BGR in 0..255, unlit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from random import Random
from typing import Protocol

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Bgr = tuple[float, float, float]
Corner = tuple[float, float, float]

PAINTS: tuple[Bgr, ...] = (  # of cars, the frequent colours first
    (232, 232, 230), (205, 204, 200), (150, 150, 148), (96, 94, 92), (52, 50, 50), (40, 36, 38),
    (44, 40, 170), (150, 92, 38), (96, 52, 24), (60, 96, 52), (60, 150, 205), (70, 110, 160), (150, 170, 190),
)  # fmt: skip
CLOTHES: tuple[Bgr, ...] = (
    (58, 48, 44), (96, 70, 44), (140, 96, 60), (60, 60, 150), (50, 40, 120), (80, 120, 70), (190, 190, 186),
    (120, 120, 120), (70, 160, 200), (160, 120, 150), (40, 40, 44), (110, 140, 170), (60, 130, 60), (40, 90, 210),
)  # fmt: skip
TROUSERS: tuple[Bgr, ...] = ((92, 64, 44), (70, 50, 40), (48, 46, 46), (110, 130, 150), (60, 74, 90), (120, 92, 70))
SKINS: tuple[Bgr, ...] = ((150, 178, 222), (132, 160, 208), (96, 124, 172), (62, 86, 128), (44, 60, 92))
HAIRS: tuple[Bgr, ...] = ((30, 34, 40), (40, 56, 84), (52, 84, 130), (110, 160, 200), (140, 140, 142))
GLASS: Bgr = (66, 58, 50)
TYRE: Bgr = (34, 33, 33)
RIM: Bgr = (150, 148, 146)


@dataclass(frozen=True, slots=True)
class Lamp:
    """A light that glows in the dusk."""

    position: Corner
    colour: Bgr
    radius_m: float


@dataclass(frozen=True, slots=True)
class Body:
    """Faces of one road user, padded to P corners by repeating the last, in painting order."""

    corners: Array  # [F, P, 3]
    normals: Array  # [F, 3], 0 where a face is seen from both sides
    colours: Array  # [F, 3]
    sizes_m: Array  # [F], by which a face is left out if it is too small in the picture
    footprint: Array  # [C, 3], the points that cast a shadow
    lamps: tuple[Lamp, ...] = ()


@dataclass(frozen=True, slots=True)
class Limbs:
    """Rounded sticks in painting order."""

    ends: Array  # [L, 2, 3]
    radii_m: Array  # [L, 2]
    colours: Array  # [L, 3]


class Modeller:
    """Collects the faces of a body."""

    def __init__(self) -> None:
        self._faces: list[tuple[Array, Array, Bgr, float]] = []
        self.lamps: list[Lamp] = []

    def face(self, corners: Sequence[Corner], colour: Bgr, normal: Corner | None = None) -> None:
        """Add a face; without a normal, that of its first three corners, counter-clockwise from outside."""
        points = np.array(corners, np.float64)
        if normal is None:
            cross = np.cross(points[1] - points[0], points[2] - points[0])
            normal_xyz = cross / max(math.sqrt(float((cross**2).sum())), 1e-9)
        else:
            normal_xyz = np.array(normal, np.float64)
        extent = np.sort(points.max(axis=0) - points.min(axis=0))
        self._faces.append((points, normal_xyz, colour, float(extent[1])))

    def sides(self, outline_xz: Sequence[tuple[float, float]], half_widths: Sequence[float], colour: Bgr) -> None:
        """Add the same outline on the right and on the left side."""
        for side in (-1, 1):
            corners = [(x, side * w, z) for (x, z), w in zip(outline_xz, half_widths, strict=True)]
            self.face(corners, colour, (0, side, 0))

    def side_quad(self, x: tuple[float, float], z: tuple[float, float], half_width: float, colour: Bgr) -> None:
        """Add an upright rectangle on the right and on the left side."""
        self.sides([(x[0], z[0]), (x[1], z[0]), (x[1], z[1]), (x[0], z[1])], [half_width] * 4, colour)

    def across(
        self, a: tuple[float, float], b: tuple[float, float], y: tuple[float, float], colour: Bgr, *, lift: float = 0.0
    ) -> None:
        """Add a strip from (x, z) = a to b, across the body between two y; seen from the left of a → b."""
        length = max(math.hypot(b[0] - a[0], b[1] - a[1]), 1e-9)
        normal = (-(b[1] - a[1]) / length, 0.0, (b[0] - a[0]) / length)
        shift_x, shift_z = normal[0] * lift, normal[2] * lift
        corners = [
            (a[0] + shift_x, y[0], a[1] + shift_z), (b[0] + shift_x, y[0], b[1] + shift_z),
            (b[0] + shift_x, y[1], b[1] + shift_z), (a[0] + shift_x, y[1], a[1] + shift_z),
        ]  # fmt: skip
        self.face(corners, colour, normal)

    def wheels(self, axles_m: Sequence[float], *, radius_m: float, half_width: float) -> None:
        """Add wheels with dark arches on both sides."""
        for x in axles_m:
            for radius, z, colour in ((1.18, 1.08, (22, 21, 21)), (1.0, 1.0, TYRE), (0.62, 1.0, RIM), (0.2, 1.0, TYRE)):
                circle = [
                    (
                        x + radius * radius_m * math.cos(turn),
                        max(0.0, z * radius_m + radius * radius_m * math.sin(turn)),
                    )
                    for turn in (math.tau * step / 12 for step in range(12))
                ]
                self.sides(circle, [half_width] * 12, colour)

    def lamp_pairs(self, x: float, z: float, half_width: float, *, is_front: bool) -> None:
        """Add a lamp on the right and on the left side: white in front, red behind."""
        for side in (-1, 1):
            colour: Bgr = (190, 235, 255) if is_front else (30, 30, 235)
            self.lamps.append(Lamp((x, side * half_width, z), colour, 1.0 if is_front else 0.45))

    def body(self, footprint: Sequence[Corner]) -> Body:
        """The body of all faces added so far."""
        longest = max(len(points) for points, *_ in self._faces)
        padded = [np.concatenate([p, np.repeat(p[-1:], longest - len(p), axis=0)]) for p, *_ in self._faces]
        return Body(
            corners=np.array(padded),
            normals=np.array([normal for _, normal, *_ in self._faces]),
            colours=np.array([colour for *_, colour, _ in self._faces], np.float64),
            sizes_m=np.array([size for *_, size in self._faces]),
            footprint=np.array(footprint, np.float64),
            lamps=tuple(self.lamps),
        )


def car(chance: Random, *, is_seen_from_behind: bool) -> Body:
    """A car: saloon, hatchback, estate or tall."""
    paint = chance.choice(PAINTS)
    style = chance.choice(("saloon", "hatchback", "estate", "tall"))
    half = {"saloon": 2.28, "hatchback": 2.0, "estate": 2.3, "tall": 2.15}[style]
    roof = {"saloon": 1.45, "hatchback": 1.5, "estate": 1.5, "tall": 1.72}[style]
    belt = 0.93 if style != "tall" else 1.05
    w, top = 0.88, 0.68  # half widths at the belt and at the roof
    back_base = {"saloon": -half + 0.55, "hatchback": -half + 0.12, "estate": -half + 0.08, "tall": -half + 0.08}[style]
    back_roof = {"saloon": -half + 1.25, "hatchback": -half + 0.65, "estate": -half + 0.45, "tall": -half + 0.35}[style]
    front_base, front_roof = half - 1.15, half - 1.95
    nose = belt - 0.18

    shape = Modeller()
    lower = [
        (-half + 0.06, 0.24), (-half, 0.5), (-half + 0.06, belt - 0.04), (back_base, belt + 0.03),
        (front_base, belt + 0.02), (half - 0.35, nose + 0.05), (half - 0.06, nose - 0.08), (half, 0.46),
        (half - 0.08, 0.24),
    ]  # fmt: skip
    for a, b in pairwise(lower):
        shape.across(a, b, (-w, w), paint)
    # The rear: lights, plate, bumper.
    shape.across((-half + 0.01, 0.34), (-half, 0.5), (-w, w), dimmed(paint, 0.6))
    for side in (-1, 1):
        inner, outer = sorted((side * 0.5, side * 0.86))
        shape.across((-half + 0.01, 0.6), (-half + 0.05, belt - 0.08), (inner, outer), (40, 36, 190), lift=0.01)
    shape.across((-half + 0.01, 0.52), (-half + 0.02, 0.66), (-0.27, 0.27), (215, 220, 220), lift=0.015)
    # The front: grille, lights, plate.
    shape.across((half - 0.02, 0.56), (half, 0.36), (-0.6, 0.6), (36, 34, 34), lift=0.01)
    for side in (-1, 1):
        inner, outer = sorted((side * 0.48, side * 0.84))
        shape.across((half - 0.1, nose - 0.03), (half - 0.03, nose - 0.2), (inner, outer), (235, 238, 240), lift=0.01)
    shape.across((half - 0.01, 0.46), (half, 0.36), (-0.26, 0.26), (215, 220, 220), lift=0.015)
    # The sides.
    shape.sides(lower, [w] * len(lower), paint)
    shape.side_quad((-half + 0.3, half - 0.3), (0.22, 0.34), w, dimmed(paint, 0.45))
    shape.side_quad((-half + 0.12, half - 0.35), (belt - 0.16, belt - 0.1), w, lightened(paint, 0.22))
    for x in (-0.62, 0.42):
        shape.side_quad((x, x + 0.03), (0.36, belt), w, dimmed(paint, 0.6))
    shape.wheels((-half + 0.82, half - 0.8), radius_m=0.33, half_width=w + 0.01)
    # The cabin: glass all round, pillars and roof in paint.
    cabin = [(back_base, belt + 0.03), (back_roof, roof - 0.03), (front_roof - 0.2, roof), (front_roof, roof - 0.03),
             (front_base, belt + 0.02)]  # fmt: skip
    widths = [w - 0.05, top, top, top, w - 0.05]
    for index, (a, b) in enumerate(pairwise(cabin)):
        wide, narrow = widths[index], widths[index + 1]
        corners = [(a[0], -wide, a[1]), (b[0], -narrow, b[1]), (b[0], narrow, b[1]), (a[0], wide, a[1])]
        shape.face(corners, paint)
        if index in (0, 3):  # rear window and windscreen
            shape.face(inset(corners, 0.1), (118, 104, 92) if index == 3 else (86, 76, 68))
    shape.sides(cabin, widths, paint)
    shape.sides([cabin[index] for index in (0, 1, 3, 4)], [widths[index] + 0.005 for index in (0, 1, 3, 4)], paint)
    for side in (-1, 1):
        window = [(cabin[index][0], side * (widths[index] + 0.01), cabin[index][1]) for index in (0, 1, 3, 4)]
        shape.face(inset(window, 0.14), GLASS, (0, side, 0.3))
    shape.side_quad((-0.68, -0.58), (belt, roof - 0.05), (w + top) / 2, paint)
    shape.lamp_pairs(half, nose - 0.1, 0.66, is_front=True)
    shape.lamp_pairs(-half, belt - 0.2, 0.7, is_front=False)
    return shape.body(
        [(x, y, 0.0) for x in (-half, half) for y in (-w, w)]
        + [(x, y, roof) for x in (back_roof, front_roof) for y in (-top, top)]
    )


def bus(chance: Random, *, is_seen_from_behind: bool) -> Body:
    """A city bus with a strip of windows, doors and a lit line display."""
    paint = chance.choice(
        ((50, 60, 190), (190, 130, 50), (70, 150, 80), (60, 190, 225), (225, 225, 222), (110, 60, 120))
    )
    band = chance.choice(((235, 235, 232), dimmed(paint, 0.65)))
    half, w, roof = 5.7, 1.27, 3.05
    shape = Modeller()
    outline = [
        (-half + 0.03, 0.3), (-half, 1.2), (-half + 0.08, roof - 0.15), (-half + 0.35, roof),
        (half - 0.35, roof), (half - 0.06, roof - 0.25), (half, 1.1), (half - 0.04, 0.3),
    ]  # fmt: skip
    for index, (a, b) in enumerate(pairwise(outline)):
        shape.across(a, b, (-w, w), lightened(band, 0.1) if index == 3 else paint)
    shape.sides(outline, [w] * len(outline), paint)
    # The rear: window and lights. The front: windscreen, display, lights.
    shape.across((-half, 1.5), (-half + 0.06, 2.4), (-0.95, 0.95), GLASS, lift=0.01)
    for side in (-1, 1):
        inner, outer = sorted((side * 0.85, side * 1.18))
        shape.across((-half + 0.02, 0.6), (-half, 1.05), (inner, outer), (40, 36, 190), lift=0.01)
        shape.across((half - 0.01, 0.85), (half - 0.03, 0.55), (inner, outer), (235, 238, 240), lift=0.02)
    shape.across((half - 0.05, 2.4), (half, 1.12), (-1.15, 1.15), (92, 82, 72), lift=0.02)
    shape.across((half - 0.07, 2.78), (half - 0.05, 2.48), (-0.95, 0.95), (30, 30, 30), lift=0.02)
    shape.across((half - 0.06, 2.72), (half - 0.05, 2.54), (-0.6, 0.5), (40, 170, 250), lift=0.03)
    # The sides: skirt, band, windows, doors on the right.
    shape.side_quad((-half + 0.05, half - 0.06), (0.3, 0.5), w, dimmed(paint, 0.5))
    shape.side_quad((-half + 0.06, half - 0.08), (1.0, 1.22), w, band)
    shape.side_quad((-half + 0.2, half - 0.15), (1.32, 2.45), w, GLASS)
    for step in range(1, 8):
        x = -half + 0.2 + step * (2 * half - 0.35) / 8
        shape.side_quad((x - 0.05, x + 0.05), (1.32, 2.45), w, dimmed(paint, 0.55))
    shape.side_quad((-half + 0.35, half - 0.3), (2.2, 2.3), w, (112, 102, 94))
    for x in (half - 1.3, -0.6):
        door = [(x, -w, 0.36), (x + 1.15, -w, 0.36), (x + 1.15, -w, 2.5), (x, -w, 2.5)]
        shape.face(door, (54, 52, 50), (0, -1, 0))
        for left in (x + 0.06, x + 0.61):
            pane = [(left, -w, 0.5), (left + 0.48, -w, 0.5), (left + 0.48, -w, 2.4), (left, -w, 2.4)]
            shape.face(pane, (104, 94, 84), (0, -1, 0))
    shape.wheels((-half + 2.6, half - 2.6), radius_m=0.48, half_width=w + 0.01)
    # The cooling unit on the roof.
    box(shape, (-2.2, 0.4), (-0.8, 0.8), (roof, roof + 0.25), lightened(band, 0.05))
    shape.lamp_pairs(half, 0.7, 1.0, is_front=True)
    shape.lamp_pairs(-half, 0.8, 1.0, is_front=False)
    return shape.body([(x, y, z) for x in (-half, half) for y in (-w, w) for z in (0.0, roof)])


def truck(chance: Random, *, is_seen_from_behind: bool) -> Body:
    """A lorry: a cab and a box. The part that lies further away is painted first."""
    paint = chance.choice(PAINTS)
    cargo = chance.choice(
        ((228, 228, 224), (206, 208, 208), (150, 110, 60), (60, 80, 170), (120, 150, 90), (70, 170, 220))
    )
    stripe = chance.choice(PAINTS)
    half = chance.uniform(3.5, 4.5)
    w, height = 1.25, chance.uniform(3.0, 3.6)
    split = half - 2.0
    shape = Modeller()

    def cab() -> None:
        outline = [(split, 0.45), (split, 2.55), (half - 0.55, 2.65), (half - 0.12, 1.6), (half, 1.45), (half, 0.4)]
        for a, b in pairwise(outline):
            shape.across(a, b, (-w, w), paint)
        shape.sides(outline, [w - 0.02] * len(outline), paint)
        shape.across((half - 0.48, 2.48), (half - 0.14, 1.65), (-1.1, 1.1), (104, 92, 82), lift=0.02)
        shape.across((half, 1.35), (half, 0.85), (-0.8, 0.8), (44, 42, 42), lift=0.01)
        shape.across((half, 0.62), (half, 0.4), (-w, w), (60, 58, 58), lift=0.01)
        for side in (-1, 1):
            inner, outer = sorted((side * 0.85, side * 1.18))
            shape.across((half, 0.98), (half, 0.74), (inner, outer), (235, 238, 240), lift=0.02)
        shape.sides([(split + 0.55, 1.55), (half - 0.22, 1.55), (half - 0.6, 2.4), (split + 0.55, 2.4)], [w] * 4, GLASS)
        shape.side_quad((split + 0.45, split + 0.49), (0.7, 2.5), w, dimmed(paint, 0.6))
        shape.wheels((half - 0.95,), radius_m=0.47, half_width=w)

    def load() -> None:
        box(shape, (-half, split - 0.15), (-w, w), (1.0, height), cargo)
        shape.side_quad((-half + 0.1, split - 0.25), (1.9, 2.25), w, stripe)
        shape.side_quad((-half + 0.5, -half + 1.7), (1.5, 2.7), w, stripe)
        shape.across((-half, 1.08), (-half, height - 0.08), (-0.03, 0.03), dimmed(cargo, 0.55), lift=0.01)
        for y in (-0.7, 0.7):
            shape.across((-half, 1.1), (-half, height - 0.1), (y - 0.03, y + 0.03), dimmed(cargo, 0.7), lift=0.01)
        shape.side_quad((-half + 0.1, split), (0.6, 1.0), w - 0.15, (48, 46, 46))
        shape.across((-half, 0.55), (-half, 0.95), (-w, w), (52, 50, 50))
        for side in (-1, 1):
            inner, outer = sorted((side * 0.8, side * 1.15))
            shape.across((-half, 0.68), (-half, 0.88), (inner, outer), (40, 36, 200), lift=0.02)
        shape.wheels((-half + 1.1, -half + 2.15), radius_m=0.47, half_width=w)

    for part in (cab, load) if is_seen_from_behind else (load, cab):
        part()
    shape.lamp_pairs(half, 0.86, 1.0, is_front=True)
    shape.lamp_pairs(-half, 0.78, 1.0, is_front=False)
    return shape.body([(x, y, z) for x in (-half, half) for y in (-w, w) for z in (0.0, height)])


def bicycle(chance: Random, *, is_seen_from_behind: bool) -> Body:
    """A bicycle without its rider: rings, tubes, handlebar; seen from both sides."""
    paint = chance.choice(((40, 40, 200), (190, 110, 40), (40, 40, 40), (70, 160, 70), (220, 220, 220), (40, 180, 230)))
    shape = Modeller()
    both = (0.0, 0.0, 0.0)
    for x in (-0.53, 0.53):
        for outer, inner, colour in ((0.345, 0.29, TYRE), (0.29, 0.27, (170, 170, 168))):
            rings = [
                [(x + radius * math.cos(turn), 0.0, 0.35 + radius * math.sin(turn))
                 for turn in (math.tau * step / 16 for step in range(17))]
                for radius in (outer, inner)
            ]  # fmt: skip
            shape.face(rings[0] + rings[1][::-1], colour, both)
    tubes = [((-0.53, 0.35), (-0.1, 0.32)), ((-0.53, 0.35), (-0.17, 0.82)), ((-0.1, 0.32), (-0.19, 0.92)),
             ((-0.1, 0.32), (0.38, 0.76)), ((-0.17, 0.82), (0.38, 0.82)), ((0.53, 0.35), (0.36, 0.98))]  # fmt: skip
    for (x0, z0), (x1, z1) in tubes:
        length = math.hypot(x1 - x0, z1 - z0)
        dx, dz = -(z1 - z0) / length * 0.024, (x1 - x0) / length * 0.024
        corners = [(x0 + dx, 0.0, z0 + dz), (x1 + dx, 0.0, z1 + dz), (x1 - dx, 0.0, z1 - dz), (x0 - dx, 0.0, z0 - dz)]
        shape.face(corners, paint, both)
    for x, z, y, width, colour in ((-0.2, 0.95, 0.09, 0.13, (30, 30, 30)), (0.36, 1.0, 0.27, 0.04, (60, 60, 60))):
        shape.face([(x - width, -y, z), (x + width, -y, z), (x + width, y, z), (x - width, y, z)], colour, both)
        shape.face([(x, -y, z - 0.03), (x, y, z - 0.03), (x, y, z + 0.03), (x, -y, z + 0.03)], colour, both)
    shape.lamps.append(Lamp((0.5, 0.0, 0.85), (210, 240, 255), 0.4))
    shape.lamps.append(Lamp((-0.8, 0.0, 0.6), (30, 30, 235), 0.25))
    return shape.body([(x, y, z) for x in (-0.85, 0.85) for y in (-0.03, 0.03) for z in (0.0, 0.6)])


class MakeBody(Protocol):
    """Makes a body of random looks, its parts in painting order: the part nearest to the camera last."""

    def __call__(self, chance: Random, *, is_seen_from_behind: bool) -> Body: ...


KIND_BODIES: dict[str, MakeBody] = {"car": car, "bus": bus, "truck": truck, "cyclist": bicycle}


@dataclass(frozen=True, slots=True)
class Person:
    """The looks of a person; the positions of the limbs depend on the moment."""

    height_m: float
    girth: float
    top: Bgr
    trousers: Bgr
    skin: Bgr
    hair: Bgr
    shoes: Bgr
    wears_skirt: bool
    bag: Bgr | None
    helmet: Bgr | None

    @classmethod
    def drawn(cls, chance: Random) -> Person:
        """A person of random looks."""
        height = chance.uniform(1.58, 1.88) if chance.random() < 0.88 else chance.uniform(1.2, 1.4)
        return cls(
            height_m=height,
            girth=chance.uniform(0.9, 1.2),
            top=chance.choice(CLOTHES),
            trousers=chance.choice(TROUSERS),
            skin=chance.choice(SKINS),
            hair=chance.choice(HAIRS),
            shoes=chance.choice(((40, 40, 42), (210, 210, 210), (60, 80, 110))),
            wears_skirt=chance.random() < 0.15,
            bag=chance.choice(CLOTHES) if chance.random() < 0.35 else None,
            helmet=chance.choice(PAINTS) if chance.random() < 0.6 else None,
        )

    def walking(self, travelled_m: float, *, heading: int) -> Limbs:
        """The limbs of one stride, upright at (0, 0), the far side first."""
        unit = self.height_m / 1.75
        phase = math.tau * travelled_m / (1.45 * unit)
        hip, shoulder = (0.0, 0.93 * unit), (0.03, 1.42 * unit)
        sticks: list[Stick] = []

        def leg(side: float, turn: float) -> list[Stick]:
            swing = 0.46 * math.sin(turn)
            bend = 0.62 * max(0.0, math.cos(turn)) ** 2 if math.cos(turn) > 0 else 0.06
            knee = jointed(hip, -swing, 0.46 * unit)
            ankle = jointed(knee, -swing + bend, 0.43 * unit)
            toe = (ankle[0] + 0.15 * unit, ankle[1] - 0.02)
            shade = 0.78 if side > 0 else 1.0
            y = side * 0.09
            return [
                (hip, knee, y, 0.088 * self.girth, 0.066, dimmed(self.trousers, shade)),
                (knee, ankle, y, 0.066, 0.045, dimmed(self.skin if self.wears_skirt else self.trousers, shade)),
                (ankle, toe, y, 0.05, 0.038, dimmed(self.shoes, shade)),
            ]

        def arm(side: float, turn: float) -> list[Stick]:
            swing = 0.4 * math.sin(turn)
            elbow = jointed(shoulder, -swing, 0.3 * unit)
            hand = jointed(elbow, -swing - 0.3, 0.26 * unit)
            shade = 0.8 if side > 0 else 1.08
            y = side * 0.2 * self.girth
            return [
                (shoulder, elbow, y, 0.058 * self.girth, 0.046, dimmed(self.top, shade)),
                (elbow, hand, y, 0.044, 0.036, dimmed(self.top, shade)),
                (hand, hand, y, 0.045, 0.045, self.skin),
            ]

        sticks += arm(1, phase) + leg(1, phase + math.pi)
        if self.bag and self.helmet:  # a rucksack
            sticks.append(((-0.17, 1.36 * unit), (-0.17, 1.08 * unit), 0.0, 0.12, 0.12, self.bag))
        sticks += leg(-1, phase)
        sticks += self._trunk((0.0, 0.98 * unit), (0.02, 1.36 * unit), unit)
        if self.wears_skirt:
            sticks.append(((0.0, 0.95 * unit), (0.0, 0.62 * unit), 0.0, 0.15, 0.21, self.trousers))
        sticks += self._head((0.03, 1.62 * unit), unit, helmet=None)
        sticks += arm(-1, phase + math.pi)
        if self.bag and not self.helmet:  # a shopping bag
            sticks.append(((0.05, 0.62 * unit), (0.05, 0.48 * unit), -0.24, 0.07, 0.11, self.bag))
        return assembled(sticks, heading)

    def riding(self, travelled_m: float, *, heading: int) -> Limbs:
        """The limbs of a rider on a bicycle whose middle is (0, 0)."""
        unit = 0.97
        turn = math.tau * travelled_m / 4.8
        hip, shoulder, grip = (-0.2, 1.0), (0.16, 1.45), (0.36, 1.03)
        sticks: list[Stick] = []

        def leg(side: float, turn: float) -> list[Stick]:
            pedal = (-0.1 + 0.16 * math.cos(turn), 0.34 - 0.16 * math.sin(turn))
            knee = between(hip, pedal, 0.43, 0.44, forward=True)
            shade = 0.78 if side > 0 else 1.0
            y = side * 0.1
            return [
                (hip, knee, y, 0.09 * self.girth, 0.065, dimmed(self.trousers, shade)),
                (knee, pedal, y, 0.065, 0.046, dimmed(self.trousers, shade)),
                ((pedal[0] - 0.04, pedal[1]), (pedal[0] + 0.13, pedal[1]), y, 0.045, 0.04, dimmed(self.shoes, shade)),
            ]

        def arm(side: float) -> list[Stick]:
            elbow = between(shoulder, grip, 0.27, 0.26, forward=False)
            shade = 0.8 if side > 0 else 1.08
            return [
                (shoulder, elbow, side * 0.19, 0.055, 0.046, dimmed(self.top, shade)),
                (elbow, grip, side * 0.23, 0.045, 0.04, dimmed(self.top, shade)),
            ]

        sticks += leg(1, turn + math.pi) + arm(1)
        sticks += self._trunk((hip[0] + 0.02, hip[1] + 0.05), (shoulder[0] - 0.02, shoulder[1] - 0.04), unit)
        sticks += self._head((0.27, 1.66), unit, helmet=self.helmet)
        sticks += leg(-1, turn) + arm(-1)
        return assembled(sticks, heading)

    def _trunk(self, hip: Joint, chest: Joint, unit: float) -> list[Stick]:
        wide = 0.15 * self.girth
        return [
            (hip, (hip[0], hip[1] - 0.05 * unit), 0.0, wide, wide * 0.95, self.trousers),
            (hip, chest, 0.08, wide * 0.9, wide * 1.02, dimmed(self.top, 0.86)),
            (hip, chest, -0.05, wide * 0.9, wide * 1.02, self.top),
        ]

    def _head(self, middle: Joint, unit: float, *, helmet: Bgr | None) -> list[Stick]:
        x, z = middle
        crown = helmet or self.hair
        return [
            ((x - 0.01, z - 0.2 * unit), (x, z - 0.05), 0.0, 0.055, 0.055, dimmed(self.skin, 0.85)),
            ((x - 0.03, z - 0.02), (x - 0.01, z + 0.06 * unit), 0.0, 0.1, 0.105, dimmed(self.hair, 0.9)),
            ((x + 0.02, z - 0.05), (x + 0.025, z + 0.01), 0.0, 0.075, 0.088, self.skin),
            ((x - 0.03, z + 0.07 * unit), (x + 0.03, z + 0.07 * unit), 0.0, 0.085, 0.08, crown),
        ]


Joint = tuple[float, float]
"""x ahead and z up, metres."""

Stick = tuple[Joint, Joint, float, float, float, Bgr]
"""From one joint to the other, at y (positive: the side away from the camera), with a radius at each, in metres."""


def jointed(start: Joint, angle: float, length: float) -> Joint:
    """The other end of a bone that hangs from `start`, turned backwards by `angle`."""
    return start[0] - length * math.sin(angle), start[1] - length * math.cos(angle)


def between(start: Joint, end: Joint, first: float, second: float, *, forward: bool) -> Joint:
    """The joint between two bones of these lengths that reach from start to end."""
    dx, dz = end[0] - start[0], end[1] - start[1]
    distance = min(math.hypot(dx, dz), (first + second) * 0.999)
    along = (first**2 - second**2 + distance**2) / (2 * distance)
    aside = math.sqrt(max(0.0, first**2 - along**2)) * (1 if forward else -1)
    ux, uz = dx / distance, dz / distance
    return start[0] + ux * along - uz * aside, start[1] + uz * along + ux * aside


def assembled(sticks: Sequence[Stick], heading: int) -> Limbs:
    """Sticks → limbs, turned to the heading."""
    return Limbs(
        ends=np.array([[(heading * a[0], y, a[1]), (heading * b[0], y, b[1])] for a, b, y, *_ in sticks]),
        radii_m=np.array([stick[3:5] for stick in sticks]),
        colours=np.array([stick[5] for stick in sticks], np.float64),
    )


def box(shape: Modeller, x: tuple[float, float], y: tuple[float, float], z: tuple[float, float], colour: Bgr) -> None:
    """Add a cuboid without its bottom."""
    outline = [(x[0], z[0]), (x[0], z[1]), (x[1], z[1]), (x[1], z[0])]
    for a, b in pairwise(outline):
        shape.across(a, b, y, colour)
    for side, side_y in ((-1, y[0]), (1, y[1])):
        shape.face([(px, side_y, pz) for px, pz in outline], colour, (0, side, 0))


def inset(corners: Sequence[Corner], share: float) -> list[Corner]:
    """The same polygon drawn in towards its middle by that share."""
    points = np.array(corners)
    moved = points + (points.mean(axis=0) - points) * share
    return [(float(x), float(y), float(z)) for x, y, z in moved]


def dimmed(colour: Bgr, factor: float) -> Bgr:
    """The colour, multiplied by that factor."""
    return colour[0] * factor, colour[1] * factor, colour[2] * factor


def lightened(colour: Bgr, share: float) -> Bgr:
    """The colour, moved towards white by that share."""
    return (
        colour[0] + (255 - colour[0]) * share,
        colour[1] + (255 - colour[1]) * share,
        colour[2] + (255 - colour[2]) * share,
    )
