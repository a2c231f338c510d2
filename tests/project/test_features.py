"""Features: each row of the page names a command that is typed so, and a test that exists."""

from __future__ import annotations

import re
import shlex

import pytest

from pipeline.app.cli import COMMANDS
from pipeline.app.commands import options_of
from tools.figures import ROOT

ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in (ROOT / "docs" / "features.md").read_text(encoding="utf-8").splitlines()
    if line.startswith("| ") and "`" in line
]
FLAGS = {
    command.name: {
        flag for option in options_of(command.options) for names in option.flags for flag in names.split("/")
    }
    for command in COMMANDS
}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_the_test_of_a_feature_exists(row: list[str]) -> None:
    file, _, name = row[3].strip("`").partition("::")
    assert f"def {name or 'test_'}" in (ROOT / file).read_text(encoding="utf-8")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_the_command_of_a_feature_is_one_that_can_be_typed(row: list[str]) -> None:
    for code in re.findall("`([^`]+)`", row[1]):
        if "(" in code:  # Python
            continue
        first, *words = shlex.split(code)
        known = FLAGS["run"] if first.startswith("-") else FLAGS[first]
        typed = [word for word in (first, *words) if word.startswith("-") and word != "-"]
        assert set(typed) <= known | {"--help", "-h"}


def test_every_feature_has_all_cells() -> None:
    assert len(ROWS) > 25
    assert all(len(row) == 4 and all(row) for row in ROWS)
