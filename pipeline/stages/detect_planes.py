"""What does a network see in a frame that it takes as the decoder left it?"""

from __future__ import annotations

from collections.abc import Iterable

from pipeline.detector.engine import PlanesEngine
from pipeline.detector.heads import HEADS
from pipeline.picture.frame import Frame
from pipeline.picture.letterbox import Letterbox
from pipeline.picture.nv12 import nv12_of
from pipeline.stages.detect import Detected


class DetectPlanes:
    """Runs a network that resizes and colours the frame itself; owns the engine. Needs no stage before it.

    `score_threshold` must be the lowest that a later stage applies (None: the spec's).
    """

    def __init__(self, engine: PlanesEngine, *, score_threshold: float | None = None) -> None:
        self._engine = engine
        self._spec = engine.spec
        self._score_threshold = self._spec.score_threshold if score_threshold is None else score_threshold
        self._head = HEADS[self._spec.head]

    def process(self, frame: Frame) -> Iterable[Detected]:
        """One Detected. May be called from several threads at once. Raises SourceError for a frame without planes."""
        outputs = self._engine.infer_planes(nv12_of(frame.picture))
        letterbox = Letterbox.fit(frame.size_wh, self._spec.network_wh, self._spec.resize)
        candidates = self._head(outputs, self._spec, score_threshold=self._score_threshold, batch_index=0)
        return (Detected(frame, letterbox, candidates),)

    def drain(self) -> Iterable[Detected]:
        """Nothing is held."""
        return ()

    def close(self) -> None:
        """Close the engine."""
        self._engine.close()
