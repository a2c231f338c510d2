"""Outlines: polygons and run-length masks, as labels have them → the boxes around them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

_LONGEST_SHIFT = 60  # bits of a run's length

Box = tuple[float, float, float, float]
PointArray = npt.NDArray[np.float64]  # [N, 2], x and y


def box_of_polygons(polygons: object) -> Box | None:
    """The box x1, y1, x2, y2 around polygons x, y, x, y …, or around one of them; None where there is none.

    Raises ValueError or TypeError for anything else.
    """
    if not polygons:
        return None
    points = _coordinates(polygons)
    if points.ndim != 1 or len(points) % 2 or len(points) < 6 or not np.isfinite(points).all():
        raise ValueError(f"3 points or more, x and y of each, are needed, it has {len(points)} numbers")
    left, top = points.reshape(-1, 2).min(axis=0).tolist()
    right, bottom = points.reshape(-1, 2).max(axis=0).tolist()
    return left, top, right, bottom


def box_of_rle(mask: Mapping[str, object]) -> Box | None:
    """The box around COCO's run-length mask, compressed or not; None for an empty one.

    Raises ValueError, TypeError or KeyError for anything else.
    """
    runs, height = _runs(mask)
    ends = np.cumsum(runs)
    begins = ends - runs
    inside = (np.arange(len(runs)) % 2 == 1) & (runs > 0)  # runs begin with what is outside, down the columns
    if not inside.any():
        return None
    first, last = begins[inside], ends[inside] - 1
    left, right = int(first[0] // height), int(last[-1] // height)
    if (first // height != last // height).any():  # a run that goes on in the next column touches top and bottom
        return float(left), 0.0, right + 1.0, float(height)
    return float(left), float((first % height).min()), right + 1.0, float((last % height).max() + 1)


def crosses_itself(points: PointArray) -> bool:
    """Whether the sides of a closed polygon [N, 2] cross, or one of its points is there twice, as no outline has it."""
    if len(np.unique(points, axis=0)) < len(points):
        return True
    ends = np.roll(points, -1, axis=0)

    first, second = np.triu_indices(len(points), k=2)
    apart = ~((first == 0) & (second == len(points) - 1))  # neighbours share a point
    first, second = first[apart], second[apart]
    a, b, c, d = points[first], ends[first], points[second], ends[second]
    return bool(((_side(a, b, c) * _side(a, b, d) < 0) & (_side(c, d, a) * _side(c, d, b) < 0)).any())


def _coordinates(polygons: object) -> npt.NDArray[np.float64]:
    """The numbers of all polygons [N], or of the one that has no list around it. Raises ValueError or TypeError."""
    if not isinstance(polygons, list):
        raise TypeError(f"lists of x, y, x, y … are needed, it is a {type(polygons).__name__}")
    is_one = all(isinstance(number, int | float) for number in polygons)
    return np.array(polygons if is_one else [x for polygon in polygons for x in polygon], np.float64)


def _runs(mask: Mapping[str, object]) -> tuple[npt.NDArray[np.int64], int]:
    """The lengths of the runs [N], and the height of the mask. Raises ValueError, TypeError or KeyError."""
    size, counts = mask["size"], mask["counts"]
    if not isinstance(size, list) or not isinstance(counts, str | list):
        raise TypeError("its mask must have the lists size and counts")
    height, width = map(int, size)
    runs = np.array(_decompressed(counts) if isinstance(counts, str) else counts, np.int64)
    if runs.ndim != 1 or (runs < 0).any() or runs.sum() != height * width:
        raise ValueError(f"the runs of its mask must add up to {height} × {width}")
    return runs, height


def _side(a: PointArray, b: PointArray, c: PointArray) -> npt.NDArray[np.float64]:
    """Positive, zero or negative [M]: on which side of the lines from `a` to `b` the points `c` lie, all [M, 2]."""
    return (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])


def _decompressed(text: str) -> Sequence[int]:
    """The runs in pycocotools' string: 5 bits a character; from the fourth on, the difference to the last but one."""
    runs: list[int] = []
    position = 0
    while position < len(text):
        value = shift = 0
        more = True
        while more:
            if position == len(text) or shift > _LONGEST_SHIFT:
                raise ValueError("the string of its mask is cut off, or no such string")
            bits = ord(text[position]) - 48
            value |= (bits & 31) << shift
            more = bool(bits & 32)
            position, shift = position + 1, shift + 5
            if not more and bits & 16:
                value |= -1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
    return runs
