"""Are the words about a foreign file read as meant, and is every other one refused?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.app.config.hints import HintsConfig
from pipeline.app.config.loading import load_config
from pipeline.app.model_hints import hints_of, read_class_names
from pipeline.app.options import size, triple
from pipeline.detector.heads.hints import Hints
from pipeline.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("127.5", (127.5, 127.5, 127.5)),
        ("0", (0, 0, 0)),
        ("123.7,116.3,103.5", (123.7, 116.3, 103.5)),
        ("1, 2 ,3", (1, 2, 3)),
        ("-1,2e1,+3", (-1, 20, 3)),
    ],
)
def test_three_numbers_or_one_for_all(text: str, numbers: tuple[float, float, float] | None) -> None:
    assert triple(text, "--mean") == numbers


@pytest.mark.parametrize("text", ["", "a", "1,2", "1,2,3,4", "1,,3", "1;2;3", "1,2,x", "nan", "1,inf,3"])
def test_other_numbers_are_refused_with_an_example(text: str) -> None:
    with pytest.raises(
        ConfigError, match=r"^--std must be one number or three with commas, such as 123.7,116.3,103.5, "
    ):
        triple(text, "--std")


@pytest.mark.parametrize(
    ("text", "wh"), [("640x384", (640, 384)), ("1x1", (1, 1)), ("320X240", (320, 240)), ("640", (640, 640))]
)
def test_a_size_is_width_and_height(text: str, wh: tuple[int, int]) -> None:
    assert size(text, "--size") == wh


@pytest.mark.parametrize("text", ["", "0", "x", "640x", "x384", "0x384", "640x0", "-1x5", "6.4x3", "640x384x3", "²x5"])
def test_another_size_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^--size must be WIDTHxHEIGHT, such as 640x384, got "):
        size(text, "--size")


@pytest.mark.parametrize(
    "content",
    [
        b"cat\ndog\ntraffic light\n",
        b"cat\r\ndog\r\ntraffic light",
        b"  cat\ndog  \ntraffic light\n\n\n",
        b"\xef\xbb\xbfcat\ndog\ntraffic light",
    ],
    ids=["plain", "Windows", "spaces", "byte order mark"],
)
def test_class_names_stand_one_in_a_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "names.txt"
    path.write_bytes(content)
    assert read_class_names(path) == ("cat", "dog", "traffic light")


def test_class_names_may_have_any_letters(tmp_path: Path) -> None:
    path = tmp_path / "names.txt"
    path.write_text("Straßenbahn\n自転車\n", encoding="utf-8")
    assert read_class_names(path) == ("Straßenbahn", "自転車")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"names.txt must have a class name in each line, none"),
        (b"\n \n", r"names.txt must have a class name in each line, none"),
        (b"cat\n\ndog\n", r"names.txt must have a class name in each line, one is empty"),
        (b"\ncat\n", r"names.txt must have a class name in each line, one is empty"),
        (b"\xff\xfe\x00c", r"--class-names must be a text file with one name per line, got .*names.txt: "),
    ],
)
def test_a_file_that_names_no_classes_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "names.txt"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        read_class_names(path)


def test_a_missing_file_of_class_names_and_a_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere.txt", tmp_path):
        with pytest.raises(ConfigError, match=r"--class-names must be a text file with one name per line, got "):
            read_class_names(path)


def test_no_words_are_no_hints() -> None:
    assert hints_of(HintsConfig()) == Hints()


def test_every_word_becomes_its_hint(tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_text("cat\ndog\n")
    anchors = tmp_path / "anchors.npy"
    np.save(anchors, np.zeros((1, 4)))
    section = HintsConfig(
        head="ssd_raw",
        size="300x200",
        resize="stretch",
        colour="bgr",
        mean=(1, 2, 3),
        std=(4, 5, 6),
        pad_value=7,
        box_format="yxyx",
        normalised_boxes=True,
        scores="sigmoid",
        first_class_id=1,
        columns=("class", "score", "x1", "y1", "x2", "y2"),
        anchors=str(anchors),
        class_names=str(names),
    )
    assert hints_of(section) == Hints(
        head="ssd_raw",
        network_wh=(300, 200),
        resize="stretch",
        colour="bgr",
        mean=(1, 2, 3),
        std=(4, 5, 6),
        pad_value=7,
        box_format="yxyx",
        boxes_are_normalised=True,
        score_activation="sigmoid",
        first_class_id=1,
        columns=("class", "score", "x1", "y1", "x2", "y2"),
        class_names=("cat", "dog"),
        anchors=anchors,
    )
    assert set(HintsConfig.model_fields) == {name for name, value in section if value is not None}


def test_hints_stand_in_a_file_like_everything_else(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("hints: {colour: bgr, mean: [1, 2, 3], size: 300x200}\n")
    hints = hints_of(load_config(str(file), settings=["hints.mean=[4, 5, 6]"]).hints)
    assert (hints.colour, hints.mean, hints.network_wh) == ("bgr", (4, 5, 6), (300, 200))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("hints.colour=grb", "hints.colour must be 'rgb' or 'bgr', got 'grb'"),
        ("hints.size=640x", "hints.size"),
        ("hints.mean=[1, 2]", "hints.mean"),
        ("hints.pad_value=256", "hints.pad_value must be less than or equal to 255, got 256"),
        ("hints.first_class_id=-1", "hints.first_class_id must be greater than or equal to 0, got -1"),
        ("hints.activation=sigmoid", "there is no key hints.activation"),
    ],
)
def test_a_hint_that_cannot_be_is_refused(setting: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(settings=[setting])
