"""Pacing: which of the changed frames are looked at, on simulated sequences of change."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest

from pipeline.picture.gate.pacing import Budget, EveryNth, Pace


def looks(pace: Pace, changes: Sequence[int]) -> list[int]:
    """The numbers of the frames that are looked at, of frames in which so many cells have changed since the last."""
    numbers = []
    for number, num_cells in enumerate(changes):
        pace.follow(num_cells)
        if num_cells and pace.is_due and pace.can_look:
            pace.look(is_check=False)
            numbers.append(number)
    return numbers


def test_every_third_frame_of_those_that_change_and_the_first_at_once() -> None:
    assert looks(EveryNth(3), [5] * 8) == [0, 3, 6]
    assert looks(EveryNth(3), [0, 0, 5, 5, 0, 0, 0, 5, 5]) == [2, 7]
    assert looks(EveryNth(1), [5] * 3) == [0, 1, 2]


def test_a_check_changes_nothing_about_whose_turn_is_next() -> None:
    pace = EveryNth(3)
    assert looks(pace, [5]) == [0]
    pace.follow(5)
    pace.look(is_check=True)
    assert looks(pace, [5, 5, 5]) == [1]  # the third frame after the first, as without the check


@pytest.mark.parametrize("share", [0.05, 0.1, 0.3, 0.5, 1.0])
def test_even_change_is_looked_at_in_even_steps_that_make_up_the_share(share: float) -> None:
    numbers = [number for number in looks(Budget(share), [40] * 2000) if number >= 500]
    assert len(numbers) / 1500 == pytest.approx(share, rel=0.03)
    gaps = np.diff(numbers)
    assert gaps.max() - gaps.min() <= max(1, 0.1 / share)  # no swinging between many looks and few


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("share", [0.05, 0.3, 0.6])
def test_no_stretch_of_frames_takes_more_than_its_share_and_what_was_saved(share: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    changes = np.concatenate([np.full(random.integers(1, 90), random.choice([0, 3, 900])) for _ in range(25)])
    is_looked = np.zeros(len(changes), np.int64)
    is_looked[looks(Budget(share), changes.tolist())] = 1
    total = np.concatenate([[0], np.cumsum(is_looked)])
    for length in (1, 7, 50, 300):
        most = (total[length:] - total[:-length]).max()
        assert most <= share * length + Budget.most_saved(share) + 1e-6


def test_what_is_saved_while_nothing_moves_is_spent_where_much_moves() -> None:
    slow, fast = [20] * 300, [80] * 60
    numbers = looks(Budget(0.2), [*slow, *[0] * 100, *fast, *slow])
    in_fast = sum(400 <= number < 460 for number in numbers) / 60
    in_slow = sum(100 <= number < 300 for number in numbers) / 200
    assert not [number for number in numbers if 300 <= number < 400]
    assert in_fast > 1.4 * in_slow
    assert in_slow == pytest.approx(0.2, abs=0.02)
    behind = [number for number in numbers if number >= 460]
    assert max(b - a for a, b in itertools.pairwise(behind)) <= 15  # it recovers without a long blind time


def test_what_was_unexpected_makes_it_look_more_often_and_then_as_before() -> None:
    budget = Budget(0.2)
    budget.weigh(0.1)
    calm = len(looks(budget, [10] * 200))
    budget.weigh(0.9)
    first_gap = looks(budget, [10] * 20)
    budget.weigh(0.1)
    assert len(looks(budget, [10] * 200)) == pytest.approx(calm, abs=6)
    assert len(first_gap) > calm / 10


@pytest.mark.parametrize("share", [0.0, -0.1, 1.1, float("nan")])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="above 0 and at most 1"):
        Budget(share)
