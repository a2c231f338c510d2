"""Trend: values over time, whose noise lasts → a slope with its confidence interval, and whether that is growth.

Memory of one moment resembles that of the moment before, so that samples are worth fewer independent ones; a plain
interval would be several times too narrow. So samples become means of blocks, and what blocks have in common with
their neighbours reduces their number: the adjusted test of B. D. Santer et al., Statistical significance of trends and
trend differences in layer-average atmospheric temperature time series, J. Geophys. Res. 105 (2000), 7337-7356. Their
lag-1 autocorrelation is too small in short series; its bias is added, as in M. G. Kendall, Note on bias in the
estimation of autocorrelation, Biometrika 41 (1954), 403-404.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

BLOCK_SECONDS = 30.0
CONFIDENCE = 0.95
_HOUR_SECONDS = 3600.0
_LEAST_BLOCKS = 6
_LEAST_INDEPENDENT = 2.5  # blocks; with fewer, anything may be a trend
_MOST_CORRELATION = 0.99
_ROUNDING = 1e-12  # of the values: what is left of a straight line in floating point

FloatArray = npt.NDArray[np.float64]
Judgement = Literal["flat", "grows", "undecided"]


@dataclass(frozen=True, slots=True)
class Trend:
    """A slope in units of the values per hour, and the ends of its 95 % interval; infinite where nothing is known."""

    per_hour: float
    low: float
    high: float
    minutes: float  # from the first block to the end of the last

    def judged(self, allowed: float) -> Judgement:
        """flat: surely at most what is allowed an hour; grows: surely more; else the run was too short to say."""
        if self.high <= allowed:
            return "flat"
        return "grows" if self.low > allowed else "undecided"


def trend(seconds: npt.ArrayLike, values: npt.ArrayLike) -> Trend:
    """The line through values [N] at times [N] in ascending order, with gaps or without.

    Raises ValueError for values that are not finite, and for fewer of them than times or more.
    """
    times, numbers = np.asarray(seconds, np.float64), np.asarray(values, np.float64)  # [N]
    if times.shape != numbers.shape or not (np.isfinite(times).all() and np.isfinite(numbers).all()):
        raise ValueError(f"times and values must be finite and as many, got {times.size} and {numbers.size}")
    times, numbers = _block_means(times, numbers)  # [B]
    minutes = (len(times) and times[-1] - times[0] + BLOCK_SECONDS) / 60
    if len(times) < _LEAST_BLOCKS:
        return Trend(0.0, -math.inf, math.inf, minutes)
    hours = (times - times.mean()) / _HOUR_SECONDS
    slope = float(hours @ numbers / (hours @ hours))
    residuals = numbers - numbers.mean() - slope * hours
    is_straight = np.abs(residuals).max() <= _ROUNDING * np.abs(numbers).max()
    margin = 0.0 if is_straight else _margin(residuals, float(hours @ hours))
    return Trend(slope, slope - margin, slope + margin, minutes)


def _block_means(times: FloatArray, numbers: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The mean time and value of each block that has any."""
    if not times.size:
        return times, numbers
    _, block, counts = np.unique((times - times[0]) // BLOCK_SECONDS, return_inverse=True, return_counts=True)
    return np.bincount(block, times) / counts, np.bincount(block, numbers) / counts


def _margin(residuals: FloatArray, squared_hours: float) -> float:
    """Half the interval of a slope."""
    from scipy import stats

    num, sum_of_squares = len(residuals), float(residuals @ residuals)
    correlation = float(residuals[1:] @ residuals[:-1]) / sum_of_squares
    correlation = min(_MOST_CORRELATION, max(0.0, (num * correlation + 1) / (num - 4)))
    num_independent = num * (1 - correlation) / (1 + correlation)
    if num_independent < _LEAST_INDEPENDENT:
        return math.inf
    freedom = num_independent - 2
    quantile = float(stats.t.ppf((1 + CONFIDENCE) / 2, freedom))
    return quantile * math.sqrt(sum_of_squares / freedom / squared_hours)
