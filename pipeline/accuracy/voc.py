"""Pascal VOC's AP: detections and the truth of images → how accurate they are, as Pascal VOC counts it.

Everingham et al. 2010, https://doi.org/10.1007/s11263-009-0275-4, section 4.2, and the development kit's VOCevaldet.
The kit counts whole pixels, from xmin to xmax inclusive; our boxes end where a pixel ends, so that plain IoU is the
same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from pipeline.accuracy.truth import Truth
from pipeline.picture.boxes import intersection_over_union
from pipeline.picture.detections import Detections, FloatArray

Rule = Literal["area", "11-point"]
_BLOCK = 500  # boxes that are compared with all others at once; all of them might not fit into the memory
_Claims = npt.NDArray[np.int64]


def voc_precisions(
    detections: Sequence[Detections],
    truths: Sequence[Truth],
    *,
    num_classes: int,
    iou_threshold: float = 0.5,
    rule: Rule = "area",
) -> list[float | None]:
    """AP of each class, None where it has no object.

    Best score first, a detection is right if the object that it overlaps most, by `iou_threshold` or more, has not
    been found before; an ignored object makes it neither right nor wrong, however often it is found.
    rule: the area under the precision at that recall or any higher one (since 2010), or its mean at recalls 0, .1, … 1
    (2007).
    """
    average = _area if rule == "area" else _mean_of_eleven
    precisions: list[float | None] = []
    for class_id in range(num_classes):
        num_objects = sum(int((truth.objects.class_ids == class_id).sum()) for truth in truths)
        if not num_objects:
            precisions.append(None)
            continue
        is_right = judge(detections, truths, class_id, iou_threshold)  # [N], best first
        num_right = np.cumsum(is_right, dtype=np.int64)  # [N]
        precision = num_right / np.arange(1, len(is_right) + 1)  # [N]
        # At that recall or any higher one.
        precision = np.maximum.accumulate(precision[::-1])[::-1]
        precisions.append(average(num_right, precision, num_objects))
    return precisions


def judge(
    detections: Sequence[Detections], truths: Sequence[Truth], class_id: int, iou_threshold: float
) -> npt.NDArray[np.bool_]:
    """Whether each detection of a class is right, best score first, without those that are neither."""
    scores, is_right, counts = [], [], []
    for in_image, truth in zip(detections, truths, strict=True):
        is_of_class = in_image.class_ids == class_id
        if not is_of_class.any():
            continue
        chosen = in_image.select(is_of_class)
        chosen = chosen.select(np.argsort(-chosen.scores, kind="stable").astype(np.int64))
        objects = truth.objects.boxes_xyxy[truth.objects.class_ids == class_id]
        ignored = truth.ignored.boxes_xyxy[truth.ignored.class_ids == class_id]
        is_taken = np.zeros(len(objects), np.bool_)
        matches = _best_matches(chosen.boxes_xyxy, np.concatenate([objects, ignored]))
        for score, (best, overlap) in zip(chosen.scores.tolist(), matches, strict=True):
            meets = best >= 0 and overlap >= iou_threshold
            is_object = meets and best < len(objects)
            scores.append(score)
            is_right.append(is_object and not is_taken[best])
            counts.append(is_object or not meets)
            if is_object:
                is_taken[best] = True
    order = np.argsort(-np.array(scores, np.float64), kind="stable")
    order = order[np.array(counts, np.bool_)[order]]
    return np.array(is_right, np.bool_)[order]


def _best_matches(boxes_xyxy: FloatArray, others_xyxy: FloatArray) -> Iterator[tuple[int, float]]:
    """For each box [N, 4], which of the others [M, 4] it overlaps most, and its IoU with that; -1: there is none."""
    for start in range(0, len(boxes_xyxy), _BLOCK):
        overlaps = np.nan_to_num(intersection_over_union(boxes_xyxy[start : start + _BLOCK], others_xyxy))  # [n, M]
        for overlap in overlaps:
            best = int(overlap.argmax()) if len(overlap) else -1
            yield best, float(overlap[best]) if best >= 0 else 0.0


def _area(num_right: _Claims, precision: npt.NDArray[np.float64], num_objects: int) -> float:
    gained = np.diff(num_right, prepend=0) / num_objects  # [N], recall won by each
    return float((gained * precision).sum())


def _mean_of_eleven(num_right: _Claims, precision: npt.NDArray[np.float64], num_objects: int) -> float:
    """Recalls are compared as whole numbers: 3 of 10 is at least .3, which floats may deny."""
    reached = [10 * num_right >= tenth * num_objects for tenth in range(11)]
    return float(np.mean([precision[mask].max(initial=0) for mask in reached]))
