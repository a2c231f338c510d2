"""Progress of a command: its share and what remains are true, on a terminal as a bar, elsewhere as lines."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from pipeline.app.progress import Phase, Progress, WorkProgress, bar_of, clock_time
from pipeline.testing import StepClock


def in_log(clock: StepClock) -> tuple[WorkProgress, io.StringIO]:
    text = io.StringIO()
    return WorkProgress(Console(file=text, width=200), clock=clock), text


def test_hours_are_shown_from_one_on() -> None:
    times = [clock_time(seconds) for seconds in (0, 41.4, 59.7, 3599, 3723)]
    assert times == ["00:00", "00:41", "01:00", "59:59", "1:02:03"]


@pytest.mark.parametrize(
    ("progress", "words"),
    [
        (Progress(12, 100, 6.0), " 12 %  00:44 left"),
        (Progress(12, 100, 6.0, is_at_most=True), " 12 %  at most 00:44 left"),
        (Progress(999, 1000, 999.0), " 99 %  00:01 left"),
        (Progress(103, 100, 6.0), "103 frames"),
        (Progress(0, 0, 0.0), "100 %"),
        (Progress(7, None, 6.0, "steps"), "7 steps"),
    ],
)
def test_words_are_true(progress: Progress, words: str) -> None:
    assert progress.words() == words


@pytest.mark.parametrize("width", [10, 25, 60, 200])
def test_a_bar_is_no_wider_than_its_room(width: int) -> None:
    console = Console(file=io.StringIO(), width=width, record=True)
    console.print(bar_of(Progress(50, 100, 10.0), width=width))
    (line,) = console.export_text().splitlines()
    assert len(line.rstrip()) <= width
    assert line.lstrip("━╸╺ ").startswith("50 %" if width > 20 else "50")


def test_lines_of_a_log_carry_share_and_remaining_time() -> None:
    clock = StepClock()
    progress, text = in_log(clock)
    progress("begins")
    with progress.phase("measuring", total=4, has_lines=True) as phase:
        clock.advance(10)
        phase.advance()
        progress("detector: 30 frames/s")
    progress("over")
    assert text.getvalue().splitlines() == [
        "   0.0 s  begins",
        "  10.0 s   25 %  00:30 left  detector: 30 frames/s",
        "  10.0 s  over",
    ]


def test_a_phase_without_lines_gets_one_every_five_seconds_and_none_at_its_end() -> None:
    clock = StepClock()
    progress, text = in_log(clock)
    with progress.phase("yolox", total=100) as phase:
        for _ in range(100):
            clock.advance(0.15)
            phase.advance()
    assert text.getvalue().splitlines() == ["   5.1 s   34 %  00:10 left  yolox", "  10.2 s   68 %  00:05 left  yolox"]


def test_a_total_may_become_known_later_and_a_callback_may_say_it() -> None:
    clock = StepClock()
    phase = Phase("comparing", clock)
    assert phase.progress.share is None
    clock.advance(2)
    phase.at(1, 4)
    assert phase.progress.words() == " 25 %  00:06 left"


def test_a_budget_of_time_runs_out_with_the_clock() -> None:
    clock = StepClock()
    phase = Phase("searching", clock, budget_seconds=120.0)
    clock.advance(30)
    assert phase.progress.words() == " 25 %  at most 01:30 left"
    clock.advance(100)
    assert phase.progress.words() == "130 s  more than the 120 s of the budget"


@pytest.mark.parametrize("width", [40, 60, 80])
def test_on_a_terminal_the_bar_has_the_name_before_it_and_lines_stand_above(width: int) -> None:
    text, clock = io.StringIO(), StepClock()
    progress = WorkProgress(Console(file=text, width=width, force_terminal=True), clock=clock)
    with progress.phase("a model with quite a long name.onnx", total=4) as phase:
        clock.advance(10)
        phase.advance()
        progress("one is done")
        console = Console(file=io.StringIO(), width=width, record=True)
        console.print(phase.drawn(width))
    (line,) = console.export_text().splitlines()
    assert len(line) <= width
    assert line.startswith("a model w")
    assert "25 %  00:30 left" in line
    assert "  10.0 s  one is done" in text.getvalue()


def test_an_unknown_end_shows_the_time_that_it_has_taken() -> None:
    clock = StepClock()
    phase = Phase("building yolox", clock)
    clock.advance(65)
    assert str(phase.drawn(80)) == "building yolox  01:05"
