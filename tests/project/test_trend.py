"""Trend: its interval covers the slope as often as it says, also where noise lasts, and says where it cannot know."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest

from benchmarks.soaking.trend import BLOCK_SECONDS, trend

stats = pytest.importorskip("scipy.stats", reason="the extra lineage is not installed")
signal = pytest.importorskip("scipy.signal", reason="the extra lineage is not installed")
TIMES = np.arange(0, 1800, 0.5)  # half an hour of samples


def lasting_noise(randomness: np.random.Generator, seconds: float) -> npt.NDArray[np.float64]:
    """First-order autoregressive noise [N] of unit variance, whose correlation falls to 1/e in those seconds."""
    share, num_before = math.exp(-0.5 / seconds), 2000
    steps = randomness.normal(size=num_before + TIMES.size) * math.sqrt(1 - share**2)
    return np.asarray(signal.lfilter([1.0], [1.0, -share], steps))[num_before:]


@pytest.mark.parametrize("seconds", [1.0, 30.0, 90.0])
def test_the_interval_covers_the_slope_in_19_of_20_runs(seconds: float) -> None:
    randomness, num = np.random.default_rng(7), 150
    trends = [trend(TIMES, 12 * TIMES / 3600 + lasting_noise(randomness, seconds)) for _ in range(num)]
    num_covering = sum(of.low <= 12 <= of.high for of in trends)
    assert num_covering >= stats.binom.ppf(0.001, num, 0.95)


def test_of_noise_that_is_over_at_once_the_interval_is_that_of_a_plain_regression() -> None:
    blocks = np.arange(60) * BLOCK_SECONDS
    values = np.random.default_rng(2).normal(size=60)
    ours, plain = trend(blocks, values), stats.linregress(blocks / 3600, values)
    assert ours.per_hour == pytest.approx(plain.slope)
    assert (ours.high - ours.low) / 2 == pytest.approx(stats.t.ppf(0.975, 58) * plain.stderr, rel=0.1)


def test_steps_are_no_proof_of_growth_and_few_values_are_none_of_anything() -> None:
    step = trend(TIMES, np.where(TIMES < 900, 100.0, 110.0))
    assert step.judged(10) == "undecided"
    for values in (TIMES[:0], TIMES[:100]):  # 50 s
        assert trend(values, values).judged(1e9) == "undecided"


@pytest.mark.parametrize(("slope", "judgement"), [(0.0, "flat"), (5.0, "flat"), (5.1, "grows"), (-50.0, "flat")])
def test_a_straight_line_is_judged_by_its_slope_whatever_gaps_it_has(slope: float, judgement: str) -> None:
    kept = np.random.default_rng(1).random(TIMES.size) < 0.3
    kept[500:1500] = False
    of = trend(TIMES[kept], 40 + np.round(slope * TIMES[kept] / 3600, 9))
    assert of.per_hour == pytest.approx(slope, abs=1e-6)
    assert of.judged(5.0 + 1e-6) == judgement


def test_what_is_not_a_number_is_refused() -> None:
    with pytest.raises(ValueError, match="must be finite"):
        trend([0.0, 1.0], [1.0, math.nan])
    with pytest.raises(ValueError, match="as many, got 2 and 1"):
        trend([0.0, 1.0], [1.0])
