"""Change: the cells of a camera's frames, one after the other → those that are no longer as a network last saw them.

What is compared is the frame that was last looked at, not the one before: something that creeps adds up until it is
seen, and something that has stopped is not looked at again. How much a cell may differ is learnt: its noise, from frame
to frame, as a running median (McFarlane and Schofield 1995), which passing objects do not raise.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.picture.gate.luma import LumaArray

Cells = npt.NDArray[np.bool_]
"""bool [h, w]."""

_Levels = npt.NDArray[np.float32]

_FLOOR = 4.0  # grey levels by which a cell without noise may differ, of 255
_NOISES = 7.0  # and of its noise, the median of |frame − frame before|: 4.7 standard deviations
_MOST_NOISE = 12.0  # grey levels; a cell that is noisier would see nothing any more
_LEAST_NOISE = 0.1
_RATE = 0.03  # by which the noise follows, a frame
_LEARNING_FRAMES = 15  # until the noise is known
_GLOBAL_SHARE = 0.4  # of all cells: a change of light, an infrared filter, a cut
_MOVING_SHARE = 0.12  # of all cells that change from frame to frame, on average: the camera moves
_STILL_SHARE = 0.05
_MOVING_RATE = 0.1  # by which it is known whether the camera moves, a frame


@dataclass(frozen=True, slots=True)
class Change:
    """What of a frame is not as it was when it was last looked at."""

    cells: Cells  # [h, w]
    restless: Cells  # [h, w], what has changed since the frame before, whatever was looked at
    is_learning: bool  # the noise is not known yet
    is_global: bool  # most of the picture has changed at once
    is_moving: bool  # the camera moves, or has a moment ago


class ChangeDetector:
    """Compares the frames of one camera, all of one size, in order."""

    def __init__(self) -> None:
        self._seen: LumaArray | None = None
        self._before: LumaArray | None = None
        self._noise: _Levels = np.zeros((0, 0), np.float32)
        self._num_frames = 0
        self._moving = 0.0
        self._is_moving = False

    @property
    def limits(self) -> _Levels:
        """The grey levels [h, w] by which a cell may differ."""
        around = cv2.blur(self._noise, (3, 3))  # a median that follows is uncertain, and its neighbours know more
        return np.asarray(_FLOOR + _NOISES * np.maximum(self._noise, around), np.float32)

    def update(self, luma: LumaArray) -> Change:
        """What has changed in a frame [h, w]. Raises ValueError for one of another size than those before."""
        before = luma if self._before is None else self._before
        if before.shape != luma.shape:
            raise ValueError(f"the frames of a camera must be of one size, got {before.shape} and {luma.shape}")
        if self._seen is None or self._before is None:
            self._seen, self._noise = luma.copy(), np.full(luma.shape, _LEAST_NOISE, np.float32)
        limits = self.limits
        step = cv2.absdiff(luma, before)  # [h, w]
        restless = step > limits  # [h, w]
        restless_share = _share(restless)
        is_global = restless_share > _GLOBAL_SHARE
        self._follow_motion(restless_share)
        if not (is_global or self._is_moving) or self._is_learning:
            self._learn_noise(step.astype(np.float32))
        self._before = luma.copy()
        self._num_frames += 1
        cells = cv2.absdiff(luma, self._seen) > limits  # [h, w]
        is_global = is_global or _share(cells) > _GLOBAL_SHARE
        return Change(cells, restless, self._is_learning, is_global and not self._is_learning, self._is_moving)

    def look(self, luma: LumaArray, cells: Cells | None = None) -> None:
        """Remember that these cells of a frame are looked at; None: all of them."""
        if self._seen is None or cells is None:
            self._seen = luma.copy()
        else:
            np.copyto(self._seen, luma, where=cells)

    @property
    def _is_learning(self) -> bool:
        return self._num_frames < _LEARNING_FRAMES

    def _learn_noise(self, step: _Levels) -> None:
        """Nearer to the median of what a cell changes from frame to frame; at first, to its mean."""
        if self._is_learning:
            noise: npt.NDArray[np.floating] = self._noise + (step - self._noise) / max(1, self._num_frames)
        else:
            noise = self._noise * np.where(step > self._noise, 1 + _RATE, 1 - _RATE)
        self._noise = np.clip(noise, _LEAST_NOISE, _MOST_NOISE).astype(np.float32)

    def _follow_motion(self, share: float) -> None:
        """A single cut or switch of the light is not motion; what goes on is."""
        self._moving += _MOVING_RATE * (min(share, 2 * _MOVING_SHARE) - self._moving)
        self._is_moving = self._moving > (_STILL_SHARE if self._is_moving else _MOVING_SHARE)


def _share(cells: Cells) -> float:
    """Of the cells [h, w] that are set. Counting takes a tenth of the time of a mean."""
    return float(np.count_nonzero(cells)) / cells.size
