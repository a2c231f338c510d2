"""Confusion: detections and the truth of images → how often a class is taken for another."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.accuracy.truth import Truth
from pipeline.picture.boxes import intersection_over_union, match_greedily
from pipeline.picture.detections import Detections, IntArray


def confusion_matrix(
    detections: Sequence[Detections],
    truths: Sequence[Truth],
    *,
    num_classes: int,
    score_threshold: float,
    iou_threshold: float = 0.5,
) -> IntArray:
    """How often an object of one class (row) was detected as another (column), [C + 1, C + 1].

    The last row is background: detections of nothing; the last column is missed objects. Detections that score less
    than `score_threshold` do not count. Boxes of whatever class pair off, the best IoU first, of equal ones the better
    score, down to `iou_threshold`. A detection without an object that overlaps an ignored one as much does not count.
    """
    matrix = np.zeros((num_classes + 1, num_classes + 1), np.int64)
    for in_image, truth in zip(detections, truths, strict=True):
        # float32 like the scores: a score printed as 0.7 must pass a threshold of 0.7.
        sure = in_image.select(in_image.scores >= np.float32(score_threshold))
        rows = np.full(len(sure), num_classes)  # [N], background where there is no object
        columns = np.full(len(truth.objects), num_classes)  # [M], missed where there is no detection
        overlap = intersection_over_union(sure.boxes_xyxy, truth.objects.boxes_xyxy)  # [N, M]
        matched, objects = match_greedily(overlap, at_least=iou_threshold, by=(overlap, sure.scores[:, None]))
        rows[matched], columns[objects] = truth.objects.class_ids[objects], sure.class_ids[matched]
        in_ignored = (intersection_over_union(sure.boxes_xyxy, truth.ignored.boxes_xyxy) >= iou_threshold).any(axis=1)
        wrong = (rows == num_classes) & ~in_ignored
        np.add.at(matrix, (rows[wrong], sure.class_ids[wrong]), 1)
        np.add.at(matrix, (truth.objects.class_ids, columns), 1)
    return matrix
