"""Conceal: private objects are hidden, also for a while after the detector has lost them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pipeline.picture.detections import Detections, Result
from pipeline.picture.frame import Frame
from pipeline.picture.suppression import SuppressionOptions
from pipeline.stages.conceal import Conceal, ConcealOptions
from tests.support.pictures import noise

PIXELS = noise(100, 80)
OPTIONS = ConcealOptions({0: "blur"}, margin=0.1, hold_seconds=0.5, most_detections=50)
Box = tuple[float, float, float, float]
LEFT, RIGHT = (10.0, 10.0, 30.0, 40.0), (60.0, 10.0, 80.0, 40.0)


def result_at(seconds: float, *boxes: Box, score: float = 0.9, kind: int = 0, image: str | None = None) -> Result:
    detections = Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.full(len(boxes), score, np.float32),
        np.full(len(boxes), kind, np.int64),
    )
    frame = Frame.from_pixels(PIXELS, source_id="door", pts_seconds=seconds, image=image)
    return Result(frame, detections, ("person", "car"))


def hidden(stage: Conceal, result: Result) -> tuple[bool, bool]:
    """Whether the left and the right box are concealed."""
    (concealed,) = stage.process(result)
    pixels = concealed.frame.pixels
    return (pixels[25, 15:25] != PIXELS[25, 15:25]).any(), (pixels[25, 65:75] != PIXELS[25, 65:75]).any()


def conceal(**changes: object) -> Conceal:
    return Conceal(replace(OPTIONS, **changes), SuppressionOptions)  # type: ignore[arg-type]


def test_private_classes_are_hidden_and_others_not() -> None:
    assert hidden(conceal(), result_at(0, LEFT)) == (True, False)
    assert hidden(conceal(), result_at(0, LEFT, kind=1)) == (False, False)
    assert hidden(conceal(), result_at(0)) == (False, False)


def test_an_object_that_is_missed_stays_hidden_for_the_time_that_is_stated() -> None:
    stage = conceal()
    assert hidden(stage, result_at(1.0, LEFT, RIGHT)) == (True, True)
    assert hidden(stage, result_at(1.1, RIGHT)) == (True, True)
    assert hidden(stage, result_at(1.5)) == (True, True)
    assert hidden(stage, result_at(1.55)) == (False, True)
    assert hidden(stage, result_at(1.7)) == (False, False)


def test_an_object_that_moves_leaves_nothing_hidden_behind() -> None:
    stage = conceal()
    for step in range(10):
        left = 10.0 + 5 * step
        last = hidden(stage, result_at(step / 30, (left, 10, left + 20, 40)))
    assert last == (False, True)


def test_nothing_is_carried_to_another_photograph_or_file_or_back_in_time() -> None:
    stage = conceal()
    assert hidden(stage, result_at(0, LEFT, image="a.jpg")) == (True, False)
    assert hidden(stage, result_at(0, RIGHT, image="b.jpg")) == (False, True)
    stage = conceal()
    assert hidden(stage, result_at(5, LEFT)) == (True, False)
    assert hidden(stage, result_at(0)) == (False, False)
    other = result_at(0.1)
    assert hidden(stage, replace(other, frame=replace(other.frame, source_id="b.mp4"))) == (False, False)


def test_a_frame_with_as_many_boxes_as_nms_lets_through_is_hidden_as_a_whole() -> None:
    assert hidden(conceal(most_detections=2), result_at(0, (90, 70, 95, 75), (80, 70, 85, 75), kind=1)) == (True, True)


def test_only_what_was_requested_goes_on() -> None:
    options = SuppressionOptions(score_threshold=0.5, keep_class_ids=frozenset({1}))
    stage = Conceal(OPTIONS, lambda: options)
    for result, num in ((result_at(0, LEFT), 0), (result_at(0, LEFT, kind=1), 1), (result_at(0, RIGHT, score=0.2), 0)):
        (concealed,) = stage.process(result)
        assert len(concealed.detections) == num
    assert hidden(stage, result_at(0, RIGHT, score=0.2)) == (True, True)
    assert not hasattr(concealed.frame.picture, "nv12")
