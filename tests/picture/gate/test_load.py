"""Load: on a simulated clock, a network that is too slow is given fewer frames, and one with time more, steadily."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest

from pipeline.picture.gate.load import MOST_EVERY, Load
from pipeline.picture.gate.pacing import FollowsLoad
from pipeline.testing import StepClock

FPS = 25
LIMIT_SECONDS = 0.2


@dataclass
class Run:
    """What came of a simulated run, a value a frame or a result."""

    load: Load
    every: list[int] = field(default_factory=list)
    ages: list[tuple[float, float]] = field(default_factory=list)  # when, and how old

    def share_late(self, begin: float, end: float) -> float:
        """The share of the results of some seconds that were older than the limit."""
        return float(np.mean([age > LIMIT_SECONDS for at, age in self.ages if begin <= at < end]))

    def steps(self, begin: float, end: float) -> int:
        return sum(begin <= step.at_seconds < end for step in self.load.steps)


def run(service: Callable[[float], float], *, num_sources: int = 1, seconds: float = 300.0, seed: int = 0) -> Run:
    """Sources in which all frames change, before one network, with room for two frames of each that wait for it.

    service: seconds that it needs at a time; 20 % more or less by chance.
    """
    random, clock = np.random.default_rng(seed), StepClock()
    load = Load(LIMIT_SECONDS, every=3, clock=clock)
    paces = [FollowsLoad(load) for _ in range(num_sources)]
    waiting: deque[float] = deque()
    done_at, at_work, num_lost, simulated = 0.0, None, 0, Run(load)
    for tick in range(int(seconds * FPS * 10)):
        clock.advance(0.1 / FPS)
        now = clock.now_seconds
        if at_work is not None and done_at <= now:
            load.observe(at_work, num_lost=num_lost)
            simulated.ages.append((now, now - at_work))
            at_work, num_lost = None, 0
        if tick % 10 == 0:
            simulated.every.append(load.every)
            for pace in paces:
                pace.follow(5)
                if pace.is_due:
                    pace.look(is_check=False)
                    waiting.append(now)
            while len(waiting) > 2 * num_sources:
                waiting.popleft()
                num_lost += 1
        if at_work is None and waiting:
            at_work, done_at = waiting.popleft(), now + service(now) * (0.8 + 0.4 * random.random())
    return simulated


@pytest.mark.parametrize(("service", "num_sources"), [(0.01, 1), (0.03, 1), (0.06, 1), (0.1, 1), (0.01, 4), (0.03, 4)])
def test_a_steady_load_gets_an_almost_steady_pace_whose_results_are_in_time(service: float, num_sources: int) -> None:
    simulated = run(lambda _: service, num_sources=num_sources, seconds=600)
    least = num_sources * FPS * service  # of which the network is busy all the time
    assert np.mean(simulated.every[-300 * FPS :]) >= 0.95 * least
    assert np.median(simulated.every[-300 * FPS :]) <= np.ceil(least) + 2
    assert simulated.share_late(300, 600) <= 0.05
    assert simulated.steps(300, 600) <= 10  # of 300 decisions
    assert simulated.steps(450, 600) <= simulated.steps(0, 150) + 2


def test_a_network_with_time_is_given_every_frame() -> None:
    simulated = run(lambda _: 0.005, seconds=60)
    assert simulated.every[-1] == 1
    assert [step.every for step in simulated.load.steps] == [2, 1]
    assert not any(step.late for step in simulated.load.steps)


def test_more_load_is_answered_within_seconds_and_less_is_used_again() -> None:
    simulated = run(lambda now: 0.1 if 100 <= now < 200 else 0.01, seconds=400)
    assert simulated.every[95 * FPS] == 1
    assert simulated.share_late(105, 200) <= 0.15
    assert min(simulated.every[105 * FPS : 200 * FPS]) >= 2
    assert simulated.every[-1] == 1


@pytest.mark.parametrize("service", [0.5, 2.0])
def test_a_network_that_is_always_late_is_left_at_the_least(service: float) -> None:
    simulated = run(lambda _: service, seconds=120)
    assert simulated.every[-1] == MOST_EVERY
    assert simulated.steps(30, 120) == 0


def test_dropped_frames_are_late_ones() -> None:
    clock = StepClock()
    load = Load(1.0, every=3, clock=clock)
    for _ in range(16):
        clock.advance(0.125)
        load.observe(clock.now_seconds, num_lost=1)
    assert load.every == 4
    assert [(step.at_seconds, step.every, step.late) for step in load.steps] == [(1.0, 4, True)]


def test_what_was_under_way_at_a_step_makes_no_other() -> None:
    clock = StepClock()
    load = Load(0.25, every=3, clock=clock)
    for _ in range(9):
        clock.advance(0.125)
        load.observe(clock.now_seconds - 0.5)
    assert load.every == 4
    stepped_at = clock.now_seconds
    for _ in range(50):
        clock.advance(0.125)
        load.observe(stepped_at)  # ever older
    assert load.every == 4


@pytest.mark.parametrize(("limit", "every"), [(0.0, 3), (float("nan"), 3), (1.0, 0), (1.0, MOST_EVERY + 1)])
def test_what_cannot_work_is_refused(limit: float, every: int) -> None:
    with pytest.raises(ValueError, match=r"limit_seconds must be above 0 and every within \[1, 12\], got"):
        Load(limit, every=every, clock=StepClock())
