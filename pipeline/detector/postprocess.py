"""Postprocessing: candidates in network pixels → detections in source pixels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pipeline.detector.instance_masks import masks_of
from pipeline.errors import OutputError
from pipeline.picture.candidates import Candidates
from pipeline.picture.detections import Detections, FloatArray
from pipeline.picture.detector_spec import DetectorSpec
from pipeline.picture.letterbox import Letterbox
from pipeline.picture.quadrilaterals import bounds_of
from pipeline.picture.suppression import SuppressionOptions, suppress


class Postprocess:
    """Suppresses overlapping candidates and maps the others to source pixels.

    options: None: the spec's own. Candidates of a network with NMS inside are not suppressed, however they overlap;
    thresholds, classes and `max_detections` hold for them too.
    """

    def __init__(self, spec: DetectorSpec, options: SuppressionOptions | None = None) -> None:
        self._head = spec.head
        self._options = options or spec.suppression
        if not spec.needs_nms:  # no overlap is too much
            self._options = replace(self._options, mode="class-aware", iou_threshold=1.0)

    def __call__(self, candidates: Candidates, letterbox: Letterbox) -> Detections:
        """The detections in source pixels. Raises OutputError for NaN and impossible scores."""
        boxes, scores, class_ids = candidates.boxes_xyxy, candidates.scores, candidates.class_ids
        try:
            kept, scores = suppress(boxes, scores, class_ids, self._options, corners=candidates.corners)  # [K], [K]
            boxes, corners = _to_source(candidates.select(kept), letterbox)  # [K, 4], [K, 4, 2]
            seen = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])  # [K]; not so: in the padding
            chosen = candidates.select(kept[seen])
            return Detections(
                boxes[seen],
                scores[seen],
                chosen.class_ids,
                masks=masks_of(chosen, letterbox),
                keypoints=None if chosen.keypoints is None else letterbox.points_to_source(chosen.keypoints),
                corners=None if corners is None else corners[seen],
            )
        except ValueError as error:
            raise OutputError(f"what the model returns makes no detections, read as {self._head}: {error}") from error


def _to_source(candidates: Candidates, letterbox: Letterbox) -> tuple[FloatArray, FloatArray | None]:
    """Boxes [K, 4] in source pixels, and the corners [K, 4, 2] of oriented ones.

    A turned box has other bounds where width and height are scaled alike no longer, so that corners are mapped first.
    """
    if candidates.corners is None:
        return letterbox.boxes_to_source(candidates.boxes_xyxy), None
    corners = letterbox.corners_to_source(candidates.corners)
    return np.clip(bounds_of(corners), 0, np.array(letterbox.source_wh * 2, np.float32)), corners
