"""Box outlines: the corners of boxes → lines around them with rounded corners, or at the corners alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

_Points = npt.NDArray[np.float64]
_ARC = np.linspace(0, 1, 5)[:, None]  # [5, 1], shares of a rounded corner


def corners_of(box_xyxy: Sequence[float]) -> _Points:
    """The corners [4, 2] of an upright box [4], clockwise from the top left."""
    left, top, right, bottom = box_xyxy
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]])


def corner_length(corners: _Points, thickness: int) -> float:
    """How far the line of a corner goes: a quarter of the shorter side, but seen, and never to the next."""
    shortest = float(np.hypot(*(np.roll(corners, -1, axis=0) - corners).T).min())
    return min(max(shortest / 4, 4.0 * thickness), shortest / 2)


def rounded(corners: _Points, thickness: int) -> _Points:
    """The outline [20, 2] of a quadrilateral [4, 2] with rounded corners, as quadratic Bézier curves."""
    radius = min(corner_length(corners, thickness), 6.0 * thickness)
    pieces = [
        (1 - _ARC) ** 2 * start + 2 * _ARC * (1 - _ARC) * corner + _ARC**2 * end
        for start, corner, end in brackets(corners, radius)
    ]
    return np.concatenate(pieces)


def brackets(corners: _Points, length: float) -> _Points:
    """The lines [4, 3, 2] at the corners of a quadrilateral [4, 2]: towards a corner, around it, and on."""
    ahead = np.roll(corners, -1, axis=0) - corners  # [4, 2]
    step = ahead * (length / np.maximum(np.hypot(*ahead.T), 1e-9))[:, None]
    return np.stack([corners - np.roll(step, 1, axis=0), corners, corners + step], axis=1)
