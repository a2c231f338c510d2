"""States of a source: what it is doing, since when and why, is seen from outside."""

from __future__ import annotations

import pytest

from pipeline.sources.states import SourceStates
from pipeline.testing import StepClock

START_UNIX = 1_000_000.0


@pytest.fixture
def clock() -> StepClock:
    return StepClock(100.0)


@pytest.fixture
def states(clock: StepClock) -> SourceStates:
    return SourceStates(is_live=True, clock=clock, wall_clock=lambda: START_UNIX + clock.now_seconds)


def give_pictures(states: SourceStates, clock: StepClock, num: int, *, apart_seconds: float = 0.1) -> None:
    for _ in range(num):
        states.wait()
        clock.advance(apart_seconds)
        states.see_picture()


def test_a_camera_is_connecting_then_live_since_its_first_picture(states: SourceStates, clock: StepClock) -> None:
    assert states.state.name == "connecting"
    give_pictures(states, clock, 5)
    state = states.state
    assert (state.name, state.reason, state.next_attempt_seconds) == ("live", "", None)
    assert state.since_seconds == pytest.approx(100.1)
    assert state.since_unix_seconds == pytest.approx(START_UNIX + 100.1)


def test_a_silent_camera_is_stalled_since_it_fell_silent_and_the_stall_is_kept(
    states: SourceStates, clock: StepClock
) -> None:
    give_pictures(states, clock, 5)
    states.wait()
    clock.advance(2.9)
    assert states.state.name == "live"
    clock.advance(4.1)
    assert (states.state.name, states.state.reason) == ("stalled", "no picture for 7 s")
    assert states.state.since_seconds == pytest.approx(100.5)
    assert (states.num_breaks, states.breaks[0].seconds) == (1, None)
    states.see_picture()
    (gap,) = states.breaks
    assert (states.state.name, gap.kind, gap.reason) == ("live", "stalled", "no picture for 7 s")
    assert gap.seconds == pytest.approx(7.0)
    assert gap.began_unix_seconds == pytest.approx(START_UNIX + 100.5)


def test_a_camera_whose_pictures_nobody_asks_for_is_not_stalled(states: SourceStates, clock: StepClock) -> None:
    give_pictures(states, clock, 5)
    clock.advance(60)  # the run is busy with the last one
    assert states.state.name == "live"


def test_a_camera_with_a_picture_each_ten_seconds_is_not_stalled_between_them(
    states: SourceStates, clock: StepClock
) -> None:
    give_pictures(states, clock, 3, apart_seconds=10.0)
    num_before = states.num_breaks
    states.wait()
    clock.advance(29)
    assert (states.state.name, states.num_breaks) == ("live", num_before)
    clock.advance(2)
    assert states.state.name == "stalled"


def test_a_lost_camera_says_why_and_when_it_is_tried_again(states: SourceStates, clock: StepClock) -> None:
    give_pictures(states, clock, 2)
    states.wait()
    clock.advance(10)
    states.lose("cam: broke off", retry_in_seconds=0.5)
    state = states.state
    assert (state.name, state.reason) == ("lost", "cam: broke off")
    assert state.next_attempt_seconds == pytest.approx(110.7)
    clock.advance(0.5)
    states.connect()
    assert (states.state.name, states.state.reason) == ("connecting", "cam: broke off")
    states.lose("cam: refused", retry_in_seconds=1.0)
    clock.advance(1.0)
    states.connect()
    states.wait()
    clock.advance(0.5)
    states.see_picture()
    (gap,) = states.breaks
    assert (states.state.name, gap.kind, gap.reason) == ("live", "lost", "cam: broke off")
    assert gap.seconds == pytest.approx(12.0)  # from when it fell silent


def test_a_break_that_was_never_over_has_no_length(states: SourceStates, clock: StepClock) -> None:
    give_pictures(states, clock, 2)
    states.lose("cam: broke off", retry_in_seconds=0.5)
    states.end(OSError("gave up"))
    assert (states.state.name, states.state.reason) == ("failed", "gave up")
    assert states.breaks[0].seconds is None


def test_a_run_of_months_keeps_a_hundred_breaks_and_counts_all(states: SourceStates, clock: StepClock) -> None:
    for number in range(250):
        states.lose(f"break {number}", retry_in_seconds=0.5)
        give_pictures(states, clock, 1)
    assert (states.num_breaks, len(states.breaks), states.breaks[-1].reason) == (250, 100, "break 249")


def test_a_recording_is_reading_until_it_ends(clock: StepClock) -> None:
    states = SourceStates(is_live=False, clock=clock)
    states.wait()
    clock.advance(60)
    assert (states.state.name, states.num_breaks) == ("reading", 0)
    states.see_picture()
    states.end()
    assert states.state.name == "ended"
