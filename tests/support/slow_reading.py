"""Slow reading: raw values → rows by a plain decoder, the spec to read them by, and a comparison with candidates."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from pipeline.picture.candidates import Candidates
from pipeline.picture.detector_spec import DetectorSpec

NETWORK_WH = (96, 64)
NUM_CELLS = 12 * 8 + 6 * 4 + 3 * 2
NUM_CLASSES = 7
Row = tuple[float, float, float, float, float, int]


def spec(head: str, **changes: Any) -> DetectorSpec:
    names = tuple(f"class {index}" for index in range(NUM_CLASSES))
    return DetectorSpec("images", NETWORK_WH, head, names, **{"box_format": "cxcywh", **changes})


def raw(num_rows: int, num_columns: int, *, batch: int = 2) -> npt.NDArray[np.float32]:
    """[B, N, columns], all values in 0..1."""
    return np.random.default_rng(num_rows).random((batch, num_rows, num_columns), np.float32)


def corners(cx: float, cy: float, w: float, h: float) -> tuple[float, float, float, float]:
    return cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2


def check(candidates: Candidates, expected: list[Row], *, tolerance: float = 1e-5) -> None:
    assert expected
    assert candidates.boxes_xyxy == pytest.approx(np.array([row[:4] for row in expected]), rel=tolerance, abs=tolerance)
    assert candidates.scores == pytest.approx([row[4] for row in expected], abs=tolerance)
    assert candidates.class_ids.tolist() == [row[5] for row in expected]
    assert [array.dtype.name for array in (candidates.boxes_xyxy, candidates.scores, candidates.class_ids)] == [
        "float32",
        "float32",
        "int64",
    ]
