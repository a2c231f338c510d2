"""Which of many overlapping boxes stay?

Greedy non-maximum suppression, per class or over all classes, and soft-NMS (Bodla et al. 2017,
https://arxiv.org/abs/1704.04503), which lowers the scores of overlapping boxes instead of removing them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from pipeline.picture.boxes import intersection_over_union
from pipeline.picture.detections import FloatArray, IntArray

SuppressionMode = Literal["class-aware", "class-agnostic", "soft-linear", "soft-gaussian"]

# Boxes settled at once: large enough to spread numpy's cost per call, small enough that the pairs stay in the cache.
_BLOCK = 128


def suppress(
    boxes_xyxy: FloatArray,
    scores: FloatArray,
    class_ids: IntArray,
    *,
    mode: SuppressionMode = "class-aware",
    iou_threshold: float = 0.5,
    score_threshold: float = 0.0,
    class_thresholds: Mapping[int, float] | None = None,
    max_detections: int = 300,
    sigma: float = 0.5,
) -> tuple[IntArray, FloatArray]:
    """Return the indices [K] of the boxes that stay, best first, and their scores [K].

    Takes boxes [N, 4], scores [N] and class_ids [N]. A box stays if its score is at least the threshold of its class
    (`class_thresholds`, else `score_threshold`) and no better box that stays overlaps it by *more* than
    `iou_threshold`; equal scores keep their order. The soft modes, which are class-aware, lower the scores of the
    boxes that a better one overlaps and apply the score thresholds to the lowered ones; `sigma` is the Gaussian's.
    `max_detections` is the largest K.

    Raises ValueError for NaN or infinite boxes and scores, an unknown mode, and an `iou_threshold` outside [0, 1].
    """
    _check(boxes_xyxy, scores, iou_threshold, max_detections, sigma)
    # float32 like the scores: a score printed as 0.7 must pass a threshold of 0.7.
    thresholds = np.full(len(scores), score_threshold, np.float32)  # [N]
    for class_id, threshold in (class_thresholds or {}).items():
        thresholds[class_ids == class_id] = threshold
    order = np.flatnonzero(scores >= thresholds)  # [M]
    order = order[np.argsort(-scores[order], kind="stable")]  # [M], best first
    boxes, classes = np.asarray(boxes_xyxy[order], np.float32), class_ids[order]  # [M, 4], [M]
    if mode == "class-aware" or mode == "class-agnostic":
        kept = _suppress_hard(boxes, classes if mode == "class-aware" else None, iou_threshold, max_detections)  # [K]
        return order[kept], scores[order[kept]]
    weigh: Callable[[FloatArray], FloatArray]
    if mode == "soft-linear":
        weigh = partial(_linear_weight, iou_threshold=iou_threshold)
    elif mode == "soft-gaussian":
        weigh = partial(_gaussian_weight, sigma=sigma)
    else:
        raise ValueError(f"mode must be one of {', '.join(get_args(SuppressionMode))}, got {mode!r}")
    kept, lowered = _suppress_soft(boxes, scores[order], classes, thresholds[order], weigh, max_detections)  # [K], [K]
    return order[kept], lowered


def _linear_weight(iou: FloatArray, *, iou_threshold: float) -> FloatArray:
    return np.where(iou > iou_threshold, 1 - iou, np.float32(1))


def _gaussian_weight(iou: FloatArray, *, sigma: float) -> FloatArray:
    return np.asarray(np.exp(-(iou**2) / np.float32(sigma)), np.float32)


def _suppress_hard(
    boxes: FloatArray, classes: IntArray | None, iou_threshold: float, max_detections: int
) -> npt.NDArray[np.intp]:
    """Indices [K] of boxes [M, 4], sorted best first, that greedy suppression keeps.

    Settles a block of boxes at a time: first against all that stay already, then among itself.
    """
    if iou_threshold >= 1:  # nothing overlaps by more, though rounding may say so
        return np.arange(min(len(boxes), max_detections))
    # The largest float32 not above the threshold, so that float32 > float64 is decided exactly, as torchvision does.
    limit = np.float32(iou_threshold)
    if float(limit) > iou_threshold:
        limit = np.nextafter(limit, np.float32(-1))

    def overlaps(a: npt.NDArray[np.intp], b: npt.NDArray[np.intp]) -> npt.NDArray[np.bool_]:
        too_close = intersection_over_union(boxes[a], boxes[b]) > limit  # [A, B]
        if classes is not None:
            too_close &= classes[a][:, None] == classes[b][None, :]
        return too_close

    kept = np.zeros(0, np.intp)
    for start in range(0, len(boxes), _BLOCK):
        block = np.arange(start, min(start + _BLOCK, len(boxes)))
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
    boxes: FloatArray,
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
    while len(kept) < min(max_detections, len(boxes)) and remaining[best := int(remaining.argmax())] >= 0:
        kept.append(best)
        lowered.append(remaining[best])
        remaining[best] = -1
        iou = intersection_over_union(boxes[best : best + 1], boxes)[0]  # [M]
        rivals = (classes == classes[best]) & (iou > 0) & (remaining >= 0)  # [M]; NaN is no rival
        remaining[rivals] *= weigh(iou[rivals])
        remaining[remaining < thresholds] = -1
    return np.array(kept, np.intp), np.array(lowered, np.float32)


def _check(boxes_xyxy: FloatArray, scores: FloatArray, iou_threshold: float, max_detections: int, sigma: float) -> None:
    if not (np.isfinite(boxes_xyxy).all() and np.isfinite(scores).all()):
        raise ValueError("boxes and scores must be finite, got NaN or infinity; does the network overflow in float16?")
    if not 0 <= iou_threshold <= 1:
        raise ValueError(f"iou_threshold must lie within [0, 1], got {iou_threshold}")
    if max_detections < 1 or sigma <= 0:
        raise ValueError(f"max_detections must be at least 1 and sigma above 0, got {max_detections} and {sigma}")
