"""Light: the time of day → sun, sky, haze and noise, and the colour that a face has in them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random

import numpy as np
import numpy.typing as npt

from pipeline.sources.street.scene import LightName

Array = npt.NDArray[np.float64]
Bgr = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Light:
    """Sun, sky and haze. Colours BGR; `sun` and `ambient` are factors, the sky's colours lie in 0..255."""

    name: LightName
    towards_sun: tuple[float, float, float]  # unit vector, x along the street, y across, z up
    sun: Bgr
    ambient: Bgr
    sky_top: Bgr
    sky_low: Bgr
    shadow: Bgr  # factor of the light that remains in a full shadow
    shadow_length: float  # metres on the ground for each metre of height
    are_lamps_on: bool
    noise: float  # standard deviation, in 0..255

    @classmethod
    def of(cls, name: LightName, *, seed: int) -> Light:
        """The light of a time of day; the seed chooses the sun's position and warmth."""
        chance = Random(f"light {seed}")
        turn = chance.uniform(-2.5, -0.6)  # the sun stands on the camera's side of the street
        height = math.radians({"day": chance.uniform(32, 55), "overcast": 60.0, "dusk": 12.0}[name])
        level = math.cos(height)
        sun_xyz = (level * math.cos(turn), level * math.sin(turn), math.sin(height))
        if name == "day":
            warmth = chance.uniform(0, 1)
            return cls(
                name=name,
                towards_sun=sun_xyz,
                sun=(0.50, 0.60 - 0.02 * warmth, 0.66),
                ambient=(0.62, 0.56, 0.52),
                sky_top=(222, 160 + 20 * warmth, 96),
                sky_low=(238, 226, 208),
                shadow=(0.66, 0.58, 0.53),
                shadow_length=1 / math.tan(height),
                are_lamps_on=False,
                noise=2.0,
            )
        if name == "overcast":
            return cls(
                name=name,
                towards_sun=sun_xyz,
                sun=(0.18, 0.18, 0.18),
                ambient=(0.74, 0.73, 0.72),
                sky_top=(196, 190, 184),
                sky_low=(222, 219, 215),
                shadow=(0.72, 0.71, 0.71),
                shadow_length=0.0,
                are_lamps_on=False,
                noise=2.6,
            )
        return cls(
            name=name,
            towards_sun=sun_xyz,
            sun=(0.05, 0.09, 0.15),
            ambient=(0.46, 0.37, 0.35),
            sky_top=(128, 74, 52),
            sky_low=(128, 148, 226),
            shadow=(0.66, 0.66, 0.68),
            shadow_length=0.0,
            are_lamps_on=True,
            noise=4.0,
        )

    def on(self, colours: Array, normals: Array) -> Array:
        """Colours [F, 3] of faces with these normals [F, 3] → the same faces lit; normal 0 is lit from all sides."""
        nx, ny, nz = normals[:, 0], normals[:, 1], normals[:, 2]
        sx, sy, sz = self.towards_sun
        is_round = (nx == 0) & (ny == 0) & (nz == 0)
        facing = np.where(is_round, 0.5, np.clip(nx * sx + ny * sy + nz * sz, 0, 1))[:, None]  # [F, 1]
        from_sky = (0.86 + 0.14 * nz)[:, None]  # [F, 1]
        lit = colours * (np.array(self.ambient) * from_sky + np.array(self.sun) * facing)  # [F, 3]
        return np.asarray(np.clip(lit, 0, 255), np.float64)

    def through_haze(self, colours: Array, distance_m: float) -> Array:
        """Colours [F, 3] of faces at that distance → the same faces in haze."""
        veil = 1 - 1 / (1 + (max(distance_m, 0) / 420) ** 1.4)
        return np.asarray(colours * (1 - veil) + np.array(self.sky_low) * veil, np.float64)
