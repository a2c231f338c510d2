"""Detection stage for planes: frames as their decoder left them → the boxes that the network proposes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pipeline.detector.detector import EngineDetector
from pipeline.detector.engine import PlanesEngine
from pipeline.picture.frame import Frame
from pipeline.picture.letterbox import Letterbox
from pipeline.picture.nv12 import nv12_of
from pipeline.stages.detect import RawDetections


class DetectPlanes:
    """As `Detect`, of a network that resizes and colours frames itself: it needs no stage before it."""

    def __init__(self, engine: PlanesEngine, *, score_threshold: float | None = None) -> None:
        self._spec = engine.spec
        self._detector = EngineDetector(engine, score_threshold=score_threshold)

    @property
    def score_threshold(self) -> float:
        """The least score of a candidate; may be set while it runs, from any thread."""
        return self._detector.score_threshold

    @score_threshold.setter
    def score_threshold(self, threshold: float) -> None:
        self._detector.score_threshold = threshold

    def process(self, frame: Frame) -> Iterable[RawDetections]:
        """One RawDetections. May be called from several threads at once.

        Raises SourceError for a frame without planes.
        """
        return self.process_batch((frame,))

    def process_batch(self, frames: Sequence[Frame]) -> Sequence[RawDetections]:
        """One RawDetections for each frame, in order; frames of one size and colours are run at once.

        Raises SourceError for a frame without planes.
        """
        candidates = self._detector.candidates_in([nv12_of(frame.picture) for frame in frames])
        return [
            RawDetections(frame, Letterbox.fit(frame.size_wh, self._spec.network_wh, self._spec.resize), proposed)
            for frame, proposed in zip(frames, candidates, strict=True)
        ]

    def drain(self) -> Iterable[RawDetections]:
        """Nothing is held."""
        return ()

    def close(self) -> None:
        """Close the engine."""
        self._detector.close()
