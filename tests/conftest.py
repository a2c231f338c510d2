"""Fixtures of many tests: a small video, a small detector, and the command line."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

from pipeline.app import cli
from tests.support.command_line import Done, Streamdet
from tests.support.tiny_detector import write_boxes_detector

# Before anybody imports torch, here or in a child: workers run on every core already, and two threads on a busy core
# wait for each other many times longer than they compute.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# The same examples in every run, and no opinion about how fast a shared machine is.
settings.register_profile("streamdet", deadline=None, derandomize=True)
settings.load_profile("streamdet")


@pytest.fixture(scope="session")
def small_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30 black frames of 96 × 64 at 10 frames/s, H.264."""
    import av  # after OpenCV, see pipeline/sinks/__init__.py

    path = tmp_path_factory.mktemp("video") / "black.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 10)
        for index in range(30):
            frame = av.VideoFrame.from_ndarray(np.zeros((64, 96, 3), np.uint8), format="bgr24")
            frame.pts = index
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="session")
def small_detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Finds a cat and, less surely, a dog in every black picture."""
    rows = [(8.0, 16.0, 24.0, 32.0, 0.9, 0), (32.0, 24.0, 56.0, 44.0, 0.4, 1)]
    return write_boxes_detector(tmp_path_factory.mktemp("model") / "cats.onnx", rows, dtype="uint8")


@pytest.fixture
def streamdet(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Streamdet]:
    """The command line, in this process because each start costs a second."""
    monkeypatch.setenv("COLUMNS", "300")
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level

    def run(*words: object) -> Done:
        typed = ["streamdet", *map(str, words)]
        monkeypatch.setattr("sys.argv", typed)
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            cli.main()
        printed = capsys.readouterr()
        assert isinstance(left.value.code, int)
        return Done(typed, left.value.code, printed.out, printed.err)

    yield run
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture(autouse=True)
def _no_display(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests open no windows, unless they say so."""
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
