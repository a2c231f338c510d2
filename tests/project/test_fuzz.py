"""Fuzzing: each target takes its first documents in peace, and the driver notices what it is there to notice."""

from __future__ import annotations

import logging
import sys
import time
import warnings
from pathlib import Path

import pytest
from hypothesis import strategies as st

from benchmarks.fuzz import Tally, _where, outcome, save, watch
from benchmarks.fuzzing.targets import TARGETS, Target
from pipeline.errors import ConfigError

QUICK = tuple(name for name in TARGETS if name not in ("onnx", "traffic", "image"))  # of seconds each


@pytest.mark.parametrize("name", QUICK)
def test_the_first_documents_of_a_target_are_taken_or_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hypothesis import HealthCheck, Phase, given, settings

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(logging.root.manager, "disable", logging.CRITICAL)
    target, tally, crashes = TARGETS[name], Tally(), []

    @settings(max_examples=15, phases=[Phase.generate], suppress_health_check=list(HealthCheck), database=None)
    @given(target.documents)
    def read(document: bytes) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            crash = outcome(target, document, tmp_path / "folder", tally)
        if crash is not None:
            crashes.append((crash, document))

    read()
    assert crashes == []
    assert tally.num >= 10


def test_what_is_no_refusal_is_a_crash(tmp_path: Path) -> None:
    def act(document: bytes, _: Path) -> object:
        if document == b"refused":
            raise ConfigError("this is no configuration")
        return {b"sound": 0}[document]

    target = Target(st.just(b""), act)
    tally = Tally()
    assert outcome(target, b"sound", tmp_path / "a", tally) is None
    assert outcome(target, b"refused", tmp_path / "a", tally) is None
    assert "KeyError" in str(outcome(target, b"other", tmp_path / "a", tally))
    assert tally.num == 3
    assert list(tally.errors.values()) == [1]


def test_a_document_that_takes_too_long_is_a_crash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def act(_: bytes, __: Path) -> object:
        while True:
            time.monotonic()

    monkeypatch.setattr("benchmarks.fuzz.DEADLINE_SECONDS", 0.05)
    assert "Overdue" in str(outcome(Target(st.just(b""), act), b"", tmp_path / "a", Tally()))


def test_a_child_that_dies_is_a_crash_with_its_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = "import os, pathlib; pathlib.Path(os.environ['FUZZ_WORK'], 'document').write_bytes(b'boom'); os.abort()"
    (tmp_path / "python").write_text(f'#!/bin/sh\nexec {sys.executable} -c "{program}"\n')
    (tmp_path / "python").chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    tally = watch("config", 0, 0.2, tmp_path / "failures")
    ((why, file),) = tally.crashes.items()
    assert "ends the process (-6)" in why
    assert Path(file).read_bytes() == b"boom"
    assert file == str(save(b"boom", "config", tmp_path / "failures"))
    assert _where(KeyError()) == "the target"
