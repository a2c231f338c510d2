"""Examples in docstrings: they print what they say."""

from __future__ import annotations

import doctest
import importlib

import pytest

MODULES = (
    "pipeline.picture.boxes",
    "pipeline.picture.detections",
    "pipeline.picture.letterbox",
    "pipeline.picture.suppression",
)


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_print_what_they_say(name: str) -> None:
    outcome = doctest.testmod(importlib.import_module(name))
    assert outcome.attempted > 0
    assert outcome.failed == 0
