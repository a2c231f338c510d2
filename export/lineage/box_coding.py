"""Box coding: boxes and reference boxes → the four numbers that a regressor learns, and back.

R-CNN (Girshick et al. 2014, https://arxiv.org/abs/1311.2524, appendix C): the centre's shift in sizes of the reference,
and the logarithms of the ratios of the sides.
"""

from __future__ import annotations

import torch
from torch import Tensor

from export.families.two_stage import apply_deltas, clip_to_image

Weights = tuple[float, float, float, float]

PLAIN: Weights = (1.0, 1.0, 1.0, 1.0)
SCALED: Weights = (10.0, 10.0, 5.0, 5.0)
"""What the numbers are multiplied by, so that they are of order 1: SSD's "variances" .1 and .2 the other way round."""


def encode(boxes: Tensor, references: Tensor, weights: Weights) -> Tensor:
    """The deltas [..., 4] that turn references xyxy [..., 4] into boxes xyxy [..., 4] of more than no size."""
    size = references[..., 2:] - references[..., :2]
    shift = (boxes[..., :2] + boxes[..., 2:] - references[..., :2] - references[..., 2:]) / 2 / size
    ratio = torch.log((boxes[..., 2:] - boxes[..., :2]) / size)
    return torch.cat([shift, ratio], dim=-1) * boxes.new_tensor(weights)


def decode(deltas: Tensor, references: Tensor, weights: Weights, network_wh: tuple[int, int]) -> Tensor:
    """The boxes xyxy [..., 4] at deltas [..., 4] from references xyxy [..., 4], clipped to the picture."""
    return clip_to_image(apply_deltas(deltas, references, weights), network_wh)
