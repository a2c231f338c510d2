"""Detection stage: network inputs → the boxes that the network proposes, in network pixels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pipeline.detector.detector import EngineDetector, NetworkImage
from pipeline.detector.engine import Engine
from pipeline.detector.proposals import ProposedTensor
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

    `score_threshold` must be the lowest that a later stage applies (None: the spec's). Raises ModelError for an
    unknown head.
    """

    def __init__(self, engine: Engine, *, score_threshold: float | None = None) -> None:
        self._detector = EngineDetector(engine, score_threshold=score_threshold)

    @property
    def score_threshold(self) -> float:
        """The least score of a candidate; may be set while it runs, from any thread."""
        return self._detector.score_threshold

    @score_threshold.setter
    def score_threshold(self, threshold: float) -> None:
        self._detector.score_threshold = threshold

    def process(self, network_input: NetworkInput) -> Iterable[RawDetections]:
        """One RawDetections. May be called from several threads at once."""
        return self.process_batch((network_input,))

    def process_batch(self, network_inputs: Sequence[NetworkInput]) -> Sequence[RawDetections]:
        """One RawDetections for each input, in order; `EngineDetector.candidates_in` says how many are run at once."""
        candidates = self._detector.candidates_in([_image_of(network_input) for network_input in network_inputs])
        for network_input in network_inputs:
            network_input.give_back()
        return [
            RawDetections(network_input.frame, network_input.letterbox, proposed)
            for network_input, proposed in zip(network_inputs, candidates, strict=True)
        ]

    def drain(self) -> Iterable[RawDetections]:
        """Nothing is held."""
        return ()

    def close(self) -> None:
        """Close the engine."""
        self._detector.close()


def _image_of(network_input: NetworkInput) -> NetworkImage:
    tensor, rois = network_input.tensor, network_input.rois
    return tensor if rois is None else ProposedTensor(tensor, rois)
