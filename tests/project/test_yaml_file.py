"""YAML: whatever stands in a file is a value or one error with the line, and soon."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pipeline.app.config.loading import load_config
from pipeline.errors import ConfigError
from pipeline.yaml_file import NotYamlError, parse_yaml, read_yaml

BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(values)
def test_values_are_read_as_they_were_written(value: object) -> None:
    assert parse_yaml(yaml.safe_dump(value)) == value


@given(st.text(st.sampled_from(" \n\t-:[]{},&*!|>'\"#%@`?<=~0123456789abe\0\ud800"), max_size=60))
def test_any_text_is_a_value_or_one_error(text: str) -> None:
    with contextlib.suppress(NotYamlError):
        parse_yaml(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("2001-99-99", "cannot be read: month must be in 1..12"),
        ("!!int x", "invalid literal for int"),
        ("!!float x", "could not convert string to float"),
        ("!!timestamp x", "cannot be read"),
        ("!!bool x", "cannot be read"),
        ("9" * 5000, "Exceeds the limit"),
        ("[" * 2000, "nest"),
        ("".join(f"{' ' * depth}a:\n" for depth in range(3000)), "nested deeper than 50"),
        (BOMB, "stands for more than 200,000 values"),
        ("a: &a [*a]", "inside what it stands for"),
        ("a: 1\nb: 2\na: 3", "the key a is there twice"),
        ("!!python/object/apply:os.system [ls]", "could not determine a constructor"),
    ],
)
def test_what_is_no_value_is_refused_in_words(text: str, words: str) -> None:
    with pytest.raises(NotYamlError, match=words):
        parse_yaml(text)


def test_merged_keys_may_be_overridden() -> None:
    assert parse_yaml("a: &a {x: 1, y: 2}\nb: {<<: *a, x: 3}") == {"a": {"x": 1, "y": 2}, "b": {"x": 3, "y": 2}}


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "big.yaml"
    with path.open("wb") as file:
        file.truncate(10**9)
    with pytest.raises(NotYamlError, match="1,000,000,000 bytes, and may have 4,000,000"):
        read_yaml(path)


def test_a_configuration_names_the_line_of_a_key_that_is_there_twice(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("flow: {every: 2}\nmodel: a.onnx\nflow: {max_frames: 3}\n")
    with pytest.raises(ConfigError, match=r"mine.yaml, line 3: is not YAML: the key flow is there twice"):
        load_config(str(path))


@pytest.mark.parametrize("value", ["2001-99-99", "!!int x", "[" * 2000])
def test_a_setting_that_is_no_value_is_one_line(value: str) -> None:
    with pytest.raises(ConfigError, match=r"--set model: .* is not a YAML value"):
        load_config(settings=[f"model={value}"])
