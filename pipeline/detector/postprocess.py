"""Which candidates are objects, and where do they lie in the source?"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.errors import ModelError
from pipeline.picture.candidates import Candidates
from pipeline.picture.detections import Detections, FloatArray, IntArray
from pipeline.picture.detector_spec import DetectorSpec
from pipeline.picture.letterbox import Letterbox
from pipeline.picture.suppression import SuppressionMode, suppress


class Postprocess:
    """Keeps the best of overlapping candidates and maps them to source pixels; see `suppress`.

    Thresholds of None are the spec's. Only classes in `keep_class_ids` count (None: all). A network with NMS inside
    is only thresholded and cut to `max_detections`. Raises ValueError for an option that cannot be.
    """

    def __init__(
        self,
        spec: DetectorSpec,
        *,
        mode: SuppressionMode = "class-aware",
        iou_threshold: float | None = None,
        score_threshold: float | None = None,
        class_thresholds: Mapping[int, float] | None = None,
        max_detections: int | None = None,
        sigma: float = 0.5,
        keep_class_ids: Collection[int] | None = None,
    ) -> None:
        self._head = spec.head
        self._mode: SuppressionMode = mode
        self._iou_threshold = spec.iou_threshold if iou_threshold is None else iou_threshold
        self._score_threshold = spec.score_threshold if score_threshold is None else score_threshold
        self._class_thresholds = class_thresholds
        self._max_detections = spec.max_detections if max_detections is None else max_detections
        self._sigma = sigma
        self._keep_class_ids = None if keep_class_ids is None else np.array(sorted(keep_class_ids), np.int64)
        if not spec.needs_nms:  # no overlap is too much
            self._mode, self._iou_threshold = "class-aware", 1.0
        # A wrong option is refused here, not at the first frame.
        self._suppress(Candidates(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64)))

    def __call__(self, candidates: Candidates, letterbox: Letterbox) -> Detections:
        """The detections in source pixels. Raises ModelError for NaN and impossible scores."""
        if self._keep_class_ids is not None:
            candidates = candidates.select(np.isin(candidates.class_ids, self._keep_class_ids))
        try:
            kept, scores = self._suppress(candidates)  # [K], [K]
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
            raise ModelError(f"what the model returns makes no detections, read as {self._head}: {error}") from error

    def _suppress(self, candidates: Candidates) -> tuple[IntArray, FloatArray]:
        return suppress(
            candidates.boxes_xyxy,
            candidates.scores,
            candidates.class_ids,
            mode=self._mode,
            iou_threshold=self._iou_threshold,
            score_threshold=self._score_threshold,
            class_thresholds=self._class_thresholds,
            max_detections=self._max_detections,
            sigma=self._sigma,
        )


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
