"""Miss rates and their intervals."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.picture.gate.misses import MissRate, wilson_interval


@pytest.mark.parametrize("of", [1, 7, 100, 5000])
def test_the_interval_is_where_a_normal_test_of_the_share_does_not_reject(of: int) -> None:
    """Wilson's interval is defined by |p̂ − p| ≤ z √(p(1 − p) / n), which is solved here by trying all p."""
    tried = np.linspace(0, 1, 200_001)
    for num in sorted({0, 1, of // 3, of}):
        holds = np.abs(num / of - tried) <= 1.959964 * np.sqrt(tried * (1 - tried) / of) + 1e-12
        assert wilson_interval(num, of) == pytest.approx((tried[holds].min(), tried[holds].max()), abs=1e-5)


def test_without_a_check_nothing_is_known() -> None:
    assert MissRate().share is None
    assert MissRate().interval == (0.0, 1.0)
    assert not MissRate().passes(0.05)


def test_a_rate_passes_its_target_only_with_a_miss() -> None:
    good, bad = MissRate(num_checked=3), MissRate(num_checked=3).with_check(has_missed=True)
    assert not good.passes(0.05)
    assert bad.passes(0.05)
    assert not MissRate(1000, 1).passes(0.05)


@pytest.mark.parametrize(("num", "of"), [(-1, 3), (4, 3)])
def test_impossible_numbers_are_refused(num: int, of: int) -> None:
    with pytest.raises(ValueError, match=r"must lie within \[0, 3\]"):
        wilson_interval(num, of)
