"""Late streams: how old pictures are, what is skipped, and how times go on, on a simulated clock."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import pytest

from pipeline.sources.video.camera_clock import CameraClock
from pipeline.sources.video.catch_up import CatchUp
from pipeline.sources.video.forward_times import ForwardTimes
from pipeline.sources.video.playlist_clock import PlaylistClock
from pipeline.sources.video.seen_packets import SeenPackets
from pipeline.testing import StepClock

STEP = 0.04


@pytest.fixture
def clock() -> StepClock:
    return StepClock(1000.0)


def run_on_time(clock: StepClock, camera: CameraClock, num: int, *, first: int = 0) -> float:
    """Packets as they are taken, 25 a second; returns the last backlog."""
    late = 0.0
    for index in range(first, first + num):
        clock.advance(STEP)
        late = camera.arrive(index * STEP)
    return late


def age_of(clock: StepClock, camera: CameraClock, media_seconds: float) -> float:
    given_at = camera.given_at_seconds(media_seconds)
    assert given_at is not None
    return clock() - given_at


def test_a_stream_that_is_read_as_it_comes_has_no_backlog(clock: StepClock) -> None:
    camera = CameraClock(clock=clock)
    assert run_on_time(clock, camera, 50) == pytest.approx(0.0, abs=1e-6)
    assert age_of(clock, camera, 49 * STEP) == pytest.approx(0.0, abs=1e-6)


def test_what_waited_in_sockets_is_as_old_as_it_waited(clock: StepClock) -> None:
    camera = CameraClock(clock=clock)
    run_on_time(clock, camera, 50)
    clock.advance(3.0)  # nobody reads
    late = [camera.arrive(index * STEP) for index in range(50, 125)]
    assert late[0] == pytest.approx(2.96, abs=0.01)
    assert late[-1] == pytest.approx(0.0, abs=0.01)


def test_a_backlog_that_grows_slowly_is_not_forgotten(clock: StepClock) -> None:
    camera = CameraClock(clock=clock)
    late = 0.0
    for index in range(3000):
        clock.advance(STEP * 1.02)
        late = camera.arrive(index * STEP)
    assert late == pytest.approx(3000 * STEP * 0.02, rel=0.05)


def test_a_camera_whose_clock_drifts_is_not_late(clock: StepClock) -> None:
    camera = CameraClock(clock=clock)
    late = []
    for index in range(90_000):  # an hour, 200 parts in a million
        clock.advance(STEP * 1.0002)
        late.append(camera.arrive(index * STEP))
    assert max(late) < 0.01


def test_the_burst_at_the_start_of_a_stream_is_old(clock: StepClock) -> None:
    camera = CameraClock(clock=clock)
    for index in range(25):  # the server sends its last key frame and what followed at once
        camera.arrive(index * STEP)
    assert age_of(clock, camera, 0.0) == pytest.approx(0.96, abs=0.1)
    assert run_on_time(clock, camera, 5, first=25) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("wild_seconds", [2.0, 3600.0])
def test_one_wild_timestamp_makes_none_of_the_others_old(clock: StepClock, wild_seconds: float) -> None:
    camera = CameraClock(clock=clock)
    run_on_time(clock, camera, 50)
    camera.arrive(50 * STEP + wild_seconds)
    assert run_on_time(clock, camera, 5, first=50) == pytest.approx(0.0, abs=0.05)


def test_a_picture_that_the_demuxer_holds_back_is_a_picture_older(clock: StepClock) -> None:
    camera = CameraClock(clock=clock, num_held=1)
    run_on_time(clock, camera, 50)
    assert age_of(clock, camera, 49 * STEP) == pytest.approx(STEP)


def test_a_slow_camera_is_not_made_too_old_by_what_is_held_back(clock: StepClock) -> None:
    camera = CameraClock(clock=clock, num_held=1, most_held_seconds=0.25)
    for second in range(5):
        clock.advance(1.0)
        camera.arrive(float(second))
    assert age_of(clock, camera, 4.0) == pytest.approx(0.25)


@pytest.mark.parametrize(("camera_age", "expected"), [(0.14, 0.14), (5.0, STEP), (-7.0, STEP)])
def test_a_cameras_time_of_day_counts_where_it_is_right(clock: StepClock, camera_age: float, expected: float) -> None:
    camera = CameraClock(clock=clock, num_held=1)
    run_on_time(clock, camera, 50)
    for age in (camera_age + 0.2, camera_age, camera_age + 0.1):
        camera.note_wall_clock(age)
    assert age_of(clock, camera, 49 * STEP) == pytest.approx(expected)


class SlowReader:
    """Reads a stream with a key frame each 25 packets; decoding takes `decode_seconds`, reading nothing."""

    def __init__(self, clock: StepClock, *, decode_seconds: float, slow_times: float = 1.0) -> None:
        self.clock, self.decode_seconds, self.slow_times = clock, decode_seconds, slow_times
        self.camera = CameraClock(clock=clock)
        self.catch_up = CatchUp(self.camera, max_age_seconds=0.5, clock=clock)
        self.began_at_seconds = clock()
        self.decoded: list[int] = []
        self.ages: list[float] = []

    def read(self, num: int) -> None:
        """slow_times: seconds for each second of the stream's own times."""
        for index in range(num):
            taken_at_seconds = self.began_at_seconds + index * STEP * self.slow_times
            self.clock.now_seconds = max(self.clock(), taken_at_seconds)
            if self.catch_up.is_worth_decoding(index * STEP, is_keyframe=index % 25 == 0):
                self.clock.advance(self.decode_seconds)
                self.decoded.append(index)
                self.ages.append(self.clock() - taken_at_seconds)


def test_a_decoder_that_keeps_up_decodes_everything(clock: StepClock) -> None:
    reader = SlowReader(clock, decode_seconds=0.03)
    reader.read(1000)
    assert len(reader.decoded) == 1000
    assert reader.catch_up.damage == ()


def test_a_decoder_that_is_too_slow_skips_to_a_key_frame_and_stays_near_the_camera(clock: StepClock) -> None:
    reader = SlowReader(clock, decode_seconds=0.16)
    reader.read(5000)
    assert max(reader.ages) < 0.5 + 0.16 + 0.01
    resumed = [now for before, now in itertools.pairwise(reader.decoded) if now != before + 1]
    assert resumed
    assert all(index % 25 == 0 for index in resumed)
    assert len(reader.decoded) + reader.catch_up.num_skipped == 5000
    assert reader.catch_up.damage[0].startswith(f"fell behind {reader.catch_up.num_times} times, by up to 0.6 s: ")
    assert reader.camera.num_anchors == 0


def test_a_stream_whose_times_are_too_slow_is_not_skipped_for_ever(clock: StepClock) -> None:
    reader = SlowReader(clock, decode_seconds=0.01, slow_times=1.03)
    reader.read(25 * 600)
    assert 1 <= reader.camera.num_anchors <= 2
    assert reader.catch_up.num_skipped < 200
    assert "its times go slower than the clock" in reader.catch_up.damage[-1]


def play(clock: StepClock, playlist: PlaylistClock, media_seconds: Iterable[float]) -> list[float]:
    """Read packets one after another, each when the picture before it was due; returns when each is due."""
    due = []
    for seconds in media_seconds:
        assert playlist.arrive(seconds) == pytest.approx(0.0, abs=1e-9)
        at_seconds = playlist.given_at_seconds(seconds)
        assert at_seconds is not None
        due.append(at_seconds)
        clock.now_seconds = max(clock.now_seconds, at_seconds)
    return due


def test_a_playlist_is_played_a_little_faster_than_its_times(clock: StepClock) -> None:
    due = play(clock, PlaylistClock(clock=clock), [7 + index * STEP for index in range(251)])
    assert due[0] == 1000.0
    assert due[-1] == pytest.approx(1000.0 + 0.95 * 250 * STEP)
    assert max(later - due for due, later in itertools.pairwise(due)) == pytest.approx(0.95 * STEP)


def test_a_playlist_whose_segment_was_waited_for_is_played_at_the_pace_of_its_times_for_a_while(
    clock: StepClock,
) -> None:
    playlist = PlaylistClock(clock=clock)
    playlist.arrive(0.0)
    clock.advance(1.0)
    playlist.arrive(0.5, waited_seconds=1.0)
    due = play(clock, playlist, [0.5 + index * STEP for index in range(1, 1001)])
    assert due[int(9 / STEP)] - due[0] == pytest.approx(int(9 / STEP) * STEP)
    assert due[-1] - due[int(11 / STEP)] == pytest.approx(0.95 * (999 - int(11 / STEP)) * STEP)


@pytest.mark.parametrize("leap_seconds", [1.5, 3.0, 60.0])
def test_what_is_missing_from_a_playlist_is_not_waited_for(clock: StepClock, leap_seconds: float) -> None:
    playlist = PlaylistClock(clock=clock)
    before = [index * STEP for index in range(50)]
    due = play(clock, playlist, [*before, *(leap_seconds + index * STEP for index in range(50, 100))])
    assert due[50] - due[49] == pytest.approx(STEP)
    assert playlist.given_at_seconds(49 * STEP) == due[49]  # the age of what the decoder still has is not changed
    assert playlist.given_at_seconds(leap_seconds + 51 * STEP) == pytest.approx(due[50] + STEP, abs=0.1)


def test_a_playlist_that_comes_after_a_silence_has_no_second_one(clock: StepClock) -> None:
    playlist = PlaylistClock(clock=clock)
    play(clock, playlist, [index * STEP for index in range(50)])
    clock.advance(4.0)
    play_again = 3.0 + 50 * STEP  # the camera gave nothing for 3 s, and the segment came a second after that
    assert playlist.arrive(play_again, waited_seconds=4.0) == pytest.approx(0.0)
    assert playlist.given_at_seconds(play_again) == pytest.approx(clock())


def test_a_playlist_of_few_pictures_is_not_hurried(clock: StepClock) -> None:
    due = play(clock, PlaylistClock(clock=clock), [0.0, 5.0, 10.0, 15.0, 20.0])
    assert [round(later - due, 2) for due, later in itertools.pairwise(due)] == [4.75] * 4


def test_a_segment_that_comes_late_delays_what_follows(clock: StepClock) -> None:
    playlist = PlaylistClock(clock=clock)
    playlist.arrive(0.0)
    clock.advance(3.0)
    assert playlist.arrive(1.0, waited_seconds=2.5) == 0
    assert playlist.given_at_seconds(1.0) == pytest.approx(1003.0)


def test_a_playlist_that_is_decoded_too_slowly_is_overdue(clock: StepClock) -> None:
    playlist = PlaylistClock(clock=clock)
    playlist.arrive(0.0)
    clock.advance(3.0)
    assert playlist.arrive(1.0, waited_seconds=0.1) == pytest.approx(1.9)


def test_a_playlist_that_is_opened_again_gives_only_what_is_new() -> None:
    seen = SeenPackets()
    assert [seen.add(pts, bytes([pts])) for pts in (1, 2, 3)] == [True] * 3
    assert [seen.add(pts, bytes([pts])) for pts in (2, 3, 4)] == [False, False, True]
    assert seen.add(1, b"of another clock")
    assert len(seen) == 5


def test_times_that_go_forward_are_left_alone() -> None:
    times = ForwardTimes(step_seconds=STEP)
    assert [times.next(second) for second in (5.0, 5.1, 9.0)] == [5.0, 5.1, 9.0]
    assert times.num_backwards == 0


def test_a_picture_without_a_time_follows_the_last() -> None:
    times = ForwardTimes(step_seconds=STEP)
    assert [times.next(second) for second in (None, 0.3, None)] == pytest.approx([0.0, 0.3, 0.34])


def test_after_a_time_too_far_ahead_the_others_go_on_at_their_own_pace() -> None:
    times = ForwardTimes(step_seconds=STEP)
    wild = [0.0, 0.04, 0.9] + [0.08 + 0.1 * index for index in range(20)]
    steps = [times.next(second) for second in wild]
    assert all(after > before for before, after in itertools.pairwise(steps))
    assert steps[-1] - steps[-2] == pytest.approx(0.1)
    assert steps[-1] - steps[6] == pytest.approx(16 * 0.1)  # invented times end with the fourth
    assert times.num_backwards == 9
