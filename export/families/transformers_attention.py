"""Attention of transformers: its deformable attention, level by level → the one operation that our graphs have for it.

transformers repeats two functions in the file of each family: the module `MultiScaleDeformableAttention`, of Deformable
DETR, RT-DETR, RF-DETR, LW-DETR and others, and `multi_scale_deformable_attention_v2`, of RT-DETRv2, D-FINE and DEIMv2.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from export.graph.sampling import deformable_attention

_MODULE = "MultiScaleDeformableAttention"
_FUNCTION = "multi_scale_deformable_attention_v2"
_ATTRIBUTE = "ms_deformable_attn_core"  # where D-FINE and DEIMv2 keep the function

Sides = Sequence[tuple[int, int]]


@contextlib.contextmanager
def attention_in_one_part(model: nn.Module) -> Iterator[None]:
    """Within, the deformable attention of a model is one operation; a model without any stays as it is."""
    module = sys.modules[type(model).__module__]
    with contextlib.ExitStack() as stack:
        if hasattr(module, _MODULE):
            stack.enter_context(_replaced(getattr(module, _MODULE), "forward", _attend))
        if hasattr(module, _FUNCTION):
            attend = _attend_or(getattr(module, _FUNCTION))
            stack.enter_context(_replaced(module, _FUNCTION, attend))
            for layer in model.modules():
                if hasattr(layer, _ATTRIBUTE):
                    stack.enter_context(_replaced(layer, _ATTRIBUTE, attend))
        yield


@contextlib.contextmanager
def _replaced(owner: object, name: str, value: object) -> Iterator[None]:
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


def _attend(
    _module: nn.Module,
    value: Tensor,
    _spatial_shapes: Tensor,
    levels_hw: Sides,
    _level_starts: Tensor,
    locations: Tensor,
    weights: Tensor,
    _im2col_step: int,
) -> Tensor:
    """In place of `MultiScaleDeformableAttention.forward`: locations [N, Q, heads, levels, points, 2]."""
    num_points = [locations.shape[4]] * locations.shape[3]
    return _in_one_part(value, locations.flatten(3, 4), weights.flatten(3), levels_hw, num_points)


def _attend_or(original: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """In place of `multi_scale_deformable_attention_v2`; the original for its other method, the nearest cell."""

    def attend(
        value: Tensor, levels_hw: Sides, locations: Tensor, weights: Tensor, num_points: list[int], method: str
    ) -> Tensor:
        if method != "default":
            return original(value, levels_hw, locations, weights, num_points, method)
        return _in_one_part(value, locations, weights, levels_hw, num_points)

    return attend


def _in_one_part(
    value: Tensor, locations: Tensor, weights: Tensor, levels_hw: Sides, num_points: Sequence[int]
) -> Tensor:
    sides = [int(side) for level in levels_hw for side in level]
    return torch.as_tensor(deformable_attention(value, locations, weights, sides, num_points))
