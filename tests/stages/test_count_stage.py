"""Count stage: lines and zones that change while results come."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from pipeline.picture.counting.shapes import Line, Zone
from pipeline.picture.detections import Detections, Result
from pipeline.picture.frame import Frame
from pipeline.stages.count import Count

GATE = Line("gate", (0.5, 0.0, 0.5, 1.0))


def result(index: int, x: float) -> Result:
    """An object of 10 × 10 in a picture of 100 × 80, its foot at x, 40."""
    frame = Frame.from_pixels(np.zeros((80, 100, 3), np.uint8), index=index, pts_seconds=index / 10)
    box = np.array([[x - 5, 30, x + 5, 40]], np.float32)
    one = np.ones(1, np.float32)
    return Result(frame, Detections(box, one, np.zeros(1, np.int64), track_ids=np.array([7])), ("cat",))


def test_shapes_are_in_effect_with_the_next_frame_and_none_at_all_leave_results_as_they_are() -> None:
    now = SimpleNamespace(lines=(), zones=())
    stage = Count((), (), shapes=lambda: now)
    before = result(0, 20)
    assert list(stage.process(before)) == [before]
    now = SimpleNamespace(lines=(GATE,), zones=())
    stage.process(result(1, 30))
    (crossed,) = stage.process(result(2, 80))
    assert [(event.kind, event.name, event.class_name) for event in crossed.events] == [("crossed", "gate", "cat")]
    now = SimpleNamespace(lines=(GATE,), zones=(Zone("yard", (0.5, 0.0, 1.0, 0.0, 1.0, 1.0)),))
    (after,) = stage.process(result(3, 80))
    assert after.counting is not None
    assert (after.counting.lines[0].num_out, after.counting.zones[0].inside) == ({"cat": 1}, {"cat": 1})
    now = SimpleNamespace(lines=(), zones=())
    last = result(4, 80)
    assert list(stage.process(last)) == [last]


def test_without_shapes_that_change_it_counts_at_those_that_it_began_with() -> None:
    stage = Count([GATE], [])
    stage.process(result(0, 20))
    (crossed,) = stage.process(result(1, 80))
    assert crossed.counting is not None
    assert crossed.counting.lines[0].num_out == {"cat": 1}
    assert list(stage.drain()) == []
