"""Saved frames: a condition is read as it is written, and the frames that meet it are kept, and no others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import ConfigError, SinkError
from pipeline.picture.detections import Detections, Result
from pipeline.picture.frame import Frame
from pipeline.picture.look import Look
from pipeline.sinks.frame_condition import frame_condition
from pipeline.sinks.picture_names import PictureNames
from pipeline.sinks.saved_frames import SavedFrames
from pipeline.sources.images import read_image
from tests.support.pictures import difference, smooth

NAMES = ("person", "car", "traffic light", "T-shirt", "3")


def meets(text: str, **counts: int) -> bool:
    by_name = {name.replace("_", " "): num for name, num in counts.items()}
    return frame_condition(text, NAMES, flag="--save-frames")(by_name)


@pytest.mark.parametrize(
    ("text", "counts", "is_met"),
    [
        ("person", {"person": 1}, True),
        ("person", {}, False),
        ("person>=2", {"person": 2}, True),
        ("person >= 2", {"person": 1}, False),
        ("person = 2", {"person": 2}, True),
        ("person != 1", {}, True),
        ("person<1", {}, True),
        ("PERSON and Car", {"person": 1, "car": 1}, True),
        ("person AND car", {"person": 1}, False),
        ("person or car and traffic light", {"person": 1}, True),
        ("(person or car) and traffic light", {"person": 1}, False),
        ("not person", {}, True),
        ("not not person", {"person": 1}, True),
        ("not (person or car)", {"car": 1}, False),
        ("traffic light>=2", {"traffic_light": 2}, True),
        ("'traffic light' > 1", {"traffic_light": 2}, True),
        ('"traffic light"<=1', {"traffic_light": 2}, False),
        ("any", {}, False),
        ("any>=3", {"person": 1, "car": 2}, True),
        ("t-shirt", {"T-shirt": 1}, True),
        ("3>=1", {"3": 1}, True),
    ],
)
def test_a_condition_is_read_as_it_is_written(text: str, counts: dict[str, int], is_met: bool) -> None:
    assert meets(text, **counts) is is_met


@given(st.lists(st.tuples(st.sampled_from(["and", "or"]), st.booleans(), st.integers(0, 2)), max_size=6), st.data())
def test_and_binds_closer_than_or_as_in_python(parts: list[tuple[str, bool, int]], data: st.DataObject) -> None:
    counts = {"person": data.draw(st.integers(0, 2)), "car": data.draw(st.integers(0, 2))}
    text = python = "person"
    for word, is_negated, num in parts:
        no = "not " if is_negated else ""
        text += f" {word} {no}car>={num}"
        python += f" {word} {no}car>={num}"
    expected = bool(eval(python, {"person": counts["person"] >= 1, "car": counts["car"]}))
    assert meets(text, **counts) is expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "--save-frames: a class was expected at the beginning, got the end; such as: person>=2 and not car"),
        ("person>=", "a number was expected after 'person>=', got the end"),
        ("person>=two", "a number was expected after 'person>=', got 'two'"),
        ("person>=1 car", "'and', 'or' or the end was expected after 'person>=1', got 'car'"),
        ("person and", "a class was expected after 'person and', got the end"),
        ("(person", r"'\)' was expected after '\(person', got the end"),
        ("person)", "'and', 'or' or the end was expected after 'person', got"),
        ("persn>=2", "the model has no class 'persn'; did you mean 'person'?"),
        ("zebra", "the model has no class 'zebra'; it has person, car, traffic light"),
        ("person !! 2", "'!! 2' cannot be read, in 'person !! 2'"),
        ("person>=-1", "a number was expected after 'person>=', got '-1'"),
    ],
)
def test_a_mistake_says_where_it_is(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        meets(text)


@given(st.text(alphabet="person car>=<!&|()'\"0123 \n", max_size=30))
def test_any_text_is_read_or_refused_in_one_line(text: str) -> None:
    mistakes = []
    try:
        meets(text, person=1)
    except ConfigError as error:
        mistakes.append(str(error))
    assert not any("\n" in mistake for mistake in mistakes)


def result(index: int, *, num_persons: int, image: str | None = None) -> Result:
    frame = Frame.from_pixels(smooth(96, 64), source_id="street.mp4", index=index, image=image)
    boxes = np.tile(np.array([[8, 16, 40, 48]], np.float32), (num_persons, 1))
    scores, class_ids = np.full(num_persons, 0.5, np.float32), np.zeros(num_persons, np.int64)
    return Result(frame, Detections(boxes, scores, class_ids), NAMES)


def test_frames_that_meet_the_condition_are_saved_as_they_are(tmp_path: Path) -> None:
    condition = frame_condition("person>=2", NAMES, flag="--save-frames")
    sink = SavedFrames(tmp_path / "kept", condition, names=PictureNames([], ["in/a.png"]))
    for index, num_persons in enumerate((0, 1, 2, 3)):
        sink.write(result(index, num_persons=num_persons))
    sink.write(result(4, num_persons=2, image="in/a.png"))
    sink.close()
    assert sorted(path.name for path in (tmp_path / "kept").iterdir()) == [
        "a.png",
        "street-000002.jpg",
        "street-000003.jpg",
    ]
    assert np.array_equal(read_image(tmp_path / "kept" / "a.png"), smooth(96, 64))


def test_frames_are_drawn_on_where_that_is_chosen(tmp_path: Path) -> None:
    condition = frame_condition("any", NAMES, flag="--save-frames")
    sink = SavedFrames(tmp_path, condition, names=PictureNames(), look=Look(theme="dark"))
    sink.write(result(0, num_persons=1))
    assert difference(read_image(tmp_path / "street-000000.jpg"), smooth(96, 64)) > 4


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "kept").write_bytes(b"")
    with pytest.raises(SinkError, match="saved frames must be written into a folder"):
        SavedFrames(tmp_path / "kept", lambda _: True, names=PictureNames())


@pytest.mark.parametrize("text", ["not " * 200 + "car", "(" * 200 + "car" + ")" * 200, "x" * 2000])
def test_a_condition_without_measure_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"must not be nested deeper than 50|must have at most 1000 characters"):
        frame_condition(text, ["car"], flag="--save-frames")
