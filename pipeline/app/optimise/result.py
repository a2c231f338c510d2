"""Result of optimising: measured candidates → the one to take, and the sentence that says so."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.app.optimise.candidates import Candidate, Rejected

LEAST_GAIN = 1.03
"""A smaller factor is none: repeats of one file differ by as much."""


@dataclass(frozen=True, slots=True)
class Optimised:
    """All candidates, the start first, and what could not be made."""

    model: str
    source: str
    num_frames: int
    candidates: Sequence[Candidate]
    rejected: Sequence[Rejected]

    @property
    def start(self) -> Candidate:
        """The file as it is, on ONNX Runtime's own CPU provider."""
        return self.candidates[0]

    def factor(self, candidate: Candidate) -> float | None:
        """How many times the frames a second of the start, the median over turns; None where it was not measured."""
        ratios = [ours / start for ours, start in zip(candidate.rates, self.start.rates, strict=False) if start]
        return statistics.median(ratios) if ratios else None

    @property
    def chosen(self) -> Candidate | None:
        """The fastest that detects the same, if it is faster than the start by more than repeats differ; else None."""
        factors = {index: self.factor(candidate) or 0.0 for index, candidate in enumerate(self.candidates)}
        best = max(factors, key=lambda index: factors[index])
        return self.candidates[best] if factors[best] > LEAST_GAIN else None

    def remark(self, candidate: Candidate) -> str:
        """What is to be said of a candidate beside its numbers: why it is refused, or that INT8 has gained nothing."""
        if candidate.refusal is not None:
            return candidate.refusal
        if candidate.variant.numbers != "INT8":
            return ""
        layers, in_float = candidate.variant.remark, self._in_float(candidate)
        ours, theirs = self.factor(candidate), None if in_float is None else self.factor(in_float)
        if ours is None or theirs is None or ours > LEAST_GAIN * theirs:
            return layers
        return f"{layers}: it has gained nothing"

    @property
    def sentence(self) -> str:
        """The verdict."""
        chosen = self.chosen
        if chosen is None:
            return f"Nothing that detects the same is faster than {self.model} as it is; nothing was written."
        factor, agreement = self.factor(chosen), chosen.agreement
        assert factor is not None
        assert agreement is not None
        return (
            f"Take {chosen.name}: {factor:.2f}× the frames per second of {self.model} as it is, AP "
            f"{100 * agreement[0]:.1f} and AP50 {100 * agreement[1]:.1f} against its detections."
        )

    def _in_float(self, candidate: Candidate) -> Candidate | None:
        """The fastest of the same shape in float."""
        alike = [
            other
            for other in self.candidates
            if other.variant.numbers == "float" and other.variant.shape == candidate.variant.shape
        ]
        return max(alike, key=lambda other: self.factor(other) or 0.0, default=None)
