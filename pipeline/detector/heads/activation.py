"""Activation: raw class values → scores, by sigmoid, softmax or as they are."""

from __future__ import annotations

import numpy as np

from pipeline.detector.runtime_types import Array
from pipeline.picture.detections import FloatArray
from pipeline.picture.detector_spec import ScoreActivation


def activated(values: Array, activation: ScoreActivation) -> FloatArray:
    """Scores [..., C] of raw class values [..., C]."""
    values = values.astype(np.float32)
    if activation == "softmax":
        powers = np.exp(values - values.max(axis=-1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=-1, keepdims=True), np.float32)
    if activation == "sigmoid":
        with np.errstate(over="ignore"):  # e^90 is infinite in float32, and its sigmoid is 0
            return np.asarray(1 / (1 + np.exp(-values)), np.float32)
    return values
