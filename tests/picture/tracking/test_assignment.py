"""Assignment: the sum is the largest that there is."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from pipeline.picture.tracking.assignment import assign


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 12), st.integers(0, 12), st.floats(0, 1), st.integers(0, 2**32 - 1))
def test_the_sum_is_that_of_scipy(num_rows: int, num_columns: int, share: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    similarity = rng.random((num_rows, num_columns)) * (rng.random((num_rows, num_columns)) < share)
    if seed % 2:
        similarity = np.round(similarity, 1)  # with ties
    rows, columns = assign(similarity)
    assert len(set(rows.tolist())) == len(set(columns.tolist())) == len(rows)
    assert (similarity[rows, columns] > 0).all()
    assert np.isclose(
        similarity[rows, columns].sum(), similarity[linear_sum_assignment(similarity, maximize=True)].sum()
    )


def test_a_crowd_in_which_everybody_overlaps_everybody_is_solved_as_well() -> None:
    similarity = np.random.default_rng(7).random((60, 45))
    assert np.isclose(
        similarity[assign(similarity)].sum(), similarity[linear_sum_assignment(similarity, maximize=True)].sum()
    )


def test_equal_similarities_pair_off_and_what_is_not_a_number_is_left_out() -> None:
    rows, columns = assign(np.ones((3, 3)))
    assert sorted(rows.tolist()) == sorted(columns.tolist()) == [0, 1, 2]
    assert [indices.tolist() for indices in assign(np.array([[np.nan, 0.5], [0.0, np.nan]]))] == [[0], [1]]
    assert [len(indices) for indices in assign(np.zeros((0, 4)))] == [0, 0]
