"""Panel: a run in progress fits the terminal, says what it does, and leaves out what it does not know."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from rich.console import Console

from pipeline.app.progress import Progress
from pipeline.app.run.object_tally import ObjectTally
from pipeline.app.run.panel import LivePanel, PlainLines, RunView, draw_panel, panel_for, state_in_words
from pipeline.app.run.run_progress import progress_of_run
from pipeline.app.terminal import short_name, shortened
from pipeline.flow.graph import Flow
from pipeline.flow.ledger import Ledger
from pipeline.flow.running import Running
from pipeline.flow.stage import Stop
from pipeline.picture.detections import Result
from pipeline.picture.frame import ArrayPicture, Frame, TimedPicture
from pipeline.stages.capture import Capture
from pipeline.testing import CollectingSink, FunctionStage, StepClock
from tests.support.results import result_of


class Pictures:
    """A source of `num` pictures that declares `declared` of them."""

    size_wh = None
    frames_per_second = None
    damage = ()

    def __init__(self, num: int, *, declared: int | None, source_id: str = "a.mp4", is_live: bool = False) -> None:
        self.num_frames, self.source_id, self.is_live = declared, source_id, is_live
        self._num = num

    def pictures(self, stop: Stop, *, every: int = 1) -> Iterator[TimedPicture]:
        picture = ArrayPicture(result_of().frame.pixels)
        for index in range(0, self._num, every):
            yield TimedPicture(picture, float(index))

    def close(self) -> None: ...


def after(num: int, capture: Capture, *, in_flight: int = 0, seconds: float = 10.0) -> Progress | None:
    """How far a run is when its capture has handed out that many frames."""
    ledger = Ledger([capture.source_id], clock=StepClock())
    frames = capture.items(threading.Event())
    for count in range(num):
        next(frames)
        ticket = ledger.capture(capture.source_id)
        if count >= in_flight:
            ledger.finish(ticket, "delivered")
    _, by_source = ledger.statistics()
    return progress_of_run({capture.source_id: capture}, by_source, elapsed_seconds=seconds)


@pytest.mark.parametrize(
    ("capture", "num", "words"),
    [
        (Capture(Pictures(100, declared=100)), 25, " 25 %  00:30 left"),
        (Capture(Pictures(100, declared=100), every=3), 17, " 50 %  00:10 left"),
        (Capture(Pictures(100, declared=100), max_frames=40), 10, " 25 %  00:30 left"),
        (Capture(Pictures(100, declared=100), every=3, max_frames=40), 17, " 50 %  00:10 left"),
        (Capture(Pictures(100, declared=None)), 25, "25 frames"),
        (Capture(Pictures(100, declared=None), max_frames=50), 25, " 50 %  00:10 left"),
        (Capture(Pictures(100, declared=20)), 20, "100 %  00:00 left"),
        (Capture(Pictures(100, declared=20)), 30, "30 frames  more than the 20 declared"),
        (Capture(Pictures(100, declared=100)), 0, "  0 %"),
    ],
    ids=["all", "every", "max frames", "both", "not declared", "limited", "at the end?", "a lie", "before the first"],
)
def test_progress_is_the_share_of_what_is_expected(capture: Capture, num: int, words: str) -> None:
    progress = after(num, capture)
    assert progress is not None
    assert progress.words() == words


def test_a_source_that_ends_before_what_it_declares_is_done() -> None:
    capture = Capture(Pictures(20, declared=50))
    assert [frame.index for frame in capture.items(threading.Event())] == list(range(20))
    assert capture.has_ended
    ledger = Ledger(["a.mp4"], clock=StepClock())
    tickets = [ledger.capture("a.mp4") for _ in range(20)]
    for ticket in tickets[:10]:
        ledger.finish(ticket, "delivered")
    half = progress_of_run({"a.mp4": capture}, ledger.statistics()[1], elapsed_seconds=1.0)
    assert half is not None
    assert half.words() == " 50 %  00:01 left"
    for ticket in tickets[10:]:
        ledger.finish(ticket, "delivered")
    over = progress_of_run({"a.mp4": capture}, ledger.statistics()[1], elapsed_seconds=2.0)
    assert over is not None
    assert over.words() == "100 %  finishing the outputs"


def test_a_live_source_has_no_progress_unless_its_frames_are_limited() -> None:
    assert after(5, Capture(Pictures(100, declared=None, is_live=True))) is None
    limited = after(5, Capture(Pictures(100, declared=None, is_live=True), max_frames=10))
    assert limited is not None
    assert limited.share == 0.5


def test_frames_on_their_way_are_not_done() -> None:
    progress = after(50, Capture(Pictures(100, declared=100)), in_flight=10)
    assert progress is not None
    assert progress.done == 40


def view_of(
    num_sources: int, *, has_window: bool = False, name: Callable[[int], str] = lambda index: f"videos/{index}.mp4"
) -> RunView:
    """A run of some sources that is over, 30 frames each, recorded one by one."""

    def detect(frame: Frame) -> list[Result]:
        return [result_of(0, 0, 1, source_id=frame.source_id)]

    captures = [Capture(Pictures(30, declared=30, source_id=name(index))) for index in range(num_sources)]
    objects = ObjectTally()
    flow = Flow.from_sources(*captures)
    results: Flow[Result] = flow.then(FunctionStage(lambda frame: [frame]), name="preprocess").then(
        FunctionStage(detect), name="detect", workers=2
    )
    results = results.then(FunctionStage(lambda result: [result]), name="nms").observe(objects)
    for index in range(num_sources):
        sink: CollectingSink[Result] = CollectingSink()
        results = results.to(
            sink, name=f"record out/a long folder/{index}.mp4", role="record", only_sources=[name(index)]
        )
    with Running(results) as running:
        running.wait()
    if has_window:
        window: CollectingSink[Result] = CollectingSink()
        results = results.to(window, name="window", in_main_thread=True)
    return RunView(results, running.statistics, objects.counts)


def drawn(view: RunView, *, width: int = 80, height: int = 24) -> list[str]:
    """The lines that a terminal of that size would show; rich would break what is wider."""
    console = Console(file=io.StringIO(), width=width, height=height, record=True, force_terminal=True)
    console.print(draw_panel(view, width=width, height=height))
    return console.export_text().splitlines()


@pytest.mark.parametrize("num_sources", [1, 8, 40])
@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_panel_fits_the_terminal(width: int, num_sources: int) -> None:
    lines = drawn(view_of(num_sources), width=width)
    assert len(lines) <= 24
    assert max(len(line) for line in lines) <= width
    stages = [line.split()[0] for line in lines if line.split()[0] in ("preprocess", "detect", "nms", "record")]
    assert stages == ["preprocess", "detect", "nms", "record"]  # one line each
    assert not any("…" in line for line in lines if line.startswith("stage"))


def test_the_panel_says_what_was_detected_how_far_it_is_and_which_keys_work() -> None:
    lines = drawn(view_of(1, has_window=False))
    assert lines[0].startswith("0.mp4 ")
    assert lines[3].rstrip() == "found  person 2 in 30 frames, car 1 in 30"
    assert lines[4].endswith("100 %  finishing the outputs")
    assert lines[-1].rstrip() == "Ctrl-C finishes"
    assert "record 0.mp4" in "\n".join(lines)


def test_several_sources_have_a_row_each_with_their_state() -> None:
    lines = drawn(view_of(8))
    rows = [line.split() for line in lines if ".mp4" in line and "ended" in line]
    assert [row[:3] for row in rows] == [[f"{index}.mp4", "ended", "30"] for index in range(8)]
    assert any(line.startswith("record ×8") for line in lines)


def test_sources_that_do_not_fit_are_counted() -> None:
    lines = drawn(view_of(40))
    assert sum("ended" in line for line in lines) + int(next(line.split()[1] for line in lines if "… " in line)) == 40


def test_a_source_says_whether_it_gives_frames() -> None:
    clock = StepClock()
    ledger = Ledger(["cam"], clock=clock)
    live = Capture(Pictures(2, declared=None, source_id="cam", is_live=True), clock=clock)
    assert state_in_words(live, ledger.statistics()[0]) == "connecting"
    frames = live.items(threading.Event())
    for _ in range(2):
        next(frames)
        ledger.capture("cam")
        clock.advance(0.1)
    assert state_in_words(live, ledger.statistics()[0]) == "live"
    assert state_in_words(Capture(Pictures(4, declared=4)), ledger.statistics()[0]) == "50 %"
    live.states.wait()
    clock.advance(60)
    assert state_in_words(live, ledger.statistics()[0]) == "stalled"
    live.states.lose("cam: broke off", retry_in_seconds=1.0)
    assert state_in_words(live, ledger.statistics()[0]) == "lost"
    list(frames)
    assert state_in_words(live, ledger.statistics()[0]) == "ended"


@pytest.mark.parametrize(
    ("name", "role", "short"),
    [
        ("videos/my street.mp4", "", "my street.mp4"),
        ("record out/o 1.mp4", "record", "record o 1.mp4"),
        ("record my videos/o.mp4", "record", "record o.mp4"),
        ("photos/", "", "photos"),
        ("rtsp://cam/stream", "", "rtsp://cam/stream"),
        ("detect", "detect", "detect"),
    ],
)
def test_names_are_short_without_folders(name: str, role: str, short: str) -> None:
    assert short_name(name, role) == short


def test_a_long_name_keeps_both_its_ends() -> None:
    assert shortened("a-very-long-name-of-a-camera-7.mp4", 15) == "a-very-…a-7.mp4"
    assert [shortened("abcdef", most) for most in (6, 2, 1, 0)] == ["abcdef", "…f", "…", ""]


def test_elsewhere_than_on_a_terminal_there_is_a_line_a_second() -> None:
    text, view = io.StringIO(), view_of(1)
    statistics = replace(view.statistics(), elapsed_seconds=1.04)
    panel = panel_for(Console(file=text, width=200), RunView(view.flow, lambda: statistics, view.objects))
    assert isinstance(panel, PlainLines)
    with panel:
        panel.update()
        panel.update()
    (line,) = text.getvalue().splitlines()
    assert line.startswith("   1.0 s  100 %  finishing the outputs  FPS captured")
    assert "delivered 30  dropped 0" in line


def test_on_a_terminal_a_panel_shows_every_stage() -> None:
    text = io.StringIO()
    panel = panel_for(Console(file=text, width=120, height=24, force_terminal=True), view_of(1))
    assert isinstance(panel, LivePanel)
    with panel:
        panel.update()
    for part in ("0.mp4", "detect", "record 0.mp4"):
        assert part in text.getvalue()


def test_the_keys_of_a_window_are_named_where_there_is_one() -> None:
    assert "q ends, space pauses, s saves" in view_of(1, has_window=True).keys
