"""What reaches a terminal: rich's own codes, and of names and texts only what can be read."""

from __future__ import annotations

import io
import logging
import re

import pytest
from rich.live import Live
from rich.table import Table
from rich.text import Text

from pipeline.app.config.loading import source_of
from pipeline.app.logs import log_to_stderr, tell_error
from pipeline.app.terminal import SafeConsole, tell
from pipeline.errors import ConfigError
from tests.support.command_line import Streamdet

HOSTILE = "do\x1b]0;title\x07or\x1b[2J\x1b[31m\x9b1A門\u2028"
SHOWN = "do]0;titleor[2J[31m1A門"


def printed(*, terminal: bool) -> str:
    console = SafeConsole(
        file=io.StringIO(), force_terminal=terminal, color_system="standard" if terminal else None, width=80
    )
    table = Table("name", "state")
    table.add_row(HOSTILE, Text(HOSTILE, style="red"))
    with Live(table, console=console, refresh_per_second=1, redirect_stdout=False, redirect_stderr=False) as live:
        live.update(table, refresh=True)
        tell(console, HOSTILE, "green")
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def test_names_cannot_steer_a_terminal_and_its_own_codes_stay() -> None:
    text = printed(terminal=True)
    own = re.findall("\x1b\\[[0-9;?]*[A-Za-z]", text)
    assert "\x1b[31m" in own  # the red of the state, not that of a name
    assert "\x1b[32m" in own
    assert "\x1b[?25l" in own  # the cursor, which a live panel hides
    assert "\x1b[2J" not in own
    rest = re.sub("\x1b\\[[0-9;?]*[A-Za-z]", "", text)
    assert not [letter for letter in rest if not letter.isprintable() and letter not in "\r\n"]
    assert rest.count(SHOWN) >= 3


def test_a_log_has_no_codes_at_all() -> None:
    text = printed(terminal=False)
    assert SHOWN in text
    assert all(letter.isprintable() or letter == "\n" for letter in text)


def test_warnings_and_errors_are_one_line_each_whatever_they_name(
    capsys: pytest.CaptureFixture[str], streamdet: Streamdet
) -> None:
    log_to_stderr(verbose=False)
    logging.getLogger("pipeline").warning("%s: broke off", f"a\nstreamdet: error: {HOSTILE}")
    tell_error(f"{HOSTILE}: is gone")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert all(line.isprintable() for line in lines)


@pytest.mark.parametrize("name", ["a\x1b[31m", "a\nb", "a\x7f", "\x9b2J", "a\u2028", " a", "a ", "\t"])
def test_a_source_with_a_name_that_cannot_be_printed_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=r"source\.name must have no control characters, and no blank at its begin"):
        source_of({"url": "a.mp4", "name": name}, "the request")


@pytest.mark.parametrize("name", ["Tür 3 (links)", "門", "दरवाज़ा", "a/b: 'c', #2!", "😀"])
def test_a_source_may_have_any_readable_name(name: str) -> None:
    assert source_of({"url": "a.mp4", "name": name}, "the request").name == name
