"""Dense heads: feature maps → logits and deltas of every anchor, and from these the best boxes.

Shared by the systems that classify all anchors at once, without proposals.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from export.graph.ops import best_pairs, take_rows
from export.lineage.box_coding import Weights, decode

MAX_CANDIDATES = 500


def by_anchor(x: Tensor, num_values: int) -> Tensor:
    """A head's map [N, anchors * values, rows, columns] → [N, rows * columns * anchors, values]."""
    return x.permute(0, 2, 3, 1).reshape(x.shape[0], -1, num_values)


def of_levels(heads: Sequence[Callable[[Tensor], Tensor]], levels: Sequence[Tensor], num_values: int) -> Tensor:
    """The numbers [N, A, values] of the anchors of all levels, with a head for each."""
    return torch.cat([by_anchor(head(level), num_values) for head, level in zip(heads, levels, strict=True)], dim=1)


class AnchorDecode(nn.Module):
    """Logits [N, A, columns] and deltas [N, A, 4] → the best K pairs of an anchor and a class, before NMS.

    Returns boxes xyxy [N, K, 4] in network pixels, scores [N, K] in 0..1, best first, and class ids [N, K].
    has_background: one softmax over background, column 0, and the classes; otherwise a sigmoid for each class.
    """

    def __init__(self, anchors: Tensor, network_wh: tuple[int, int], weights: Weights, *, has_background: bool) -> None:
        super().__init__()
        self.network_wh, self.weights, self.has_background = network_wh, weights, has_background
        self.anchors: Tensor
        self.register_buffer("anchors", anchors)  # [A, 4] xyxy, network pixels

    def forward(self, logits: Tensor, deltas: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        class_scores = logits.softmax(dim=2)[:, :, 1:] if self.has_background else logits.sigmoid()
        scores, anchor_ids, class_ids = best_pairs(class_scores, MAX_CANDIDATES)  # [N, K]
        boxes = decode(take_rows(deltas, anchor_ids), self.anchors[anchor_ids], self.weights, self.network_wh)
        return boxes, scores, class_ids
