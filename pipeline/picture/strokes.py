"""Strokes: segments of lines with opacities at both ends → the pixels that they cover, all in one pass.

A line of many short segments that fades costs OpenCV three calls a segment and layer; here all segments of a picture
are one array. Anti-aliased across the longer axis, as by Wu 1991, https://doi.org/10.1145/127719.122734, for any width.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_Floats = npt.NDArray[np.float64]
_Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Strokes:
    """Segments of lines, in continuous pixels."""

    starts_xy: _Floats  # [S, 2]
    ends_xy: _Floats  # [S, 2]
    opacities: _Floats  # [S, 2], at the start and at the end, in 0..1
    colours: npt.NDArray[np.uint8]  # [S, 3], BGR


@dataclass(frozen=True, slots=True)
class InkedPixels:
    """Pixels within a picture; of those that are there twice the last one counts."""

    columns: npt.NDArray[np.int32]  # [P]
    rows: npt.NDArray[np.int32]  # [P]
    opacities: npt.NDArray[np.float32]  # [P], coverage included
    segments: _Ints  # [P], index of the segment that covers it


def inked_pixels(strokes: Strokes, thickness: float, size_wh: tuple[int, int], *, step: int = 1) -> InkedPixels:
    """The pixels that strokes cover, of a layer with a sample for each `step` × `step` pixels.

    thickness: of the lines, in samples. size_wh: of the layer, in samples.
    """
    starts, ends = strokes.starts_xy / step, strokes.ends_xy / step
    is_steep = np.abs(ends - starts) @ (-1, 1) > 0  # [S]
    first, last = _inside(starts, ends, size_wh, margin=thickness)  # [S], shares of the segment
    start, along = (np.where(is_steep, xy.T[::-1], xy.T) for xy in (starts, ends - starts))  # [2, S], longer axis first
    longer = np.abs(along[0])
    slope = along[1] / np.where(longer > 0, along[0], 1)
    half = thickness / 2 * np.sqrt(1 + slope**2)  # [S], as wide as a tilted line is on an axis

    num = np.where(last > first, np.maximum(np.ceil(longer * (last - first)), 1), 0).astype(np.int64)  # [S]
    segments = np.repeat(np.arange(len(num)), num)  # [Q], a sample for each pixel of the longer axis
    number = np.arange(len(segments)) - np.repeat(np.cumsum(num) - num, num)
    share = first[segments] + (number + 0.5) * ((last - first) / np.maximum(num, 1))[segments]  # [Q]
    opacity = (1 - share) * strokes.opacities[segments, 0] + share * strokes.opacities[segments, 1]
    major, middle = (start[axis, segments] + share * along[axis, segments] for axis in (0, 1))  # [Q], [Q]
    major_pixel = np.floor(major)
    middle += slope[segments] * (major_pixel + 0.5 - major)  # where the line crosses the pixel's own middle
    low, high = middle - half[segments], middle + half[segments]
    lowest, steep = np.floor(low), is_steep[segments]

    offsets = np.arange(int(np.ceil(thickness * 2**0.5)) + 1, dtype=np.float32)[:, None]  # [K, 1]
    above, below = (lowest + 1 - low).astype(np.float32), (high - lowest).astype(np.float32)  # [Q]
    coverage = np.minimum(above + offsets, below - offsets)  # [K, Q], of lines at least a pixel wide
    covered = np.flatnonzero(coverage > 0)  # [P], of K × Q
    sample = covered % max(len(segments), 1)
    coverage = np.minimum(coverage.ravel()[covered], 1)
    major_pixels = major_pixel.astype(np.int32)[sample]
    minor_pixels = (lowest + offsets).astype(np.int32).ravel()[covered]
    columns, rows = (
        np.where(steep[sample], *pair) for pair in ((minor_pixels, major_pixels), (major_pixels, minor_pixels))
    )
    is_shown = (columns >= 0) & (columns < size_wh[0]) & (rows >= 0) & (rows < size_wh[1])
    # What is covered as a whole comes last, so that the edge of a segment does not notch its neighbour.
    chosen = np.concatenate([np.flatnonzero(is_shown & (coverage < 1)), np.flatnonzero(is_shown & (coverage >= 1))])
    sample = sample[chosen]
    return InkedPixels(
        columns[chosen], rows[chosen], coverage[chosen] * opacity.astype(np.float32)[sample], segments[sample]
    )


def _inside(starts: _Floats, ends: _Floats, size_wh: tuple[int, int], *, margin: float) -> tuple[_Floats, _Floats]:
    """The shares [S] of segments at which they enter and leave a picture and a margin; first ≥ last: never there.

    Liang and Barsky 1984, https://doi.org/10.1145/357332.357333.
    """
    along = ends - starts
    slope = np.where(along == 0, 1e-12, along)
    low, high = (-margin - starts) / slope, (np.array(size_wh) + margin - starts) / slope  # [S, 2]
    first = np.maximum(np.minimum(low, high).max(axis=1), 0)
    return first, np.minimum(np.maximum(low, high).min(axis=1), 1)
