"""What do the tests of heads share: a spec, and how candidates are compared with what a slow decoder reads."""

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


def check(found: Candidates, expected: list[Row], *, tolerance: float = 1e-5) -> None:
    assert expected
    assert found.boxes_xyxy == pytest.approx(np.array([row[:4] for row in expected]), rel=tolerance, abs=tolerance)
    assert found.scores == pytest.approx([row[4] for row in expected], abs=tolerance)
    assert found.class_ids.tolist() == [row[5] for row in expected]
    assert [each.dtype.name for each in (found.boxes_xyxy, found.scores, found.class_ids)] == [
        "float32",
        "float32",
        "int64",
    ]
