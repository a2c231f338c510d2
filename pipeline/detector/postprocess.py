"""Postprocessing: candidates in network pixels → detections in source pixels."""

from __future__ import annotations

import math
from dataclasses import replace

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.errors import OutputError
from pipeline.picture.candidates import Candidates
from pipeline.picture.detections import Detections, FloatArray
from pipeline.picture.detector_spec import DetectorSpec
from pipeline.picture.letterbox import Letterbox
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
            kept, scores = suppress(boxes, scores, class_ids, self._options)  # [K], [K]
            boxes = letterbox.boxes_to_source(candidates.boxes_xyxy[kept])  # [K, 4]
            seen = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])  # [K]; not so: in the padding
            chosen = candidates.select(kept[seen])
            return Detections(
                boxes[seen],
                scores[seen],
                chosen.class_ids,
                masks=None if chosen.box_masks is None else _pasted(chosen.box_masks, chosen.boxes_xyxy, letterbox),
                keypoints=None if chosen.keypoints is None else letterbox.points_to_source(chosen.keypoints),
            )
        except ValueError as error:
            raise OutputError(f"what the model returns makes no detections, read as {self._head}: {error}") from error


def _pasted(box_masks: FloatArray, boxes_xyxy: FloatArray, letterbox: Letterbox) -> npt.NDArray[np.bool_]:
    """Masks [K, h, w] over their boxes [K, 4] in network pixels → [K, H, W] in source pixels, where they reach 0.5."""
    width, height = letterbox.source_wh
    masks = np.zeros((len(box_masks), height, width), np.bool_)
    corners = letterbox.boxes_to_source(boxes_xyxy, clip=False)  # [K, 4]; a mask is stretched over its whole box
    for mask, values, (left, top, right, bottom) in zip(masks, box_masks, corners.tolist(), strict=True):
        columns = slice(max(0, math.floor(left)), min(width, math.ceil(right)))
        rows = slice(max(0, math.floor(top)), min(height, math.ceil(bottom)))
        if columns.start >= columns.stop or rows.start >= rows.stop or right <= left or bottom <= top:
            continue
        # Where the centre of each pixel lies in the small mask, whose own pixel centres are at i + 0.5.
        x = (np.arange(columns.start, columns.stop) + 0.5 - left) / (right - left) * values.shape[1] - 0.5
        y = (np.arange(rows.start, rows.stop) + 0.5 - top) / (bottom - top) * values.shape[0] - 0.5
        map_x, map_y = np.meshgrid(x.astype(np.float32), y.astype(np.float32))
        seen = cv2.remap(values, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=0)
        mask[rows, columns] = np.asarray(seen) >= 0.5
    return masks
