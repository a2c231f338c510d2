"""Classify: every object that is looked at has what the second model says of its crop, and a track keeps it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from pipeline.picture.boxes import FloatArray
from pipeline.picture.detections import Attribute, Detections, Result
from pipeline.picture.frame import Frame, PixelArray
from pipeline.stages.classify import Classify, ClassifyOptions

COLOURS = ("blue", "green", "red")


class MeanColour:
    """The share of each channel in the mean of a crop, and how many crops came at once."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def scores_of(self, crops: Sequence[PixelArray]) -> FloatArray:
        self.calls.append(len(crops))
        means = np.array([crop.reshape(-1, 3).mean(axis=0) for crop in crops])
        return np.asarray(means / np.maximum(means.sum(axis=1, keepdims=True), 1), np.float32)


def painted(
    index: int, boxes: list[list[float]], channels: list[int], *, ids: list[int] | None = None, source: str = "a"
) -> Result:
    """A picture in which each box is filled with one channel; the class of a box is its number."""
    pixels = np.zeros((60, 100, 3), np.uint8)
    for (x1, y1, x2, y2), channel in zip(boxes, channels, strict=True):
        pixels[max(0, int(y1)) : max(0, int(y2)), max(0, int(x1)) : max(0, int(x2)), channel] = 200
    num = len(boxes)
    detections = Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.full(num, 0.9, np.float32),
        np.arange(num, dtype=np.int64),
        track_ids=None if ids is None else np.array(ids, np.int64),
    )
    return Result(Frame.from_pixels(pixels, index=index, source_id=source), detections, ("cat", "dog", "cow"))


def attributes_of(stage: Classify, result: Result) -> tuple[tuple[Attribute, ...], ...]:
    (out,) = stage.process(result)
    assert out.detections.attributes is not None
    assert out.detections.boxes_xyxy is result.detections.boxes_xyxy
    return out.detections.attributes


BOXES = [[5.0, 5.0, 30.0, 50.0], [40.0, 10.0, 60.0, 20.0], [70.0, 30.0, 130.0, 80.0]]


def test_each_object_has_the_colour_of_its_own_crop_and_all_crops_go_at_once() -> None:
    model = MeanColour()
    stage = Classify(model, (0, 1, 2), ClassifyOptions(COLOURS))
    named = attributes_of(stage, painted(0, BOXES, [2, 0, 1]))
    assert [[attribute.name for attribute in row] for row in named] == [["red"], ["blue"], ["green"]]
    assert model.calls == [3]


def test_other_classes_and_objects_outside_of_the_picture_are_not_looked_at() -> None:
    model = MeanColour()
    stage = Classify(model, (0, 2), ClassifyOptions(COLOURS))
    outside = [BOXES[0], BOXES[1], [120.0, 5.0, 140.0, 9.0]]
    assert [len(row) for row in attributes_of(stage, painted(0, outside, [2, 0, 1]))] == [1, 0, 0]
    assert attributes_of(stage, painted(1, [], [])) == ()
    assert model.calls == [1]


def test_only_the_best_that_are_sure_enough_are_kept() -> None:
    class Fixed:
        def scores_of(self, crops: Sequence[PixelArray]) -> FloatArray:
            return np.array([[0.2, 0.5, 0.3]] * len(crops), np.float32)

    def kept(top: int, min_score: float) -> tuple[Attribute, ...]:
        stage = Classify(Fixed(), (0,), ClassifyOptions(COLOURS, top=top, min_score=min_score))
        return attributes_of(stage, painted(0, BOXES[:1], [0]))[0]

    assert kept(2, 0.0) == (Attribute("green", 0.5), Attribute("red", 0.3))
    assert kept(9, 0.25) == (Attribute("green", 0.5), Attribute("red", 0.3))
    assert kept(1, 0.6) == ()


def test_a_track_keeps_its_attributes_for_as_many_frames_as_said() -> None:
    model = MeanColour()
    stage = Classify(model, (0, 1, 2), ClassifyOptions(COLOURS, every=4))
    names = []
    for index in range(9):  # the object turns from red to green in frame 2
        ((best,),) = attributes_of(stage, painted(index, BOXES[:1], [2 if index < 2 else 1], ids=[7]))
        names.append(best.name)
    assert names == ["red"] * 4 + ["green"] * 5
    assert model.calls == [1, 1, 1]


def test_a_new_track_and_an_object_of_no_track_are_looked_at_at_once() -> None:
    model = MeanColour()
    stage = Classify(model, (0, 1, 2), ClassifyOptions(COLOURS, every=100))
    for index in range(3):
        attributes_of(stage, painted(index, BOXES[:2], [2, 0], ids=[7, -1]))
    attributes_of(stage, painted(3, BOXES, [2, 0, 1], ids=[7, 8, 9]))
    assert model.calls == [2, 1, 1, 2]


def test_the_next_file_begins_anew_though_its_ids_are_the_same() -> None:
    model = MeanColour()
    stage = Classify(model, (0,), ClassifyOptions(COLOURS, every=100))
    first = attributes_of(stage, painted(0, BOXES[:1], [2], ids=[1]))
    second = attributes_of(stage, painted(1, BOXES[:1], [0], ids=[1], source="b"))
    assert (first[0][0].name, second[0][0].name) == ("red", "blue")


def test_frames_that_were_left_out_count_too_and_old_tracks_are_forgotten() -> None:
    model = MeanColour()
    stage = Classify(model, (0,), ClassifyOptions(COLOURS, every=10))
    for index in range(0, 50, 5):  # every fifth frame
        attributes_of(stage, painted(index, BOXES[:1], [2], ids=[1]))
    assert model.calls == [1] * 5
    for index in range(2, 3005):
        attributes_of(stage, painted(index * 10, BOXES[:1], [2], ids=[index]))
    assert len(stage._tracks) <= 1001


def test_attributes_are_picked_with_their_detections() -> None:
    rows = ((Attribute("red", 0.5),), (), (Attribute("blue", 1.0),))
    detections = Detections(
        np.zeros((3, 4), np.float32), np.zeros(3, np.float32), np.arange(3, dtype=np.int64), attributes=rows
    )
    assert detections.select(np.array([2, 0])).attributes == (rows[2], rows[0])
    assert detections.select(np.array([False, True, True])).attributes == rows[1:]
    assert detections.select(np.zeros(0, np.int64)).attributes == ()
    with pytest.raises(ValueError, match="attributes must have one entry for each of the 3 boxes, got 1"):
        Detections(detections.boxes_xyxy, detections.scores, detections.class_ids, attributes=rows[:1])
