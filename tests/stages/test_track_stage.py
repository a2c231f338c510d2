"""Track stage: what goes on, what is predicted, and where the objects were."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.picture.detections import Detections, Result
from pipeline.picture.frame import Frame
from pipeline.picture.suppression import SuppressionOptions
from pipeline.picture.tracking.bytetrack import ByteTrack
from pipeline.picture.tracking.tracker import track_ids_of
from pipeline.stages.track import Track

PIXELS = np.zeros((100, 200, 3), np.uint8)


def seen(second: float, *rows: tuple[float, float], source_id: str = "a") -> Result:
    """A frame with a box of 20 × 40 for each left edge and score."""
    boxes = np.array([[left, 30, left + 20, 70] for left, _ in rows], np.float32).reshape(-1, 4)
    scores = np.array([score for _, score in rows], np.float32)
    frame = Frame.from_pixels(PIXELS, source_id=source_id, pts_seconds=second)
    return Result(frame, Detections(boxes, scores, np.zeros(len(rows), np.int64)), ("person",))


def tracked(results: Sequence[Result], *, trail_seconds: float = 0.0, sure_share: float = 0.5) -> list[Result]:
    shown = SuppressionOptions(score_threshold=0.5)
    stage = Track(ByteTrack, lambda: shown, trail_seconds=trail_seconds, sure_share=sure_share)
    return [result for item in results for result in stage.process(item)] + list(stage.drain())


def ids_and_scores(result: Result) -> list[tuple[int, float]]:
    scores = np.round(result.detections.scores.astype(float), 2).tolist()
    return list(zip(track_ids_of(result.detections).tolist(), scores, strict=True))


def test_a_weak_detection_goes_on_only_where_a_confirmed_track_took_it() -> None:
    results = tracked([seen(0, (20, 0.9), (100, 0.2)), seen(0.1, (22, 0.9), (101, 0.2)), seen(0.2, (24, 0.2))])
    assert [ids_and_scores(result) for result in results] == [[(-1, 0.9)], [(1, 0.9)], [(1, 0.2)]]


def test_an_object_that_is_weak_most_of_the_time_is_predicted_instead_of_shown() -> None:
    sights = [seen(number / 30, (20, score)) for number, score in enumerate((0.9, 0.9, 0.2, 0.2, 0.2, 0.9, 0.3))]
    shares = {share: tracked(sights, sure_share=share) for share in (0.0, 0.5, 0.8)}
    assert [[len(result.detections) for result in results] for results in shares.values()] == [
        [1, 1, 1, 1, 1, 1, 1],
        [1, 1, 1, 0, 0, 1, 0],  # from its number on: 1 of 2, 1 of 3, 1 of 4, 2 of 5, 2 of 6
        [1, 1, 0, 0, 0, 1, 0],
    ]
    assert [ids_and_scores(result) for result in shares[0.5][4:6]] == [[], [(1, 0.9)]]
    predicted = [result.tracks.predicted for result in shares[0.5] if result.tracks is not None]
    assert [track_ids_of(boxes).tolist() for boxes in predicted] == [[], [], [], [1], [1], [], [1]]


def test_a_track_that_has_ended_is_not_counted_any_more() -> None:
    shown = SuppressionOptions(score_threshold=0.5)
    stage = Track(ByteTrack, lambda: shown)
    for number in range(100):
        for second in (10.0 * number, 10.0 * number + 0.1):
            list(stage.process(seen(second, (20, 0.9))))
    assert len(stage._counts) <= 2


def test_a_lost_object_is_predicted_apart_and_no_longer_where_it_has_left_the_picture() -> None:
    sights = [seen(number / 10, (100 + 10 * number, 0.9)) for number in range(6)]
    results = tracked([*sights, seen(0.6), seen(1.4)])
    lost, gone = results[-2:]
    assert len(lost.detections) == 0
    assert lost.tracks is not None
    assert gone.tracks is not None
    assert np.allclose(lost.tracks.predicted.boxes_xyxy, [[160, 30, 180, 70]], atol=2)
    assert track_ids_of(lost.tracks.predicted).tolist() == [1]
    assert len(gone.tracks.predicted) == 0
    assert results[3].tracks is not None
    assert len(results[3].tracks.predicted) == 0  # it is seen


def test_the_trail_has_the_centres_of_the_last_seconds() -> None:
    results = tracked([seen(number / 10, (10 + number, 0.9)) for number in range(30)], trail_seconds=0.5)
    tracks = results[-1].tracks
    assert tracks is not None
    assert [round(frame.pts_seconds, 1) for frame in tracks.trail] == [2.4, 2.5, 2.6, 2.7, 2.8, 2.9]
    assert tracks.trail[-1].centres_xy.tolist() == [[49, 50]]
    first = results[0].tracks
    assert first is not None
    assert [len(frame.track_ids) for frame in first.trail] == [0]  # not confirmed yet, and never changed after


def test_a_frame_without_objects_and_the_next_file_of_a_folder_are_ordinary() -> None:
    results = tracked([seen(0), seen(0.1, (5, 0.9)), seen(0.2, (5, 0.9)), *[
        seen(0.3 + second, (5, 0.9), source_id="b") for second in (0, 0.1)
    ]], trail_seconds=9)  # fmt: skip
    assert [ids_and_scores(result) for result in results] == [[], [(-1, 0.9)], [(1, 0.9)], [(-1, 0.9)], [(1, 0.9)]]
    assert results[-1].tracks is not None
    assert len(results[-1].tracks.trail) == 2
