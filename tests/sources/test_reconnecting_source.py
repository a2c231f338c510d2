"""Reconnecting source: a live stream goes on after a break."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from pipeline.errors import SourceError
from pipeline.flow.stage import Stop
from pipeline.picture.frame import ArrayPicture, TimedPicture
from pipeline.sources.reconnecting import ReconnectingSource
from pipeline.testing import StepClock

PICTURE = ArrayPicture(np.zeros((4, 6, 3), np.uint8))


class Stream:
    """A live stream of three pictures, a tenth of a second apart, that ends, or breaks."""

    source_id, is_live, size_wh, frames_per_second, num_frames = "rtsp://camera", True, (6, 4), 10.0, None
    damage: tuple[str, ...] = ()

    def __init__(self, clock: StepClock, *, breaks: bool) -> None:
        self.clock, self.breaks, self.is_closed = clock, breaks, False

    def pictures(self, stop: Stop, *, every: int = 1) -> Iterator[TimedPicture]:
        for index in range(0, 3, every):
            if stop.is_set():
                return
            self.clock.advance(0.1)
            yield TimedPicture(PICTURE, 5 + index / 10)
        if self.breaks:
            raise SourceError("rtsp://camera: broke off: Connection reset")

    def close(self) -> None:
        self.is_closed = True


class WaitingStop:
    """A stop whose waits take no real time."""

    def __init__(self, clock: StepClock) -> None:
        self.clock, self.waits, self.set_at_wait = clock, list[float](), -1

    def is_set(self) -> bool:
        return len(self.waits) == self.set_at_wait

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self.waits.append(timeout)
        self.clock.advance(timeout)
        return self.is_set()


def refuse() -> Stream:
    raise SourceError("rtsp://camera: cannot be opened: Connection refused")


@pytest.fixture
def clock() -> StepClock:
    return StepClock(100.0)


@pytest.fixture
def stop(clock: StepClock) -> WaitingStop:
    return WaitingStop(clock)


def source_of(clock: StepClock, *reopenings: Callable[[], Stream], breaks: bool = True) -> ReconnectingSource:
    """A stream, what happens at each attempt to open it again, and refusals after that."""
    attempts = iter(reopenings)
    return ReconnectingSource(Stream(clock, breaks=breaks), lambda: next(attempts, refuse)(), clock=clock)


def test_media_time_goes_on_by_as_much_as_was_lost(clock: StepClock, stop: WaitingStop) -> None:
    source = source_of(clock, refuse, lambda: Stream(clock, breaks=True))
    times: list[float] = []
    with pytest.raises(SourceError):
        times.extend(timed.pts_seconds for timed in source.pictures(stop))  # keeps what came before the break
    # Lost: half a second until the first attempt, one more until the second, and a tenth to the first picture.
    assert times == pytest.approx([5.0, 5.1, 5.2, 6.8, 6.9, 7.0])


def test_it_gives_up_when_the_stream_stays_away(clock: StepClock, stop: WaitingStop) -> None:
    source = source_of(clock)
    with pytest.raises(SourceError, match=r"^rtsp://camera: cannot be opened: Connection refused; gave up after 30 s$"):
        list(source.pictures(stop))
    assert stop.waits[:6] == [0.5, 1.0, 2.0, 4.0, 5.0, 5.0]
    assert 30 <= sum(stop.waits) <= 35
    source.close()


def test_a_stream_that_ends_is_a_stream_that_broke(
    clock: StepClock, stop: WaitingStop, caplog: pytest.LogCaptureFixture
) -> None:
    source = source_of(clock, lambda: Stream(clock, breaks=False), breaks=False)
    with caplog.at_level(logging.WARNING), pytest.raises(SourceError, match="gave up"):
        list(source.pictures(stop))
    assert caplog.messages[0] == "rtsp://camera: the stream ended; trying again in 0.5 s"
    assert source.damage == ("breaks in the stream: 2",)


def test_a_stop_ends_the_wait_for_the_stream(clock: StepClock, stop: WaitingStop) -> None:
    stop.set_at_wait = 2
    assert len(list(source_of(clock).pictures(stop))) == 3
    assert len(stop.waits) == 2


def test_the_broken_stream_is_closed_before_it_is_opened_again(clock: StepClock, stop: WaitingStop) -> None:
    first = Stream(clock, breaks=True)

    def reopen() -> Stream:
        assert first.is_closed
        return Stream(clock, breaks=False)

    stop.set_at_wait = 2
    assert len(list(ReconnectingSource(first, reopen, clock=clock).pictures(stop))) == 6


def test_of_each_connection_each_second_picture_comes(clock: StepClock, stop: WaitingStop) -> None:
    source = source_of(clock, lambda: Stream(clock, breaks=True))
    stop.set_at_wait = 2
    assert len(list(source.pictures(stop, every=2))) == 4


def test_it_describes_itself_as_the_stream_does(clock: StepClock) -> None:
    source = source_of(clock)
    assert (source.source_id, source.size_wh, source.frames_per_second) == ("rtsp://camera", (6, 4), 10.0)
    assert (source.is_live, source.num_frames, source.damage) == (True, None, ())
