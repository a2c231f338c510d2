"""Wheel: it holds what an installed streamdet needs."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("hatchling", reason="builds the wheel")
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=120)
    (path,) = folder.glob("*.whl")
    return path


def test_it_holds_the_packages_the_presets_and_the_detector(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {"pipeline/app/cli.py", "export/__init__.py", "pipeline/py.typed", "pipeline/detector/demo.onnx"} <= names
    assert {"pipeline/sources/street/clip.mp4", "pipeline/sources/street/clip.npz"} <= names
    assert {"streamdet/__init__.py", "streamdet/__main__.py", "streamdet/py.typed"} <= names
    assert {"pipeline/serve/page/index.html", "pipeline/serve/page/main.js", "pipeline/serve/page/page.css"} <= names
    assert {f"pipeline/configs/{path.name}" for path in (ROOT / "configs").glob("*.yaml")} <= names
    assert not [name for name in names if name.startswith(("tests/", "benchmarks/"))]


def test_installed_it_finds_its_presets(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path)
    program = "from pipeline.app.config import loading as c; print(c.__file__, c.load_config('webcam').flow.mode)"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60
    )
    place, mode = done.stdout.split()
    assert Path(place).is_relative_to(tmp_path)
    assert mode == "live"
