"""Which of the network's boxes are objects, and where do they lie in the frame?"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import numpy as np

from pipeline.detector.heads import Candidates
from pipeline.errors import ModelError
from pipeline.picture.detections import Detections, FloatArray, IntArray, Result
from pipeline.picture.detector_spec import DetectorSpec
from pipeline.picture.suppression import SuppressionMode, suppress
from pipeline.stages.detect import Detected


class Nms:
    """Keeps the best of overlapping boxes and maps them to source pixels; see `pipeline.picture.suppression.suppress`.

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
        max_detections: int = 300,
        sigma: float = 0.5,
        keep_class_ids: Collection[int] | None = None,
    ) -> None:
        self._spec = spec
        self._mode: SuppressionMode = mode
        self._iou_threshold = spec.iou_threshold if iou_threshold is None else iou_threshold
        self._score_threshold = spec.score_threshold if score_threshold is None else score_threshold
        self._class_thresholds = class_thresholds
        self._max_detections = max_detections
        self._sigma = sigma
        self._keep_class_ids = None if keep_class_ids is None else np.array(sorted(keep_class_ids), np.int64)
        if not spec.needs_nms:  # no overlap is too much
            self._mode, self._iou_threshold = "class-aware", 1.0
        # A wrong option is refused here, not at the first frame.
        self._suppress(Candidates(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64)))

    def process(self, detected: Detected) -> Iterable[Result]:
        """One Result. May be called from several threads at once. Raises ModelError for NaN and impossible scores."""
        candidates = self._kept_classes(detected.candidates)
        try:
            kept, scores = self._suppress(candidates)  # [K], [K]
            boxes = detected.letterbox.boxes_to_source(candidates.boxes_xyxy[kept])  # [K, 4]
            seen = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])  # [K]; not so: in the padding
            detections = Detections(boxes[seen], scores[seen], candidates.class_ids[kept][seen])
        except ValueError as error:
            raise ModelError(
                f"what the model returns makes no detections, read as {self._spec.head}: {error}"
            ) from error
        return (Result(detected.frame, detections, self._spec.class_names),)

    def drain(self) -> Iterable[Result]:
        """Nothing is held."""
        return ()

    def close(self) -> None:
        """Nothing is held."""

    def _kept_classes(self, candidates: Candidates) -> Candidates:
        if self._keep_class_ids is None:
            return candidates
        wanted = np.isin(candidates.class_ids, self._keep_class_ids)  # [M]
        return Candidates(candidates.boxes_xyxy[wanted], candidates.scores[wanted], candidates.class_ids[wanted])

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
