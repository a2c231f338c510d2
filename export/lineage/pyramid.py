"""Feature pyramid: the backbone's maps → maps of equal width, each with what the coarser ones know.

Lin et al. 2017, "Feature Pyramid Networks for Object Detection" (https://arxiv.org/abs/1612.03144): 1 x 1 convolutions
to one width, the coarser map enlarged and added (section 3), a 3 x 3 convolution against the steps of enlargement.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from export.lineage.backbone import CHANNELS


class FeaturePyramid(nn.Module):
    """The backbone's maps [N, CHANNELS[i], h, w] → the `num_merged` finest as [N, width, h, w], and then `num_coarser`.

    The latter by strides of 2, from the coarsest one.
    """

    def __init__(self, width: int, *, num_merged: int = len(CHANNELS), num_coarser: int = 0) -> None:
        super().__init__()
        self.lateral = nn.ModuleList([nn.Conv2d(channels, width, 1) for channels in CHANNELS])
        self.smooth = nn.ModuleList([nn.Conv2d(width, width, 3, padding=1) for _ in range(num_merged)])
        self.coarser = nn.ModuleList([nn.Conv2d(width, width, 3, stride=2, padding=1) for _ in range(num_coarser)])

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        merged: list[Tensor] = []
        for lateral, fine in zip(reversed(self.lateral), reversed(maps), strict=True):
            own = lateral(fine)
            merged.insert(0, own + F.interpolate(merged[0], size=own.shape[2:], mode="nearest") if merged else own)
        levels = [smooth(level) for smooth, level in zip(self.smooth, merged, strict=False)]
        for shrink in self.coarser:
            levels.append(shrink(levels[-1]))
        return levels
