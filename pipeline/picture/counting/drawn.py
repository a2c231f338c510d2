"""Drawn counts: lines with an arrow to the side that is in, tinted zones → a canvas, and the words beside them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pipeline.picture.canvas import Canvas, Colour
from pipeline.picture.counting.counts import ByClass, Counts, LineCounts, ZoneCounts
from pipeline.picture.counting.geometry import Points

_LINE: Colour = (0, 200, 255)  # amber
_ZONE: Colour = (200, 170, 0)  # teal
_TINT = 0.12
_ARROW = 9  # its length, in widths of the line


class Caption(NamedTuple):
    """Words on a coloured ground, around a point, or beyond it in a direction."""

    text: str
    colour: Colour
    point: Points  # [2]
    away: Points  # [2], a unit vector; 0: around the point

    def left_top(self, width: int, height: int) -> tuple[int, int]:
        """The corner of the ground, so that it lies beyond the point as a whole."""
        reach = np.abs(self.away) @ (width, height) / 2
        left, top = self.point + self.away * reach - (width / 2, height / 2)
        return round(float(left)), round(float(top))


def draw_counted_shapes(canvas: Canvas, counts: Counts, thickness: int) -> None:
    """Zones below lines; what is outside of the picture is left out."""
    for zone in counts.zones:
        canvas.fill(zone.points_xy, _ZONE, _TINT)
        canvas.path(np.append(zone.points_xy, zone.points_xy[:1], axis=0), thickness, _ZONE, 0.8)
    for line in counts.lines:
        canvas.path(line.points_xy, thickness + 1, _LINE, 1)
        for stroke in _arrow(line.points_xy, _ARROW * thickness):
            canvas.path(stroke, thickness + 1, _LINE, 1)


def captions(counts: Counts, size_wh: tuple[int, int], thickness: int) -> list[Caption]:
    """`gate in 12 out 3` beside the middle of a line, opposite its arrow; `yard 4` at the top of a zone."""
    shown = []
    for line in counts.lines:
        middle, normal = _middle_and_normal(line.points_xy)
        point = np.clip(middle, 0, size_wh) - normal * 3 * thickness
        shown.append(Caption(line_in_words(line), _LINE, point, -normal))
    for zone in counts.zones:
        corners = np.clip(zone.points_xy, 0, size_wh)
        top = corners[np.argsort(corners[:, 1], kind="stable")[:2]].mean(axis=0)
        shown.append(Caption(zone_in_words(zone), _ZONE, top, np.zeros(2)))
    return shown


def line_in_words(line: LineCounts) -> str:
    """`gate in 12 out 3`."""
    return f"{line.name} in {_total(line.num_in)} out {_total(line.num_out)}"


def zone_in_words(zone: ZoneCounts) -> str:
    """`yard 4`."""
    return f"{zone.name} {_total(zone.inside)}"


def _total(numbers: ByClass) -> int:
    return sum(numbers.values())


def _middle_and_normal(points: Points) -> tuple[Points, Points]:
    """The middle [2] of a line [2, 2], and the unit vector [2] to its right, which is in."""
    along = points[1] - points[0]
    return points.mean(axis=0), np.array([-along[1], along[0]]) / np.hypot(*along)


def _arrow(points: Points, length: float) -> Sequence[Points]:
    """The strokes of an arrow from the middle of a line to its right."""
    middle, normal = _middle_and_normal(points)
    side = np.array([normal[1], -normal[0]])
    tip = middle + normal * length
    barbs = [tip - normal * length * 0.4 + sign * side * length * 0.3 for sign in (1, -1)]
    return [np.stack([middle, tip]), np.stack([barbs[0], tip, barbs[1]])]
