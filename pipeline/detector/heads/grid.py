"""Grid: a network's size and strides → the corner and stride of each cell."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from pipeline.errors import ModelError
from pipeline.picture.detections import FloatArray
from pipeline.picture.detector_spec import DetectorSpec


def check_cells(num_rows: int, cells: FloatArray, spec: DetectorSpec) -> None:
    """Raise ModelError if a network does not return one row for each cell."""
    if num_rows != len(cells):
        width, height = spec.network_wh
        raise ModelError(
            f"head {spec.head} reads a row for each of {len(cells)} cells of {width} x {height}, the model returns "
            f"{num_rows}"
        )


@lru_cache(maxsize=16)
def grid(network_wh: tuple[int, int], strides: tuple[int, ...]) -> tuple[FloatArray, FloatArray]:
    """Top left corner [N, 2] (x, y), in cells, and stride [N, 1] of the cells of every stride, row by row."""
    corners, sides = [], []
    for stride in strides:
        width, height = (-(-side // stride) for side in network_wh)
        y, x = np.divmod(np.arange(width * height), width)  # [cells], [cells]
        corners.append(np.stack([x, y], axis=1))
        sides.append(np.full((width * height, 1), stride))
    return np.concatenate(corners).astype(np.float32), np.concatenate(sides).astype(np.float32)
