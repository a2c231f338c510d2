"""Anchors: grids, and shapes for a cell → reference boxes, in the order of a head's outputs.

Faster R-CNN (Ren et al. 2015, https://arxiv.org/abs/1506.01497, section 3.1.1); SSD calls them default boxes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

Shapes = Sequence[tuple[float, float]]
"""Width and height of the anchors of a cell, in network pixels."""


def shapes_of(sizes_px: Sequence[float], aspects: Sequence[float]) -> Shapes:
    """Every size, the square root of an area, with every aspect, width over height."""
    return [(size * aspect**0.5, size / aspect**0.5) for size in sizes_px for aspect in aspects]


def grid_anchors(network_wh: tuple[int, int], strides: Sequence[int], shapes_of_level: Sequence[Shapes]) -> Tensor:
    """All anchors xyxy [A, 4] in network pixels, centred on the cells of each stride: level, row, column, shape."""
    levels = []
    for stride, shapes in zip(strides, shapes_of_level, strict=True):
        columns, rows = (-(-side // stride) for side in network_wh)
        y, x = torch.meshgrid(torch.arange(rows) + 0.5, torch.arange(columns) + 0.5, indexing="ij")  # [rows, columns]
        centres = torch.stack([x, y], dim=2).reshape(-1, 1, 2) * stride  # [cells, 1, 2]
        halves = torch.tensor(shapes) / 2  # [shapes, 2]
        levels.append(torch.cat([centres - halves, centres + halves], dim=2).reshape(-1, 4))
    return torch.cat(levels)
