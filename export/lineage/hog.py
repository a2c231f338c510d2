"""HOG: pixels → histograms of oriented gradients, in operations that an ONNX graph has.

Dalal and Triggs 2005 (https://doi.org/10.1109/CVPR.2005.177), their default detector: the gradient of the strongest
colour by [-1, 0, 1], no smoothing, no gamma (section 6.1, 6.2), nine orientations over 180 degrees and cells of 8 x 8
pixels (6.3), blocks of 2 x 2 cells that overlap by one, L2-Hys (6.4). As scikit-image's `feature.hog`, and as there: a
pixel votes for one bin and one cell, where the paper interpolates between neighbours (6.3).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CELL_PX = 8
NUM_BINS = 9
BLOCK_CHANNELS = 4 * NUM_BINS
_EPSILON = 1e-5
_LARGEST_SHARE = 0.2  # of a block's norm, for one number: the "Hys" of L2-Hys


class Hog(nn.Module):
    """Pixels float [N, 3, h, w] in 0..255 → blocks [N, 36, h // 8 - 1, w // 8 - 1].

    The 36 numbers of a block are those of its cells, top left, top right, bottom left, bottom right, nine bins each.
    """

    def __init__(self) -> None:
        super().__init__()
        self.sines: Tensor
        self.cosines: Tensor
        angles = torch.arange(1, NUM_BINS, dtype=torch.float64)[:, None, None] * math.pi / NUM_BINS  # between two bins
        self.register_buffer("sines", angles.sin().float())  # [8, 1, 1]
        self.register_buffer("cosines", angles.cos().float())

    def forward(self, pixels: Tensor) -> Tensor:
        across, down = strongest_gradient(pixels)  # [N, 1, h, w] each
        magnitude = torch.sqrt(across * across + down * down)
        # An orientation and its opposite are one: turn all into the half from 0 degrees on.
        is_turned = (down < 0) | ((down == 0) & (across < 0))
        across, down = (torch.where(is_turned, -side, side) for side in (across, down))
        # Beyond the edge between two bins the cross product with it is not negative. Not as a convolution, whose
        # rounding differs between runtimes: the same pixel must vote for the same bin everywhere.
        is_beyond = (down * self.cosines >= across * self.sines).float()  # [N, 8, h, w]
        from_bin, to_bin = F.pad(is_beyond, (0, 0, 0, 0, 1, 0), value=1.0), F.pad(is_beyond, (0, 0, 0, 0, 0, 1))
        cells = F.avg_pool2d((from_bin - to_bin) * magnitude, CELL_PX)  # [N, 9, rows, columns]
        corners = (cells[:, :, :-1, :-1], cells[:, :, :-1, 1:], cells[:, :, 1:, :-1], cells[:, :, 1:, 1:])
        blocks = normalised(torch.cat(corners, dim=1))
        return normalised(blocks.clamp(max=_LARGEST_SHARE))


def strongest_gradient(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """The gradient across and down [N, 1, h, w] of the colour in which it is largest; 0 at the picture's edges."""
    across = F.pad(pixels[:, :, :, 2:] - pixels[:, :, :, :-2], (1, 1))  # [N, 3, h, w]
    down = F.pad(pixels[:, :, 2:] - pixels[:, :, :-2], (0, 0, 1, 1))
    squares = across * across + down * down
    best = squares[:, :1], across[:, :1], down[:, :1]
    for channel in range(1, pixels.shape[1]):
        other = tuple(values[:, channel : channel + 1] for values in (squares, across, down))
        is_larger = other[0] > best[0]
        best = tuple(torch.where(is_larger, new, old) for new, old in zip(other, best, strict=True))  # type: ignore[assignment]
    return best[1], best[2]


def normalised(blocks: Tensor) -> Tensor:
    """Blocks [N, 36, rows, columns], each of norm 1 or, where there is no gradient, 0."""
    # Not `+ _EPSILON**2`, as in the paper: onnxscript takes a term of 1e-10 for 0 and drops it, and a block without
    # gradient would be 0 / 0. The sum of a block with a gradient is 1e-4 and more.
    return blocks / torch.sqrt((blocks * blocks).sum(dim=1, keepdim=True).clamp(min=_EPSILON**2))
