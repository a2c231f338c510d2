"""Counting engine: a real engine that remembers the batches that it was given."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

from pipeline.detector.engine import OrtEngine
from pipeline.detector.heads import Outputs


class CountingEngine(OrtEngine):
    """Remembers the batches that it was given."""

    batches: tuple[int, ...] = ()
    is_closed = False

    def infer(self, tensor: npt.NDArray[Any]) -> Outputs:
        self.batches += (len(tensor),)
        return super().infer(tensor)

    def close(self) -> None:
        self.is_closed = True
        super().close()
