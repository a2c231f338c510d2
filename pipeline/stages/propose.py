"""Propose stage: network inputs → the same with boxes in which something may be, which the network then judges."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from pipeline.detector.proposals import propose
from pipeline.picture.detector_spec import DetectorSpec
from pipeline.stages.preprocess import NetworkInput


class Propose:
    """Selective search in each network input; `detect` passes the boxes on as the network's input `rois`.

    Raises MissingExtraError, with the first frame, without scikit-image.
    """

    def __init__(self, spec: DetectorSpec) -> None:
        self._spec = spec

    def process(self, network_input: NetworkInput) -> Iterable[NetworkInput]:
        """One NetworkInput with rois. May be called from several threads at once."""
        rois = propose(network_input.tensor, network_input.letterbox, self._spec)
        return (replace(network_input, rois=rois),)

    def drain(self) -> Iterable[NetworkInput]:
        """Nothing is held."""
        return ()

    def close(self) -> None:
        """Nothing is held."""
