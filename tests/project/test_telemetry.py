"""Telemetry: a command leaves nothing behind outside our cache folder, and no library reports to its maker."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.app.model_files import DEMO_MODEL
from pipeline.telemetry import OPT_OUTS

ROOT = Path(__file__).parents[2]
STREET = "sim:traffic?seed=1&seconds=1&size=320x240"
PROGRAM = f"""
import pipeline
assert len(list(pipeline.detect({STREET!r}))) == 30
"""


def environment_of_a_newcomer(home: Path) -> dict[str, str]:
    """What this process has, without anything that says where to write or what not to send, and with empty folders."""
    ours = {*OPT_OUTS, "MPLCONFIGDIR", "CI", "DO_NOT_TRACK"}
    kept = {
        name: value for name, value in os.environ.items() if name not in ours and not name.startswith(("XDG_", "HF_"))
    }
    folders = {f"XDG_{name}_HOME": str(home / name.lower()) for name in ("CACHE", "CONFIG", "DATA", "STATE")}
    return kept | {"HOME": str(home), "PYTHONPATH": str(ROOT)} | folders


@pytest.mark.parametrize(
    "words",
    [
        ["run", STREET, "--jsonl", "o.jsonl", "-o", "o.mp4"],
        ["inspect", str(DEMO_MODEL), "--why"],
        ["doctor"],
        ["flops", str(DEMO_MODEL)],
        ["export", "--list"],
        ["eval", "--data", STREET, "--charts", "charts"],
        [
            "bench",
            STREET,
            "--outputs",
            "boxes",
            "--warm-up",
            "0",
            "--seconds",
            "0.5",
            "--repeats",
            "1",
            "--html",
            "b.html",
        ],
    ],
    ids=lambda words: words[0],
)
def test_a_command_writes_nothing_outside_our_cache_folder(tmp_path: Path, words: list[str]) -> None:
    if words[0] in ("flops", "eval", "bench"):
        pytest.importorskip("matplotlib", reason="the extra measure is not installed")
    assert written_by(tmp_path, ["-m", "pipeline.app.cli", *words]) == []


def test_nor_does_a_program(tmp_path: Path) -> None:
    assert written_by(tmp_path, ["-c", PROGRAM]) == []


def written_by(folder: Path, words: list[str]) -> list[str]:
    """Runs Python with a home and a folder of its own; what is in the home after it, outside our cache folder."""
    home, work = folder / "home", folder / "work"
    home.mkdir()
    work.mkdir()
    done = subprocess.run(
        [sys.executable, *words],
        cwd=work,
        env=environment_of_a_newcomer(home),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    ours = home / "cache" / "streamdet"
    return [str(path.relative_to(home)) for path in home.rglob("*") if path.is_file() and not path.is_relative_to(ours)]


@pytest.mark.parametrize("package", ["pipeline", "export", "benchmarks"])
def test_importing_a_package_opts_out_for_it_and_for_what_it_starts(tmp_path: Path, package: str) -> None:
    child = f"import os; print([os.environ.get(name) for name in {list(OPT_OUTS)!r}])"
    program = f"import subprocess, sys, {package}; subprocess.run([sys.executable, '-c', {child!r}], check=True)"
    environment = environment_of_a_newcomer(tmp_path)
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=60)
    assert done.stdout == f"{list(OPT_OUTS.values())}\n", done.stderr


def test_who_wants_to_report_may() -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "ORT_DISABLE_TELEMETRY": "0"}
    program = "import pipeline, os; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=60)
    assert done.stdout == "0\n"
