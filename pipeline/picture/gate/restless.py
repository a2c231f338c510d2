"""Restless cells: what changes in a picture, second by second → the cells that always do, such as clocks and trees.

They, and those around them, are learnt away: they no longer make a network look. Where objects were detected lately
nothing is, and where much of the picture is restless nothing is either, because that is more than a clock.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.picture.gate.change import Cells

_BIN_SECONDS = 1.0  # as long as the shortest time in which a clock changes
_MEMORY_BINS = 12.0
_OFTEN, _SELDOM = 0.4, 0.2  # of the last seconds; the segments of a digit change in every second one
_MOST_SHARE = 0.1  # of the picture
_OBJECT_SECONDS = 30.0  # for which a cell with an object is not learnt away


class RestlessCells:
    """Learns which of the cells [h, w] of one camera always change."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self._share = np.zeros(shape, np.float32)  # of the last seconds
        self._active = np.zeros(shape, np.bool_)  # in this second
        self._is_restless = np.zeros(shape, np.bool_)
        self._had_object_at = np.full(shape, -np.inf)
        self._began: float | None = None
        self._cells: Cells = self._is_restless

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        num_down, num_across = self._share.shape
        return num_down, num_across

    def update(self, changed: Cells, seconds: float) -> Cells:
        """The cells [h, w] that are learnt away; changed: since the frame before. seconds: media time, rising."""
        self._began = seconds if self._began is None else self._began
        self._active |= changed
        if seconds - self._began >= _BIN_SECONDS:
            self._end_bin(seconds)
        return self._cells

    def keep_awake(self, cells: tuple[slice, slice], seconds: float) -> None:
        """Say that rows and columns had an object at that time."""
        self._had_object_at[cells] = seconds

    def _end_bin(self, seconds: float) -> None:
        self._began = seconds
        self._share += (self._active - self._share) / np.float32(_MEMORY_BINS)
        self._active[:] = False
        has_object: npt.NDArray[np.bool_] = seconds - self._had_object_at < _OBJECT_SECONDS
        self._share[has_object] = 0
        self._is_restless = (self._share > np.where(self._is_restless, _SELDOM, _OFTEN)) & ~has_object
        around = (
            cv2.dilate(self._is_restless.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(np.bool_) & ~has_object
        )
        self._cells = around if around.mean() <= _MOST_SHARE else np.zeros_like(around)
