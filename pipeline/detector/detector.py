"""What does a detector find in a picture, from pixels to boxes in source pixels?

What the stages do, one after the other and without a thread: for export, verification and calibration.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from pipeline.detector.engine import Engine, PlanesEngine
from pipeline.detector.heads import HEADS
from pipeline.detector.postprocess import Postprocess
from pipeline.detector.tensor import TensorWriter
from pipeline.picture.detections import Detections
from pipeline.picture.frame import Picture
from pipeline.picture.letterbox import Letterbox
from pipeline.picture.nv12 import batches_of, nv12_of

DetectFunction = Callable[[Sequence[Picture]], list[Detections]]
"""Pictures → the detections in each, in source pixels; a `Detector` is one."""

_MOST_PROPOSALS = 100_000


class Detector:
    """Letterbox, network, head, NMS, and back to source pixels.

    Keeps detections from `score_threshold` on (None: the spec's).
    """

    def __init__(self, engine: Engine, *, score_threshold: float | None = None) -> None:
        spec = engine.spec
        self._engine = engine
        self._score_threshold = spec.score_threshold if score_threshold is None else score_threshold
        self._writer = TensorWriter(spec)
        self._head = HEADS[spec.head]
        self._postprocess = Postprocess(spec, score_threshold=self._score_threshold)
        self._take_all = Postprocess(
            replace(spec, needs_nms=False, max_detections=_MOST_PROPOSALS), score_threshold=self._score_threshold
        )

    def __call__(self, pictures: Sequence[Picture]) -> list[Detections]:
        """The detections in each picture, run as one batch where the network's batch is that or any.

        Raises SourceError for a picture without the planes that the network takes.
        """
        return self._detect(pictures, self._postprocess)

    def proposals(self, pictures: Sequence[Picture]) -> list[Detections]:
        """What there is in each picture before NMS."""
        return self._detect(pictures, self._take_all)

    def _detect(self, pictures: Sequence[Picture], postprocess: Postprocess) -> list[Detections]:
        spec = self._engine.spec
        if spec.pixels == "nv12":
            return self._detect_planes(pictures, postprocess)
        prepared = [self._writer.tensor_of(picture) for picture in pictures]
        if not prepared:
            return []
        tensors = [tensor for _, tensor in prepared]
        alike = len({tensor.shape for tensor in tensors}) == 1
        if len(tensors) > 1 and not (alike and spec.batch in (None, len(tensors))):
            return [found for picture in pictures for found in self._detect([picture], postprocess)]
        tensors += tensors[-1:] * ((spec.batch or 0) - len(tensors))
        outputs = self._engine.infer(np.concatenate(tensors))
        return [
            postprocess(self._head(outputs, spec, score_threshold=self._score_threshold, batch_index=index), letterbox)
            for index, (letterbox, _) in enumerate(prepared)
        ]

    def _detect_planes(self, pictures: Sequence[Picture], postprocess: Postprocess) -> list[Detections]:
        assert isinstance(self._engine, PlanesEngine)
        spec, planes = self._engine.spec, [nv12_of(picture) for picture in pictures]
        detections: dict[int, Detections] = {}
        for batch in batches_of(planes):
            outputs = self._engine.infer_planes([planes[index] for index in batch])
            letterbox = Letterbox.fit(planes[batch[0]].size_wh, spec.network_wh, spec.resize)
            for place, index in enumerate(batch):
                candidates = self._head(outputs, spec, score_threshold=self._score_threshold, batch_index=place)
                detections[index] = postprocess(candidates, letterbox)
        return [detections[index] for index in range(len(pictures))]
