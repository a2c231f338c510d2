"""Placement: loads are even, models are shared where that costs nothing, and nothing moves without use."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from pipeline.fleet.placement import PlacedCamera, moves, place


def cameras(num: int, model: str = "m", cost: float | None = None) -> list[PlacedCamera]:
    return [PlacedCamera(f"{model}{number}", model, cost) for number in range(num)]


def test_cameras_of_one_model_share_a_worker_where_loads_stay_even() -> None:
    targets = place([*cameras(3, "a"), *cameras(3, "b")], {}, {"x": 1, "y": 1})
    assert [{targets[f"{model}{number}"] for number in range(3)} for model in "ab"] == [{"x"}, {"y"}]


def test_one_model_is_spread_over_all_workers() -> None:
    assert Counter(place(cameras(7), {}, {"x": 1, "y": 1, "z": 2}).values()) == {"x": 2, "y": 2, "z": 3}


def test_nobody_is_placed_where_there_is_no_worker() -> None:
    assert place(cameras(2), {}, {}) == {}
    assert place([], {}, {"x": 1}) == {}
    assert moves({}, {}, movable=(), most=3) == []


@pytest.mark.parametrize("seed", range(20))
def test_no_load_is_higher_than_an_even_one_and_the_largest_camera(seed: int) -> None:
    """The bound of list scheduling (R. Graham 1969)."""
    rng = np.random.default_rng(seed)
    new = [PlacedCamera(f"c{n}", f"m{rng.integers(3)}", float(rng.uniform(0.05, 1.5))) for n in range(60)]
    cores = {f"w{n}": 1.0 for n in range(5)}
    targets = place(new, {}, cores)
    costs = {camera.name: camera.cost or 0 for camera in new}
    loads = dict.fromkeys(cores, 0.0)
    for name, worker in targets.items():
        loads[worker] += costs[name]
    assert max(loads.values()) <= sum(costs.values()) / len(cores) + max(costs.values()) + 1e-9


def test_what_has_not_been_measured_costs_as_much_as_others_of_its_model() -> None:
    placed = {"x": cameras(1, "heavy", 4.0), "y": [PlacedCamera("light0", "light", 0.5)]}
    targets = place([PlacedCamera("heavy1", "heavy"), PlacedCamera("light1", "light")], placed, {"x": 1, "y": 1})
    assert targets["heavy1"] == "y"  # as heavy as the other, so that x would have no room


def test_few_cameras_move_from_the_fullest_worker_and_none_where_it_is_even() -> None:
    placed = {"x": cameras(6), "y": []}
    planned = moves(placed, {"x": 1, "y": 1}, movable=[f"m{number}" for number in range(6)], most=2)
    assert [(move.source, move.target) for move in planned] == [("x", "y")] * 2
    assert moves(placed, {"x": 1, "y": 1}, movable=["m4"], most=5)[0].camera == "m4"
    even = {"x": cameras(4), "y": cameras(5, "n")}
    assert moves(even, {"x": 1, "y": 1}, movable=["n1"], most=5) == []


def test_one_camera_that_is_a_whole_load_stays_where_it_is() -> None:
    placed = {"x": cameras(1, "m", 3.0), "y": []}
    assert moves(placed, {"x": 1, "y": 1}, movable=["m0"], most=5) == []
