"""Which of the network's boxes are objects, and where do they lie in the frame?"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from pipeline.detector.postprocess import Postprocess
from pipeline.picture.detections import Result
from pipeline.picture.detector_spec import DetectorSpec
from pipeline.picture.suppression import SuppressionMode
from pipeline.stages.detect import RawDetections


class Nms:
    """Keeps the best of overlapping boxes and maps them to source pixels; see `detector.postprocess.Postprocess`.

    Raises ValueError for an option that cannot be.
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
        self._class_names = spec.class_names
        self._postprocess = Postprocess(
            spec,
            mode=mode,
            iou_threshold=iou_threshold,
            score_threshold=score_threshold,
            class_thresholds=class_thresholds,
            max_detections=max_detections,
            sigma=sigma,
            keep_class_ids=keep_class_ids,
        )

    def process(self, detected: RawDetections) -> Iterable[Result]:
        """One Result. May be called from several threads at once. Raises ModelError for NaN and impossible scores."""
        detections = self._postprocess(detected.candidates, detected.letterbox)
        return (Result(detected.frame, detections, self._class_names),)

    def drain(self) -> Iterable[Result]:
        """Nothing is held."""
        return ()

    def close(self) -> None:
        """Nothing is held."""
