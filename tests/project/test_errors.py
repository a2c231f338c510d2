"""Errors: whatever a file, a name or an address holds, the message is one line that can be printed."""

from __future__ import annotations

import pytest

from pipeline.app import cli
from pipeline.errors import ConfigError, SourceError, StreamdetError, shortage


@pytest.mark.parametrize("kind", [StreamdetError, ConfigError, SourceError])
def test_an_error_is_one_line_without_control_characters(kind: type[StreamdetError]) -> None:
    assert str(kind("got a\nb\r\x1b[31m\u2028c, é")) == "got a b  [31m c, é"


def test_an_error_keeps_the_beginning_and_the_end_of_what_is_too_long() -> None:
    text = str(ConfigError(f"model must be short, got {'x' * 100_000}; choose another"))
    assert len(text) < 2000
    assert text.startswith("model must be short, got xxx")
    assert text.endswith("x; choose another")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError(), "not enough memory"),
        (ImportError("cv2.so: failed to map segment from shared object"), "not enough memory"),
        (RuntimeError("[ONNXRuntimeError] : 1 : FAIL : std::bad_alloc"), "not enough memory"),
        (RuntimeError("can't start new thread"), "no further thread can be started"),
    ],
)
def test_a_machine_that_is_too_small_is_told_in_a_line(
    error: Exception, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run() -> None:
        raise error

    monkeypatch.setattr(cli, "app", run)
    assert cli._run_app() == 1
    assert words in capsys.readouterr().err


def test_no_other_error_passes_for_a_shortage() -> None:
    assert shortage(RuntimeError("a stage broke")) is None
    assert shortage(ValueError("thread")) is None
