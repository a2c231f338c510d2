"""Meters: rates and percentiles agree with an independent count."""

from __future__ import annotations

import random

import numpy as np
import pytest

from pipeline.flow.meters import Histogram, RateMeter, StageMeter


def test_a_steady_ten_per_second_reads_ten_from_the_second_tick_on() -> None:
    meter = RateMeter()
    meter.tick(0.0)
    assert meter.recent(0.0) is None
    assert meter.overall() is None
    for count in range(1, 30):
        meter.tick(count / 10)
        assert meter.recent(count / 10) == pytest.approx(10.0)
        assert meter.overall() == pytest.approx(10.0)


def test_the_recent_rate_forgets_what_left_the_window() -> None:
    meter = RateMeter(window_seconds=1.0)
    for tick in (0.0, 0.5, 1.0):
        meter.tick(tick)
    for tick in (2.0, 2.1, 2.2):
        meter.tick(tick)
    assert meter.recent(2.2) == pytest.approx(10.0)
    assert meter.recent(9.0) is None
    assert meter.overall() == pytest.approx(5 / 2.2)


@pytest.mark.parametrize("rate", [0.7, 29.97, 1000.0])
def test_a_source_of_known_rate_reads_within_one_percent_despite_jitter(rate: float) -> None:
    jitter = random.Random(1)
    meter = RateMeter(window_seconds=20 / rate)
    for count in range(200):
        meter.tick(count / rate + jitter.uniform(0, 0.1) / rate)
    assert meter.overall() == pytest.approx(rate, rel=0.01)
    assert meter.recent(199.1 / rate) == pytest.approx(rate, rel=0.01)


def test_percentiles_agree_with_numpy_within_one_percent() -> None:
    durations = np.random.default_rng(3).lognormal(mean=-4, sigma=1, size=20_000)
    histogram = Histogram()
    for duration in durations:
        histogram.add(float(duration))
    for percent in (50, 95, 99):
        expected = float(np.percentile(durations, percent, method="inverted_cdf"))
        assert histogram.percentile_seconds(percent) == pytest.approx(expected, rel=0.0101)


def test_an_empty_histogram_knows_nothing_and_extremes_stay_in_it() -> None:
    histogram = Histogram()
    assert histogram.percentile_seconds(50) is None
    histogram.add(0.0)
    assert histogram.percentile_seconds(50) == pytest.approx(1e-6, rel=0.02)
    histogram.add(1e6)
    assert histogram.percentile_seconds(99) == pytest.approx(1000, rel=0.03)


def test_busy_is_the_share_of_the_workers_time() -> None:
    meter = StageMeter(name="detect", kind="stage", workers=2)
    for _ in range(10):
        meter.served(0.1, "a", 1.0)
    assert meter.statistics(now_seconds=1.0, elapsed_seconds=1.0).busy == pytest.approx(0.5)
