"""Absent source: a camera that does not answer at the start is tried until it does."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import nullcontext

import numpy as np
import pytest

from pipeline.errors import SourceError, SourceRefusedError
from pipeline.flow.stage import Stop
from pipeline.picture.frame import ArrayPicture, TimedPicture
from pipeline.sources.absent import AbsentSource, Opening
from pipeline.sources.opening_abreast import open_sources_abreast
from pipeline.sources.options import NetworkOptions, SourceOptions
from pipeline.sources.reconnecting import ReconnectingSource
from pipeline.sources.source import FrameSource
from pipeline.stages.capture import Capture
from pipeline.testing import StepClock

PICTURE = ArrayPicture(np.zeros((4, 6, 3), np.uint8))
ADDRESS = "rtsp://camera"


class Pictures:
    """A source of two pictures."""

    source_id, size_wh, frames_per_second, num_frames = ADDRESS, (6, 4), 10.0, None
    damage = ("1 of 2 frames decoded with errors",)

    def __init__(self, *, is_live: bool = True) -> None:
        self.is_live, self.num_closed = is_live, 0

    def pictures(self, stop: Stop, *, every: int = 1) -> Iterator[TimedPicture]:
        for index in range(0, 2, every):
            yield TimedPicture(PICTURE, index / 10)

    def close(self) -> None:
        self.num_closed += 1


class WaitingStop:
    """A stop whose waits take no real time."""

    def __init__(self, clock: StepClock) -> None:
        self.clock, self.waits, self.is_made = clock, list[float](), False

    def is_set(self) -> bool:
        return self.is_made

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self.waits.append(timeout)
        self.clock.advance(timeout)
        return self.is_made


def refuse() -> FrameSource:
    raise SourceError("rtsp://camera: cannot be opened: Connection refused")


@pytest.fixture
def clock() -> StepClock:
    return StepClock(100.0)


@pytest.fixture
def stop(clock: StepClock) -> WaitingStop:
    return WaitingStop(clock)


def absent(clock: StepClock, *openings: Callable[[], FrameSource], patience_seconds: float = 30.0) -> AbsentSource:
    """A source, what happens at each attempt to open it, and refusals after that."""
    attempts = iter(openings)
    return AbsentSource(
        ADDRESS,
        lambda: next(attempts, refuse)(),
        patience_seconds=patience_seconds,
        clock=clock,
        randomness=lambda: 0.5,
    )


def test_a_camera_that_comes_later_gives_its_pictures_from_then_on(clock: StepClock, stop: WaitingStop) -> None:
    camera = Pictures()
    source = absent(clock, refuse, refuse, lambda: camera)
    assert (source.source_id, source.is_live, source.size_wh, source.damage) == (ADDRESS, True, None, ())
    assert [timed.pts_seconds for timed in source.pictures(stop)] == [0.0, 0.1]
    assert stop.waits == [0.5, 1.0]
    assert source.damage == camera.damage
    source.close()
    assert camera.num_closed == 1


def test_until_then_it_is_connecting_and_says_why(clock: StepClock, stop: WaitingStop) -> None:
    source = absent(clock, refuse)
    stop.is_made = True
    assert list(source.pictures(stop)) == []
    state = source.states.state
    assert (state.name, state.reason) == ("connecting", "rtsp://camera: cannot be opened: Connection refused")
    assert state.next_attempt_seconds == 100.5
    assert source.states.num_breaks == 0  # it never was there


def test_it_gives_up_after_the_patience(clock: StepClock, stop: WaitingStop) -> None:
    with pytest.raises(SourceError, match=r"^rtsp://camera: cannot .*: Connection refused; gave up after 5 s$"):
        list(absent(clock, patience_seconds=5.0).pictures(stop))
    assert 5 <= sum(stop.waits) < 6.5


def test_what_turns_out_to_be_a_recording_is_refused_because_its_frames_would_be_dropped(
    clock: StepClock, stop: WaitingStop
) -> None:
    recording = Pictures(is_live=False)
    source = absent(clock, refuse, lambda: recording)
    with pytest.raises(SourceError, match="turned out to be a recording; start it when its server answers"):
        list(source.pictures(stop))
    source.close()
    assert recording.num_closed == 1


def test_states_go_on_in_a_source_that_breaks_after_it_came(clock: StepClock, stop: WaitingStop) -> None:
    source = absent(clock, lambda: ReconnectingSource(Pictures(), refuse, reconnect_seconds=2.0, clock=clock))
    capture = Capture(source, clock=clock)
    with pytest.raises(SourceError, match="gave up after 2 s"):
        list(capture.items(stop))
    assert capture.states.state.name == "failed"
    assert [gap.reason for gap in capture.states.breaks] == ["rtsp://camera: the stream ended"]


def test_a_source_that_opens_after_it_was_given_up_is_closed() -> None:
    gate, is_closed = threading.Event(), threading.Event()

    class Late(Pictures):
        def close(self) -> None:
            is_closed.set()

    def open_late() -> FrameSource:
        gate.wait()
        return Late()

    opening = Opening(open_late, source_id="rtsp://camera")
    AbsentSource(ADDRESS, refuse, opening=opening).close()
    gate.set()
    assert is_closed.wait(10)


def test_the_thread_of_an_opening_bears_the_name_of_its_source_without_secrets() -> None:
    gate = threading.Event()

    def open_late(word: str) -> FrameSource:
        gate.wait()
        return Pictures()

    sources = open_sources_abreast(
        ["rtsp://me:secret@door/1", "rtsp://yard/1"], options=SourceOptions(), open_one=open_late, first_wait_seconds=0
    )
    names = {thread.name for thread in threading.enumerate()}
    gate.set()
    assert names >= {"opening rtsp://***@door/1", "opening rtsp://yard/1"}
    for source in sources:
        source.close()


def test_an_error_that_is_not_the_cameras_is_raised_at_once(clock: StepClock, stop: WaitingStop) -> None:
    def fail() -> FrameSource:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(absent(clock, fail).pictures(stop))


def test_the_others_start_without_one_that_is_mute() -> None:
    gate = threading.Event()
    cameras = {"rtsp://a": Pictures(), "rtsp://u:secret@mute": Pictures(), "sim:traffic": Pictures()}

    def open_one(word: str) -> FrameSource:
        if word == "rtsp://u:secret@mute":
            gate.wait()
        return cameras[word]

    options = SourceOptions(network=NetworkOptions(reconnect_s=7))
    sources = open_sources_abreast(list(cameras), options=options, open_one=open_one, first_wait_seconds=0.0)
    assert sources[2] is cameras["sim:traffic"]
    assert isinstance(sources[1], AbsentSource)
    assert "secret" not in sources[1].source_id
    gate.set()
    assert len(list(sources[1].pictures(threading.Event()))) == 2  # of the attempt that was under way


def test_what_cannot_come_later_is_refused_at_once_and_the_others_are_closed() -> None:
    camera, is_closed = Pictures(), threading.Event()
    camera.close = is_closed.set  # type: ignore[method-assign]

    def open_one(word: str) -> FrameSource:
        if word == "rtsp://a":
            return camera
        raise SourceError("no.mp4: there is no such file")

    with pytest.raises(SourceError, match="no such file"):
        open_sources_abreast(["rtsp://a", "sim:traffic"], options=SourceOptions(), open_one=open_one)
    assert is_closed.wait(10)


def refuse_password() -> FrameSource:
    raise SourceRefusedError("rtsp://camera: cannot be opened: 401 Unauthorized; check the user and the password")


def test_a_camera_that_refuses_the_password_is_not_asked_again(clock: StepClock, stop: WaitingStop) -> None:
    with pytest.raises(SourceRefusedError, match="401 Unauthorized"):
        list(absent(clock, refuse, refuse_password, Pictures).pictures(stop))
    assert stop.waits == [0.5]  # after the first attempt, which was not answered


def test_on_request_it_is_asked_again(clock: StepClock, stop: WaitingStop) -> None:
    attempts = iter((refuse_password, refuse_password, Pictures))
    source = AbsentSource(ADDRESS, lambda: next(attempts)(), tries_refused=True, clock=clock, randomness=lambda: 0.5)
    assert len(list(source.pictures(stop))) == 2
    assert stop.waits == [0.5, 1.0]


@pytest.mark.parametrize(
    ("words", "tries_refused", "raises"),
    [
        (["rtsp://a"], False, True),
        (["rtsp://a", "rtsp://b"], False, True),
        (["rtsp://a", "rtsp://b"], True, False),
        (["rtsp://a", "rtsp://there"], False, False),
        (["rtsp://a", "rtsp://away"], False, False),
        (["rtsp://a", "sim:traffic"], False, False),
    ],
)
def test_where_all_are_refused_nothing_starts(words: list[str], tries_refused: bool, raises: bool) -> None:
    def open_one(word: str) -> FrameSource:
        if word == "rtsp://away":
            return refuse()
        return Pictures() if word in ("rtsp://there", "sim:traffic") else refuse_password()

    expected = pytest.raises(SourceRefusedError, match="401") if raises else nullcontext()
    with expected:
        sources = open_sources_abreast(words, options=SourceOptions(), open_one=open_one, tries_refused=tries_refused)
        assert isinstance(sources[0], AbsentSource)
