"""Two stages: the feature pyramid of torchvision's R-CNNs → detections, masks and keypoints, in fixed shapes.

torchvision keeps a list of boxes for each image, as long as it happens to be. Here every image has the largest possible
number of boxes, best first; padding scores `_PADDING`, takes no part in suppression and is pooled as zeros.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RegionProposalNetwork
from torchvision.ops.poolers import MultiScaleRoIAlign, _setup_scales

from export.graph.ops import best_pairs, find_peaks, keep_best, pool_regions, take_rows

_PADDING = -1.0  # the score of padding
_REAL = -0.5  # every real box scores more than this
_NUM_CANDIDATES = 2000  # pairs of a proposal and a class above torchvision's threshold that take part in suppression


def apply_deltas(deltas: Tensor, anchors: Tensor, weights: tuple[float, ...]) -> Tensor:
    """Boxes xyxy [..., 4] from deltas [..., 4] and anchors xyxy [..., 4], as by torchvision's BoxCoder."""
    largest_log_ratio = 4.135166556742356  # log(1000 / 16)
    size = anchors[..., 2:] - anchors[..., :2]  # [..., 2]
    centre = anchors[..., :2] + 0.5 * size
    shift, ratio = deltas[..., :2] / deltas.new_tensor(weights[:2]), deltas[..., 2:] / deltas.new_tensor(weights[2:])
    centre = shift * size + centre
    half = 0.5 * (torch.exp(ratio.clamp(max=largest_log_ratio)) * size)
    return torch.cat([centre - half, centre + half], dim=-1)


def clip_to_image(boxes: Tensor, network_wh: tuple[int, int]) -> Tensor:
    """Boxes xyxy [..., 4], clipped to the network's input."""
    width, height = network_wh
    x, y = boxes[..., 0::2].clamp(0, width), boxes[..., 1::2].clamp(0, height)  # [..., 2]
    return torch.stack([x[..., 0], y[..., 0], x[..., 1], y[..., 1]], dim=-1)


class Features(nn.Module):
    """Normalised pixels [N, 3, h, w] → the feature pyramid, one tensor [N, C, h / stride, w / stride] a level."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.backbone(images).values())


class TwoStageDecode(nn.Module):
    """The feature pyramid → the best K detections after suppression, and their masks or keypoints."""

    def __init__(self, model: FasterRCNN, network_wh: tuple[int, int]) -> None:
        super().__init__()
        width, height = network_wh
        pixels = torch.zeros(1, 3, height, width)
        with torch.inference_mode():
            features = model.backbone(pixels)
        self.network_wh = network_wh
        self.proposals = Proposals(model.rpn, list(features.values()), network_wh)
        heads = model.roi_heads
        self.pool_for_boxes = Pool(heads.box_roi_pool, features, network_wh)
        self.box_head, self.box_predictor = heads.box_head, heads.box_predictor
        self.box_weights = tuple(heads.box_coder.weights)
        self.score_threshold, self.iou_threshold = heads.score_thresh, heads.nms_thresh
        self.num_detections = heads.detections_per_img
        self.masks = Masks(heads, features, network_wh) if heads.has_mask() else None
        self.keypoints = Keypoints(heads, features, network_wh) if heads.has_keypoint() else None
        named = {"masks": self.masks, "keypoints": self.keypoints}
        self.more_outputs = tuple(name for name, part in named.items() if part is not None)

    def forward(self, *features: Tensor) -> tuple[Tensor, ...]:
        proposals, is_proposal = self.proposals(features)  # [N, R, 4], [N, R]
        boxes, scores, class_ids = self._classify(features, proposals, is_proposal)
        outputs = []
        if self.masks is not None:
            outputs.append(self.masks(features, boxes, scores > 0, class_ids))
        if self.keypoints is not None:
            outputs.append(self.keypoints(features, boxes, scores > 0))
        return boxes, scores, class_ids, *outputs

    def _classify(
        self, features: tuple[Tensor, ...], proposals: Tensor, is_proposal: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes [N, K, 4], scores [N, K] that are 0 for padding, class ids [N, K] without the background."""
        num_proposals = proposals.shape[1]
        pooled = self.pool_for_boxes(features, proposals, is_proposal)  # [N * R, channels, s, s]
        logits, deltas = self.box_predictor(self.box_head(pooled))  # [N * R, 1 + C], [N * R, 4 + 4 C]
        num_classes = logits.shape[1] - 1
        scores = logits.softmax(dim=1)[:, 1:].reshape(-1, num_proposals, num_classes)  # [N, R, C]
        scores = torch.where(is_proposal[:, :, None] & (scores > self.score_threshold), scores, _PADDING)
        pair_scores, proposal_ids, class_ids = best_pairs(scores, _NUM_CANDIDATES)  # [N, M]
        deltas = deltas.reshape(-1, num_proposals * (num_classes + 1), 4)  # [N, R (1 + C), 4]
        deltas = take_rows(deltas, proposal_ids * (num_classes + 1) + class_ids + 1)  # [N, M, 4]
        boxes = apply_deltas(deltas, take_rows(proposals, proposal_ids), self.box_weights)
        boxes = clip_to_image(boxes, self.network_wh)  # [N, M, 4]
        scores = torch.where(has_size(boxes, 1e-2), pair_scores, _PADDING)  # [N, M]
        # Boxes of different classes are moved apart, as torchvision does, so that one suppression serves all classes.
        step = torch.where(scores > _REAL, boxes.amax(dim=2), 0.0).amax(dim=1) + 1  # [N]
        apart = boxes + ((class_ids + 1) * step[:, None])[:, :, None]
        scores = torch.where(keep_best(apart, scores, self.iou_threshold, _REAL), scores, _PADDING)
        kept = scores.topk(min(self.num_detections, scores.shape[1]), dim=1)  # [N, K]
        is_real = kept.values > _REAL  # [N, K]
        boxes = torch.where(is_real[:, :, None], take_rows(boxes, kept.indices), 0.0)
        return boxes, kept.values.clamp(min=0), class_ids.gather(1, kept.indices)


class Proposals(nn.Module):
    """The feature pyramid → regions [N, R, 4] that may hold an object, best first, and which are real [N, R]."""

    def __init__(self, rpn: RegionProposalNetwork, features: list[Tensor], network_wh: tuple[int, int]) -> None:
        super().__init__()
        self.network_wh = network_wh
        self.head = rpn.head
        self.weights = tuple(rpn.box_coder.weights)
        self.num_before, self.num_after = rpn.pre_nms_top_n(), rpn.post_nms_top_n()
        self.iou_threshold, self.score_threshold, self.min_size = rpn.nms_thresh, rpn.score_thresh, rpn.min_size
        width, height = network_wh
        images = ImageList(torch.zeros(1, 3, height, width), [(height, width)])
        anchors = rpn.anchor_generator(images, features)[0]
        counts = rpn.anchor_generator.num_anchors_per_location()
        sizes = [count * feature.shape[2] * feature.shape[3] for count, feature in zip(counts, features, strict=True)]
        self.num_levels = len(sizes)
        for level, level_anchors in enumerate(anchors.split(sizes)):
            self.register_buffer(f"anchors_{level}", torch.clone(level_anchors))  # [A, 4] xyxy, network pixels

    def forward(self, features: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        boxes, scores = [], []
        for level, (logits, deltas) in enumerate(zip(*self.head(list(features)), strict=True)):
            level_boxes, level_scores = self._propose(logits, deltas, getattr(self, f"anchors_{level}"))
            boxes.append(level_boxes)
            scores.append(level_scores)
        all_boxes, all_scores = torch.cat(boxes, dim=1), torch.cat(scores, dim=1)  # [N, P, 4], [N, P]
        best = all_scores.topk(min(self.num_after, all_scores.shape[1]), dim=1)  # [N, R]
        return take_rows(all_boxes, best.indices), best.values > _REAL

    def _propose(self, logits: Tensor, deltas: Tensor, anchors: Tensor) -> tuple[Tensor, Tensor]:
        """Boxes [N, P, 4] and scores [N, P] of one level after suppression."""
        logits = logits.permute(0, 2, 3, 1).flatten(1)  # [N, h, w, anchors] → [N, A]
        by_anchor = deltas.reshape(-1, deltas.shape[1] // 4, 4, *deltas.shape[2:])  # [N, anchors, 4, h, w]
        deltas = by_anchor.permute(0, 3, 4, 1, 2).flatten(1, 3)  # [N, A, 4]
        best = logits.topk(min(self.num_before, len(anchors)), dim=1)  # [N, P]
        boxes = apply_deltas(take_rows(deltas, best.indices), anchors[best.indices], self.weights)
        boxes = clip_to_image(boxes, self.network_wh)  # [N, P, 4]
        scores = best.values.sigmoid()
        takes_part = has_size(boxes, self.min_size) & (scores >= self.score_threshold)
        scores = torch.where(takes_part, scores, _PADDING)
        stays = keep_best(boxes, scores, self.iou_threshold, _REAL)
        return boxes, torch.where(stays, scores, _PADDING)


class Masks(nn.Module):
    """Boxes [N, K, 4] and their classes [N, K] → masks [N, K, 28, 28] in 0..1, each stretched over its box."""

    def __init__(self, heads: RoIHeads, features: dict[str, Tensor], network_wh: tuple[int, int]) -> None:
        super().__init__()
        self.pool = Pool(heads.mask_roi_pool, features, network_wh)
        self.head, self.predictor = heads.mask_head, heads.mask_predictor

    def forward(self, features: tuple[Tensor, ...], boxes: Tensor, is_real: Tensor, class_ids: Tensor) -> Tensor:
        pooled, slots = without_padding(self.pool(features, boxes, is_real), is_real)  # [S, C, s, s], [S]
        logits = self.predictor(self.head(pooled))  # [S, 1 + C, h, w]
        height, width = logits.shape[2:]
        own = (class_ids.flatten()[slots] + 1)[:, None, None, None].expand(-1, 1, height, width)
        masks = logits.gather(1, own).sigmoid()[:, 0]  # [S, h, w]
        return with_padding(masks, slots, is_real)


class Keypoints(nn.Module):
    """Boxes [N, K, 4] → keypoints [N, K, points, 3]: x, y in network pixels, score."""

    def __init__(self, heads: RoIHeads, features: dict[str, Tensor], network_wh: tuple[int, int]) -> None:
        super().__init__()
        self.pool = Pool(heads.keypoint_roi_pool, features, network_wh)
        self.head, self.predictor = heads.keypoint_head, heads.keypoint_predictor

    def forward(self, features: tuple[Tensor, ...], boxes: Tensor, is_real: Tensor) -> Tensor:
        pooled, slots = without_padding(self.pool(features, boxes, is_real), is_real)  # [S, C, s, s], [S]
        maps = self.predictor(self.head(pooled))  # [S, points, h, w]
        boxes = boxes.flatten(0, 1)[slots]  # [S, 4]
        size = (boxes[:, 2:] - boxes[:, :2]).clamp(min=1)  # [S, 2]: width, height
        pixels = size.ceil()
        peaks = find_peaks(maps, pixels.flip(1).to(torch.int64))  # [S, points, 3]
        positions = (peaks[..., :2] + 0.5) * (size / pixels)[:, None] + boxes[:, None, :2]
        return with_padding(torch.cat([positions, peaks[..., 2:]], dim=2), slots, is_real)


class Pool(nn.Module):
    """torchvision's MultiScaleRoIAlign for a fixed size: each region from the level that fits its size."""

    def __init__(self, pool: MultiScaleRoIAlign, features: dict[str, Tensor], network_wh: tuple[int, int]) -> None:
        super().__init__()
        width, height = network_wh
        names = list(features)
        self.levels = [names.index(name) for name in pool.featmap_names if name in features]
        pooled_from = [features[names[level]] for level in self.levels]
        scales, mapper = _setup_scales(pooled_from, [(height, width)], pool.canonical_scale, pool.canonical_level)
        self.scales = [float(scale) for scale in scales]
        self.canonical = (float(mapper.s0), float(mapper.lvl0), float(mapper.eps))
        self.lowest, self.highest = mapper.k_min, mapper.k_max
        self.side, self.sampling_ratio = pool.output_size[0], pool.sampling_ratio

    def forward(self, features: tuple[Tensor, ...], regions: Tensor, is_real: Tensor) -> Tensor:
        """Regions [N, R, 4] and which of them are real [N, R] → [N * R, C, side, side], 0 for padding."""
        scale, level, eps = self.canonical
        size = ((regions[..., 2] - regions[..., 0]) * (regions[..., 3] - regions[..., 1])).sqrt()  # [N, R]
        levels = torch.floor(level + torch.log2(size / scale) + eps).clamp(self.lowest, self.highest)
        levels = torch.where(is_real, levels.to(torch.int64) - self.lowest, -1)
        chosen = [features[index] for index in self.levels]
        pooled: Tensor = pool_regions(chosen, regions, levels, self.scales, self.side, self.sampling_ratio)
        return pooled


def without_padding(values: Tensor, is_real: Tensor) -> tuple[Tensor, Tensor]:
    """The real ones of values [N * K, ...], at least one: [S, ...] and their slots [S]. Heads cost time by region."""
    flat = is_real.flatten()  # [N * K]
    is_first = torch.arange(flat.shape[0], device=flat.device) == 0  # some runtimes fail on an empty batch
    slots = (flat | is_first).nonzero()[:, 0]
    torch._check(slots.shape[0] >= 1)  # tells the exporter that the batch is not empty
    return values[slots], slots


def with_padding(values: Tensor, slots: Tensor, is_real: Tensor) -> Tensor:
    """Values [S, ...] in their slots among zeros: [N, K, ...]."""
    padded = values.new_zeros(is_real.shape[0] * is_real.shape[1], *values.shape[1:])
    return padded.index_put((slots,), values).reshape(*is_real.shape, *values.shape[1:])


def has_size(boxes: Tensor, min_size: float) -> Tensor:
    """Which boxes [..., 4] are at least `min_size` pixels wide and high."""
    return ((boxes[..., 2:] - boxes[..., :2]) >= min_size).all(dim=-1)
