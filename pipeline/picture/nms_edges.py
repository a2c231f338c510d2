"""NMS edges: detections that one of two detectors lacks → those of them where rounding decided, and nothing else.

Two boxes that overlap by the threshold of NMS exactly, two of equal scores, or a list that is cut at its limit: one
rounding more, and the other one stays.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from pipeline.picture.boxes import FloatArray, Indices
from pipeline.picture.detections import Detections

Mask = npt.NDArray[np.bool_]

# NMS decides in network pixels, and IoU is a little different in source pixels.
_EDGE_IOU = 0.005
# What lay in the padding was dropped after the limit, so that a full list may be a little shorter.
_FULL_SHARE = 0.75


@dataclass(frozen=True, slots=True)
class Side:
    """What one of two detectors finds in an image."""

    detections: Detections
    counts: Mask  # [N], whether the score is high enough to be compared
    agreed: Mask  # [N], whether the other side has the same

    @classmethod
    def of(cls, detections: Detections, *, score_from: float) -> Side:
        """A side that agrees in nothing yet. float32 like the scores: one printed as 0.7 must reach 0.7."""
        counts = detections.scores >= np.float32(score_from)
        return cls(detections, counts, np.zeros_like(counts))

    def agreeing(self, indices: Indices) -> Side:
        """The same side, which agrees in the detections with these indices."""
        agreed = self.agreed.copy()
        agreed[indices] = True
        return replace(self, agreed=agreed)


@dataclass(frozen=True, slots=True)
class Likeness:
    """How alike the detections of two sides are, [N, M] each."""

    iou: FloatArray
    score_difference: FloatArray
    same_class: Mask

    @classmethod
    def of(cls, ours: Detections, theirs: Detections) -> Likeness:
        """Compare each of ours [N] with each of theirs [M]."""
        return cls(
            ours.overlaps(theirs),
            np.abs(ours.scores[:, None] - theirs.scores[None]),
            ours.class_ids[:, None] == theirs.class_ids[None],
        )

    @property
    def iou_in_class(self) -> FloatArray:
        """The IoU, 0 for two of different classes."""
        return np.where(self.same_class, self.iou, np.float32(0))


def truncated(side: Side, other: Side, *, max_detections: int | None, tolerance: float) -> Mask:
    """Which detections [N], of those not agreed upon, score so little that the other side's limit may lack them.

    tolerance: by how much scores may differ. max_detections: the limit of both sides.
    """
    rivals = other.detections.scores
    if max_detections is None or len(rivals) < _FULL_SHARE * max_detections:
        return np.zeros_like(side.agreed)
    return np.asarray(~side.agreed & (side.detections.scores <= rivals.min() + tolerance))


def tied(
    theirs: Side,
    likeness: Likeness,
    proposed: Detections | None,
    *,
    iou_threshold: float,
    least_iou: float,
    tolerance: float,
) -> Mask:
    """Which of their detections [M], of those not agreed upon, our NMS dropped for one of ours with the same score.

    proposed: ours before NMS, which must hold the detection itself, with `least_iou` or more; None: none is tied.
    """
    if proposed is None:
        return np.zeros_like(theirs.agreed)
    takes_place = (likeness.iou_in_class > iou_threshold) & (likeness.score_difference <= tolerance)  # [N, M]
    before_nms = Likeness.of(theirs.detections, proposed)  # [M, K]
    same = (before_nms.iou_in_class >= least_iou) & (before_nms.score_difference <= tolerance)  # [M, K]
    return np.asarray(~theirs.agreed & takes_place.any(axis=0) & same.any(axis=1))


def suppressed_by_rounding(
    ours: Side, theirs: Side, iou: FloatArray, their_ties: Mask, *, iou_threshold: float, tolerance: float
) -> tuple[Mask, Mask]:
    """Which detections, [N] and [M], of those not agreed upon, the other side's NMS dropped because of rounding.

    It dropped them by a hair, for a better one that both sides have, or for a better one that only that side has, for
    such a reason in its turn. iou: [N, M], 0 between classes. their_ties: [M], see `tied`.
    """
    by_a_hair = np.abs(iou - iou_threshold) <= _EDGE_IOU  # [N, M]
    at_all = iou > iou_threshold - _EDGE_IOU  # [N, M]
    our_scores, their_scores = ours.detections.scores[:, None], theirs.detections.scores[None]  # [N, 1], [1, M]
    theirs_is_better = their_scores >= our_scores - tolerance  # [N, M]
    ours_is_better = our_scores >= their_scores - tolerance  # [N, M]
    our_edges, their_edges = np.zeros_like(ours.agreed), their_ties
    for _ in range(len(our_edges) + len(their_edges)):
        lost_to_theirs = _lost(theirs_is_better, by_a_hair, theirs.agreed, at_all, their_edges)  # [N]
        lost_to_ours = _lost(ours_is_better.T, by_a_hair.T, ours.agreed, at_all.T, our_edges)  # [M]
        our_new, their_new = ~ours.agreed & lost_to_theirs, their_ties | (~theirs.agreed & lost_to_ours)
        if np.array_equal(our_new, our_edges) and np.array_equal(their_new, their_edges):
            break
        our_edges, their_edges = our_new, their_new
    return our_edges, their_edges


def _lost(rival_is_better: Mask, by_a_hair: Mask, agreed: Mask, at_all: Mask, on_edge: Mask) -> Mask:
    """Which of [N] a better rival of [M] displaced: one agreed upon, by a hair, or one on the edge itself, at all."""
    takes = (by_a_hair & agreed[None]) | (at_all & on_edge[None])  # [N, M]
    return np.asarray((rival_is_better & takes).any(axis=1))
