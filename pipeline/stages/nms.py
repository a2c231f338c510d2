"""NMS stage: raw detections in network pixels → a result in source pixels, after NMS or soft-NMS.

The algorithms are in `pipeline.picture.suppression`; `detection.suppression` of the configuration chooses one.
"""

from __future__ import annotations

from collections.abc import Iterable

from pipeline.detector.postprocess import Postprocess
from pipeline.picture.detections import Result
from pipeline.picture.detector_spec import DetectorSpec
from pipeline.picture.suppression import SuppressionOptions
from pipeline.stages.detect import RawDetections


class Nms:
    """Keeps the best of overlapping boxes and maps them to source pixels; options: None: the spec's own."""

    def __init__(self, spec: DetectorSpec, options: SuppressionOptions | None = None) -> None:
        self._class_names = spec.class_names
        self._postprocess = Postprocess(spec, options)

    def process(self, raw_detections: RawDetections) -> Iterable[Result]:
        """One Result. May be called from several threads at once. Raises OutputError for NaN and impossible scores."""
        detections = self._postprocess(raw_detections.candidates, raw_detections.letterbox)
        return (Result(raw_detections.frame, detections, self._class_names),)

    def drain(self) -> Iterable[Result]:
        """Nothing is held."""
        return ()

    def close(self) -> None:
        """Nothing is held."""
