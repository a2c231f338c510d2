"""Engine detector: pictures → detections in source pixels, through preprocessing, network, head and postprocessing.

The stages of a run use its middle, `candidates_in`; export, verification and calibration use all of it, without a
thread.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import replace
from typing import cast

import numpy as np

from pipeline.detector.engine import Engine, PlanesEngine, RoisEngine
from pipeline.detector.heads import Outputs, head_of
from pipeline.detector.postprocess import Postprocess
from pipeline.detector.proposals import ProposedTensor, propose
from pipeline.detector.tensor import Tensor, TensorWriter
from pipeline.picture.candidates import Candidates
from pipeline.picture.detections import Detections
from pipeline.picture.frame import Picture
from pipeline.picture.letterbox import Letterbox
from pipeline.picture.nv12 import Nv12, nv12_of
from pipeline.picture.suppression import SuppressionOptions

DetectFunction = Callable[[Sequence[Picture]], list[Detections]]
"""Pictures → the detections in each, in source pixels; an `EngineDetector` is one."""

_MOST_PROPOSALS = 100_000

NetworkImage = Tensor | ProposedTensor | Nv12
"""An image as the network takes it: a tensor that is a batch of one, with its proposals where the network takes any, or
the planes of a picture."""


class EngineDetector:
    """A network and everything around it. May be called from several threads at once.

    score_threshold: the least score of a candidate; None: the spec's. suppression: what is applied to candidates, its
    thresholds too; None: the spec's own. Raises ModelError for an unknown head.
    """

    def __init__(
        self, engine: Engine, *, score_threshold: float | None = None, suppression: SuppressionOptions | None = None
    ) -> None:
        self._engine = engine
        self._spec = engine.spec
        self._head = head_of(self._spec)
        if suppression is not None:
            score_threshold = suppression.lowest_score_threshold
        self.score_threshold = self._spec.score_threshold if score_threshold is None else score_threshold
        self._writer = TensorWriter(self._spec)
        options = suppression or replace(self._spec.suppression, score_threshold=self.score_threshold)
        self._postprocess = Postprocess(self._spec, options)
        self._keep_all = Postprocess(
            replace(self._spec, needs_nms=False), replace(options, max_detections=_MOST_PROPOSALS)
        )

    def __call__(self, pictures: Sequence[Picture]) -> list[Detections]:
        """The detections in each picture.

        Raises SourceError for a picture without the planes that the network takes, and ModelError for outputs that
        make no detections.
        """
        return self._detect(pictures, self._postprocess)

    def proposals(self, pictures: Sequence[Picture]) -> list[Detections]:
        """The candidates in each picture, before NMS, in source pixels. Raises what a call raises."""
        return self._detect(pictures, self._keep_all)

    def candidates_in(self, images: Sequence[NetworkImage]) -> list[Candidates]:
        """The candidates in each image, in network pixels.

        The network sees as many images at once as its batch and their shapes allow; planes also need one size and the
        same colours.
        """
        candidates: dict[int, Candidates] = {}
        for indices in _batches(map(_kind, images), self._spec.batch or len(images)):
            outputs = self._run([images[index] for index in indices])
            for batch_index, index in enumerate(indices):
                candidates[index] = self._head(
                    outputs, self._spec, score_threshold=self.score_threshold, batch_index=batch_index
                )
        return [candidates[index] for index in range(len(images))]

    def close(self) -> None:
        """Close the engine."""
        self._engine.close()

    def _detect(self, pictures: Sequence[Picture], postprocess: Postprocess) -> list[Detections]:
        prepared = [self._prepared(picture) for picture in pictures]
        candidates = self.candidates_in([image for _, image in prepared])
        return [postprocess(proposed, letterbox) for proposed, (letterbox, _) in zip(candidates, prepared, strict=True)]

    def _prepared(self, picture: Picture) -> tuple[Letterbox, NetworkImage]:
        if self._spec.pixels == "packed":
            letterbox, tensor = self._writer.tensor_of(picture)
            if self._spec.num_rois:
                return letterbox, ProposedTensor(tensor, propose(tensor, letterbox, self._spec))
            return letterbox, tensor
        planes = nv12_of(picture)
        return Letterbox.fit(planes.size_wh, self._spec.network_wh, self._spec.resize), planes

    def _run(self, images: Sequence[NetworkImage]) -> Outputs:
        # A fixed batch is filled up with the last image, whose further results nobody reads.
        filled = [*images] + [images[-1]] * ((self._spec.batch or 0) - len(images))
        planes = [image for image in filled if isinstance(image, Nv12)]
        if planes:
            return cast(PlanesEngine, self._engine).infer_planes(planes)
        proposed = [image for image in filled if isinstance(image, ProposedTensor)]
        if proposed:
            tensors, rois = zip(*((image.tensor, image.rois) for image in proposed), strict=True)
            return cast(RoisEngine, self._engine).infer_rois(np.concatenate(tensors), np.concatenate(rois))
        plain = [image for image in filled if isinstance(image, np.ndarray)]
        return self._engine.infer(plain[0] if len(plain) == 1 else np.concatenate(plain))


def _kind(image: NetworkImage) -> Hashable:
    """What images of one batch must have in common."""
    if isinstance(image, Nv12):
        return image.kind
    return image.tensor.shape if isinstance(image, ProposedTensor) else image.shape


def _batches(kinds: Iterable[Hashable], size: int) -> list[list[int]]:
    """Indices in batches of one kind and at most `size`."""
    groups: dict[Hashable, list[int]] = {}
    for index, kind in enumerate(kinds):
        groups.setdefault(kind, []).append(index)
    return [group[start : start + size] for group in groups.values() for start in range(0, len(group), size)]
