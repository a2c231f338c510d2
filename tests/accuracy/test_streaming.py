"""Streaming accuracy: by hand, by COCO's count, and for any stream of late answers."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.accuracy.coco import coco_accuracy
from pipeline.accuracy.streaming import Answer, latest_finished, simulate, streaming_detections
from pipeline.accuracy.truth import Truth
from pipeline.errors import ConfigError
from pipeline.picture.detections import Detections
from pipeline.sources.street.traffic import TrafficOptions, TrafficSource

SECOND_30 = 1 / 30


def ticks(num: int, *, fps: float = 30) -> list[float]:
    return [index / fps for index in range(num)]


def shown_by(num: int, latency_in_frames: float) -> list[int | None]:
    times = ticks(num)
    return latest_finished(times, simulate(times, latency_in_frames * SECOND_30))


# A box 100 wide that moves 5 pixels a frame: after d frames its IoU with where it was is (100 - 5d) / (100 + 5d), that
# is 1, .905, .818, .739, .667, .6, .538 and .481; of COCO's thresholds .5, .55, … .95 so many let it pass:
NUM_PASSED = {0: 10, 1: 9, 2: 7, 3: 5, 4: 4, 6: 1, 7: 0}


def moving(num: int) -> list[Detections]:
    return [
        Detections(np.array([[5 * k, 20, 5 * k + 100, 80]], np.float32), np.ones(1, np.float32), np.zeros(1, np.int64))
        for k in range(num)
    ]


def ap(found: list[Detections], truths: list[Detections]) -> float:
    pytest.importorskip("pycocotools", reason="AP needs pycocotools")
    value = coco_accuracy(found, [Truth.of(each) for each in truths]).numbers["AP"]
    assert value is not None
    return value


def test_without_latency_every_frame_is_answered_at_its_time() -> None:
    times = ticks(50)
    answers = simulate(times, 0)
    assert answers == [Answer(k, time, time) for k, time in enumerate(times)]
    assert latest_finished(times, answers) == list(range(50))


@pytest.mark.parametrize(
    ("latency_in_frames", "expected"),
    [
        (0.5, [None, 0, 1, 2, 3, 4, 5, 6, 7, 8]),
        (1.0, [None, 0, 1, 2, 3, 4, 5, 6, 7, 8]),  # finished at the very time of the next frame
        # frame 0 until 1.5, then 1 until 3, then 3 until 4.5, then 4 until 6, then 6 until 7.5, then 7 until 9
        (1.5, [None, None, 0, 1, 1, 3, 4, 4, 6, 7]),
        (2.0, [None, None, 0, 0, 2, 2, 4, 4, 6, 6]),
        # frame 0 until 2.5, then 2 until 5, then 5 until 7.5, then 7 until 10
        (2.5, [None, None, None, 0, 0, 2, 2, 2, 5, 5]),
        (20.0, [None] * 10),
    ],
)
def test_a_busy_detector_takes_the_newest_frame_when_it_is_free(
    latency_in_frames: float, expected: list[int | None]
) -> None:
    assert shown_by(10, latency_in_frames) == expected


def test_an_idle_detector_waits_for_the_next_frame() -> None:
    assert simulate([0.0, 1.0, 5.0], 0.25) == [Answer(0, 0.0, 0.25), Answer(1, 1.0, 1.25), Answer(2, 5.0, 5.25)]


def test_measured_latencies_are_taken_in_order_and_again() -> None:
    answers = simulate([0.0, 1.0, 2.0, 3.0, 4.0], [0.5, 2.5])
    assert answers == [Answer(0, 0.0, 0.5), Answer(1, 1.0, 3.5), Answer(3, 3.5, 4.0), Answer(4, 4.0, 6.5)]


def test_of_frames_of_one_time_the_last_is_taken() -> None:
    times = [0.0, 0.1, 0.1, 0.1, 0.3]
    answers = simulate(times, 0.05)
    assert [answer.frame_index for answer in answers] == [0, 3, 4]
    assert latest_finished(times, answers) == [None, 0, 0, 0, 3]


@pytest.mark.parametrize("fps", [7, 24, 29.97, 30, 59.94, 60, 1000 / 33])
@pytest.mark.parametrize("start", [0.0, 0.1, 86_400.3, 1.7e6])
def test_a_latency_of_a_whole_frame_costs_one_frame_however_times_are_rounded(fps: float, start: float) -> None:
    divided = [start + index / fps for index in range(3000)]
    added = np.cumsum([start, *[1 / fps] * 2999]).tolist()
    for times in (divided, added):
        assert latest_finished(times, simulate(times, 1 / fps)) == [None, *range(2999)]


def test_a_longer_latency_may_show_a_fresher_frame() -> None:
    """Of frames just missed; why the paper's schedule may wait for one. At frame 4: 1 (from 1.9 to 3.8) or 2 (to 4)."""
    assert shown_by(5, 1.9)[4] == 1
    assert shown_by(5, 2.0)[4] == 2


def test_an_answer_that_comes_after_a_newer_one_is_not_shown() -> None:
    """Three workers, of which the one with frame 0 is slow."""
    answers = [Answer(0, 0.0, 0.35), Answer(1, 0.1, 0.2), Answer(2, 0.2, 0.3), Answer(3, 0.3, 0.6)]
    times = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    assert latest_finished(times, answers) == [None, None, 1, 2, 2, 2, 3]
    assert latest_finished(times, reversed(answers)) == [None, None, 1, 2, 2, 2, 3]


def test_no_frames_and_no_answers_are_ordinary() -> None:
    assert simulate([], 0.1) == []
    assert latest_finished([], []) == []
    assert latest_finished([0.0, 1.0], []) == [None, None]
    assert streaming_detections([], []) == []


def test_what_is_shown_is_what_was_found_in_that_frame() -> None:
    found = moving(4)
    seen = streaming_detections(found, [None, 0, 0, 3])
    assert len(seen[0]) == 0
    assert seen[1:] == [found[0], found[0], found[3]]
    assert streaming_detections({3: found[3]}, [3, 3]) == [found[3], found[3]]  # of an actual run, only what it took


@pytest.mark.parametrize("delay", NUM_PASSED)
def test_a_constant_delay_on_known_motion_costs_what_can_be_computed(delay: int) -> None:
    """Recall ends at 16 - d of 16 objects: of COCO's recalls 0, .01, … 1 so many are reached, at precision 1."""
    num = 16
    times, truths = ticks(num), moving(num)
    answers = [Answer(k, time, time + delay * SECOND_30) for k, time in enumerate(times)]  # so many in flight
    seen = streaming_detections(truths, latest_finished(times, answers))
    expected = NUM_PASSED[delay] / 10 * (math.floor(100 * (num - delay) / num) + 1) / 101
    assert ap(seen, truths) == pytest.approx(expected, abs=1e-9)


def test_a_detector_of_two_frames_shows_answers_two_and_three_frames_old() -> None:
    """Five thresholds let both pass, two (.75, .8) only what is two frames old, three neither.

    Of the ten that are shown, of twelve frames, every other one then is right: at recall j/12 precision is j/(2j - 1),
    and up to there reach 9, 8, 9, 8 and 8 of the 101 points.
    """
    truths = moving(12)
    seen = streaming_detections(truths, shown_by(12, 2))
    every_other = (9 * 1 + 8 * 2 / 3 + 9 * 3 / 5 + 8 * 4 / 7 + 8 * 5 / 9) / 101
    assert ap(seen, truths) == pytest.approx((5 * 84 / 101 + 2 * every_other) / 10, abs=1e-9)


def test_without_latency_streaming_ap_is_ap() -> None:
    """What is found in the traffic is a little beside the truth, and not all of it."""
    source = TrafficSource(TrafficOptions(seed=3, seconds=1, fps=8, size_wh=(320, 180), density=2))
    truths = [source.truth(index) for index in range(8)]
    chance = np.random.default_rng(5)
    found = []
    for truth in truths:
        beside = (truth.boxes_xyxy + chance.normal(0, 1.5, truth.boxes_xyxy.shape)).astype(np.float32)
        scores = chance.random(len(truth)).astype(np.float32)
        found.append(Detections(beside, scores, truth.class_ids).select(scores > 0.2))
    times = ticks(8, fps=8)
    seen = streaming_detections(found, latest_finished(times, simulate(times, 0)))
    assert 0.1 < ap(seen, truths) < 0.9
    assert ap(seen, truths) == ap(found, truths)
    late = streaming_detections(found, latest_finished(times, simulate(times, 0.3)))
    assert ap(late, truths) < ap(found, truths)


@pytest.mark.parametrize(
    ("times", "words"),
    [
        ([0.0, 0.2, 0.1], r"must not go back, got 0.2 s of frame 1 before 0.1 s"),
        ([0.0, math.nan], r"must be finite"),
        ([0.0, math.inf], r"must be finite"),
    ],
)
def test_times_that_cannot_be_are_refused(times: list[float], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        simulate(times, 0.1)
    with pytest.raises(ConfigError, match=words):
        latest_finished(times, [])


@pytest.mark.parametrize("latencies", [-0.1, math.nan, math.inf, [0.1, -1e-9], [0.1, math.nan]])
def test_latencies_that_cannot_be_are_refused(latencies: float | list[float]) -> None:
    with pytest.raises(ConfigError, match=r"latencies must be finite and at least 0 seconds, got "):
        simulate([0.0, 1.0], latencies)


def test_no_latency_at_all_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"latencies must be one number of seconds or several, got none"):
        simulate([0.0, 1.0], [])


@pytest.mark.parametrize("times", [(2.0, 1.0), (math.nan, 1.0), (0.0, math.nan), (0.0, math.inf), (-math.inf, 0.0)])
def test_an_answer_takes_no_negative_time(times: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match=r"the answer to frame 3 must finish after it starts, got "):
        Answer(3, *times)
    with pytest.raises(ValueError, match=r"frame_index must be at least 0, got -1"):
        Answer(-1, 0.0, 1.0)


# Times of milliseconds on, jittery, some equal; and latencies of as fine a grain.
streams = st.lists(st.integers(0, 120), min_size=1, max_size=40).map(
    lambda gaps: (np.cumsum(gaps, dtype=np.float64) / 1000).tolist()
)
several_latencies = st.lists(st.integers(0, 400).map(lambda ms: ms / 1000), min_size=1, max_size=8)
NEARLY = 1e-6


@given(streams, several_latencies)
def test_one_frame_is_worked_on_at_a_time_and_none_twice(times: list[float], latencies: list[float]) -> None:
    answers = simulate(times, latencies)
    assert answers[-1].frame_index == len(times) - 1
    for former, answer in itertools.pairwise(answers):
        assert former.frame_index < answer.frame_index
        assert former.finished_at_seconds <= answer.started_at_seconds


@given(streams, several_latencies)
def test_a_frame_is_taken_as_soon_as_it_can_be_and_no_newer_one_is_there(
    times: list[float], latencies: list[float]
) -> None:
    free_at = -math.inf
    for answer, latency in zip(simulate(times, latencies), latencies * len(times), strict=False):
        assert answer.started_at_seconds == max(free_at, times[answer.frame_index])
        assert all(time > answer.started_at_seconds for time in times[answer.frame_index + 1 :])
        assert answer.finished_at_seconds == pytest.approx(answer.started_at_seconds + latency, abs=1e-12)
        free_at = answer.finished_at_seconds


@given(streams, several_latencies)
def test_nothing_is_shown_before_it_can_be_known(times: list[float], latencies: list[float]) -> None:
    shown = latest_finished(times, simulate(times, latencies))
    for time, frame_index in zip(times, shown, strict=True):
        assert frame_index is None or times[frame_index] + min(latencies) <= time + NEARLY
    known = [-1 if each is None else each for each in shown]
    assert known == sorted(known)


@given(streams, st.integers(0, 400), st.integers(0, 400))
def test_a_longer_latency_never_shows_what_a_shorter_one_could_not_know(times: list[float], one: int, two: int) -> None:
    """Nothing shown is newer than what a shorter latency would have let any detector know."""
    short, long = sorted((one / 1000, two / 1000))
    shown = latest_finished(times, simulate(times, long))
    every_frame = [Answer(k, time, time + short) for k, time in enumerate(times)]
    for late, soon in zip(shown, latest_finished(times, every_frame), strict=True):
        assert late is None or (soon is not None and late <= soon)


@given(streams, st.lists(st.tuples(st.integers(0, 39), st.integers(0, 300)), max_size=40))
def test_the_newest_of_all_that_is_finished_is_shown(times: list[float], runs: list[tuple[int, int]]) -> None:
    answers = [
        Answer(index, times[index], times[index] + milliseconds / 1000)
        for index, milliseconds in runs
        if index < len(times)
    ]
    for time, shown in zip(times, latest_finished(times, answers), strict=True):
        finished = [each.frame_index for each in answers if each.finished_at_seconds <= time + NEARLY]
        assert shown == max(finished, default=None)
