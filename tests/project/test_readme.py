"""README: its Python runs as written, its commands use options that exist, and its links lead somewhere."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tools.reference import commands, options_of

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = [textwrap.dedent(block) for block in re.findall(r"(?:^(?: {4}.*)?\n)+", README, flags=re.MULTILINE)]
PROGRAMS = [block for block in BLOCKS if re.search(r"^(import|from) streamdet|^from dataclasses", block, re.MULTILINE)]
COMMANDS = sorted(set(re.findall(r"^ {4}(?:.*\| )?streamdet (.*?)(?: {2,}#.*)?$", README, flags=re.MULTILINE)))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_there_are_programs_and_commands() -> None:
    assert len(PROGRAMS) == 2
    assert len(COMMANDS) >= 7


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_runs_as_written(tmp_path: Path, small_video: Path, small_detector: Path, program: str) -> None:
    shutil.copy(small_video, tmp_path / "street.mp4")
    shutil.copy(small_detector, tmp_path / "yolox_nano.onnx")
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "1 cat, 1 dog in street.mp4, frame 29 (96×64)" in done.stdout or "delivered=30" in done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_uses_options_that_exist(command: str) -> None:
    name, *words = shlex.split(command)
    options = {word for word in words if word.startswith("-") and word != "-"}
    assert options <= options_of(commands()[name])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_link_leads_to_a_file(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8"))
    # The reference pages are made when the site is built.
    assert not [
        target for target in targets if not target.startswith("reference/") and not (page.parent / target).exists()
    ]


def test_the_first_screen_shows_a_picture_and_a_run_with_a_real_model() -> None:
    first_screen = README.splitlines()[:25]
    assert any("docs/images/street.jpg" in line for line in first_screen)
    assert any("streamdet run street.mp4 -m yolox-nano -o out.mp4" in line for line in first_screen)
    assert (ROOT / "docs" / "images" / "street.jpg").stat().st_size <= 150_000
