"""Counts: what the lines and zones of a source have counted so far, as a result carries it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from pipeline.picture.counting.geometry import Points

ByClass = Mapping[str, int]
"""Numbers by the name of the class."""


@dataclass(frozen=True, slots=True)
class LineCounts:
    """A line, and how many objects crossed it. To go in is to cross it to the right of the way from start to end."""

    name: str
    points_xy: Points  # [2, 2], in source pixels
    num_in: ByClass
    num_out: ByClass


@dataclass(frozen=True, slots=True)
class ZoneCounts:
    """A zone, what is in it now, and what came and went.

    Objects that were there when they were seen first have appeared, not entered. Stays that have ended have a dwell
    time: from the moment of entering, or of the first sight, to that of leaving, or of the last sight.
    """

    name: str
    points_xy: Points  # [P, 2], in source pixels
    inside: ByClass
    num_appeared: ByClass
    num_entered: ByClass
    num_left: ByClass
    mean_dwell_seconds: float | None  # of the stays that have ended; None: none has
    longest_dwell_seconds: float | None


@dataclass(frozen=True, slots=True)
class Counts:
    """All lines and zones of a source, from its first frame on."""

    lines: tuple[LineCounts, ...]
    zones: tuple[ZoneCounts, ...]
    # [N], metres a second of each detection; NaN: not known. None: there is no homography.
    speeds_mps: npt.NDArray[np.float32] | None = field(default=None, compare=False)
    unreachable: tuple[str, ...] = ()  # names of those so near to the picture's edge that hardly an object gets there
