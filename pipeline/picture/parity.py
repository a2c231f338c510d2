"""Do two detectors say the same?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.picture.boxes import intersection_over_union
from pipeline.picture.detections import Detections, FloatArray

Indices = npt.NDArray[np.intp]
Mask = npt.NDArray[np.bool_]

# Two boxes that overlap by less are not the same object moved.
_SAME_OBJECT_IOU = 0.5
# Of boxes thinner than a pixel or two, no IoU is near 1; they agree where their corners do, to within so many pixels.
_SAME_CORNERS_PX = 0.05
# NMS decides in network pixels, and IoU is a little different in source pixels.
_EDGE_IOU = 0.005
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
    score_from: float = 0.05  # detections that score less are not asked for

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
    num_on_edge: int  # not among them: two boxes overlap by the NMS threshold so exactly that rounding decides
    num_matched: int  # of those, how many have a partner within the bar
    least_iou: float  # over all pairs, those outside the bar too; 1 if there is none
    largest_score_difference: float  # over all pairs; 0 if there is none
    num_class_flips: int  # the same box, another class
    least_mask_iou: float | None  # over all pairs; None: they have no masks
    least_points_share: float | None  # the share of a detection's keypoints that agree, over all pairs
    worst_image: int | None  # the image with the most detections without a partner, None if all have one

    @property
    def matched_share(self) -> float:
        """The share of detections with a partner within the bar; 1 where nothing was found by either side."""
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
    found: Sequence[Detections],
    reference: Sequence[Detections],
    bar: Bar,
    *,
    iou_threshold: float | None = None,
    max_detections: int | None = None,
    proposals: Sequence[Detections] | None = None,
) -> Parity:
    """Match what two detectors found in the same images, as sets: where scores tie, they may order differently.

    Both must have been asked for a little less than `bar.score_from`, so that a detection just above it finds a
    partner just below. `iou_threshold` is that of their NMS: a box that overlaps a better one by just that may stay on
    one side and go on the other; None: there is no NMS. `proposals` are what
    the first detector had before its NMS: with them, a box of the other that is among them, and of which one with the
    same score took the place, is no difference either, as in even surfaces, where neighbouring cells say the same.
    `max_detections` is the limit of both: what scores no more than the last of a full side may be cut off there.
    """
    before_nms = [None] * len(found) if proposals is None else proposals
    images = [
        _compare_one(ours, theirs, bar, iou_threshold, max_detections, proposed)
        for ours, theirs, proposed in zip(found, reference, before_nms, strict=True)
    ]
    missing = [each.num_detections - each.num_matched for each in images]
    return Parity(
        len(images),
        sum(each.num_detections for each in images),
        sum(each.num_on_edge for each in images),
        sum(each.num_matched for each in images),
        min((each.least_iou for each in images), default=1.0),
        max((each.largest_score_difference for each in images), default=0.0),
        sum(each.num_class_flips for each in images),
        _least(each.least_mask_iou for each in images),
        _least(each.least_points_share for each in images),
        int(np.argmax(missing)) if any(missing) else None,
    )


def _compare_one(
    found: Detections,
    reference: Detections,
    bar: Bar,
    iou_threshold: float | None,
    max_detections: int | None,
    proposed: Detections | None,
) -> Parity:
    least = np.float32(bar.score_from)
    counts, counts_there = found.scores >= least, reference.scores >= least  # [N], [M]
    overlap = intersection_over_union(found.boxes_xyxy, reference.boxes_xyxy)  # [N, M]
    difference = np.abs(found.scores[:, None] - reference.scores[None])  # [N, M]
    same_class = found.class_ids[:, None] == reference.class_ids[None]  # [N, M]
    rows, columns = _pairs(np.where(same_class, overlap, 0), difference)  # [P], [P]
    counted = counts[rows] | counts_there[columns]  # [P]
    rows, columns = rows[counted], columns[counted]
    apart_px = np.abs(found.boxes_xyxy[rows] - reference.boxes_xyxy[columns]).max(axis=1, initial=0)  # [P]
    same_place = (overlap[rows, columns] >= bar.least_iou) | (apart_px <= _SAME_CORNERS_PX)  # [P]
    within = same_place & (difference[rows, columns] <= bar.largest_score_difference)
    masks, points = _masks_alike(found, reference, rows, columns), _points_alike(found, reference, rows, columns)
    if masks is not None:
        within &= masks >= bar.least_mask_iou
    if points is not None:
        within &= points >= _LEAST_SHARE_OF_POINTS
    matched = int(counts[rows[within]].sum() + counts_there[columns[within]].sum())
    agreed, agreed_there = np.zeros_like(counts), np.zeros_like(counts_there)
    agreed[rows[within]], agreed_there[columns[within]] = True, True
    cut, cut_there = (
        ~agreed & _may_be_cut_off(found, reference, bar, max_detections),
        ~agreed_there & _may_be_cut_off(reference, found, bar, max_detections),
    )
    on_edge, on_edge_there = cut & counts, cut_there & counts_there
    if iou_threshold is not None:
        alike = np.where(same_class, overlap, 0)  # [N, M]
        tied = np.zeros_like(agreed_there)
        if proposed is not None:
            takes_place = (alike > iou_threshold) & (difference <= bar.largest_score_difference)  # [N, M]
            tied = ~agreed_there & takes_place.any(axis=0) & _is_among(reference, proposed, bar)
        on_edge, on_edge_there = _on_edge(
            agreed,
            agreed_there,
            tied,
            alike,
            found.scores,
            reference.scores,
            iou_threshold,
            bar.largest_score_difference,
        )
        on_edge, on_edge_there = (on_edge | cut) & counts, (on_edge_there | cut_there) & counts_there
        # A box that stays in the place of another overlaps it well, and was paired with it.
        kept = within | ~(on_edge[rows] & on_edge_there[columns])
        rows, columns = rows[kept], columns[kept]
        masks, points = None if masks is None else masks[kept], None if points is None else points[kept]
        on_edge[rows], on_edge_there[columns] = False, False  # a box that moved is no matter of NMS
    num_on_edge = int(on_edge.sum() + on_edge_there.sum())
    lonely, lonely_there = counts & ~on_edge, counts_there & ~on_edge_there
    lonely[rows], lonely_there[columns] = False, False
    other_class = np.where(same_class, 0, overlap)[np.ix_(lonely, lonely_there)]
    return Parity(
        1,
        int(counts.sum() + counts_there.sum()) - num_on_edge,
        num_on_edge,
        matched,
        float(overlap[rows, columns].min(initial=1)),
        float(difference[rows, columns].max(initial=0)),
        int((other_class.max(axis=1, initial=0) >= bar.least_iou).sum()),
        None if masks is None else float(masks.min(initial=1)),
        None if points is None else float(points.min(initial=1)),
        None,
    )


def _may_be_cut_off(these: Detections, those: Detections, bar: Bar, max_detections: int | None) -> Mask:
    """Which of these [N] score so little that the limit may have taken their partners from the other side."""
    # What lay in the padding was dropped after the limit, so that a full list may be a little shorter.
    if max_detections is None or len(those) < 0.75 * max_detections:
        return np.zeros(len(these), np.bool_)
    return np.asarray(these.scores <= those.scores.min() + bar.largest_score_difference)


def _is_among(wanted: Detections, known: Detections, bar: Bar) -> Mask:
    """Which of the wanted [N] are among those that are known, within the bar."""
    overlap = intersection_over_union(wanted.boxes_xyxy, known.boxes_xyxy)  # [N, M]
    difference = np.abs(wanted.scores[:, None] - known.scores[None])  # [N, M]
    same_class = wanted.class_ids[:, None] == known.class_ids[None]  # [N, M]
    same = same_class & (overlap >= bar.least_iou) & (difference <= bar.largest_score_difference)
    return np.asarray(same.any(axis=1))


def _on_edge(
    agreed: Mask,
    agreed_there: Mask,
    tied: Mask,
    overlap: FloatArray,
    scores: FloatArray,
    scores_there: FloatArray,
    iou_threshold: float,
    tolerance: float,
) -> tuple[Mask, Mask]:
    """Which detections, [N] and [M], of those not agreed upon, NMS took away on the other side because of rounding.

    By a hair, for a better one that both sides have; or for a better one that only that side has, for such a reason.
    tied: of those there [M], which gave way here to one of the same score.
    """
    by_a_hair = np.abs(overlap - iou_threshold) <= _EDGE_IOU  # [N, M]
    at_all = overlap > iou_threshold - _EDGE_IOU  # [N, M]
    is_better_there = scores_there[None] >= scores[:, None] - tolerance  # [N, M]
    is_better_here = scores[:, None] >= scores_there[None] - tolerance  # [N, M]
    here, there = np.zeros_like(agreed), tied
    for _ in range(len(here) + len(there)):
        takes_there = (by_a_hair & agreed_there[None]) | (at_all & there[None])  # [N, M]
        takes_here = (by_a_hair & agreed[:, None]) | (at_all & here[:, None])  # [N, M]
        new_here = ~agreed & (is_better_there & takes_there).any(axis=1)
        new_there = tied | (~agreed_there & (is_better_here & takes_here).any(axis=0))
        if np.array_equal(new_here, here) and np.array_equal(new_there, there):
            break
        here, there = new_here, new_there
    return here, there


def _least(values: Iterable[float | None]) -> float | None:
    return min((each for each in values if each is not None), default=None)


def _masks_alike(found: Detections, reference: Detections, rows: Indices, columns: Indices) -> FloatArray | None:
    """The IoU of the masks of each pair [P]."""
    if found.masks is None or reference.masks is None:
        return None
    both = [
        (np.count_nonzero(ours & theirs), np.count_nonzero(ours | theirs))
        for ours, theirs in ((found.masks[i], reference.masks[j]) for i, j in zip(rows, columns, strict=True))
    ]
    return np.array([shared / either if either else 1.0 for shared, either in both], np.float32)


def _points_alike(found: Detections, reference: Detections, rows: Indices, columns: Indices) -> FloatArray | None:
    """The share of the keypoints of each pair [P] that agree."""
    if found.keypoints is None or reference.keypoints is None:
        return None
    boxes = reference.boxes_xyxy[columns]  # [P, 4]
    reach = np.maximum(1.0, _POINT_TOLERANCE * np.hypot(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]))  # [P]
    apart = np.linalg.norm(found.keypoints[rows, :, :2] - reference.keypoints[columns, :, :2], axis=2)  # [P, points]
    return np.asarray((apart <= reach[:, None]).mean(axis=1), np.float32)


def _pairs(overlap: FloatArray, difference: FloatArray) -> tuple[Indices, Indices]:
    """Row and column indices of one-to-one pairs of the same object, the most alike first."""
    rows, columns = np.nonzero(overlap >= _SAME_OBJECT_IOU)  # [P]
    likeness = overlap[rows, columns] - difference[rows, columns]  # [P]
    free, free_there = np.ones(overlap.shape[0], bool), np.ones(overlap.shape[1], bool)
    chosen: list[int] = []
    for pair in np.argsort(-likeness, kind="stable"):
        if free[rows[pair]] and free_there[columns[pair]]:
            free[rows[pair]] = free_there[columns[pair]] = False
            chosen.append(int(pair))
    return rows[chosen], columns[chosen]
