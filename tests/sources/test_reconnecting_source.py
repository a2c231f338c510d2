"""Reconnecting source: a live stream goes on after a break."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from pipeline.errors import LostFramingError, SourceError
from pipeline.flow.stage import Stop
from pipeline.picture.frame import ArrayPicture, TimedPicture
from pipeline.sources.reconnecting import ReconnectingSource, StreamOver
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
    stream = Stream(clock, breaks=breaks)
    return ReconnectingSource(stream, lambda: next(attempts, refuse)(), clock=clock, randomness=lambda: 0.5)


def test_media_time_goes_on_by_as_much_as_was_lost(clock: StepClock, stop: WaitingStop) -> None:
    source = source_of(clock, refuse, lambda: Stream(clock, breaks=True))
    times: list[float] = []
    with pytest.raises(SourceError):
        times.extend(timed.pts_seconds for timed in source.pictures(stop))  # keeps what came before the break
    # Lost: half a second until the first attempt, one more until the second, and a tenth to the first picture.
    assert times == pytest.approx([5.0, 5.1, 5.2, 6.8, 6.9, 7.0])


class Garbled(Stream):
    """One that gives a picture after a while, and then bytes that are no packets."""

    def __init__(self, clock: StepClock, *, after_seconds: float) -> None:
        super().__init__(clock, breaks=True)
        self.after_seconds = after_seconds

    def pictures(self, stop: Stop, *, every: int = 1) -> Iterator[TimedPicture]:
        self.clock.advance(self.after_seconds)
        yield TimedPicture(PICTURE, 5.0)
        raise LostFramingError("rtsp://camera: bytes come that are no packets")


@pytest.mark.parametrize(("after_seconds", "first_wait"), [(12.0, 0.0), (2.0, 0.5)])
def test_a_camera_that_is_still_there_is_tried_at_once_unless_it_has_only_just_come(
    clock: StepClock, stop: WaitingStop, after_seconds: float, first_wait: float
) -> None:
    source = ReconnectingSource(
        Garbled(clock, after_seconds=after_seconds), refuse, clock=clock, randomness=lambda: 0.5
    )
    with pytest.raises(SourceError, match="Connection refused; gave up"):
        list(source.pictures(stop))
    assert stop.waits[0] == first_wait
    assert stop.waits[1] == 1.0


def test_it_gives_up_when_the_stream_stays_away(clock: StepClock, stop: WaitingStop) -> None:
    source = source_of(clock)
    with pytest.raises(SourceError, match=r"^rtsp://camera: cannot be opened: Connection refused; gave up after 30 s$"):
        list(source.pictures(stop))
    assert stop.waits[:4] == [0.5, 1.0, 1.25, 1.25]
    assert 30 <= sum(stop.waits) < 32
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


class LongStream(Stream):
    """Runs for a quarter of a minute before it breaks, and has skipped 7 pictures meanwhile."""

    num_skipped = 7
    damage = ("3 of 9 frames decoded with errors",)

    def pictures(self, stop: Stop, *, every: int = 1) -> Iterator[TimedPicture]:
        self.clock.advance(15.0)
        yield from super().pictures(stop, every=every)


def test_a_stream_that_ran_well_is_tried_every_second_so_that_it_is_back_soon(
    clock: StepClock, stop: WaitingStop
) -> None:
    source = ReconnectingSource(LongStream(clock, breaks=True), refuse, clock=clock, randomness=lambda: 0.5)
    with pytest.raises(SourceError, match="gave up"):
        list(source.pictures(stop))
    assert stop.waits[:4] == [0.5, 1.0, 1.25, 1.25]
    assert max(stop.waits) == 1.25


def test_a_camera_that_gives_a_picture_and_breaks_is_tried_less_and_less_often(
    clock: StepClock, stop: WaitingStop
) -> None:
    stop.set_at_wait = 9
    source = source_of(clock, *[lambda: Stream(clock, breaks=True)] * 9)
    list(source.pictures(stop))
    assert stop.waits == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]


def test_after_a_long_run_the_delays_begin_small_again(clock: StepClock, stop: WaitingStop) -> None:
    stop.set_at_wait = 4
    short = lambda: Stream(clock, breaks=True)  # noqa: E731
    list(source_of(clock, short, short, lambda: LongStream(clock, breaks=True)).pictures(stop))
    assert stop.waits == [0.5, 1.0, 2.0, 0.5]


@pytest.mark.parametrize(("random", "seconds"), [(0.0, 0.4), (0.999, 0.6)])
def test_delays_differ_by_a_fifth(clock: StepClock, stop: WaitingStop, random: float, seconds: float) -> None:
    stop.set_at_wait = 1
    source = ReconnectingSource(Stream(clock, breaks=True), refuse, clock=clock, randomness=lambda: random)
    list(source.pictures(stop))
    assert stop.waits == pytest.approx([seconds], rel=0.01)


def test_no_delay_is_longer_than_the_patience(clock: StepClock, stop: WaitingStop) -> None:
    stop.set_at_wait = 6
    source = ReconnectingSource(
        Stream(clock, breaks=True),
        lambda: Stream(clock, breaks=True),
        reconnect_seconds=3.0,
        clock=clock,
        randomness=lambda: 0.5,
    )
    list(source.pictures(stop))
    assert stop.waits == [0.5, 1.0, 2.0, 3.0, 3.0, 3.0]


def test_what_was_skipped_and_damaged_before_a_break_is_not_forgotten(clock: StepClock, stop: WaitingStop) -> None:
    stop.set_at_wait = 2
    first = LongStream(clock, breaks=True)
    source = ReconnectingSource(first, lambda: Stream(clock, breaks=True), clock=clock)
    assert len(list(source.pictures(stop))) == 6
    assert source.num_skipped == 7
    assert source.damage == ("breaks in the stream: 2", "3 of 9 frames decoded with errors")


def test_a_stream_that_turns_out_to_be_a_recording_is_over(
    clock: StepClock, stop: WaitingStop, caplog: pytest.LogCaptureFixture
) -> None:
    def reopen() -> Stream:
        raise StreamOver("its playlist has ended")

    source = source_of(clock, reopen)
    with caplog.at_level(logging.WARNING):
        assert len(list(source.pictures(stop))) == 3
    assert caplog.messages[-1] == "rtsp://camera: its playlist has ended"
    assert source.damage == ()


def test_of_each_connection_each_second_picture_comes(clock: StepClock, stop: WaitingStop) -> None:
    source = source_of(clock, lambda: Stream(clock, breaks=True))
    stop.set_at_wait = 2
    assert len(list(source.pictures(stop, every=2))) == 4


def test_it_describes_itself_as_the_stream_does(clock: StepClock) -> None:
    source = source_of(clock)
    assert (source.source_id, source.size_wh, source.frames_per_second) == ("rtsp://camera", (6, 4), 10.0)
    assert (source.is_live, source.num_frames, source.damage) == (True, None, ())
