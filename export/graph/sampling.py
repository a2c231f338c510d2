"""Sampling: features at positions between cells → ONNX nodes, one gather for all cells and one product with weights.

On a GPU a node costs microseconds whatever it computes, and sampling level by level, with axes of size 2 that are then
summed, was a third of RT-DETR's time. ONNX's GridSample has no kernel for CUDA in ONNX Runtime, which would copy the
features of each decoder layer to the processor and back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from onnx import TensorProto
from torch import Tensor

from export.graph.opset import Value, floats, integers, op, shape_of

MOST_IMAGES = 1024
"""The largest batch of an exported graph."""

_FAR = 3e38  # the distance of a corner that does not exist, so that it weighs nothing
_MOST_GATHERED = 2**24  # numbers of one image that one gather copies; an encoder, with a query in each cell, has more


@torch.library.custom_op("streamdet::deformable_attention", mutates_args=())
def deformable_attention(
    value: Tensor, locations: Tensor, weights: Tensor, levels_hw: Sequence[int], num_points: Sequence[int]
) -> Tensor:
    """Multi-scale deformable attention (Zhu et al. 2021, https://arxiv.org/abs/2010.04159): [N, Q, heads * D].

    value [N, S, heads, D]: the cells of all levels, row by row; locations [N, Q, heads, P, 2]: x, y in 0..1 of their
    level, whose points follow one another; weights [N, Q, heads, P]. levels_hw: height and width of the first level, of
    the second, …; num_points: of each level. Bilinear at half-pixel centres, zeros outside. As a graph it computes
    positions in float32 whatever the type of the locations, and NaN stays NaN.
    """
    num_images, _, num_heads, depth = value.shape
    sides = list(zip(levels_hw[::2], levels_hw[1::2], strict=True))
    columns = value.permute(0, 2, 3, 1).flatten(0, 1)  # [N * heads, D, S]
    maps = torch.split(columns, [height * width for height, width in sides], dim=2)
    grids = torch.split((2 * locations - 1).transpose(1, 2).flatten(0, 1), list(num_points), dim=2)
    sampled = [
        F.grid_sample(cells.reshape(-1, depth, *side), grid, "bilinear", "zeros", align_corners=False)
        for cells, side, grid in zip(maps, sides, grids, strict=True)
    ]  # [N * heads, D, Q, P']
    attended = torch.cat(sampled, dim=3) * weights.transpose(1, 2).flatten(0, 1)[:, None]  # [N * heads, D, Q, P]
    return attended.sum(3).view(num_images, num_heads * depth, -1).transpose(1, 2).contiguous()


@deformable_attention.register_fake
def _(value: Tensor, locations: Tensor, weights: Tensor, levels_hw: Sequence[int], num_points: Sequence[int]) -> Tensor:
    return value.new_empty(value.shape[0], locations.shape[1], value.shape[2] * value.shape[3])


@dataclass(frozen=True, slots=True)
class _Level:
    """A map of cells among others, whose cells come one after another, `num_heads` rows to a cell."""

    height: int
    width: int
    first_cell: int

    def corners(self, num_heads: int) -> list[int]:
        """The rows of the four cells at a corner of cells, from the first; a level of one row or column has fewer."""
        right, below = int(self.width > 1), self.width * int(self.height > 1)
        return [(self.first_cell + cell) * num_heads for cell in (0, right, below, below + right)]


def _deformable_attention_in_onnx(
    value: Value, locations: Value, weights: Value, levels_hw: Sequence[int], num_points: Sequence[int]
) -> Value:
    num_cells, num_heads, depth = value.shape[1:]
    levels = _levels(levels_hw)
    of_points = [level for level, num in zip(levels, num_points, strict=True) for _ in range(num)]
    sizes = floats([[level.width, level.height] for level in of_points])  # [P, 2]
    positions = op.Sub(op.Mul(op.Cast(locations, to=TensorProto.FLOAT), sizes), floats(0.5))  # [N, Q, heads, P, 2]
    cells, closeness = _corners(positions, of_points, num_heads, num_cells, value)
    attended = op.Mul(op.CastLike(closeness, value), op.Unsqueeze(weights, [4]))  # [N, Q, heads, P, 4]
    rows = op.Reshape(value, shape_of(-1, depth))  # [N * S * heads, D]
    is_large = locations.shape[1] * num_heads * len(of_points) * 4 * depth > _MOST_GATHERED
    parts = [(cells, attended)]
    if is_large and len(levels) > 1:
        parts = list(zip(_split(cells, num_points), _split(attended, num_points), strict=True))
    sampled = [_weighted_rows(rows, *part) for part in parts]  # [N, Q, heads, 1, D]
    total = op.Sum(*sampled) if len(sampled) > 1 else sampled[0]
    return op.Reshape(total, shape_of(0, 0, num_heads * depth))


def _levels(levels_hw: Sequence[int]) -> list[_Level]:
    levels: list[_Level] = []
    first_cell = 0
    for height, width in zip(levels_hw[::2], levels_hw[1::2], strict=True):
        levels.append(_Level(height, width, first_cell))
        first_cell += height * width
    return levels


def _split(tensor: Value, lengths: Sequence[int]) -> list[Value]:
    """The parts of a tensor along axis 3."""
    ends = np.cumsum(lengths).tolist()
    starts = [0, *ends[:-1]]
    # Not Split: the exporter writes none of unequal lengths.
    return [op.Slice(tensor, *map(shape_of, (start, end, 3))) for start, end in zip(starts, ends, strict=True)]


def _corners(
    positions: Value, of_points: Sequence[_Level], num_heads: int, num_cells: int, value: Value
) -> tuple[Value, Value]:
    """The four cells around positions, float32 [N, Q, heads, P, 2], in cells of their level: x first.

    Returns their rows, int32 [N, Q, heads, P, 4] into value [N, cells, heads, …] as [N * cells * heads, …], and their
    weights, float32 [N, Q, heads, P, 4]. The pair of cells on an axis is always a pair inside, near a border as well:
    the hat function max(0, 1 - |distance|) gives the same weights as if the cells outside held zeros, without a mask.
    """
    lasts = floats([[max(level.width - 2, 0), max(level.height - 2, 0)] for level in of_points])  # [P, 2]
    # NaN has no cell: any will do, because its weight is NaN as well. To int32 rounds down from 0 on.
    low = op.Max(op.Cast(op.Min(positions, lasts), to=TensorProto.INT32), integers(0))  # [N, Q, heads, P, 2]
    seconds = [[[0, 1 if side > 1 else _FAR] for side in (level.width, level.height)] for level in of_points]
    offset = op.Unsqueeze(op.Sub(positions, op.Cast(low, to=TensorProto.FLOAT)), [5])  # [N, Q, heads, P, 2, 1]
    distance = op.Abs(op.Sub(offset, floats(seconds)))  # [N, Q, heads, P, 2, 2]
    # Not Relu, which makes 0 of NaN on a GPU.
    across, down = op.Split(op.Max(op.Sub(floats(1), distance), floats(0)), num_outputs=2, axis=4)
    num_points = len(of_points)
    closeness = op.Mul(across, op.Reshape(down, shape_of(0, 0, 0, num_points, 2, 1)))  # [N, Q, heads, P, 2, 2]
    strides = integers([[num_heads, level.width * num_heads] for level in of_points])  # [P, 2]
    column, row = op.Split(op.Mul(low, strides), num_outputs=2, axis=4)
    # A slice of a constant, because ONNX Runtime would compute a Range on the CPU and upload it for each layer.
    num_images = min(MOST_IMAGES, np.iinfo(np.int32).max // (num_cells * num_heads))
    firsts = integers(np.arange(num_images).reshape(-1, 1, 1, 1, 1) * num_cells * num_heads)
    first = op.Slice(firsts, shape_of(0), op.Shape(value, start=0, end=1), shape_of(0))  # [N, 1, 1, 1, 1]
    heads = np.arange(num_heads)[:, None, None]
    corners = integers(heads + np.array([level.corners(num_heads) for level in of_points]))  # [heads, P, 4]
    rows = op.Add(op.Add(op.Add(column, row), first), corners)  # [N, Q, heads, P, 4]
    return rows, op.Reshape(closeness, shape_of(0, 0, 0, num_points, 4))


def _weighted_rows(rows: Value, indices: Value, weights: Value) -> Value:
    """The sums of rows [R, D] at indices [N, Q, heads, P, 4], weighted: [N, Q, heads, 1, D]."""
    chosen = op.Gather(rows, op.Reshape(indices, shape_of(0, 0, 0, -1)), axis=0)  # [N, Q, heads, P * 4, D]
    return op.MatMul(op.Reshape(weights, shape_of(0, 0, 0, 1, -1)), chosen)


def _grid_sampler_in_onnx(
    input: Value,  # noqa: A002 - as PyTorch calls it
    grid: Value,
    interpolation_mode: int,
    padding_mode: int,
    align_corners: bool,
) -> Value:
    """Bilinear sampling of [N, C, H, W] at [N, h, w, 2], zeros outside. Other modes stay GridSample."""
    channels, height, width = input.shape[1:]
    if (interpolation_mode, padding_mode) != (0, 0) or not all(isinstance(side, int) for side in (height, width)):
        modes, paddings = ("linear", "nearest", "cubic"), ("zeros", "border", "reflection")
        return op.GridSample(
            input,
            grid,
            align_corners=int(align_corners),
            mode=modes[interpolation_mode],
            padding_mode=paddings[padding_mode],
        )
    spans = np.array([width - 1, height - 1] if align_corners else [width, height])
    middle = floats([(width - 1) / 2, (height - 1) / 2])
    positions = op.Add(op.Mul(op.Cast(grid, to=TensorProto.FLOAT), floats(spans / 2)), middle)  # [N, h, w, 2], x first
    level = _Level(height, width, 0)
    cells, closeness = _corners(op.Unsqueeze(positions, [3]), [level], 1, height * width, input)  # [N, h, w, 1, 4]
    rows = op.Reshape(op.Transpose(input, perm=[0, 2, 3, 1]), shape_of(-1, channels))  # [N * H * W, C]
    sampled = _weighted_rows(rows, cells, op.CastLike(closeness, input))  # [N, h, w, 1, C]
    return op.Transpose(op.Reshape(sampled, shape_of(0, 0, 0, -1)), perm=[0, 3, 1, 2])


SAMPLING: dict[Callable[..., object], Callable[..., object]] = {
    torch.ops.streamdet.deformable_attention.default: _deformable_attention_in_onnx,
    torch.ops.aten.grid_sampler.default: _grid_sampler_in_onnx,
    torch.ops.aten.grid_sampler_2d.default: _grid_sampler_in_onnx,
}
"""The translations of this file, for `TRANSLATIONS`."""
