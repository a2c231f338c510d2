"""Tracking accuracy: HOTA, MOTA and IDF1 as they are defined, by hand, by counting all ways, and class by class."""

from __future__ import annotations

import itertools
import math
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import astuple, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.accuracy.tracking import TrackingAccuracy, TrackingNumbers, tracking_accuracy, with_track_ids
from pipeline.errors import ConfigError, MissingExtraError
from pipeline.picture.detections import Detections
from pipeline.picture.masks import Masks

pytest.importorskip("trackers", reason="tracks need trackers")

# Places far apart, 50 × 30.
A, B, C = (0, 0), (200, 100), (400, 10)
Row = tuple[tuple[int, int], int, int]  # place, track id, class id
Ids = tuple[int | None, ...]  # at A, B and C


def frame(*rows: tuple[tuple[int, int], int] | Row) -> Detections:
    """Boxes at places, with identities and, if not 0, classes."""
    places = np.array([row[0] for row in rows], np.float32).reshape(-1, 2)  # [N, 2]
    return Detections(
        np.concatenate([places, places + np.array([50, 30], np.float32)], axis=1),
        np.full(len(rows), 0.9, np.float32),
        np.array([row[2] if len(row) == 3 else 0 for row in rows], np.int64),
        track_ids=np.array([row[1] for row in rows], np.int64),
    )


def overall(found: list[Detections], truths: list[Detections]) -> TrackingNumbers:
    numbers = tracking_accuracy(found, truths).overall
    assert numbers is not None
    return numbers


def shares(numbers: TrackingNumbers) -> tuple[float, ...]:
    return numbers.hota, numbers.deta, numbers.assa, numbers.mota, numbers.idf1


ONE = [frame((A, 1))] * 4


def test_perfect_tracks_are_perfect() -> None:
    truths = [frame((A, 1), (B, 2)), frame((B, 2), (C, 3, 1)), frame(), frame((C, 1), (A, 3, 1))]
    renamed = [replace(each, track_ids=each.track_ids + 70) for each in truths if each.track_ids is not None]
    accuracy = tracking_accuracy(renamed, truths)
    for numbers in (accuracy.overall, *accuracy.classes.values()):
        assert numbers is not None
        assert shares(numbers) == (1, 1, 1, 1, 1)
        assert (numbers.num_misses, numbers.num_false_alarms, numbers.num_id_switches) == (0, 0, 0)
    assert accuracy.overall is not None
    assert (accuracy.overall.num_objects, accuracy.overall.num_identities) == (6, 3)


def test_a_miss_a_false_alarm_and_an_identity_switch_cost_what_they_should() -> None:
    """Of 10 boxes of two objects one is missed, one more is found, and the first object is 10, then 11.

    IDF1: 3 boxes of 11 and 4 of 20 are right, of 10 found and 10 there. HOTA: 9 are right, of 11 either way; of these
    2, 3 and 4 share 2, 3 and 4 of 5 with their object.
    """
    truths = [frame((A, 1), (B, 2))] * 5
    found = [
        frame((A, 10), (B, 20)),
        frame((A, 10), (B, 20)),
        frame((A, 11), (B, 20), (C, 30)),
        frame((A, 11), (B, 20)),
        frame((A, 11)),
    ]
    numbers = overall(found, truths)
    assert numbers.mota == pytest.approx(1 - 3 / 10)
    assert (numbers.num_misses, numbers.num_false_alarms, numbers.num_id_switches) == (1, 1, 1)
    assert (numbers.num_objects, numbers.num_identities) == (10, 2)
    assert numbers.idf1 == pytest.approx(2 * 7 / (10 + 10))
    assert numbers.deta == pytest.approx(9 / 11)
    assert numbers.assa == pytest.approx((2 * 2 / 5 + 3 * 3 / 5 + 4 * 4 / 5) / 9)
    assert numbers.hota == pytest.approx(math.sqrt(numbers.deta * numbers.assa))


def test_a_track_broken_in_the_middle_keeps_half_of_its_identity() -> None:
    found = [frame((A, 1)), frame((A, 1)), frame((A, 2)), frame((A, 2))]
    assert shares(overall(found, ONE)) == pytest.approx((math.sqrt(1 / 2), 1, 1 / 2, 3 / 4, 1 / 2))


def test_a_miss_and_a_false_alarm_spoil_detection_and_association() -> None:
    found = [frame((A, 1)), frame((A, 1)), frame((A, 1)), frame((C, 9))]
    assert shares(overall(found, ONE)) == pytest.approx((math.sqrt(3 / 5 * 3 / 4), 3 / 5, 3 / 4, 1 - 2 / 4, 3 / 4))


def test_two_objects_that_swap_identities_are_two_switches() -> None:
    truths = [frame((A, 1), (B, 2))] * 4
    found = [frame((A, 1), (B, 2))] * 2 + [frame((B, 1), (A, 2))] * 2
    numbers = overall(found, truths)
    assert numbers.num_id_switches == 2
    # Each of 8 boxes shares 2 with its object, of 4 + 4 - 2.
    assert shares(numbers) == pytest.approx((math.sqrt(1 / 3), 1, 1 / 3, 1 - 2 / 8, 1 / 2))


def test_hota_weighs_how_well_boxes_fit_and_the_others_only_that_they_do() -> None:
    """An IoU of 41/50 is enough for 16 of the thresholds .05, .1, … .95."""
    tight = Detections(
        np.array([[0, 0, 41, 30]], np.float32), np.ones(1, np.float32), np.zeros(1, np.int64), track_ids=np.array([7])
    )
    assert shares(overall([tight] * 4, ONE)) == pytest.approx((16 / 19, 16 / 19, 16 / 19, 1, 1))


def test_another_class_is_a_miss_and_a_false_alarm() -> None:
    found = [frame((A, 1)), frame((A, 1)), frame((A, 1, 5)), frame((A, 1))]
    accuracy = tracking_accuracy(found, ONE)
    assert accuracy.overall is not None
    assert (accuracy.overall.num_misses, accuracy.overall.num_false_alarms) == (1, 1)
    assert shares(accuracy.overall) == pytest.approx((math.sqrt(3 / 5 * 3 / 4), 3 / 5, 3 / 4, 1 / 2, 3 / 4))
    assert list(accuracy.classes) == [0]
    assert accuracy.classes[0].num_false_alarms == 0  # it is one of a class that has no object
    assert accuracy.classes[0].mota == pytest.approx(3 / 4)


def test_one_number_may_name_objects_of_two_classes() -> None:
    truths = [frame((A, 1, 0), (B, 1, 1))] * 3
    accuracy = tracking_accuracy([frame((A, 4, 0)), frame((A, 4, 0), (B, 4, 1)), frame((A, 4, 0))], truths)
    assert shares(accuracy.classes[0]) == (1, 1, 1, 1, 1)
    assert shares(accuracy.classes[1]) == pytest.approx((1 / 3, 1 / 3, 1 / 3, 1 / 3, 1 / 2))
    assert accuracy.overall is not None
    assert (accuracy.overall.num_objects, accuracy.overall.num_identities) == (6, 2)
    # 4 of 6; of these 3 share 3 of 3 with their object, and one 1 of 3.
    assert shares(accuracy.overall) == pytest.approx(
        (math.sqrt(4 / 6 * (3 + 1 / 3) / 4), 4 / 6, (3 + 1 / 3) / 4, 4 / 6, 2 * 4 / (4 + 6))
    )


def test_mota_may_be_negative() -> None:
    assert overall([frame((B, 1), (C, 2))] * 4, ONE).mota == pytest.approx(1 - (4 + 8) / 4)


def test_nothing_found_is_all_missed() -> None:
    numbers = overall([Detections.empty()] * 4, ONE)  # empty ones need no identities
    assert shares(numbers) == (0, 0, 0, 0, 0)
    assert (numbers.num_objects, numbers.num_identities, numbers.num_misses) == (4, 1, 4)


@pytest.mark.parametrize("found", [[], [Detections.empty()] * 3, [frame((A, 1))] * 3])
def test_without_objects_nothing_is_known(found: list[Detections]) -> None:
    assert tracking_accuracy(found, [Detections.empty()] * len(found)) == TrackingAccuracy(None, {})


def test_what_is_found_where_something_is_ignored_does_not_count() -> None:
    hidden = [frame(), frame((B, 0)), frame((B, 0), (C, 0)), frame((C, 0, 1))]
    found = [frame((A, 1)), frame((A, 1), (B, 2)), frame((A, 1), (B, 2), (C, 3)), frame((A, 1), (B, 2), (C, 3))]
    assert overall(found, ONE).num_false_alarms == 5
    numbers = tracking_accuracy(found, ONE, ignored=hidden).overall
    assert numbers is not None
    assert numbers.num_false_alarms == 2  # in the last frame: nothing is hidden at B, and something else at C


def test_an_object_is_found_even_where_another_is_ignored() -> None:
    assert tracking_accuracy(ONE, ONE, ignored=[frame((A, 0))] * 4) == tracking_accuracy(ONE, ONE)


def test_boxes_without_identities_are_refused() -> None:
    bare = replace(ONE[0], track_ids=None)
    with pytest.raises(ConfigError, match=r"the truth of frame 2 must have track_ids to judge tracks by, got 1 boxes"):
        tracking_accuracy(ONE, [*ONE[:2], bare, bare])
    with pytest.raises(
        ConfigError, match=r"the detections of frame 3 must have track_ids to judge tracks by, got 1 box"
    ):
        tracking_accuracy([*ONE[:3], bare], ONE)


def test_an_identity_that_is_in_two_places_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"frame 0 must have each identity once, got 2 boxes of class 0 with track id 7"
    ):
        tracking_accuracy([frame((A, 7), (C, 8), (B, 7))], [frame((A, 1))])


def test_videos_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        tracking_accuracy(ONE[:3], ONE)


def test_without_trackers_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trackers", None)
    monkeypatch.setitem(sys.modules, "trackers.eval", None)
    with pytest.raises(MissingExtraError, match=r"pip install \"streamdet\[measure\]\""):
        tracking_accuracy(ONE, ONE)
    with pytest.raises(MissingExtraError, match=r"pip install \"streamdet\[measure\]\""):
        with_track_ids(ONE, frames_per_second=30)


# At each of three places, in each frame, an identity of 0 to 2 or nothing, none twice.
some_places = st.tuples(*[st.integers(0, 2) | st.none()] * 3).filter(
    lambda ids: len(set(ids) - {None}) == 3 - ids.count(None)
)
videos = st.lists(st.tuples(some_places, some_places), min_size=1, max_size=6)


def frames_of(video: Iterable[Ids]) -> list[Detections]:
    return [
        frame(*[(place, number) for place, number in zip((A, B, C), ids, strict=True) if number is not None])
        for ids in video
    ]


@given(videos)
def test_every_number_is_what_counting_pairs_of_identities_gives(video: list[tuple[Ids, Ids]]) -> None:
    accuracy = tracking_accuracy(frames_of([ids for _, ids in video]), frames_of([ids for ids, _ in video]))
    # At each place of each frame: the identity of an object and that of a track, None for neither.
    pairs = [pair for truth, tracks in video for pair in zip(truth, tracks, strict=True)]
    objects = Counter(of_object for of_object, _ in pairs if of_object is not None)
    tracks = Counter(of_track for _, of_track in pairs if of_track is not None)
    # Places are far apart, so that what is there at the same time is what is found.
    matches = [(one, two) for one, two in pairs if one is not None and two is not None]
    num_objects, num_tracks, num_matches = objects.total(), tracks.total(), len(matches)
    if not num_objects:
        assert accuracy.overall is None
        return
    assert accuracy.overall is not None
    numbers = accuracy.overall
    assert numbers.idf1 == pytest.approx(2 * num_right_at_best(matches) / (num_objects + num_tracks))
    assert (numbers.num_misses, numbers.num_false_alarms) == (num_objects - num_matches, num_tracks - num_matches)
    assert numbers.num_id_switches == num_switches(matches)
    num_errors = numbers.num_misses + numbers.num_false_alarms + numbers.num_id_switches
    assert numbers.mota == pytest.approx(1 - num_errors / num_objects)
    assert numbers.deta == pytest.approx(num_matches / (num_objects + num_tracks - num_matches))
    shared = Counter(matches)
    ious = [shared[one, two] / (objects[one] + tracks[two] - shared[one, two]) for one, two in matches]
    assert numbers.assa == pytest.approx(np.mean(ious) if ious else 0)


def num_right_at_best(matches: list[tuple[int, int]]) -> int:
    """How many matches are right in the best of all ways to pair the identities 0 to 2 with each other."""
    return max(sum(way[one] == two for one, two in matches) for way in itertools.permutations(range(3)))


def num_switches(matches: list[tuple[int, int]]) -> int:
    """How often an object is matched by another track than the last time."""
    last: dict[int, int] = {}
    num = 0
    for one, two in matches:
        num += last.get(one, two) != two
        last[one] = two
    return num


@given(videos, st.permutations(range(3)))
def test_names_of_identities_and_the_order_of_boxes_mean_nothing(
    video: list[tuple[Ids, Ids]], names: list[int]
) -> None:
    truths, found = frames_of([one for one, _ in video]), frames_of([two for _, two in video])
    renamed = [
        replace(each, track_ids=np.array([900 + names[number] for number in each.track_ids], np.int64)).select(
            np.arange(len(each))[::-1]
        )
        for each in found
        if each.track_ids is not None
    ]
    one, two = tracking_accuracy(found, truths).overall, tracking_accuracy(renamed, truths).overall
    assert (one is None) == (two is None)
    if one is not None and two is not None:
        assert astuple(one) == pytest.approx(astuple(two))


# Two that pass each other, 60 pixels apart in height, and one that stands.
def passing(num: int, *, score: float = 0.9, class_ids: tuple[int, int, int] = (0, 0, 1)) -> list[Detections]:
    return [
        Detections(
            np.array([[8 * k, 0, 8 * k + 60, 40], [300 - 8 * k, 60, 360 - 8 * k, 100], [600, 0, 640, 80]], np.float32),
            np.full(3, score, np.float32),
            np.array(class_ids, np.int64),
            track_ids=np.array([1, 2, 3], np.int64),
        )
        for k in range(num)
    ]


def nameless(frames: list[Detections]) -> list[Detections]:
    return [replace(each, track_ids=None) for each in frames]


def test_objects_that_move_steadily_keep_their_identities() -> None:
    """All but the first frame of each, in which a track is not sure yet."""
    truths = passing(30)
    found = with_track_ids(nameless(truths), frames_per_second=30)
    assert len(found[0]) == 0
    assert tracking_accuracy(found[1:], truths[1:]) == tracking_accuracy(truths[1:], truths[1:])
    assert all(each.track_ids is not None and len(set(each.track_ids.tolist())) == 3 for each in found[1:])


def test_a_track_is_of_one_class() -> None:
    frames = nameless([*passing(10), *passing(10, class_ids=(0, 0, 0))])
    ids = {
        (class_id, track_id)
        for each in with_track_ids(frames, frames_per_second=30)
        if each.track_ids is not None
        for class_id, track_id in zip(each.class_ids.tolist(), each.track_ids.tolist(), strict=True)
    }
    standing = {track_id for class_id, track_id in ids if class_id == 1}
    assert len(standing) == 1
    assert standing.isdisjoint(track_id for class_id, track_id in ids if class_id == 0)


def still(*scores: float | None) -> list[Detections]:
    """One box that stands, in each frame with that score, or not there."""
    return [
        Detections.empty()
        if score is None
        else Detections(np.array([[10, 10, 90, 60]], np.float32), np.array([score], np.float32), np.zeros(1, np.int64))
        for score in scores
    ]


def ids_of(found: list[Detections]) -> list[int | None]:
    return [int(each.track_ids[0]) if each.track_ids is not None and len(each) else None for each in found]


def test_what_is_less_sure_continues_a_track_but_starts_none() -> None:
    found = with_track_ids(still(0.3, 0.3, 0.9, 0.9, 0.3, 0.09, 0.1, 0.9), frames_per_second=30)
    assert ids_of(found) == [None, None, None, 0, 0, None, 0, 0]
    assert ids_of(with_track_ids(still(0.3, 0.3, 0.3), frames_per_second=30)) == [None] * 3
    assert ids_of(with_track_ids(still(0.3, 0.3, 0.3), frames_per_second=30, score_threshold=0.25)) == [None, 0, 0]


@pytest.mark.parametrize(("frames_per_second", "is_same"), [(30, True), (10, False)])
def test_a_track_is_remembered_for_a_second(frames_per_second: float, is_same: bool) -> None:
    away = [None] * 20
    ids = ids_of(with_track_ids(still(0.9, 0.9, 0.9, *away, 0.9, 0.9), frames_per_second=frames_per_second))
    assert ids[2] == 0
    assert ids[-1] == (0 if is_same else 1)


def test_what_is_known_of_a_box_stays_with_it() -> None:
    rows = np.arange(3)
    chance = np.random.default_rng(2)
    frames = []
    for each in nameless(passing(6)):
        masks = np.repeat(rows[:, None, None] == 1, 4, axis=1).repeat(5, axis=2)  # [3, 4, 5]
        keypoints = each.boxes_xyxy[:, None, :3].copy()  # [3, 1, 3]
        frames.append(replace(each, masks=Masks.of(masks), keypoints=keypoints).select(chance.permutation(3)))
    for before, after in zip(frames[1:], with_track_ids(frames, frames_per_second=30)[1:], strict=True):
        assert after.masks is not None
        assert after.keypoints is not None
        np.testing.assert_array_equal(before.boxes_xyxy, after.boxes_xyxy)  # in the order in which they were
        np.testing.assert_array_equal(after.keypoints[:, 0], after.boxes_xyxy[:, :3])
        np.testing.assert_array_equal(np.asarray(before.masks), np.asarray(after.masks))


def test_frames_with_nothing_in_them_are_ordinary() -> None:
    assert with_track_ids([], frames_per_second=30) == []
    found = with_track_ids([Detections.empty()] * 3, frames_per_second=25)
    assert [len(each) for each in found] == [0, 0, 0]
    assert all(each.track_ids is not None for each in found)
