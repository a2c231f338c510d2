"""Does the README's Python run as written, and do its commands use options that exist?"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
BLOCKS = [textwrap.dedent(block) for block in re.findall(r"(?:^(?: {4}.*)?\n)+", README, flags=re.MULTILINE)]
PROGRAMS = [block for block in BLOCKS if re.search(r"^(import|from) pipeline|^from dataclasses", block, re.MULTILINE)]
COMMANDS = sorted(set(re.findall(r"^ {4}(?:.*\| )?streamdet (.*?)(?: {2,}#.*)?$", README, flags=re.MULTILINE)))


OWN_MODEL = next(block for block in BLOCKS if "ADAPTER = Adapter(" in block)


def test_the_own_model_is_exported_verified_and_run_as_written(tmp_path: Path, small_video: Path) -> None:
    torch = pytest.importorskip("torch", reason="the extra export is not installed")
    pytest.importorskip("torchvision", reason="the extra export is not installed")
    (tmp_path / "pets.py").write_text(OWN_MODEL)
    train = """
import torch, pets
torch.manual_seed(0)
model = pets.Pets()
model.classes.weight.data.mul_(20)  # as if it had learnt something: scores differ
torch.save(model.state_dict(), "best.pth")
"""
    subprocess.run([sys.executable, "-c", train], cwd=tmp_path, check=True, timeout=120)
    assert torch.load(tmp_path / "best.pth", weights_only=True)
    shutil.copy(small_video, tmp_path / "street.mp4")
    commands = [command for command in COMMANDS if "pets:ADAPTER" in command or "pets.onnx -o out.mp4" in command]
    assert len(commands) == 2
    for command in commands:
        words = [word.replace("photos/", "street.mp4") for word in shlex.split(command)]
        done = subprocess.run(
            [sys.executable, "-m", "pipeline.app.cli", *words],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=180,
        )
        assert done.returncode == 0, done.stderr
        assert "no parity certificate" not in done.stderr
    assert (tmp_path / "out.mp4").stat().st_size > 0


def test_there_are_programs_and_commands() -> None:
    assert len(PROGRAMS) == 2
    assert len(COMMANDS) >= 7


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_runs_as_written(tmp_path: Path, small_video: Path, small_detector: Path, program: str) -> None:
    shutil.copy(small_video, tmp_path / "street.mp4")
    shutil.copy(small_detector, tmp_path / "yolox_nano.onnx")
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "29 2" in done.stdout or "delivered=30" in done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_uses_options_that_exist(command: str) -> None:
    words = shlex.split(command)
    options = [word for word in words[1:] if word.startswith("-") and word != "-"]
    known = subprocess.run(
        [sys.executable, "-m", "pipeline.app.cli", words[0], "--help"], capture_output=True, text=True, timeout=60
    )
    assert known.returncode == 0, known.stderr
    assert all(re.search(rf"(?<![\w-]){re.escape(option)}\b", known.stdout) for option in options)
