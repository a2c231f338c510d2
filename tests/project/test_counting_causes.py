"""Counting causes: a street with one fault has wrong crossings of that one cause."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.counting_causes import Street, owners_of, wrong_crossings
from pipeline.picture.detections import Detections

NUM_FRAMES = 110
PERSON, CAR = 0, 2
WALKER = 10  # its track id: that of the source times ten and its class


def frames_of(*, without: range = range(0), class_id: int = PERSON, leap: float = 0.0) -> list[Detections]:
    """One who walks through the upright line, at x = 320 in frame 75, and through no other; not seen in some frames.

    leap: pixels that he is further on from frame 75 on.
    """
    frames = []
    for number in range(NUM_FRAMES):
        num = int(number not in without)
        left = 163 + 2 * number + (leap if number >= 75 else 0)
        boxes = np.array([[left, 140, left + 14, 180]] * num, np.float32).reshape(-1, 4)
        class_ids, track_ids = np.full(num, class_id, np.int64), np.full(num, WALKER, np.int64)
        frames.append(Detections(boxes, np.ones(num, np.float32), class_ids, track_ids=track_ids))
    return frames


def causes(
    *, seen: list[Detections], labelled: list[Detections] | None = None, leap: float = 0.0
) -> list[tuple[str, str]]:
    outlines = frames_of(leap=leap)
    owners = [owners_of(*frame) for frame in zip(seen, outlines, outlines, strict=True)]
    return wrong_crossings(Street(outlines, labelled or outlines, outlines, seen, owners))


def test_what_is_seen_as_it_is_has_no_wrong_crossing() -> None:
    assert causes(seen=frames_of()) == []


@pytest.mark.parametrize(
    ("cause", "without", "unlabelled"),
    [
        ("not detected", range(55, 110), range(0)),
        ("hidden", range(55, 110), range(60, 90)),
        ("late number", range(77), range(0)),
    ],
)
def test_a_missing_crossing_has_the_cause_that_it_was_given(cause: str, without: range, unlabelled: range) -> None:
    seen, labelled = frames_of(without=without), frames_of(without=unlabelled)
    assert causes(seen=seen, labelled=labelled) == [("upright", cause)]


def test_a_number_that_changes_between_both_sides_is_named() -> None:
    seen = frames_of(without=range(70, 80), leap=60)
    assert causes(seen=seen, leap=60) == [("upright", "other number")]


def test_a_crossing_of_what_is_no_such_object_is_one_too_many_beside_the_missing_one() -> None:
    wrong = causes(seen=frames_of(class_id=CAR))
    assert sorted(wrong) == [("upright", "no object"), ("upright", "not detected")]
