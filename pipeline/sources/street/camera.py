"""Camera: points of the world, in metres → pixels of the picture; and pixels → the ground under them.

World: metres; x along the street, y across it (away from the camera), z up; the camera stands at (0, 0, height).
Sums are written element by element, so that they are the same on every machine.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

Points = npt.NDArray[np.float64]
"""[..., 3] metres in the world, or [..., 2] pixels in the picture."""

NEAR_M = 0.4  # anything nearer is not seen


@dataclass(frozen=True, slots=True)
class Camera:
    """A pinhole that looks along the street, turned by `yaw` towards its far side and by `pitch` down.

    Positions in the picture are continuous: pixel i covers [i, i + 1). `is_mirrored` swaps left and right.
    """

    size_wh: tuple[int, int]
    focal_px: float
    height_m: float
    yaw_radians: float
    pitch_radians: float
    is_mirrored: bool = False

    @classmethod
    def aimed(
        cls,
        size_wh: tuple[int, int],
        *,
        field_of_view_degrees: float,
        horizon: float,
        height_m: float,
        yaw_degrees: float,
        is_mirrored: bool,
    ) -> Camera:
        """A camera whose horizon lies at that fraction of the picture's height; the angle is that of a 16:9 picture."""
        width = max(size_wh[0], size_wh[1] * 16 / 9)
        focal_px = width / 2 / math.tan(math.radians(field_of_view_degrees / 2))
        pitch = math.atan((0.5 - horizon) * size_wh[1] / focal_px)
        return cls(size_wh, focal_px, height_m, math.radians(yaw_degrees), pitch, is_mirrored)

    def scaled(self, factor: int) -> Camera:
        """The same view in `factor` times as many pixels each way."""
        width, height = self.size_wh
        return replace(self, size_wh=(width * factor, height * factor), focal_px=self.focal_px * factor)

    def to_camera(self, points: Points) -> Points:
        """World points [..., 3] as [..., 3] metres right, down and ahead of the camera."""
        x, y, z = points[..., 0], points[..., 1], points[..., 2] - self.height_m
        cos_yaw, sin_yaw = math.cos(self.yaw_radians), math.sin(self.yaw_radians)
        cos_pitch, sin_pitch = math.cos(self.pitch_radians), math.sin(self.pitch_radians)
        right = x * sin_yaw - y * cos_yaw
        level = x * cos_yaw + y * sin_yaw
        down = -z * cos_pitch - level * sin_pitch
        ahead = level * cos_pitch - z * sin_pitch
        seen = np.empty_like(points)  # np.stack takes three times as long
        seen[..., 0], seen[..., 1], seen[..., 2] = -right if self.is_mirrored else right, down, ahead
        return seen

    def to_pixels(self, seen: Points) -> Points:
        """Camera points [..., 3], at least NEAR_M ahead, as [..., 2] pixels."""
        centre = np.array(self.size_wh) / 2
        return seen[..., :2] * (self.focal_px / seen[..., 2:]) + centre  # [..., 2]

    def project(self, points: Points) -> Points:
        """World points [..., 3] as [..., 2] pixels; for points at least NEAR_M ahead."""
        return self.to_pixels(self.to_camera(points))

    def project_polygon(self, corners: Points) -> Points:
        """A world polygon [P, 3] as [Q, 2] pixels, cut off at NEAR_M; Q = 0 where it lies behind the camera."""
        seen = self.to_camera(corners)
        if seen[:, 2].min() < NEAR_M:
            seen = cut_at_near(seen)
        return self.to_pixels(seen)

    def ground_under_pixels(self) -> Points:
        """The point of the ground (z = 0) in each pixel's centre, [H, W, 2] metres; infinite above the horizon."""
        width, height = self.size_wh
        right, down = np.meshgrid(
            (np.arange(width) + 0.5 - width / 2) / self.focal_px, (np.arange(height) + 0.5 - height / 2) / self.focal_px
        )  # both [H, W]
        right = -right if self.is_mirrored else right
        cos_pitch, sin_pitch = math.cos(self.pitch_radians), math.sin(self.pitch_radians)
        falls = down * cos_pitch + sin_pitch  # metres down for one metre ahead
        with np.errstate(divide="ignore"):
            distance = np.where(falls > 1e-6, self.height_m / falls, np.inf)
        level = cos_pitch - down * sin_pitch
        cos_yaw, sin_yaw = math.cos(self.yaw_radians), math.sin(self.yaw_radians)
        x = (level * cos_yaw + right * sin_yaw) * distance
        y = (level * sin_yaw - right * cos_yaw) * distance
        return np.stack([x, y], axis=-1)  # [H, W, 2]


def cut_at_near(seen: Points) -> Points:
    """The part of a polygon [P, 3] in camera coordinates that lies at least NEAR_M ahead, [Q, 3]."""
    kept: list[Points] = []
    for corner, following in zip(seen, np.roll(seen, -1, axis=0), strict=True):
        if corner[2] >= NEAR_M:
            kept.append(corner)
        if (corner[2] >= NEAR_M) != (following[2] >= NEAR_M):
            kept.append(corner + (following - corner) * ((NEAR_M - corner[2]) / (following[2] - corner[2])))
    return np.array(kept).reshape(-1, 3)
