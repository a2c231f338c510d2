"""Regions: proposals and ground truth → samples to learn from; class logits and offsets of proposals → boxes.

What R-CNN, SPP-Net and Fast R-CNN share. Offsets are those of Girshick et al. 2014, appendix C: the shift of the centre
in widths and heights of the proposal, and the logarithm of the ratio of the sides, divided by (0.1, 0.1, 0.2, 0.2) as
in Fast R-CNN's code.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import box_convert, roi_pool

from export.examples import Example
from export.families.demo_network import decode, encode
from export.graph.ops import best_pairs, max_pool_regions, numbered_regions, take_rows
from export.lineage.learning import Training, pixels_of
from export.lineage.proposed import proposals_of
from export.lineage.scenes import Scenes
from pipeline.picture.boxes import intersection_over_union, share_inside

NMS_IOU = 0.3  # of the three papers
ENLARGED = 2  # as many times as large as the network's input is the picture that SPP-Net and Fast R-CNN convolve
NUM_ROIS = 600  # of the thousand that selective search proposes in a street, at test
IGNORED_SHARE = 0.5
_RIDGE = 10.0  # of the regressors, on features of about 1 (appendix C has 1000 on features of about 30)


@dataclass(frozen=True, slots=True)
class Sampled:
    """Proposals of one picture, chosen for a batch."""

    rois: Tensor  # [R, 4]
    labels: Tensor  # int64 [R], 0 background, 1 + class
    offsets: Tensor  # [R, 4], of the positives


@dataclass(frozen=True, slots=True)
class Sampling:
    """Which proposals are samples: a quarter positives, as in all three papers."""

    size: int = 64  # of a picture
    positive_iou: float = 0.5
    negative_iou: tuple[float, float] = (0.0, 0.5)  # from, below


class ProposedScenes:
    """Scenes with the proposals of each picture, and the objects' own boxes among them, as the papers do."""

    def __init__(self, scenes: Scenes, training: Training) -> None:
        self.examples = scenes.examples
        proposals = proposals_of(scenes, training)
        self._rois, self._iou, self._object, self._counts = [], [], [], []
        for example, boxes in zip(self.examples, proposals, strict=True):
            rois = np.concatenate([example.boxes_xyxy, boxes])
            overlaps = intersection_over_union(rois, example.boxes_xyxy)  # [P, N]
            has_objects = overlaps.shape[1] > 0
            self._rois.append(rois)
            self._iou.append(overlaps.max(axis=1) if has_objects else np.zeros(len(rois), np.float32))
            self._object.append(overlaps.argmax(axis=1) if has_objects else np.zeros(len(rois), np.int64))
            inside = share_inside(rois, example.ignored_xyxy)
            self._counts.append(~(inside > IGNORED_SHARE).any(axis=1))

    def sample(self, index: int, sampling: Sampling, chance: np.random.Generator) -> Sampled:
        """A quarter positives, if there are as many, and negatives."""
        iou, counts = self._iou[index], self._counts[index]
        positives = np.flatnonzero(iou >= sampling.positive_iou)
        negatives = np.flatnonzero((iou >= sampling.negative_iou[0]) & (iou < sampling.negative_iou[1]) & counts)
        if not len(negatives):
            negatives = np.flatnonzero((iou < sampling.negative_iou[1]) & counts)
        positives = chance.permutation(positives)[: sampling.size // 4]
        negatives = chance.permutation(negatives)[: sampling.size - len(positives)]
        return self._sampled(index, np.concatenate([positives, negatives]), len(positives))

    def mirrored_at_random(self, index: int, sampling: Sampling, chance: np.random.Generator) -> tuple[Tensor, Sampled]:
        """The pixels float [1, 3, h, w] of a picture and a sample of its proposals, both mirrored half of the time."""
        pixels, sampled = self.pixels(index), self.sample(index, sampling, chance)
        if chance.random() < 0.5:
            return pixels, sampled
        rois, offsets = sampled.rois.clone(), sampled.offsets.clone()
        rois[:, [0, 2]] = pixels.shape[3] - rois[:, [2, 0]]
        offsets[:, 0] *= -1
        return pixels.flip(3), replace(sampled, rois=rois, offsets=offsets)

    def pixels(self, index: int) -> Tensor:
        """A picture, float [1, 3, h, w] in -1..1."""
        return pixels_of([self.examples[index].pixels])

    def positives(self, index: int, least_iou: float) -> Sampled:
        """All proposals that overlap an object by as much."""
        chosen = np.flatnonzero(self._iou[index] >= least_iou)
        return self._sampled(index, chosen, len(chosen))

    def _sampled(self, index: int, chosen: np.ndarray[tuple[int], np.dtype[np.int64]], num_positive: int) -> Sampled:
        example: Example = self.examples[index]
        rois = torch.from_numpy(self._rois[index][chosen])
        objects = self._object[index][chosen[:num_positive]]
        labels = torch.zeros(len(chosen), dtype=torch.int64)
        labels[:num_positive] = torch.from_numpy(1 + example.class_ids[objects])
        offsets = torch.zeros(len(chosen), 4)
        anchors = box_convert(rois[:num_positive], "xyxy", "cxcywh")
        offsets[:num_positive] = encode(torch.from_numpy(example.boxes_xyxy[objects]), anchors)
        return Sampled(rois, labels, offsets)


def enlarged(pixels: Tensor) -> Tensor:
    """Pixels [N, 3, h, w], `ENLARGED` times as large, bilinear at half-pixel centres.

    So a proposal covers four times as many cells of the map. SPP-Net resizes pictures to a shorter side of 688 pixels
    (He et al. 2014, sections 4.1 and 4.2), Fast R-CNN to one of 600 (Girshick 2015, section 5.2); the longer side of
    those of VOC is about 500.
    """
    return F.interpolate(pixels, scale_factor=ENLARGED, mode="bilinear", align_corners=False)


def max_pooled(features: Tensor, rois: Tensor, scale: float, side: int) -> Tensor:
    """RoI max pooling of maps [N, C, h, w] over rois [N, P, 4]: [N * P, C, side, side]; see `max_pool_regions`."""
    # The operation for export has no gradient.
    is_learning = torch.is_grad_enabled()
    pooled: Tensor = (
        roi_pool(features, numbered_regions(rois), side, scale)
        if is_learning
        else max_pool_regions(features, rois, scale, side)
    )
    return pooled


class RegionDecode(nn.Module):
    """Logits [N * P, 1 + C], offsets [N * P, 4 * C] and rois [N, P, 4] → the best K pairs of a proposal and a class.

    Returns boxes [N, K, 4], clipped to the picture, scores [N, K] best first, class ids [N, K], before NMS. The rows of
    zeros behind the last proposal score 0.
    """

    def __init__(self, network_wh: tuple[int, int], num_classes: int, *, max_candidates: int = 400) -> None:
        super().__init__()
        self.num_classes, self.max_candidates = num_classes, max_candidates
        self.limits: Tensor
        self.register_buffer("limits", torch.tensor(network_wh * 2, dtype=torch.float32))

    def forward(self, logits: Tensor, offsets: Tensor, rois: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        num_rois, classes = rois.shape[1], self.num_classes
        is_real = rois[:, :, 2] > rois[:, :, 0]  # [N, P]
        scores = logits.softmax(dim=1)[:, 1:].reshape(-1, num_rois, classes) * is_real[:, :, None]
        best, rows, class_ids = best_pairs(scores, self.max_candidates)  # [N, K]
        by_pair = offsets.reshape(-1, num_rois * classes, 4)
        centres, sizes = (rois[..., :2] + rois[..., 2:]) / 2, rois[..., 2:] - rois[..., :2]
        anchors = take_rows(torch.cat([centres, sizes], dim=2), rows)
        boxes = decode(take_rows(by_pair, rows * classes + class_ids), anchors)
        return torch.minimum(boxes.clamp(min=0), self.limits), best, class_ids


def fit_regressors(features: Tensor, offsets: Tensor, labels: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    """The ridge regression of each class (Girshick et al. 2014, appendix C): weights [4 * C, D] and biases [4 * C].

    features [R, D], offsets [R, 4], labels [R] in 1..C. A class without samples moves no box.
    """
    weights, biases = torch.zeros(num_classes, 4, features.shape[1]), torch.zeros(num_classes, 4)
    for class_id in range(num_classes):
        members = labels == 1 + class_id
        if not members.any():
            continue
        x, y = features[members].double(), offsets[members].double()
        x_mean, y_mean = x.mean(dim=0), y.mean(dim=0)
        x, y = x - x_mean, y - y_mean
        solved = torch.linalg.solve(x.T @ x + _RIDGE * torch.eye(x.shape[1], dtype=x.dtype), x.T @ y)  # [D, 4]
        weights[class_id] = solved.T.float()
        biases[class_id] = (y_mean - x_mean @ solved).float()
    return weights.flatten(0, 1), biases.flatten()
