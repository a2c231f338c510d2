"""What does the network see in a frame?"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.detector.engine import Engine
from pipeline.detector.heads import HEADS
from pipeline.errors import ModelError
from pipeline.picture.candidates import Candidates
from pipeline.picture.frame import Frame
from pipeline.picture.letterbox import Letterbox
from pipeline.stages.preprocess import NetworkInput


@dataclass(frozen=True, slots=True)
class RawDetections:
    """A frame and the boxes that the network proposes in it, in network pixels, before suppression."""

    frame: Frame
    letterbox: Letterbox
    candidates: Candidates


class Detect:
    """Runs the network and reads its outputs; owns the engine.

    `score_threshold` must be the lowest that a later stage applies (None: the spec's). Raises ModelError for a head
    that is not known here.
    """

    def __init__(self, engine: Engine, *, score_threshold: float | None = None) -> None:
        self._engine = engine
        self._spec = engine.spec
        self._score_threshold = self._spec.score_threshold if score_threshold is None else score_threshold
        try:
            self._head = HEADS[self._spec.head]
        except KeyError:
            raise ModelError(f"head must be one of {', '.join(HEADS)}, got {self._spec.head}") from None

    def process(self, prepared: NetworkInput) -> Iterable[RawDetections]:
        """One Detected. May be called from several threads at once."""
        return self.process_batch((prepared,))

    def process_batch(self, items: Sequence[NetworkInput]) -> Sequence[RawDetections]:
        """One Detected for each item; the network sees as many at once as its batch and their shapes allow."""
        size = self._spec.batch or max(1, len(items))
        alike = [list(group) for _, group in itertools.groupby(items, key=lambda item: item.tensor.shape)]
        return [
            each
            for group in alike
            for start in range(0, len(group), size)
            for each in self._run(group[start : start + size])
        ]

    def drain(self) -> Iterable[RawDetections]:
        """Nothing is held."""
        return ()

    def close(self) -> None:
        """Close the engine."""
        self._engine.close()

    def _run(self, items: Sequence[NetworkInput]) -> list[RawDetections]:
        tensors = [item.tensor for item in items]
        # A fixed batch is filled up with the last image, whose further results nobody reads.
        tensors += tensors[-1:] * ((self._spec.batch or 0) - len(items))
        outputs = self._engine.infer(tensors[0] if len(tensors) == 1 else np.concatenate(tensors))
        for item in items:
            item.give_back()
        return [
            RawDetections(
                item.frame,
                item.letterbox,
                self._head(outputs, self._spec, score_threshold=self._score_threshold, batch_index=index),
            )
            for index, item in enumerate(items)
        ]
