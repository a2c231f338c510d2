"""Public names: `import streamdet` is cheap, has every name of `pipeline`, and is the command line."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import assert_type

import pytest

import pipeline
import streamdet
from pipeline.version import __version__

ROOT = Path(__file__).parents[2]
HEAVY = ("av", "cv2", "numpy", "onnx", "onnxruntime", "pandas", "PIL", "pydantic", "rich", "torch", "typer", "yaml")


def python(*words: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_DISABLE_TELEMETRY")}
    command = [sys.executable, *words]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.strip()


def test_to_import_it_loads_no_library() -> None:
    program = f"import streamdet, sys; print([name for name in {HEAVY} if name in sys.modules])"
    assert python("-c", program) == "[]"


def test_it_switches_off_telemetry_as_pipeline_does() -> None:
    assert python("-c", "import streamdet, os; print(os.environ['ORT_DISABLE_TELEMETRY'])") == "1"


def test_it_has_the_names_of_pipeline_and_they_are_the_same_objects() -> None:
    assert dir(streamdet) == dir(pipeline)
    assert [name for name in dir(streamdet) if getattr(streamdet, name) is not getattr(pipeline, name)] == []


def test_a_star_takes_every_public_name() -> None:
    program = "from streamdet import *; import streamdet; print(set(dir(streamdet)) - set(globals()))"
    assert python("-c", program) == "set()"


def test_another_name_is_refused_as_of_any_module() -> None:
    with pytest.raises(AttributeError, match=r"^module 'streamdet' has no attribute 'detct'$"):
        streamdet.detct  # type: ignore[attr-defined]  # noqa: B018


def test_a_type_checker_knows_the_names() -> None:
    """Checked by mypy, which also refuses the wrong name above: an unused `ignore` is an error."""
    results: Iterator[streamdet.Result] = iter(())
    assert_type([result.detections for result in results], list[pipeline.Detections])


def test_it_is_the_command_line() -> None:
    assert python("-m", "streamdet", "--version") == f"streamdet {__version__}"
