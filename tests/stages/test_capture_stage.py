"""Capture: it numbers, stamps and paces pictures, and ends, as it says."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest

from pipeline.flow.stage import Stop
from pipeline.picture.frame import ArrayPicture, TimedPicture
from pipeline.stages.capture import Capture
from pipeline.testing import StepClock


class TenPictures:
    """Ten black pictures at 10 frames/s, beginning at 8 s."""

    source_id = "ten"
    size_wh = (4, 2)
    frames_per_second = 10.0
    num_frames = 10
    damage = ()

    def __init__(self, *, is_live: bool = False) -> None:
        self.is_live = is_live
        self.num_closed = 0

    def pictures(self, stop: Stop, *, every: int = 1) -> Iterator[TimedPicture]:
        for index in range(0, 10, every):
            yield TimedPicture(ArrayPicture(np.zeros((2, 4, 3), np.uint8)), 8 + index / 10)

    def close(self) -> None:
        self.num_closed += 1


class StoppableClock(StepClock):
    """A clock that goes on when somebody waits, and a stop that never comes unless it is set."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float] = []
        self.stopped = False

    def is_set(self) -> bool:
        return self.stopped

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self.waits.append(timeout)
        self.advance(timeout)
        return self.stopped


class WithoutTheThird(TenPictures):
    """Gives each second picture, but for one that is lost, and for which the next one comes."""

    def pictures(self, stop: Stop, *, every: int = 1) -> Iterator[TimedPicture]:
        for timed, number in zip(super().pictures(stop, every=every), (0, 2, 5, None, 9), strict=False):
            yield timed._replace(number=number)


def test_frames_keep_the_numbers_that_their_source_tells() -> None:
    frames = Capture(WithoutTheThird(), every=2).items(threading.Event())
    assert [frame.index for frame in frames] == [0, 2, 5, 7, 9]


def test_frames_are_numbered_and_stamped() -> None:
    clock = StepClock(5.0)
    frames = list(Capture(TenPictures(), clock=clock).items(threading.Event()))
    assert [frame.index for frame in frames] == list(range(10))
    assert frames[3].pts_seconds == pytest.approx(8.3)
    assert frames[3].captured_at_seconds == 5.0
    assert frames[3].source_id == "ten"


def test_a_recorded_source_in_place_of_a_camera_is_played_at_its_own_pace() -> None:
    clock = StoppableClock()
    frames = list(Capture(TenPictures(), is_live=True, clock=clock).items(clock))
    assert [frame.captured_at_seconds for frame in frames] == pytest.approx([index / 10 for index in range(10)])


def test_a_paced_source_stops_while_it_waits() -> None:
    clock = StoppableClock()
    clock.stopped = True
    assert list(Capture(TenPictures(), is_live=True, clock=clock).items(clock)) == []


def test_a_camera_is_never_held_back() -> None:
    clock = StoppableClock()
    assert len(list(Capture(TenPictures(is_live=True), clock=clock).items(clock))) == 10
    assert clock.waits == []


def test_it_ends_after_max_frames_and_closes_its_source() -> None:
    source = TenPictures()
    capture = Capture(source, max_frames=3, source_id="ten#2")
    frames = list(capture.items(threading.Event()))
    capture.close()
    assert [frame.source_id for frame in frames] == ["ten#2"] * 3
    assert source.num_closed == 1


def test_each_third_frame_keeps_its_number_and_time() -> None:
    frames = list(Capture(TenPictures(), every=3).items(threading.Event()))
    assert [frame.index for frame in frames] == [0, 3, 6, 9]
    assert [frame.pts_seconds for frame in frames] == pytest.approx([8.0, 8.3, 8.6, 8.9])


def test_max_frames_counts_those_that_are_handed_out() -> None:
    frames = Capture(TenPictures(), every=3, max_frames=2).items(threading.Event())
    assert [frame.index for frame in frames] == [0, 3]


@pytest.mark.parametrize(("rate", "seconds"), [(None, [0.0, 0.4, 0.8]), (50.0, [0.0, 0.08, 0.16])])
def test_frames_between_take_their_time_at_pace(rate: float | None, seconds: list[float]) -> None:
    clock = StoppableClock()
    capture = Capture(TenPictures(), is_live=True, frames_per_second=rate, every=4, clock=clock)
    assert [frame.captured_at_seconds for frame in capture.items(clock)] == pytest.approx(seconds)


def test_a_recorded_source_can_be_played_at_another_pace() -> None:
    clock = StoppableClock()
    capture = Capture(TenPictures(), is_live=True, frames_per_second=50.0, clock=clock)
    stamps = [frame.captured_at_seconds for frame in capture.items(clock)]
    assert stamps == pytest.approx([index / 50 for index in range(10)])


class Late(TenPictures):
    """A live source that leaves out three pictures before its second one, and says when the camera gave each."""

    def __init__(self) -> None:
        super().__init__(is_live=True)
        self.num_skipped = 0

    def pictures(self, stop: Stop, *, every: int = 1) -> Iterator[TimedPicture]:
        for index, timed in enumerate(super().pictures(stop, every=every)):
            self.num_skipped = 3 if index else 0
            yield timed._replace(captured_at_seconds=20 + timed.pts_seconds)


def test_pictures_that_the_source_skipped_keep_their_numbers() -> None:
    capture = Capture(Late(), max_frames=3, clock=StepClock(100.0))
    assert [frame.index for frame in capture.items(threading.Event())] == [0, 4, 5]
    assert capture.num_skipped == 3


def test_a_frame_is_as_old_as_its_source_says_but_never_from_the_future() -> None:
    frames = Capture(Late(), clock=StepClock(28.15)).items(threading.Event())
    assert [frame.captured_at_seconds for frame in frames][:4] == pytest.approx([28.0, 28.1, 28.15, 28.15])


def test_of_each_nth_picture_the_skipped_ones_are_counted_as_such() -> None:
    capture = Capture(Late(), every=3, clock=StepClock(100.0))
    assert [frame.index for frame in capture.items(threading.Event())] == [0, 6, 9, 12]
    assert capture.num_skipped == 1
