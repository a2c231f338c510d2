"""YAML edit: one value is another, and everything else reads, and where it can looks, as before."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.yaml_edit import with_value, without_value
from pipeline.yaml_file import NotYamlError, parse_yaml

CAMERAS = """\
# Cameras of the yard.
model: yolox-nano   # small

sources:
  - url: rtsp://door/stream   # by the door
    name: door
    lines:
      gate: 0,0.5,1,0.5   # the gate
      old: '0,0,1,1'
  # the yard is new
  - yard.mp4
  - {url: hall.mp4, name: hall}

lines:
  road: {points: [0, 0.8, 1, 0.8], classes: [car]}  # the road
# the end
"""

KEYS = st.one_of(st.sampled_from(["a", "lines", "b c", "1", "ä", "no", "x:y", "#z", "- q"]))
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-9, 9), st.floats(0, 1), st.text(max_size=8), st.just("0.1,0.5,1,1"),
    st.just("two\nlines\n"), st.just(" # no comment"),
)  # fmt: skip
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=8
)
DOCUMENTS = st.dictionaries(KEYS, VALUES, max_size=4)
STYLES = st.sampled_from([None, True, False])


def set_at(values: Any, place: tuple[str, ...], value: object) -> Any:
    """The reference: in plain Python."""
    for key in place[:-1]:
        if values.get(key) is None:
            values[key] = {}
        values = values[key]
    values[place[-1]] = value
    return values


@settings(deadline=None)
@given(DOCUMENTS, STYLES, st.lists(KEYS, min_size=1, max_size=3).map(tuple), VALUES)
def test_a_value_is_set_in_whatever_was_written(
    document: dict[str, Any], flow: bool | None, place: tuple[str, ...], value: object
) -> None:
    text = yaml.safe_dump(document, default_flow_style=flow, allow_unicode=True)
    expected = deepcopy(document)
    try:
        set_at(expected, place, value)
    except (AttributeError, TypeError):
        with pytest.raises(NotYamlError, match="below a mapping"):
            with_value(text, place, value)
        return
    assert parse_yaml(with_value(text, place, value)) == expected


@settings(deadline=None)
@given(
    st.dictionaries(KEYS, st.dictionaries(KEYS, VALUES, min_size=1, max_size=3), min_size=1, max_size=3),
    STYLES,
    st.data(),
)
def test_a_value_is_taken_out_and_leaves_no_empty_mapping(
    document: dict[str, Any], flow: bool | None, data: st.DataObject
) -> None:
    outer = data.draw(st.sampled_from(sorted(document)))
    inner = data.draw(st.sampled_from(sorted(document[outer])))
    text = "# before\n" + yaml.safe_dump(document, default_flow_style=flow, allow_unicode=True)
    document[outer].pop(inner)
    if not document[outer]:
        document.pop(outer)
    assert (parse_yaml(without_value(text, (outer, inner))) or {}) == document


def changed_lines(after: str) -> tuple[list[str], list[str]]:
    """The lines that have gone, and those that have come."""
    before = CAMERAS.splitlines()
    return [line for line in before if line not in after.splitlines()], [
        line for line in after.splitlines() if line not in before
    ]


def test_a_line_of_a_source_is_moved_added_and_taken_out_beside_its_comments() -> None:
    lines = ("sources", 0, "lines")
    moved = with_value(CAMERAS, (*lines, "gate"), "0,0.4,1,0.4")
    assert changed_lines(moved) == (
        ["      gate: 0,0.5,1,0.5   # the gate"],
        ["      gate: 0,0.4,1,0.4   # the gate"],
    )
    assert changed_lines(with_value(CAMERAS, (*lines, "new"), "1,0,1,1")) == ([], ["      new: 1,0,1,1"])
    assert changed_lines(without_value(CAMERAS, (*lines, "old"))) == (["      old: '0,0,1,1'"], [])
    bare = without_value(without_value(CAMERAS, (*lines, "old")), (*lines, "gate"))
    assert parse_yaml(bare)["sources"][0] == {"url": "rtsp://door/stream", "name": "door"}  # type: ignore[index]
    assert "# the yard is new" in bare


def test_a_source_that_is_a_word_or_in_braces_gets_settings() -> None:
    words = with_value(CAMERAS, ("sources", 1), {"url": "yard.mp4", "zones": {"lawn": "0,0,1,0,1,1"}})
    assert changed_lines(words) == (["  - yard.mp4"], ["  - url: yard.mp4", "    zones:", "      lawn: 0,0,1,0,1,1"])
    braces = with_value(CAMERAS, ("sources", 2, "lines", "gate"), "0,0,1,1")
    assert changed_lines(braces)[0] == ["  - {url: hall.mp4, name: hall}"]
    assert "# the road" in braces


def test_what_is_written_once_and_meant_twice_is_changed_once() -> None:
    text = "sources:\n- url: a.mp4\n  lines: &all\n    gate: 0,0,1,1\n- url: b.mp4\n  lines: *all\n"
    values = parse_yaml(with_value(text, ("sources", 0, "lines", "gate"), "0,0,1,0"))
    assert [source["lines"]["gate"] for source in values["sources"]] == ["0,0,1,0", "0,0,1,1"]  # type: ignore[index]


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "model: a", "---\nmodel: a\n"])
def test_a_file_without_lines_gets_some(text: str) -> None:
    after = with_value(text, ("lines", "gate"), "0,0,1,1")
    assert parse_yaml(after) == (parse_yaml(text) or {}) | {"lines": {"gate": "0,0,1,1"}}  # type: ignore[operator]
    assert "# nothing" in after or "# nothing" not in text


def test_a_text_that_is_not_yaml_is_refused() -> None:
    with pytest.raises(NotYamlError):
        with_value("a: [", ("b",), 1)
