"""Search: it finds the best of made-up costs, and claims a gain only where the gain holds."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from pipeline.measure.search import Knob, Setting, Trial, coordinate_search, gain_holds, ranked


def knob(key: str, *values: object) -> Knob:
    return Knob(key, lambda _: ({key: value} for value in values))


def always() -> bool:
    return True


def costing(cost: Callable[[Setting], float]) -> Callable[[Setting], Trial]:
    return lambda setting: Trial(setting, cost(setting))


def repeats(*costs: float, shortfall: float = 0.0) -> list[Trial]:
    return [Trial({}, cost, shortfall) for cost in costs]


def test_each_knob_is_turned_to_its_best_value_from_the_best_before() -> None:
    def cost(setting: Setting) -> float:
        return 10.0 - {1: 0, 2: 3, 3: 1}[setting.get("a", 1)] - {1: 0, 2: -1, 3: 2}[setting.get("b", 1)]

    trials = list(coordinate_search([knob("a", 2, 3), knob("b", 2, 3)], costing(cost), is_time_left=always))
    assert trials[0].setting == {}
    assert [trial.setting for trial in trials[1:3]] == [{"a": 2}, {"a": 3}]
    assert ranked(trials)[0].setting == {"a": 2, "b": 3}


def test_a_second_round_finds_what_only_pays_after_another_knob_was_turned() -> None:
    def cost(setting: Setting) -> float:
        return {(0, 0): 10.0, (1, 0): 11.0, (0, 1): 8.0, (1, 1): 5.0}[setting.get("a", 0), setting.get("b", 0)]

    trials = list(coordinate_search([knob("a", 1), knob("b", 1)], costing(cost), is_time_left=always))
    assert [dict(trial.setting) for trial in trials] == [{}, {"a": 1}, {"b": 1}, {"b": 1, "a": 1}]


def test_nothing_is_tried_twice_and_none_takes_a_key_back() -> None:
    seen: list[Setting] = []

    def cost(setting: Setting) -> float:
        seen.append(setting)
        return 10.0 - 2 * len(setting)

    list(coordinate_search([knob("a", None, 1), knob("b", 1, None)], costing(cost), is_time_left=always))
    assert seen == [{}, {"a": 1}, {"a": 1, "b": 1}, {"b": 1}]


def test_a_gain_below_the_least_does_not_move_the_search() -> None:
    trials = list(
        coordinate_search(
            [knob("a", 1), knob("b", 1)], costing(lambda setting: 10.0 - 0.1 * len(setting)), is_time_left=always
        )
    )
    assert [dict(trial.setting) for trial in trials] == [{}, {"a": 1}, {"b": 1}]


def test_it_ends_when_the_time_is_up_and_keeps_what_it_has() -> None:
    left = iter([True, False])
    trials = list(coordinate_search([knob("a", 1, 2, 3)], costing(lambda _: 1.0), is_time_left=lambda: next(left)))
    assert [dict(trial.setting) for trial in trials] == [{}, {"a": 1}]


def test_one_knob_may_be_turned_first_and_whatever_the_time() -> None:
    first = knob("b", 1, 2)
    trials = coordinate_search(
        [knob("a", 1), first], costing(lambda _: 1.0), is_time_left=lambda: False, turn_first=lambda _: first
    )
    assert [dict(trial.setting) for trial in trials] == [{}, {"b": 1}, {"b": 2}]
    trials = coordinate_search(
        [knob("a", 1), first], costing(lambda _: 1.0), is_time_left=always, turn_first=lambda _: first
    )
    assert [dict(trial.setting) for trial in trials] == [{}, {"b": 1}, {"b": 2}, {"a": 1}]


def test_changes_may_depend_on_the_best_so_far() -> None:
    def only_with_a(setting: Setting) -> Iterable[Setting]:
        return ({"b": 1},) if "a" in setting else ()

    trials = coordinate_search(
        [knob("a", 1), Knob("b", only_with_a)], costing(lambda setting: 9.0 - len(setting)), is_time_left=always
    )
    assert [dict(trial.setting) for trial in trials] == [{}, {"a": 1}, {"a": 1, "b": 1}]


def test_what_cannot_run_never_wins_and_what_keeps_the_limits_beats_what_costs_less() -> None:
    failed, far, near = Trial({"a": 1}, math.inf, reason="no"), Trial({"a": 2}, 1.0, 0.5), Trial({"a": 3}, 2.0, 0.1)
    keeps = Trial({"a": 4}, 9.0)
    assert ranked([failed, far, near, keeps]) == [keeps, near, far]
    assert not failed.beats(far)
    assert far.beats(failed)
    assert near.beats(far, least_gain=0.02)
    assert keeps.beats(near, least_gain=0.02)
    assert not near.beats(keeps)
    assert not failed.beats(failed)


def test_a_gain_holds_if_it_is_there_in_every_turn() -> None:
    assert gain_holds(repeats(10, 10.5, 9.5), repeats(8, 8.2, 7.9))
    assert gain_holds(repeats(10, 20, 9.5), repeats(8, 17, 7.9))  # the machine slowed down in the second turn
    assert not gain_holds(repeats(10, 10.5, 9.5), repeats(8, 8.2, 11))
    assert not gain_holds(repeats(10, 10, 10), repeats(9.9, 9.9, 9.9))  # too little to speak of
    assert not gain_holds(repeats(10, 10, 10), repeats(10, 10, 10))
    assert not gain_holds(repeats(8, 8, 8), repeats(10, 10, 10))


def test_where_the_start_misses_the_limits_to_keep_them_each_time_is_the_gain() -> None:
    assert gain_holds(repeats(1, 1, 1, shortfall=0.2), repeats(5, 6, 7))
    assert not gain_holds(repeats(1, 1, 1, shortfall=0.2), [*repeats(5, 6), Trial({}, 7, 0.01)])
    assert not gain_holds(repeats(1, 1, 1), [*repeats(0.5, 0.5), Trial({}, math.inf)])
