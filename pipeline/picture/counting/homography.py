"""Homography: four points of a picture and the same on the ground → metres on the ground of any point."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.picture.counting.geometry import Points

_FLAT = 1e-6  # triangles of a smaller share of the points' extent are lines


@dataclass(frozen=True, slots=True)
class Homography:
    """A map from picture to ground. rows: four of x, y in the picture's pixels or shares, X, Y in metres.

    Raises ValueError for rows that determine no map: not four, or three points on a line.
    """

    rows: tuple[tuple[float, float, float, float], ...]

    def __post_init__(self) -> None:
        if len(self.rows) != 4 or any(len(row) != 4 for row in self.rows):
            raise ValueError("must be four rows of x, y, X, Y")
        values = np.array(self.rows, np.float64)
        if not np.isfinite(values).all():
            raise ValueError("must be finite numbers")
        for points, words in ((values[:, :2], "in the picture"), (values[:, 2:], "on the ground")):
            if _has_three_on_a_line(points):
                raise ValueError(f"must not have three points on one line {words}")

    def matrix(self, size_wh: tuple[int, int]) -> Points:
        """The matrix [3, 3] that takes pixels of a picture of that size to metres (direct linear transform)."""
        values = np.array(self.rows, np.float64)
        picture, ground = values[:, :2], values[:, 2:]
        if (picture <= 1).all():
            picture = picture * size_wh
        from_picture, from_ground = _to_unit(picture), _to_unit(ground)
        x, y = _applied(from_picture, picture).T
        u, v = _applied(from_ground, ground).T
        one, zero = np.ones(4), np.zeros(4)
        equations = np.concatenate(
            [
                np.stack([x, y, one, zero, zero, zero, -u * x, -u * y, -u], axis=1),
                np.stack([zero, zero, zero, x, y, one, -v * x, -v * y, -v], axis=1),
            ]
        )  # [8, 9]
        unit_matrix = np.linalg.svd(equations)[2][-1].reshape(3, 3)
        matrix = np.linalg.inv(from_ground) @ unit_matrix @ from_picture
        weights = np.append(picture, np.ones((4, 1)), axis=1) @ matrix[2]
        # Points on the side of the horizon that the four are on weigh more than 0.
        return np.asarray(matrix * np.sign(weights[0]))


def ground_points(matrix: Points, points: Points) -> Points:
    """Metres [K, 2] of points [K, 2] in pixels; NaN for those at or beyond the horizon."""
    weighted = np.append(points, np.ones((len(points), 1)), axis=1) @ matrix.T  # [K, 3]
    is_ground = weighted[:, 2:] > 0
    metres = np.full(points.shape, np.nan)
    np.divide(weighted[:, :2], weighted[:, 2:], out=metres, where=is_ground)
    return metres


def _applied(matrix: Points, points: Points) -> Points:
    return np.asarray(points @ matrix[:2, :2].T + matrix[:2, 2])


def _to_unit(points: Points) -> Points:
    """The map [3, 3] that moves points around 0 and scales them to about 1, for well-conditioned equations."""
    middle = points.mean(axis=0)
    scale = 1 / max(float(np.abs(points - middle).mean()), 1e-12)
    return np.array([[scale, 0, -scale * middle[0]], [0, scale, -scale * middle[1]], [0, 0, 1]])


def _has_three_on_a_line(points: Points) -> bool:
    extent = float(np.ptp(points, axis=0).max()) ** 2
    for left_out in range(4):
        a, b, c = np.delete(points, left_out, axis=0)
        if abs((b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])) <= _FLAT * extent:
            return True
    return False
