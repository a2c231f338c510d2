"""Lines and zones: what a user wrote of them → checked shapes, and their points in the pixels of a picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipeline.picture.choices import Anchor
from pipeline.picture.counting.geometry import Points, clips_segment, crosses_itself, inside_polygon

"""The point of a box that counts: the middle of its lower edge, where an object stands, or of all of it."""

_MOST_VERTICES = 100
_LARGEST_PIXEL = 1_000_000  # wider than any picture; a product of several stays finite


def parse_coordinates(value: object) -> tuple[float, ...]:
    """x, y, x, y … of text with commas between them, or of a list of numbers or of pairs.

    Numbers within 0 and 1 are shares of the picture's width and height; one above 1 makes all of them pixels; with a %
    behind it, a number is a percentage. Raises ValueError for anything else.

    >>> parse_coordinates("0,50%,100%,0.5"), parse_coordinates([[0, 200], [640, 200]])
    ((0.0, 0.5, 1.0, 0.5), (0.0, 200.0, 640.0, 200.0))
    """
    words = value.split(",") if isinstance(value, str) else value
    if not isinstance(words, Sequence):
        raise ValueError(f"must be x,y,x,y… with commas, got {value!r}")
    flat = [part for word in words for part in (word if isinstance(word, list | tuple) else (word,))]
    numbers = tuple(map(_coordinate, flat))
    if len(numbers) % 2:
        raise ValueError(f"must be pairs of x and y, got {len(numbers)} numbers")
    is_pixels = any(number > 1 for number in numbers)
    if is_pixels and (shares := [number for number in numbers if 0 < number < 1]):
        raise ValueError(
            f"must be all shares of the picture, 0 to 1, or all pixels, got {shares[0]:g} and {max(numbers):g}"
        )
    return numbers


def _coordinate(word: object) -> float:
    text = str(word).strip()
    try:
        number = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        number = math.nan
    if isinstance(word, bool) or not math.isfinite(number):
        raise ValueError(f"must be numbers with commas, got {text!r}")
    if number > _LARGEST_PIXEL:
        raise ValueError(f"must be pixels of a picture, at most {_LARGEST_PIXEL:,}, got {text}")
    if number < 0 or (text.endswith("%") and number > 1):
        raise ValueError(f"must lie within the picture, got {text}")
    return number


@dataclass(frozen=True, slots=True)
class _Shape:
    """A shape with a name. coordinates: x, y, x, y …, as `parse_coordinates` gives them."""

    name: str
    coordinates: tuple[float, ...]
    anchor: Anchor = "bottom"
    class_ids: frozenset[int] | None = None  # that count; None: all

    @property
    def is_relative(self) -> bool:
        """Whether its coordinates are shares of the picture."""
        return all(number <= 1 for number in self.coordinates)

    def points(self, size_wh: tuple[int, int]) -> Points:
        """Its points [P, 2] in the pixels of a picture."""
        points = np.array(self.coordinates, np.float64).reshape(-1, 2)
        return points * size_wh if self.is_relative else points


@dataclass(frozen=True, slots=True)
class Line(_Shape):
    """A line from one point to another; to go in is to cross it to the right of that way.

    Raises ValueError for a line without length.
    """

    def __post_init__(self) -> None:
        if len(self.coordinates) != 4:
            raise ValueError(f"must be two points, x1,y1,x2,y2, got {len(self.coordinates)} numbers")
        if self.coordinates[:2] == self.coordinates[2:]:
            raise ValueError(f"must have a length, got {_words(self.coordinates[:2])} twice")


@dataclass(frozen=True, slots=True)
class Zone(_Shape):
    """A polygon. Raises ValueError for one with too few points, without an area, and one that crosses itself."""

    dwell_seconds: float | None = None  # after which `dwelt` happens; None: never

    def __post_init__(self) -> None:
        num = len(self.coordinates) // 2
        if not 3 <= num <= _MOST_VERTICES:
            raise ValueError(f"must have 3 to {_MOST_VERTICES} points, got {num}")
        points = np.array(self.coordinates).reshape(-1, 2)
        if (points == np.roll(points, -1, axis=0)).all(axis=1).any():
            raise ValueError("must not have a point twice in a row; the last is joined to the first by itself")
        if crosses_itself(points):
            raise ValueError(f"must not cross or touch itself, got {_words(self.coordinates)}; reorder its points")


def continued(before: Sequence[_Shape], after: Sequence[_Shape]) -> list[int | None]:
    """For each shape the index of the one before that it goes on, which differs in nothing but perhaps its name.

    One of the same name goes first; a renamed one goes on one that has gone. None: it is new.

    >>> a, b = Line("a", (0, 0, 1, 1)), Line("b", (0, 1, 1, 0))
    >>> continued([a, b], [Line("c", (0, 1, 1, 0)), a, Line("d", (0, 0.5, 1, 1))])
    [1, 0, None]
    """
    index_of = {shape: index for index, shape in enumerate(before)}
    indexes = [index_of.get(shape) for shape in after]
    gone = {replace(shape, name=""): index for shape, index in index_of.items() if index not in indexes}
    return [
        gone.pop(replace(shape, name=""), None) if index is None else index
        for shape, index in zip(after, indexes, strict=True)
    ]


def _words(coordinates: Sequence[float]) -> str:
    return ",".join(f"{number:g}" for number in coordinates)


def is_in_picture(points: Points, size_wh: tuple[int, int]) -> bool:
    """Whether a line [2, 2] or a zone [P, 2] has a point within a picture."""
    return touches_rectangle(points, np.zeros(2), np.array(size_wh, np.float64))


def far_point(points: Points, size_wh: tuple[int, int]) -> tuple[float, float] | None:
    """The first of points [P, 2] that is farther outside of a picture than that is wide or high; None: none is."""
    sizes = np.array(size_wh, np.float64)
    is_far = ((points > 2 * sizes) | (points < -sizes)).any(axis=1)
    return (*points[is_far.argmax()].tolist(),) if is_far.any() else None


def touches_rectangle(points: Points, low: Points, high: Points) -> bool:
    """Whether a line [2, 2] or a zone [P, 2] has a point in the rectangle low [2] to high [2]."""
    edges = zip(points, np.roll(points, -1, axis=0), strict=True)
    if any(clips_segment(start, end, low, high) for start, end in edges):
        return True
    return bool(len(points) > 2 and (low <= high).all() and inside_polygon(low[None], points)[0])


def can_be_reached(
    points: Points, anchor: Anchor, *, size_wh: tuple[int, int], box_wh: tuple[float, float], margin: float
) -> bool:
    """Whether anchors of boxes of a typical size get to a line or zone, or beyond it by the margin in pixels.

    A box is cut off at the picture's edge, and not detected any more when half of it is outside.
    """
    half = np.array(box_wh) / 2
    low, high = half.copy(), np.array(size_wh) - half
    if anchor == "bottom":  # the lower edge of what is inside of the picture
        high[1] = size_wh[1] - margin
    return touches_rectangle(points, low, high)
