"""Library trackers: every kind keeps what the port promises, on the same walks."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest

from pipeline.errors import MissingExtraError
from pipeline.picture.choices import TrackerKind
from pipeline.picture.frame import ArrayPicture
from pipeline.picture.tracking.kinds import TRACKERS, new_tracker
from pipeline.picture.tracking.tracker import TrackerOptions, track_ids_of
from tests.support.walking_boxes import walking_boxes

KINDS = get_args(TrackerKind)
PICTURE = ArrayPicture(np.random.default_rng(1).integers(0, 255, (120, 160, 3), np.uint8))


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> TrackerKind:
    if request.param != "bytetrack":
        pytest.importorskip("trackers")
    name: TrackerKind = request.param
    return name


def test_there_is_a_tracker_for_every_name() -> None:
    assert set(TRACKERS) == set(KINDS)


def test_the_detections_come_back_in_their_order_and_most_ids_follow_one_object(kind: TrackerKind) -> None:
    frames = walking_boxes(5, num_objects=6, num_classes=2, side=500)
    tracker = new_tracker(kind, TrackerOptions(high_score=0.3, start_score=0.3))
    pairs = []
    for number, truth in enumerate(frames):
        tracked = tracker.update(replace(truth, track_ids=None), number / 30, PICTURE)
        assert tracked.boxes_xyxy is truth.boxes_xyxy
        pairs += list(zip(track_ids_of(tracked).tolist(), track_ids_of(truth).tolist(), strict=True))
    ids = {pair[0] for pair in pairs} - {-1}
    assert min(ids) == 1
    of_object = [max(pairs.count((number, who)) for who in range(6)) for number in ids]
    num_tracked = sum(pair[0] != -1 for pair in pairs)
    assert sum(of_object) > 0.9 * num_tracked
    assert num_tracked > 0.5 * len(pairs)  # OC-SORT gives none to unsure ones


def test_lost_tracks_go_on_in_predictions_and_end_with_the_memory(kind: TrackerKind) -> None:
    frames = walking_boxes(8, num_objects=3, side=2000)
    tracker = new_tracker(kind, TrackerOptions(memory_seconds=0.5))
    last = frames[0]
    for number, frame in enumerate(frames):
        last = tracker.update(replace(frame, track_ids=None), number / 30)
    now = (len(frames) - 1) / 30
    boxes = dict(zip(track_ids_of(last).tolist(), last.boxes_xyxy, strict=True))
    predicted = tracker.predict(now)
    assert len(set(track_ids_of(predicted).tolist())) == len(predicted) > 0
    for track_id, box in zip(track_ids_of(predicted).tolist(), predicted.boxes_xyxy, strict=True):
        if track_id in boxes:
            np.testing.assert_allclose(box, boxes[track_id], atol=4)
    assert not np.allclose(tracker.predict(now + 0.3).boxes_xyxy, predicted.boxes_xyxy)
    np.testing.assert_array_equal(tracker.predict(now).boxes_xyxy, predicted.boxes_xyxy)  # nothing has changed
    tracker.update(last.select(np.zeros(0, np.int64)), now + 0.6)
    assert len(tracker.predict(now + 0.6)) == 0


def test_a_break_in_time_gives_new_ids(kind: TrackerKind) -> None:
    frame = replace(walking_boxes(2, num_frames=1, num_objects=4, side=3000)[0], track_ids=None)
    frame = replace(frame, scores=np.ones(len(frame), np.float32))
    tracker = new_tracker(kind, TrackerOptions(memory_seconds=0.5))
    before, after = (
        [track_ids_of(tracker.update(frame, first + number / 30)).tolist() for number in range(5)][-1]
        for first in (60.0, 2.0)
    )
    assert min(before) == 1
    assert min(after) > max(before)


def test_without_the_library_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trackers", None)
    new_tracker("bytetrack", TrackerOptions())
    with pytest.raises(MissingExtraError, match=r"streamdet\[track\]"):
        new_tracker("sort", TrackerOptions())
