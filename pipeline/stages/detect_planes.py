"""Detection from planes: frames as their decoder left them → candidates in network pixels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pipeline.detector.engine import PlanesEngine
from pipeline.detector.heads import HEADS
from pipeline.picture.frame import Frame
from pipeline.picture.letterbox import Letterbox
from pipeline.picture.nv12 import Nv12, batches_of, nv12_of
from pipeline.stages.detect import RawDetections


class DetectPlanes:
    """Runs a network that resizes and colours the frame itself; owns the engine. Needs no stage before it.

    `score_threshold` must be the lowest that a later stage applies (None: the spec's).
    """

    def __init__(self, engine: PlanesEngine, *, score_threshold: float | None = None) -> None:
        self._engine = engine
        self._spec = engine.spec
        self._score_threshold = self._spec.score_threshold if score_threshold is None else score_threshold
        self._head = HEADS[self._spec.head]

    def process(self, frame: Frame) -> Iterable[RawDetections]:
        """One Detected. May be called from several threads at once. Raises SourceError for a frame without planes."""
        return self.process_batch((frame,))

    def process_batch(self, frames: Sequence[Frame]) -> Sequence[RawDetections]:
        """One Detected for each frame, in order; frames of one size and colours are run at once.

        Raises SourceError for a frame without planes.
        """
        pictures = [nv12_of(frame.picture) for frame in frames]
        detected: dict[int, RawDetections] = {}
        for batch in batches_of(pictures):
            ran = self._run([frames[index] for index in batch], [pictures[index] for index in batch])
            detected |= zip(batch, ran, strict=True)
        return [detected[index] for index in range(len(frames))]

    def drain(self) -> Iterable[RawDetections]:
        """Nothing is held."""
        return ()

    def close(self) -> None:
        """Close the engine."""
        self._engine.close()

    def _run(self, frames: Sequence[Frame], pictures: Sequence[Nv12]) -> list[RawDetections]:
        outputs = self._engine.infer_planes(pictures)
        letterbox = Letterbox.fit(frames[0].size_wh, self._spec.network_wh, self._spec.resize)
        return [
            RawDetections(
                frame,
                letterbox,
                self._head(outputs, self._spec, score_threshold=self._score_threshold, batch_index=index),
            )
            for index, frame in enumerate(frames)
        ]
