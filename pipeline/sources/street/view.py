"""Street view: a moment of the street → its picture, and the boxes of the objects that are visible in it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from random import Random

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.picture.detections import Detections
from pipeline.picture.frame import PixelArray
from pipeline.sources.street.bodies import KIND_BODIES, Array, Body, Lamp, Limbs, Person
from pipeline.sources.street.camera import NEAR_M, Camera, Points, cut_at_near
from pipeline.sources.street.lighting import Light
from pipeline.sources.street.scene import KIND_LENGTH_M, RoadUser, Street
from pipeline.sources.street.scenery import SUBPIXEL_BITS, Occluder, add_glow, painted, to_subpixels

CLASS_NAMES = ("person", "bicycle", "car", "bus", "truck")
"""COCO's names, in COCO's order."""

LEAST_VISIBLE = 0.3  # share of its outline within the picture that nothing hides, for an object to be labelled
LEAST_INSIDE = 0.15  # share of its box that must lie within the picture
LEAST_LONG_SIDE = 0.06  # of the picture's height: the longer side of a labelled box
LEAST_SHORT_SIDE = 0.025  # likewise the shorter one

_LEAST_PAINTED_PX = 1.0  # smaller faces and thinner limbs are left out
_LEAST_SHADE_PX = 8.0  # nobody smaller has a shadow
_HALF_CIRCLE = np.linspace(-math.pi / 2, math.pi / 2, 6)

PixelBox = tuple[int, int, int, int]
"""Left, top, right and bottom, in integer pixels of the picture."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One object of one class in the picture."""

    class_name: str
    track_id: int  # of the road user that it belongs to
    y_m: float
    polygons: list[npt.NDArray[np.int32]]  # of [P, 2], in sixteenths of a pixel, in painting order
    colours: list[list[float]]  # BGR, one for each polygon
    box_xyxy: tuple[float, float, float, float]  # pixels, of the complete outline, also outside the picture
    lamps: tuple[tuple[Points, float, Lamp], ...] = ()  # middle and radius in pixels


class StreetView:
    """A street through its camera, in pictures of one size. May be used from several threads."""

    def __init__(self, street: Street, *, size_wh: tuple[int, int]) -> None:
        self._street = street
        self._camera = Camera.aimed(
            size_wh,
            field_of_view_degrees=street.field_of_view_degrees,
            horizon=street.horizon,
            height_m=street.camera_height_m,
            yaw_degrees=street.camera_yaw_degrees,
            is_mirrored=street.is_mirrored,
        )
        self._light = Light.of(street.light, seed=street.seed)
        self._scenery = painted(street, self._camera, self._light)
        # The truth of a frame is often read soon after its picture, from another thread.
        self._layers = lru_cache(maxsize=24)(self._layers_at)
        self._visible = lru_cache(maxsize=24)(self._visible_at)
        self._bodies: dict[tuple[int, int], Body] = {}
        self._people: dict[tuple[int, int], Person] = {}
        width, height = size_wh
        normal = np.random.Generator(np.random.PCG64(street.seed)).standard_normal(
            (height + 64, width + 64, 3), np.float32
        )
        normal = np.rint(normal * np.float32(self._light.noise))
        self._brighter = np.clip(normal, 0, 255).astype(np.uint8)
        self._darker = np.clip(-normal, 0, 255).astype(np.uint8)
        depth = np.arange(256)[:, None] / 255  # [256, 1], how deep a shadow is
        self._remains = np.rint(255 * (1 - depth * (1 - np.array(self._light.shadow)))).astype(np.uint8)[:, None]

    @property
    def size_wh(self) -> tuple[int, int]:
        """Width and height of the pictures."""
        return self._camera.size_wh

    def paint(self, seconds: float, *, noise_index: int) -> PixelArray:
        """The street at that moment, uint8 [H, W, 3] BGR, a new array; `noise_index` chooses the sensor's noise."""
        canvas = self._with_shadows(self._users_in_view(seconds))
        for layer in self._layers(seconds):
            if isinstance(layer, Occluder):
                window, weights = layer.window, layer.weights
                canvas[window] = cv2.blendLinear(self._scenery.background[window], canvas[window], weights, 1 - weights)
                continue
            for corners, colour in zip(layer.polygons, layer.colours, strict=True):
                cv2.fillPoly(canvas, [corners], colour, cv2.LINE_AA, SUBPIXEL_BITS)
            for middle, radius_px, lamp in layer.lamps:
                add_glow(canvas, middle, radius_px, lamp.colour, 0.8)
        chance = Random(noise_index)
        left, top = int(chance.random() * 64), int(chance.random() * 64)
        height, width = canvas.shape[:2]
        part = np.s_[top : top + height, left : left + width]
        cv2.add(canvas, self._brighter[part], canvas)
        cv2.subtract(canvas, self._darker[part], canvas)
        return canvas

    def visible(self, seconds: float) -> tuple[Detections, Detections]:
        """The labelled objects at that moment, and the ignored ones: visible, but too small or too hidden for a label.

        Boxes enclose the visible pixels of an object, in integer pixels of the picture; scores are 1. A road user
        keeps its track id, which cyclist and bicycle share. An object is labelled if at least LEAST_INSIDE of it lies
        within the picture, at least LEAST_VISIBLE of that is not hidden, and its box measures at least LEAST_LONG_SIDE
        by LEAST_SHORT_SIDE of the picture's height.
        """
        return self._visible(seconds)

    def outlines(self, seconds: float) -> Detections:
        """All objects at that moment, however hidden, with boxes of what of their outlines lies within the picture."""
        figures = [layer for layer in self._layers(seconds) if isinstance(layer, Figure)]
        boxes = np.array([figure.box_xyxy for figure in figures], np.float32).reshape(-1, 4)
        boxes = boxes.clip(0, np.array(self.size_wh * 2, np.float32))
        is_inside = np.asarray((boxes[:, 2:] > boxes[:, :2]).all(axis=1), np.bool_)
        return replace(_as_detections([(figure, (0, 0, 0, 0)) for figure in figures]), boxes_xyxy=boxes).select(
            is_inside
        )

    def object_map(self, seconds: float) -> npt.NDArray[np.uint16]:
        """Which labelled object is in a pixel, [H, W]: 1 + its row in the first part of `visible`, 0 where none is."""
        owners, figures = self._owners(seconds)
        rows = np.zeros(len(figures) + 1, np.uint16)
        labelled, _ = self._sorted(owners, figures)
        rows[[owner for owner, _, _ in labelled]] = np.arange(1, len(labelled) + 1)
        return rows[owners]

    def _visible_at(self, seconds: float) -> tuple[Detections, Detections]:
        labelled, ignored = self._sorted(*self._owners(seconds))
        return _as_detections([seen[1:] for seen in labelled]), _as_detections([seen[1:] for seen in ignored])

    def _owners(self, seconds: float) -> tuple[npt.NDArray[np.int32], list[tuple[Figure, int]]]:
        """The number of the figure in each pixel [H, W], from 1, and all figures with the pixels that they cover."""
        width, height = self.size_wh
        owners = np.zeros((height, width), np.int32)  # number of the figure in a pixel; 0 for none
        figures: list[tuple[Figure, int]] = []  # with the number of pixels that it covers
        for layer in self._layers(seconds):
            if isinstance(layer, Occluder):
                owners[layer.window][layer.weights > 0.5] = 0
                continue
            owner = len(figures) + 1
            for corners in layer.polygons:
                cv2.fillPoly(owners, [corners], owner, cv2.LINE_8, SUBPIXEL_BITS)
            figures.append((layer, int(np.count_nonzero(owners[self._window(layer.box_xyxy)] == owner))))
        return owners, figures

    def _sorted(
        self, owners: npt.NDArray[np.int32], figures: list[tuple[Figure, int]]
    ) -> tuple[list[tuple[int, Figure, PixelBox]], list[tuple[int, Figure, PixelBox]]]:
        """The labelled objects and the ignored ones: number, figure and the box of its visible pixels."""
        labelled: list[tuple[int, Figure, PixelBox]] = []
        ignored: list[tuple[int, Figure, PixelBox]] = []
        for owner, (figure, num_covered) in enumerate(figures, start=1):
            window = self._window(figure.box_xyxy)
            is_seen = owners[window] == owner  # [h, w]
            if not is_seen.any():
                continue
            left, top, wide, high = cv2.boundingRect(is_seen.astype(np.uint8))
            left, top = left + window[1].start, top + window[0].start
            visible = np.count_nonzero(is_seen) / num_covered
            chosen = labelled if self._is_labelled(figure, visible, (wide, high)) else ignored
            chosen.append((owner, figure, (left, top, left + wide, top + high)))
        return labelled, ignored

    def _is_labelled(self, figure: Figure, visible: float, seen_wh: tuple[int, int]) -> bool:
        """Whether an object has a label. visible: share of its pixels that is not hidden; seen_wh: of its box."""
        (width, height), (x0, y0, x1, y1) = self.size_wh, figure.box_xyxy
        inside = (min(x1, width) - max(x0, 0)) * (min(y1, height) - max(y0, 0)) / ((x1 - x0) * (y1 - y0))
        return (
            visible >= LEAST_VISIBLE
            and inside >= LEAST_INSIDE
            and max(seen_wh) >= LEAST_LONG_SIDE * height
            and min(seen_wh) >= LEAST_SHORT_SIDE * height
        )

    def _window(self, box_xyxy: tuple[float, float, float, float]) -> tuple[slice, slice]:
        """The rows and columns of the picture that a box touches, and one more on every side."""
        (width, height), (x0, y0, x1, y1) = self.size_wh, box_xyxy
        rows = slice(min(max(math.floor(y0) - 1, 0), height), min(max(math.ceil(y1) + 1, 0), height))
        return rows, slice(min(max(math.floor(x0) - 1, 0), width), min(max(math.ceil(x1) + 1, 0), width))

    def _users_in_view(self, seconds: float) -> list[RoadUser]:
        """The road users that may lie within the picture, furthest first."""
        users = list(self._street.road_users(seconds))
        middles = np.array([(user.x_m, user.y_m, 1.0) for user in users]).reshape(-1, 3)
        seen = self._camera.to_camera(middles)  # [U, 3]
        margin = np.array([0.8 * KIND_LENGTH_M[user.kind] + 0.5 for user in users])
        widest = self.size_wh[0] / 2 / self._camera.focal_px * np.maximum(seen[:, 2], 0) + 1.3 * margin
        is_in_view = (np.abs(seen[:, 0]) < widest) & (seen[:, 2] > -margin)
        return [user for user, is_kept in zip(users, is_in_view, strict=True) if is_kept]

    def _layers_at(self, seconds: float) -> list[Figure | Occluder]:
        """The layers over the background, furthest first; of trees and posts, those that may hide a road user."""
        layers: list[Figure | Occluder] = []
        boxes: list[tuple[float, float, float, float]] = []
        waiting = list(self._scenery.occluders)
        for user in self._users_in_view(seconds):
            while waiting and waiting[0].y_m > user.y_m:
                occluder = waiting.pop(0)
                if occluder.touches(boxes):
                    layers.append(occluder)
            figures = list(self._figures(user))
            boxes += [figure.box_xyxy for figure in figures]
            layers += figures
        return layers + [occluder for occluder in waiting if occluder.touches(boxes)]

    def _figures(self, user: RoadUser) -> Iterator[Figure]:
        """The objects that a road user consists of, the furthest first: a cyclist is a bicycle and a person."""
        if user.kind != "walker":
            body = self._body(user)
            name = "bicycle" if user.kind == "cyclist" else user.kind
            yield from self._seen_body(name, user, body)
        if user.kind in ("walker", "cyclist"):
            person = self._person(user)
            move = person.walking if user.kind == "walker" else person.riding
            yield from self._seen_limbs(user, move(user.travelled_m, heading=user.heading))

    def _body(self, user: RoadUser) -> Body:
        """The body of a road user, turned to its heading and lit; cached."""
        body = self._bodies.get(user.key)
        if body is None:
            if len(self._bodies) > 1000:
                self._bodies.clear()
            # A vehicle is seen from behind if it drives away: the camera looks along x.
            plain = KIND_BODIES[user.kind](self._looks(user), is_seen_from_behind=user.heading > 0)
            turn = np.array((user.heading, user.heading, 1.0))
            normals = plain.normals * turn
            body = replace(
                plain,
                corners=plain.corners * turn,
                normals=normals,
                footprint=plain.footprint * turn,
                colours=self._light.on(plain.colours, normals),
            )
            self._bodies[user.key] = body
        return body

    def _person(self, user: RoadUser) -> Person:
        person = self._people.get(user.key)
        if person is None:
            if len(self._people) > 1000:
                self._people.clear()
            person = self._people[user.key] = Person.drawn(self._looks(user))
        return person

    def _looks(self, user: RoadUser) -> Random:
        return Random(f"looks {self._street.seed} {user.key[0]} {user.key[1]}")

    def _seen_body(self, class_name: str, user: RoadUser, body: Body) -> Iterator[Figure]:
        camera = self._camera
        corners = body.corners + np.array((user.x_m, user.y_m, 0.0))  # [F, P, 3]
        towards = np.array((0.0, 0.0, camera.height_m)) - corners[:, 0]  # [F, 3]
        facing = (body.normals * towards).sum(axis=1)  # [F], 0 for faces without a normal
        middle = camera.to_camera(np.array(((user.x_m, user.y_m, 1.0),)))[0]
        unit_px = camera.focal_px / max(middle[2], 2.0)
        chosen = np.flatnonzero((facing >= 0) & (body.sizes_m * unit_px > _LEAST_PAINTED_PX))
        seen = camera.to_camera(corners[chosen])  # [G, P, 3]
        colours = self._light.through_haze(body.colours[chosen], middle[2])
        if not len(chosen):
            return
        if seen[..., 2].min() >= NEAR_M:
            flat = camera.to_pixels(seen)  # [G, P, 2]
            polygons, points = list(to_subpixels(flat)), flat.reshape(-1, 2)
        else:
            cut = [(camera.to_pixels(cut_at_near(face)), colour) for face, colour in zip(seen, colours, strict=True)]
            cut = [(face, colour) for face, colour in cut if len(face)]
            if not cut:
                return
            polygons, points = [to_subpixels(face) for face, _ in cut], np.concatenate([face for face, _ in cut])
            colours = np.array([colour for _, colour in cut])
        lamps = self._seen_lamps(user, body) if self._light.are_lamps_on else ()
        yield from self._figure(class_name, user, polygons, colours, points, lamps)

    def _seen_lamps(self, user: RoadUser, body: Body) -> tuple[tuple[Points, float, Lamp], ...]:
        """The lamps at the end of the vehicle that is turned to the camera."""
        lamps = [lamp for lamp in body.lamps if (lamp.position[0] > 0) == (user.heading < 0)]
        positions = np.array(
            [
                (user.x_m + user.heading * x, user.y_m + user.heading * y, z)
                for x, y, z in (lamp.position for lamp in lamps)
            ]
        )
        seen = self._camera.to_camera(positions.reshape(-1, 3))
        return tuple(
            (self._camera.to_pixels(middle), max(lamp.radius_m * self._camera.focal_px / middle[2], 1.5), lamp)
            for middle, lamp in zip(seen, lamps, strict=True)
            if middle[2] > NEAR_M
        )

    def _seen_limbs(self, user: RoadUser, limbs: Limbs) -> Iterator[Figure]:
        """A person: limbs as outlines of rounded sticks, and of their lit sides where they are large enough."""
        camera = self._camera
        seen = camera.to_camera(limbs.ends + np.array((user.x_m, user.y_m, 0.0)))  # [L, 2, 3]
        if seen[..., 2].min() < NEAR_M:
            return
        radii = limbs.radii_m * (camera.focal_px / seen[..., 2])  # [L, 2]
        chosen = 2 * radii.max(axis=1) > _LEAST_PAINTED_PX  # [L]
        if not chosen.any():
            return
        seen, radii = seen[chosen], radii[chosen]
        ends = camera.to_pixels(seen)  # [L, 2, 2]
        outlines = _rounded_sticks(ends, radii)  # [L, 12, 2]
        colours = self._light.on(limbs.colours[chosen], np.zeros((len(ends), 3)))
        colours = self._light.through_haze(colours, float(seen[0, 0, 2]))
        points = outlines.reshape(-1, 2)
        if radii.max() > 3:  # large enough for a lit side
            shift = np.array((-0.3 if self._light.towards_sun[0] < 0 else 0.3, -0.22)) * radii[..., None]
            bright = _rounded_sticks(ends + shift, radii * 0.58)
            outlines = np.stack([outlines, bright], axis=1).reshape(-1, *outlines.shape[1:])  # [2 L, 12, 2]
            colours = np.stack([colours * 0.93, np.minimum(colours * 1.13, 255)], axis=1).reshape(-1, 3)
        yield from self._figure("person", user, list(to_subpixels(outlines)), colours, points, ())

    def _figure(
        self,
        class_name: str,
        user: RoadUser,
        polygons: list[npt.NDArray[np.int32]],
        colours: Array,
        points: Points,
        lamps: tuple[tuple[Points, float, Lamp], ...],
    ) -> Iterator[Figure]:
        """The figure with those outlines [N, 2] px; none if it lies outside the picture."""
        (x0, y0), (x1, y1), (width, height) = points.min(axis=0), points.max(axis=0), self.size_wh
        if x0 < width and y0 < height and x1 > 0 and y1 > 0:
            lane, slot = user.key
            track_id = slot * len(self._street.lanes) + lane
            yield Figure(class_name, track_id, user.y_m, polygons, colours.tolist(), (x0, y0, x1, y1), lamps)

    def _with_shadows(self, users: list[RoadUser]) -> PixelArray:
        """A copy of the empty street with the shadows of the road users."""
        width, height = self.size_wh
        depth = np.zeros(((height + 1) // 2, (width + 1) // 2), np.uint8)
        for user in users:
            hull = self._shadow(user)
            if len(hull):
                cv2.fillConvexPoly(depth, to_subpixels(hull / 2), 255, cv2.LINE_AA, SUBPIXEL_BITS)
        canvas = self._scenery.background.copy()
        _, top, wide, high = cv2.boundingRect(depth)
        if not wide:
            return canvas
        blur = 3 + 2 * (height // 400)
        depth = np.asarray(cv2.GaussianBlur(depth, (blur, blur), 0), np.uint8)
        rows = slice(max(2 * top - 2 * blur, 0), min(2 * (top + high) + 2 * blur, height))
        soft = cv2.resize(depth, (depth.shape[1] * 2, depth.shape[0] * 2), interpolation=cv2.INTER_LINEAR)[rows, :width]
        remains = cv2.LUT(cv2.merge([soft, soft, soft]), self._remains)
        cv2.multiply(canvas[rows], remains, canvas[rows], 1 / 255)
        return canvas

    def _shadow(self, user: RoadUser) -> Points:
        """The outline [H, 2] px of a road user's shadow on the ground; H = 0 where none is seen."""
        light = self._light
        distance_m = math.hypot(user.x_m, user.y_m)
        if 1.6 * self._camera.focal_px < _LEAST_SHADE_PX * distance_m:
            return np.zeros((0, 2))
        if user.kind == "walker":
            corners = np.array(
                [
                    (dx, dy, z)
                    for z in (0.0, 1.55)
                    for dx, dy in ((-0.2, -0.12), (0.2, -0.12), (0.2, 0.12), (-0.2, 0.12))
                ]
            )
        else:
            corners = self._body(user).footprint
        if user.kind == "cyclist":
            corners = np.concatenate([corners, [(-0.2, 0, 1.6), (0.3, 0, 1.6)]])
        sun_x, sun_y, _ = light.towards_sun
        cast = light.shadow_length / math.hypot(sun_x, sun_y) * corners[:, 2]
        grow = 1.0 if light.shadow_length else 1.06
        ground = np.stack(
            [user.x_m + grow * corners[:, 0] - sun_x * cast, user.y_m + grow * corners[:, 1] - sun_y * cast, 0 * cast],
            axis=1,
        )
        seen = self._camera.to_camera(ground)  # [C, 3]
        if seen[:, 2].min() < NEAR_M:
            return np.zeros((0, 2))
        hull = cv2.convexHull(self._camera.to_pixels(seen).astype(np.float32))
        return np.asarray(hull, np.float64).reshape(-1, 2)


def _rounded_sticks(ends: Points, radii: Array) -> Points:
    """The outlines [L, 12, 2] of sticks between ends [L, 2, 2] with half circles of radii [L, 2] round their ends."""
    along = ends[:, 1] - ends[:, 0]  # [L, 2]
    length = np.sqrt((along**2).sum(axis=1, keepdims=True))
    along = np.where(length > 1e-6, along / np.maximum(length, 1e-6), np.array((0.0, 1.0)))
    across = np.stack([-along[:, 1], along[:, 0]], axis=1)  # [L, 2]
    arc = along[:, None] * np.cos(_HALF_CIRCLE)[:, None] + across[:, None] * np.sin(_HALF_CIRCLE)[:, None]  # [L, 6, 2]
    return np.concatenate(
        [ends[:, None, 1] + arc * radii[:, 1, None, None], ends[:, None, 0] - arc * radii[:, 0, None, None]], axis=1
    )


def _as_detections(objects: list[tuple[Figure, PixelBox]]) -> Detections:
    return Detections(
        boxes_xyxy=np.array([box for _, box in objects], np.float32).reshape(-1, 4),
        scores=np.ones(len(objects), np.float32),
        class_ids=np.array([CLASS_NAMES.index(figure.class_name) for figure, _ in objects], np.int64),
        track_ids=np.array([figure.track_id for figure, _ in objects], np.int64),
    )
