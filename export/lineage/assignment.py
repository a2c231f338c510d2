"""Assignment: reference boxes and ground truth → what each reference learns, by IoU.

Faster R-CNN (Ren et al. 2015, https://arxiv.org/abs/1506.01497, section 3.1.2). References are anchors or proposals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops import box_iou

from export.examples import Example
from export.lineage.box_coding import Weights, encode

BACKGROUND, NOT_COUNTED = 0, -1
IGNORED_IOU = 0.4  # with an object that counts neither way, of a reference that does not count


@dataclass(frozen=True, slots=True)
class Rule:
    """From which IoU on a reference learns an object, and below which it learns background; between, nothing.

    best_learns: the best reference of an object learns it at any IoU above 0, so that no object is without one.
    """

    positive_iou: float
    negative_iou: float
    best_learns: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.negative_iou <= self.positive_iou <= 1:
            raise ValueError(f"0 < negative_iou <= positive_iou <= 1 must hold, got {self}")


@dataclass(frozen=True, slots=True)
class Targets:
    """What the references [R, 4] of one picture learn, or those [N, R, 4] of several."""

    labels: Tensor  # int64 [..., R]: 1 + class id, BACKGROUND or NOT_COUNTED
    deltas: Tensor  # [..., R, 4], 0 but for classes
    object_ids: Tensor  # int64 [..., R], -1 but for classes

    @property
    def is_positive(self) -> Tensor:
        """bool [..., R]: the reference learns an object."""
        return self.labels > 0


def targets_of(example: Example, references: Tensor, rule: Rule, weights: Weights) -> Targets:
    """The targets of references xyxy [R, 4], in network pixels, in one picture."""
    objects = torch.from_numpy(example.boxes_xyxy)  # [N, 4]
    object_ids = assigned(objects, references, rule)
    is_positive = object_ids >= 0
    labels = torch.where(object_ids == -1, BACKGROUND, NOT_COUNTED)
    if len(example.ignored_xyxy):
        ignored = box_iou(torch.from_numpy(example.ignored_xyxy), references).amax(dim=0) >= IGNORED_IOU
        labels[ignored] = NOT_COUNTED
    labels[is_positive] = 1 + torch.from_numpy(example.class_ids)[object_ids[is_positive]]
    deltas = torch.zeros_like(references)
    deltas[is_positive] = encode(objects[object_ids[is_positive]], references[is_positive], weights)
    return Targets(labels, deltas, object_ids.clamp(min=-1))


def assigned(objects: Tensor, references: Tensor, rule: Rule) -> Tensor:
    """The index of the object [N, 4] that each reference [R, 4] learns; -1: background, -2: neither."""
    if not len(objects):
        return torch.full((len(references),), -1)
    iou: Tensor = box_iou(objects, references)  # [N, R]
    best_iou, object_ids = iou.max(dim=0)  # [R]
    object_ids[best_iou < rule.positive_iou] = -2
    object_ids[best_iou < rule.negative_iou] = -1
    if rule.best_learns:
        best = iou.max(dim=1)  # [N]
        is_overlapped = best.values > 0
        object_ids[best.indices[is_overlapped]] = torch.arange(len(objects))[is_overlapped]
    return object_ids


def stacked(targets: Sequence[Targets]) -> Targets:
    """The targets of several pictures with equally many references, as one."""
    return Targets(
        *(torch.stack([getattr(one, name) for one in targets]) for name in ("labels", "deltas", "object_ids"))
    )


def drawn(labels: Tensor, most: int, most_positive: int) -> Tensor:
    """Which references of labels [R] are drawn, bool [R]: positives at random up to a limit, then background."""
    order = torch.randperm(len(labels))
    positives = order[labels[order] > 0][:most_positive]
    background = order[labels[order] == BACKGROUND][: most - len(positives)]
    chosen = torch.zeros(len(labels), dtype=torch.bool)
    chosen[torch.cat([positives, background])] = True
    return chosen
