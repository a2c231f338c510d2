"""Parity: two detectors' detections in the same images → how far they agree, and whether that meets a bar."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.picture.boxes import FloatArray, Indices, match_greedily
from pipeline.picture.detections import Detections
from pipeline.picture.nms_edges import Likeness, Mask, Side, suppressed_by_rounding, tied, truncated

# Two boxes that overlap by less are not the same object moved.
_SAME_OBJECT_IOU = 0.5
# Boxes thinner than a pixel or two never reach an IoU near 1: they agree where their corners lie this close.
_SAME_CORNERS_PX = 0.05
# A point of a body may be off by this share of its box; of the points, by argmax over a map, one in ten may flip.
_POINT_TOLERANCE = 0.02
_LEAST_SHARE_OF_POINTS = 0.9


@dataclass(frozen=True, slots=True)
class Bar:
    """What two detectors must agree on to count as the same."""

    least_iou: float
    largest_score_difference: float
    least_matched_share: float
    least_mask_iou: float
    score_from: float = 0.05  # lower detections are not compared

    def passed_by(self, parity: Parity) -> bool:
        """Whether there was something to compare and it agreed."""
        return parity.num_detections > 0 and parity.matched_share >= self.least_matched_share


FP32_BAR = Bar(least_iou=0.99, largest_score_difference=1e-3, least_matched_share=1.0, least_mask_iou=0.95)
FP16_BAR = Bar(least_iou=0.95, largest_score_difference=1e-2, least_matched_share=0.995, least_mask_iou=0.9)


@dataclass(frozen=True, slots=True)
class Parity:
    """How far two detectors agree on some images."""

    num_images: int
    num_detections: int  # that count, of both sides together
    num_on_edge: int  # not among them: rounding in NMS, or the limit, decides who has them
    num_matched: int  # of num_detections, those that have a partner within the bar
    least_iou: float  # over all pairs, those outside the bar too; 1 if there is none
    largest_score_difference: float  # over all pairs; 0 if there is none
    num_class_flips: int  # the same box, another class
    least_mask_iou: float | None  # over all pairs; None: they have no masks
    least_points_share: float | None  # the share of a detection's keypoints that agree, over all pairs
    worst_image: int | None  # the image with the most detections without a partner, None if all have one

    @property
    def matched_share(self) -> float:
        """The share of detections with a partner within the bar; 1 where neither side finds anything."""
        return self.num_matched / self.num_detections if self.num_detections else 1.0

    def __str__(self) -> str:
        return (
            f"{self.num_matched} of {self.num_detections} detections in {self.num_images} images matched "
            f"({self.matched_share:.2%}), least IoU {self.least_iou:.5f}, largest score difference "
            f"{self.largest_score_difference:.2g}, {self.num_class_flips} class flips"
            + (f", {self.num_on_edge} on the edge of NMS" if self.num_on_edge else "")
            + ("" if self.least_mask_iou is None else f", least mask IoU {self.least_mask_iou:.4f}")
            + ("" if self.least_points_share is None else f", keypoints agree in {self.least_points_share:.0%} or more")
        )


def compare(
    ours: Sequence[Detections],
    theirs: Sequence[Detections],
    bar: Bar,
    *,
    iou_threshold: float | None = None,
    max_detections: int | None = None,
    proposals: Sequence[Detections] | None = None,
) -> Parity:
    """Match the detections of two detectors in the same images, as sets: where scores tie, their order may differ.

    Both must keep detections from a little less than `bar.score_from`, so that one just above it finds a partner just
    below. `iou_threshold` is that of their NMS: a box that overlaps a better one by just that may stay on one side and
    go on the other; None: there is no NMS. `proposals` are ours before NMS: with them, one of theirs that is among
    them, and that one of ours with the same score displaced, is not a difference either, as in even surfaces, where
    neighbouring cells propose the same. `max_detections` is the limit of both: a detection that scores no more than
    the last of a full side may be cut off there. Raises ValueError for unequal numbers of images.
    """
    before_nms = [None] * len(ours) if proposals is None else proposals
    nms = _Nms(iou_threshold, max_detections)
    images = [
        _compare_image(our_detections, their_detections, bar, nms, proposed)
        for our_detections, their_detections, proposed in zip(ours, theirs, before_nms, strict=True)
    ]
    num_unmatched = [image.num_detections - image.num_matched for image in images]
    return Parity(
        num_images=len(images),
        num_detections=sum(image.num_detections for image in images),
        num_on_edge=sum(image.num_on_edge for image in images),
        num_matched=sum(image.num_matched for image in images),
        least_iou=min((image.least_iou for image in images), default=1.0),
        largest_score_difference=max((image.largest_score_difference for image in images), default=0.0),
        num_class_flips=sum(image.num_class_flips for image in images),
        least_mask_iou=_least(image.least_mask_iou for image in images),
        least_points_share=_least(image.least_points_share for image in images),
        worst_image=int(np.argmax(num_unmatched)) if any(num_unmatched) else None,
    )


@dataclass(frozen=True, slots=True)
class _Nms:
    """What both detectors do to their boxes."""

    iou_threshold: float | None  # None: there is no NMS
    max_detections: int | None


@dataclass(frozen=True, slots=True)
class _Pairs:
    """One of ours and one of theirs that are the same object, P times."""

    rows: Indices  # [P], of ours
    columns: Indices  # [P], of theirs
    iou: FloatArray  # [P]
    score_difference: FloatArray  # [P]
    mask_iou: FloatArray | None  # [P]
    points_share: FloatArray | None  # [P], of the keypoints, those that agree
    is_within: Mask  # [P], the bar

    def select(self, chosen: Mask) -> _Pairs:
        """The pairs that a mask [P] picks."""
        return _Pairs(
            self.rows[chosen],
            self.columns[chosen],
            self.iou[chosen],
            self.score_difference[chosen],
            None if self.mask_iou is None else self.mask_iou[chosen],
            None if self.points_share is None else self.points_share[chosen],
            self.is_within[chosen],
        )


def _compare_image(
    our_detections: Detections, their_detections: Detections, bar: Bar, nms: _Nms, proposed: Detections | None
) -> Parity:
    ours, theirs = (Side.of(detections, score_from=bar.score_from) for detections in (our_detections, their_detections))
    likeness = Likeness.of(ours.detections, theirs.detections)
    pairs = _pairs(ours, theirs, likeness, bar)
    ours, theirs = ours.agreeing(pairs.rows[pairs.is_within]), theirs.agreeing(pairs.columns[pairs.is_within])
    our_edges, their_edges = _edges(ours, theirs, likeness, bar, nms, proposed)
    if nms.iou_threshold is not None:
        # A box that stays in the place of another overlaps it well, and was paired with it.
        pairs = pairs.select(pairs.is_within | ~(our_edges[pairs.rows] & their_edges[pairs.columns]))
        our_edges[pairs.rows], their_edges[pairs.columns] = False, False  # a box that moved does not concern NMS
    num_on_edge = int(our_edges.sum() + their_edges.sum())
    return Parity(
        num_images=1,
        num_detections=int(ours.counts.sum() + theirs.counts.sum()) - num_on_edge,
        num_on_edge=num_on_edge,
        num_matched=int((ours.counts & ours.agreed).sum() + (theirs.counts & theirs.agreed).sum()),
        least_iou=float(pairs.iou.min(initial=1)),
        largest_score_difference=float(pairs.score_difference.max(initial=0)),
        num_class_flips=_num_class_flips(
            _without(ours.counts & ~our_edges, pairs.rows),
            _without(theirs.counts & ~their_edges, pairs.columns),
            likeness,
            bar,
        ),
        least_mask_iou=None if pairs.mask_iou is None else float(pairs.mask_iou.min(initial=1)),
        least_points_share=None if pairs.points_share is None else float(pairs.points_share.min(initial=1)),
        worst_image=None,
    )


def _pairs(ours: Side, theirs: Side, likeness: Likeness, bar: Bar) -> _Pairs:
    """The pairs of the same object, the most alike first, of which at least one side counts."""
    overlap = likeness.iou_in_class  # [N, M]
    rows, columns = match_greedily(overlap, at_least=_SAME_OBJECT_IOU, by=(overlap - likeness.score_difference,))
    counted = ours.counts[rows] | theirs.counts[columns]  # [P]
    rows, columns = rows[counted], columns[counted]
    iou, score_difference = likeness.iou[rows, columns], likeness.score_difference[rows, columns]  # [P], [P]
    corners_px = _corner_distance(ours.detections, theirs.detections, rows, columns)  # [P]
    is_within = (iou >= bar.least_iou) | (corners_px <= _SAME_CORNERS_PX)  # [P]
    is_within &= score_difference <= bar.largest_score_difference
    mask_iou = _mask_iou(ours.detections, theirs.detections, rows, columns)  # [P]
    points_share = _points_share(ours.detections, theirs.detections, rows, columns)  # [P]
    if mask_iou is not None:
        is_within &= mask_iou >= bar.least_mask_iou
    if points_share is not None:
        is_within &= points_share >= _LEAST_SHARE_OF_POINTS
    return _Pairs(rows, columns, iou, score_difference, mask_iou, points_share, is_within)


def _corner_distance(ours: Detections, theirs: Detections, rows: Indices, columns: Indices) -> FloatArray:
    """How far the corners of each pair lie apart at most [P], along x or y; those of oriented boxes in any rotation."""
    if ours.corners is None or theirs.corners is None:
        boxes, others = ours.boxes_xyxy[rows], theirs.boxes_xyxy[columns]  # [P, 4], [P, 4]
        return np.asarray(np.abs(boxes - others).max(axis=1, initial=0))
    turns = (np.roll(ours.corners[rows], shift, axis=1) for shift in range(4))
    distances = [np.abs(corners - theirs.corners[columns]).max(axis=(1, 2), initial=0) for corners in turns]
    return np.asarray(np.min(distances, axis=0))


def _edges(
    ours: Side, theirs: Side, likeness: Likeness, bar: Bar, nms: _Nms, proposed: Detections | None
) -> tuple[Mask, Mask]:
    """Which detections that count, [N] and [M], only one side has because of rounding or its limit."""
    tolerance = bar.largest_score_difference
    our_edges = truncated(ours, theirs, max_detections=nms.max_detections, tolerance=tolerance)  # [N]
    their_edges = truncated(theirs, ours, max_detections=nms.max_detections, tolerance=tolerance)  # [M]
    threshold = nms.iou_threshold
    if threshold is not None:
        their_ties = tied(
            theirs, likeness, proposed, iou_threshold=threshold, least_iou=bar.least_iou, tolerance=tolerance
        )  # [M]
        ours_rounded, theirs_rounded = suppressed_by_rounding(
            ours, theirs, likeness.iou_in_class, their_ties, iou_threshold=threshold, tolerance=tolerance
        )  # [N], [M]
        our_edges, their_edges = our_edges | ours_rounded, their_edges | theirs_rounded
    return our_edges & ours.counts, their_edges & theirs.counts


def _without(mask: Mask, indices: Indices) -> Mask:
    remaining = mask.copy()
    remaining[indices] = False
    return remaining


def _num_class_flips(our_unmatched: Mask, their_unmatched: Mask, likeness: Likeness, bar: Bar) -> int:
    """How many of ours that have no partner lie where one of theirs has another class."""
    other_class = np.where(likeness.same_class, 0, likeness.iou)[np.ix_(our_unmatched, their_unmatched)]
    return int((other_class.max(axis=1, initial=0) >= bar.least_iou).sum())


def _least(values: Iterable[float | None]) -> float | None:
    return min((value for value in values if value is not None), default=None)


def _mask_iou(ours: Detections, theirs: Detections, rows: Indices, columns: Indices) -> FloatArray | None:
    """The IoU [P] of the masks of each pair; 1 for two empty ones."""
    if ours.masks is None or theirs.masks is None:
        return None
    pairs = zip(rows.tolist(), columns.tolist(), strict=True)
    return np.array(
        [ours.masks.intersection_over_union(row, theirs.masks, column) for row, column in pairs], np.float32
    )


def _points_share(ours: Detections, theirs: Detections, rows: Indices, columns: Indices) -> FloatArray | None:
    """The share [P] of the keypoints of each pair that agree."""
    if ours.keypoints is None or theirs.keypoints is None:
        return None
    boxes = theirs.boxes_xyxy[columns]  # [P, 4]
    sides = boxes[:, 2:] - boxes[:, :2]  # [P, 2]
    reach = np.maximum(1.0, _POINT_TOLERANCE * np.hypot(sides[:, 0], sides[:, 1]))  # [P]
    distance = np.linalg.norm(ours.keypoints[rows, :, :2] - theirs.keypoints[columns, :, :2], axis=2)  # [P, points]
    return np.asarray((distance <= reach[:, None]).mean(axis=1), np.float32)
