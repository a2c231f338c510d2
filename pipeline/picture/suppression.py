"""Suppression (NMS and soft-NMS): overlapping boxes, scores and classes → the boxes that stay.

Greedy non-maximum suppression (NMS), per class or over all classes, and soft-NMS (Bodla et al. 2017,
https://arxiv.org/abs/1704.04503), which lowers the scores of overlapping boxes instead of removing them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from pipeline.picture.boxes import FloatArray, intersection_over_union
from pipeline.picture.detections import IntArray
from pipeline.picture.quadrilaterals import quadrilateral_iou

SuppressionMode = Literal["class-aware", "class-agnostic", "soft-linear", "soft-gaussian"]

# Boxes settled at once: large enough to spread numpy's cost per call, small enough that the pairs stay in the cache.
_BLOCK = 128


@dataclass(frozen=True, slots=True)
class SuppressionOptions:
    """Which boxes stay: those of at least a score, of some classes, that no better box overlaps too much.

    Raises ValueError for an unknown mode, an `iou_threshold` outside [0, 1], and limits that leave nothing.
    """

    mode: SuppressionMode = "class-aware"
    iou_threshold: float = 0.5  # boxes that overlap by more are rivals
    score_threshold: float = 0.0  # a box stays from this score on
    class_thresholds: Mapping[int, float] = field(default_factory=dict)  # instead of score_threshold, by class id
    max_detections: int = 300
    sigma: float = 0.5  # of the Gaussian of soft-gaussian
    keep_class_ids: frozenset[int] | None = None  # boxes of other classes are dropped first; None: all classes stay

    def __post_init__(self) -> None:
        if self.mode not in get_args(SuppressionMode):
            raise ValueError(f"mode must be one of {', '.join(get_args(SuppressionMode))}, got {self.mode!r}")
        if not 0 <= self.iou_threshold <= 1:
            raise ValueError(f"iou_threshold must lie within [0, 1], got {self.iou_threshold}")
        if self.max_detections < 1 or self.sigma <= 0:
            raise ValueError(
                f"max_detections must be at least 1 and sigma above 0, got {self.max_detections} and {self.sigma}"
            )

    @property
    def lowest_score_threshold(self) -> float:
        """The score from which on a box of any class may stay."""
        return min([self.score_threshold, *self.class_thresholds.values()])

    def thresholds_of(self, class_ids: IntArray) -> FloatArray:
        """The score thresholds [N] of classes [N]; float32 like scores, so that a score printed as 0.7 reaches 0.7."""
        thresholds = np.full(len(class_ids), self.score_threshold, np.float32)  # [N]
        for class_id, threshold in self.class_thresholds.items():
            thresholds[class_ids == class_id] = threshold
        return thresholds


_DEFAULTS = SuppressionOptions()


def suppress(
    boxes_xyxy: FloatArray,
    scores: FloatArray,
    class_ids: IntArray,
    options: SuppressionOptions = _DEFAULTS,
    *,
    corners: FloatArray | None = None,
) -> tuple[IntArray, FloatArray]:
    """Return the indices [K] of the boxes that stay, best first, and their scores [K].

    Takes boxes [N, 4], scores [N], class_ids [N], and for oriented boxes their corners [N, 4, 2], which overlap then
    instead of the boxes, exactly. A box stays if its score is at least the threshold of its class
    and no better box that stays overlaps it by *more* than the IoU threshold; equal scores keep their order. The soft
    modes, which are class-aware, lower the scores of the boxes that a better one overlaps and apply the score
    thresholds to the lowered ones. Raises ValueError for NaN or infinite boxes and scores.

    >>> boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 9], [50, 0, 60, 10]], np.float32)
    >>> kept, scores = suppress(boxes, np.array([0.5, 0.75, 0.25], np.float32), np.array([0, 0, 0]))
    >>> kept.tolist(), scores.tolist()
    ([1, 2], [0.75, 0.25])
    """
    if options.keep_class_ids is not None:
        of_classes = np.flatnonzero(np.isin(class_ids, sorted(options.keep_class_ids)))  # [L]
        kept, kept_scores = suppress(
            boxes_xyxy[of_classes],
            scores[of_classes],
            class_ids[of_classes],
            replace(options, keep_class_ids=None),
            corners=None if corners is None else corners[of_classes],
        )  # [K], [K]
        return of_classes[kept], kept_scores
    shapes = boxes_xyxy if corners is None else corners
    if not (np.isfinite(boxes_xyxy).all() and np.isfinite(shapes).all() and np.isfinite(scores).all()):
        raise ValueError("boxes and scores must be finite, got NaN or infinity; does the network overflow in float16?")
    thresholds = options.thresholds_of(class_ids)  # [N]
    order = np.flatnonzero(scores >= thresholds)  # [M]
    order = order[np.argsort(-scores[order], kind="stable")]  # [M], best first
    shapes, classes = np.asarray(shapes[order], np.float32), class_ids[order]  # [M, 4] or [M, 4, 2], [M]
    if options.mode.startswith("soft"):
        kept, lowered = _suppress_soft(
            shapes, scores[order], classes, thresholds[order], _weigh(options), options.max_detections
        )  # [K], [K]
        return order[kept], lowered
    rivals = classes if options.mode == "class-aware" else None
    kept = _suppress_hard(shapes, rivals, options.iou_threshold, options.max_detections)  # [K]
    return order[kept], scores[order[kept]]


def _weigh(options: SuppressionOptions) -> Callable[[FloatArray], FloatArray]:
    """The function of an IoU that a soft mode multiplies scores with."""
    if options.mode == "soft-linear":
        return partial(_linear_weight, iou_threshold=options.iou_threshold)
    return partial(_gaussian_weight, sigma=options.sigma)


def _linear_weight(iou: FloatArray, *, iou_threshold: float) -> FloatArray:
    return np.where(iou > iou_threshold, 1 - iou, np.float32(1))


def _gaussian_weight(iou: FloatArray, *, sigma: float) -> FloatArray:
    return np.asarray(np.exp(-(iou**2) / np.float32(sigma)), np.float32)


def _overlaps(a: FloatArray, b: FloatArray, is_rival: npt.NDArray[np.bool_] | None, *, above: float) -> FloatArray:
    """IoU [A, B] of boxes [·, 4], or of the corners [·, 4, 2] of oriented ones; of these only where it matters."""
    if a.ndim == 3:
        return quadrilateral_iou(a, b, where=is_rival, above=above)
    return intersection_over_union(a, b)


def _suppress_hard(
    shapes: FloatArray, classes: IntArray | None, iou_threshold: float, max_detections: int
) -> npt.NDArray[np.intp]:
    """Indices [K] of boxes [M, 4] or corners [M, 4, 2], sorted best first, that greedy suppression keeps.

    Settles a block of boxes at a time: first against all that stay already, then among itself.
    """
    if iou_threshold >= 1:  # nothing overlaps by more, though rounding may say so
        return np.arange(min(len(shapes), max_detections))
    # The largest float32 not above the threshold, so that float32 > float64 is decided exactly, as torchvision does.
    limit = np.float32(iou_threshold)
    if float(limit) > iou_threshold:
        limit = np.nextafter(limit, np.float32(-1))

    def overlaps(a: npt.NDArray[np.intp], b: npt.NDArray[np.intp]) -> npt.NDArray[np.bool_]:
        is_rival = None if classes is None else classes[a][:, None] == classes[b][None, :]  # [A, B]
        too_close = _overlaps(shapes[a], shapes[b], is_rival, above=iou_threshold) > limit  # [A, B]
        return too_close if is_rival is None else too_close & is_rival

    kept = np.zeros(0, np.intp)
    for start in range(0, len(shapes), _BLOCK):
        block = np.arange(start, min(start + _BLOCK, len(shapes)))
        if len(kept):
            block = block[~overlaps(kept, block).any(axis=0)]
        removes = np.triu(overlaps(block, block), 1)  # [B, B]: row i would remove column j
        stays = np.full(len(block), True)  # [B]
        # Who stays depends on who stays before it: each round settles at least one more, most blocks need two or three.
        while (settled := np.logical_not(removes[stays].any(axis=0))).tobytes() != stays.tobytes():
            stays = settled
        kept = np.concatenate([kept, block[stays]])
        if len(kept) >= max_detections:
            break
    return kept[:max_detections]


def _suppress_soft(
    shapes: FloatArray,
    scores: FloatArray,
    classes: IntArray,
    thresholds: FloatArray,
    weigh: Callable[[FloatArray], FloatArray],
    max_detections: int,
) -> tuple[npt.NDArray[np.intp], FloatArray]:
    """Indices [K] and lowered scores [K], best first; `weigh` says by how much an IoU lowers a score."""
    remaining = scores.copy()  # [M]; -1: taken, or fallen below its threshold
    kept: list[int] = []
    lowered: list[np.float32] = []
    while len(kept) < min(max_detections, len(shapes)) and remaining[best := int(remaining.argmax())] >= 0:
        kept.append(best)
        lowered.append(remaining[best])
        remaining[best] = -1
        rivals = (classes == classes[best]) & (remaining >= 0)  # [M]
        iou = _overlaps(shapes[best : best + 1], shapes, rivals[None], above=0)[0]  # [M]
        rivals &= iou > 0  # NaN is not a rival
        remaining[rivals] *= weigh(iou[rivals])
        remaining[remaining < thresholds] = -1
    return np.array(kept, np.intp), np.array(lowered, np.float32)
