"""Box filters: one Kalman filter a box, all in one array: boxes as detected → boxes as predicted.

The state of a filter is position and velocity of the four sides of a box, and the noise is the same for each side and
independent of the others. So the four sides share one 2 × 2 covariance, and a filter is a row of eleven numbers
instead of a state of 8 and a covariance of 8 × 8, without any approximation.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Float64Array = npt.NDArray[np.float64]

STEPS_PER_SECOND = 30.0
"""The noise below is that of ByteTrack's filters for one frame of a 30-fps video."""

_MEASUREMENT_VARIANCE = 0.1  # pixels², of a detected side
_STEP_VARIANCE = 0.01  # added by a step, to position in pixels² and to velocity in (pixels / step)²
_FIRST_VARIANCE = 1.0  # of both, after the first detection; of velocity in (pixels / frame)² if frames are rarer

_POSITION, _VELOCITY, _PP, _PV, _VV = slice(0, 4), slice(4, 8), 8, 9, 10
NUM_COLUMNS = 11


def new_filters(boxes_xyxy: npt.NDArray[np.floating]) -> Float64Array:
    """Filters [N, 11] of boxes [N, 4] that were detected for the first time, at rest."""
    filters = np.zeros((len(boxes_xyxy), NUM_COLUMNS))
    filters[:, _POSITION] = boxes_xyxy
    filters[:, [_PP, _VV]] = _FIRST_VARIANCE
    return filters


def boxes_of(filters: Float64Array) -> Float64Array:
    """The boxes [N, 4] x1, y1, x2, y2 of filters; a view. A box may be turned inside out."""
    return filters[:, _POSITION]


def predict(filters: Float64Array, seconds: float) -> None:
    """Move filters on by a time, in place.

    Velocity is constant, so it does not matter into how many parts a time is divided. The noise is that of the
    library's filters for one frame, whatever the time between two frames: where they are further apart than a step,
    velocity has the noise of one frame of that length. Noise that grew with the time would let a filter believe the
    last two boxes and follow their jitter.
    """
    steps = seconds * STEPS_PER_SECOND
    frame_steps = max(steps, 1.0)
    variance = _STEP_VARIANCE * min(steps, 1.0)
    pv, vv = filters[:, _PV], filters[:, _VV]  # [N], [N]
    vv[(pv == 0) & (vv == _FIRST_VARIANCE)] /= frame_steps**2  # of filters that have not moved yet
    filters[:, _POSITION] += steps * filters[:, _VELOCITY]
    filters[:, _PP] += steps * (2 * pv + steps * vv) + variance
    pv += steps * vv
    vv += variance / frame_steps**2


def correct(filters: Float64Array, indices: npt.NDArray[np.intp], boxes_xyxy: npt.NDArray[np.floating]) -> None:
    """Let some filters, by index [K], see boxes [K, 4], in place."""
    seen = filters[indices]  # [K, 11], a copy
    total = seen[:, _PP] + _MEASUREMENT_VARIANCE  # [K]
    gain_position, gain_velocity = seen[:, _PP] / total, seen[:, _PV] / total  # [K], [K]
    error = boxes_xyxy - seen[:, _POSITION]  # [K, 4]
    seen[:, _POSITION] += gain_position[:, None] * error
    seen[:, _VELOCITY] += gain_velocity[:, None] * error
    seen[:, _VV] -= gain_velocity * seen[:, _PV]
    seen[:, _PP] *= 1 - gain_position
    seen[:, _PV] *= 1 - gain_position
    filters[indices] = seen
