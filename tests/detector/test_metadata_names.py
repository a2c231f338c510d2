"""Are class names read in whatever form an exporter wrote them, and is what cannot be read said?"""

from __future__ import annotations

import json
from collections import OrderedDict

import numpy as np
import pytest

from pipeline.detector.metadata_names import class_names_of

BOTH = ("kat", "hond")
NUMBERED = {0: "kat", 1: "hond"}


@pytest.mark.parametrize(
    "text",
    [
        str(NUMBERED),
        str(list(BOTH)),
        str(BOTH),
        json.dumps(NUMBERED),
        json.dumps(BOTH),
        json.dumps({"1": "hond", "0": "kat"}),
        json.dumps(json.dumps(NUMBERED)),
        json.dumps({"kat": 0, "hond": 1}),
        json.dumps([{"id": 0, "name": "kat"}, {"id": 1, "name": "hond"}]),
        json.dumps([{"id": 7, "name": "hond"}, {"id": 2, "name": "kat"}]),
        json.dumps({"0": {"name": "kat"}, "1": {"name": "hond"}}),
        json.dumps({"names": BOTH, "version": 2}),
        json.dumps([[0, "kat"], [1, "hond"]]),
        str({"0": "kat", "1": "hond"}),
        str({1: "kat", 2: "hond"}),
        str(OrderedDict(NUMBERED)),
        "OrderedDict([(0, 'kat'), (1, 'hond')])",
        str(np.array(BOTH)),
        repr(np.array(BOTH)),
        "kat\nhond",
        "- kat\n- hond\n",
        "0: kat\n1: hond\n",
        "0 kat\n1 hond",
        "kat, hond",
        "kat;hond",
        "{0: kat, 1: hond}",
        "[kat, hond]",
        'item {\n  id: 1\n  name: "kat"\n}\nitem {\n  id: 2\n  name: "hond"\n}\n',
        "\ufeffkat\nhond",
    ],
)
def test_names_are_read_in_every_form(text: str) -> None:
    assert class_names_of({"names": text}) == BOTH


@pytest.mark.parametrize("key", ["names", "class_names", "classNames", "CLASSES", "labels", "id2label", "categories"])
def test_names_stand_under_different_keys(key: str) -> None:
    assert class_names_of({"author": "me", key: json.dumps(NUMBERED)}) == BOTH


def test_a_number_of_classes_is_no_name() -> None:
    assert class_names_of({"classes": "80", "labels": json.dumps(BOTH)}) == BOTH


def test_gaps_and_empty_names_are_numbered() -> None:
    assert class_names_of({"names": "{0: 'kat', 2: 'hond'}"}) == ("kat", "class 1", "hond")
    assert class_names_of({"names": '["kat", null, ""]'}) == ("kat", "class 1", "class 2")


def test_what_no_terminal_shows_and_opencv_dies_of_is_left_out() -> None:
    assert class_names_of({"names": "['\\ud800', 'k\\x1b[31mat', 'a\\nb']"}) == ("?", "k [31mat", "a b")


@pytest.mark.parametrize("text", ['{"0": "a", "0": "b"}', "{0: 'a', 0: 'b'}", "{'a', 'b'}", "{{", "f(x)", "[[1], [2]]"])
def test_names_that_nobody_can_know_are_said(text: str, caplog: pytest.LogCaptureFixture) -> None:
    assert class_names_of({"names": text}) is None
    assert "the class names in the metadata (names) cannot be read" in caplog.text
    assert "--class-names" in caplog.text


def test_a_name_of_two_classes_is_said_and_kept(caplog: pytest.LogCaptureFixture) -> None:
    assert class_names_of({"names": "['kat', 'hond', 'kat']"}) == ("kat", "hond", "kat")
    assert "'kat' is the name of the classes 0, 2" in caplog.text


def test_without_names_nothing_is_said(caplog: pytest.LogCaptureFixture) -> None:
    assert class_names_of({"author": "me", "names": " "}) is None
    assert not caplog.text


@pytest.mark.parametrize(
    "text",
    [
        "list(" + ",dtype=" * 60_000 + ")x",
        "item {" * 80_000,
        "item {" + "a" * 400_000 + "}",
        "item {\n" + "id " * 100_000 + "\n}",
        "[" + "'a' " * 100_000,
        "[" * 400_000,
        "1" * 400_000,
        "{0: '" + "x" * 600_000 + "'}",
    ],
)
def test_a_text_that_would_take_hours_is_left_at_once(text: str) -> None:
    names = class_names_of({"names": text})
    assert names is None or len("".join(names)) < len(text)


def test_a_label_map_and_an_array_are_read_as_before() -> None:
    label_map = "item {\n  id: 1\n  name: 'cat'\n}\nitem {\n  id: 2\n  display_name: \"dog\"  \n}\n"
    assert class_names_of({"names": label_map}) == ("cat", "dog")
    assert class_names_of({"names": "array(['cat', 'dog'], dtype='<U3')"}) == ("cat", "dog")
