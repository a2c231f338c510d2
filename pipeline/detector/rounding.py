"""Rounding: a session of a tiny network → whether it computes, and the precision that it truly computes in."""

from __future__ import annotations

import base64

import numpy as np

from pipeline.detector.runtime_types import Session
from pipeline.picture.detections import FloatArray

# y = Conv(x, 2): x and y float32 [1, 1, 1, 2], opset 13. tests/detector/test_engine.py builds it with `onnx`.
DOUBLING_MODEL = base64.b64decode(
    "CAg6YwoPCgF4CgF3EgF5IgRDb252EgFnKhMIAQgBCAEIARABIgQAAABAQgF3WhsKAXgSFgoUCAESEAoCCAEKAggBCgIIAQoCCAJiGwoBeRIWChQI"
    "ARIQCgIIAQoCCAEKAggBCgIIAkIECgAQDQ=="
)
# Doubled exactly by fp32 only: bf16 rounds both to 1, fp16 the second.
_INPUT = np.array([1 + 2**-9, 1 + 2**-12], np.float32).reshape(1, 1, 1, 2)


def doubled_by(session: Session) -> FloatArray:
    """The two numbers [2] near 2 to which a session of `DOUBLING_MODEL` doubles two near 1."""
    return np.asarray(session.run(None, {"x": _INPUT})[0].ravel(), np.float32)


def precision_of(doubled: FloatArray) -> str:
    """fp32, fp16 or bf16: in which of them the numbers of `doubled_by` were computed."""
    if doubled[0] == 2:
        return "bf16"
    return "fp16" if doubled[1] == 2 else "fp32"
