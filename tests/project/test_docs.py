"""Docs: commands and programs of the pages run as written, and the reference pages cover the code.

Words after a fence's language say what a block needs: `camera`, `network`, `gpu`, `install`, `flags` (files of the
reader's own) and `slow` are checked only for commands and options that exist; `torch`, `measure`, `tables`,
`supervision` and `pipe` run where that is installed.
"""

from __future__ import annotations

import importlib.util
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

import pipeline
from benchmarks.fixed_detector import write_fixed_detector
from pipeline.app.config.run import RunConfig
from tests.support.published import publish_in_children, row_for
from tests.support.tiny_classifier import write_classifier
from tools.figures import source_files
from tools.reference import commands, configuration_page, options_of, python_page

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [DOCS / "quick-start.md", *sorted((DOCS / "how-to").glob("*.md"))]
ONLY_CHECKED = {"camera", "network", "gpu", "install", "flags", "slow"}
NEEDED_MODULES = {
    "torch": ("torch", "torchvision", "onnx"),
    "measure": ("pycocotools",),
    "tables": ("pandas", "pyarrow"),
    "pipe": (),
    "supervision": ("supervision",),
}


@dataclass(frozen=True)
class Fence:
    """A fenced block of a page."""

    language: str
    words: tuple[str, ...]
    text: str

    @property
    def commands(self) -> list[str]:
        return [line for line in self.text.splitlines() if line.strip()] if self.language == "bash" else []


def fences_of(page: Path) -> list[Fence]:
    blocks = re.findall(r"^```(\w+)(.*)\n((?:.*\n)*?)```$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return [Fence(language, tuple(words.split()), text) for language, words, text in blocks]


def is_runnable(fence: Fence) -> bool:
    missing = [
        module
        for word in fence.words
        for module in NEEDED_MODULES.get(word, ())
        if importlib.util.find_spec(module) is None
    ]
    has_pipe = "pipe" not in fence.words or shutil.which("ffmpeg") is not None
    return not missing and has_pipe and not ONLY_CHECKED & set(fence.words)


def streamdet_calls(command: str) -> list[list[str]]:
    """The words after `streamdet` of every command of a line."""
    parts = re.split(r"\s(?:&&|\|)\s", command)
    return [words[1:] for words in map(shlex.split, parts) if words[0] == "streamdet"]


@pytest.fixture
def desk(tmp_path: Path, small_video: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A reader's folder: a video, a model of COCO's classes, by name as well, a classifier, and photographs."""
    pytest.importorskip("onnx", reason="writes an ONNX file")
    shutil.copy(small_video, tmp_path / "street.mp4")
    write_fixed_detector(tmp_path / "yolox_nano.onnx", 2)
    write_classifier(tmp_path / "colours.onnx", metadata={"task": "classify"})
    monkeypatch.setenv("STREAMDET_MODELS", str(tmp_path))
    publish_in_children(monkeypatch, tmp_path / "site", row_for("yolox-nano", tmp_path / "yolox_nano.onnx"))
    (tmp_path / "photos").mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8)
    assert cv2.imwrite(str(tmp_path / "photos" / "a.png"), noise)
    return tmp_path


def run_fence(fence: Fence, folder: Path) -> None:
    for target in (word.removeprefix("file=") for word in fence.words if word.startswith("file=")):
        (folder / target).write_text(fence.text, encoding="utf-8")
        return
    streamdet = f"{shlex.quote(sys.executable)} -m pipeline.app.cli"
    script = re.sub(r"(?m)(^|(?<=\| ))streamdet(?= )", streamdet, fence.text)
    call = ["bash", "-eo", "pipefail", "-c", script] if fence.language == "bash" else [sys.executable, "-c", script]
    done = subprocess.run(call, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"{fence.text}\n{done.stderr}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_runs_as_written(desk: Path, page: Path) -> None:
    runnable = [
        fence for fence in fences_of(page) if fence.language in ("bash", "python", "yaml") and is_runnable(fence)
    ]
    for fence in runnable:
        run_fence(fence, desk)
    for name in {name for fence in runnable for name in re.findall(r"-o (\S+)", fence.text)}:
        assert (desk / name).stat().st_size > 0


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_uses_commands_and_options_that_exist(page: Path) -> None:
    by_name = commands()
    calls = [call for fence in fences_of(page) for command in fence.commands for call in streamdet_calls(command)]
    assert calls
    for name, *words in calls:
        options = {word.partition("=")[0] for word in words if word.startswith("-") and word != "-"}
        assert options <= options_of(by_name[name]), f"streamdet {name} {' '.join(words)}"


def test_a_block_says_what_it_needs_in_known_words() -> None:
    words = {word for page in PAGES for fence in fences_of(page) for word in fence.words}
    assert {word for word in words if not word.startswith("file=")} <= ONLY_CHECKED | set(NEEDED_MODULES)


def test_every_key_and_every_public_name_has_a_reference() -> None:
    keys = [
        f"`{section}.{key}`"
        for section, field in RunConfig.model_fields.items()
        for key in getattr(field.annotation, "model_fields", ())
    ]
    configuration, python = configuration_page(), python_page()
    assert len(keys) > 30
    assert [key for key in keys if key not in configuration] == []
    assert [name for name in dir(pipeline) if not name.startswith("__") and f"## {name}\n" not in python] == []


def test_every_quoted_error_is_one_of_the_code() -> None:
    quoted = re.findall(
        r'"([^"]+)"', "\n".join(re.findall(r"^### (.*)$", (DOCS / "troubleshooting.md").read_text(), re.M))
    )
    code = "\n".join(file.text for file in source_files("pipeline", "export"))
    assert len(quoted) > 10
    assert [words for words in quoted if words not in code] == []


def test_the_site_is_built_without_a_warning_and_needs_no_network(tmp_path: Path) -> None:
    pytest.importorskip("sphinx", reason="the extra docs is not installed")
    pytest.importorskip("myst_parser", reason="the extra docs is not installed")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", str(DOCS), str(tmp_path / "site")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    for page in (tmp_path / "site").rglob("*.html"):
        loaded = re.findall(r'<(?:script|link|img)[^>]* (?:src|href)="([^"]+)"', page.read_text(encoding="utf-8"))
        assert not [address for address in loaded if address.startswith(("http", "//", "/"))], page
