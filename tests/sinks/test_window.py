"""Window: it shows, pauses, saves and ends by its keys, and is refused without a display."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from ctypes.util import find_library
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.errors import SinkError
from pipeline.picture.detections import Detections, RenderedFrame, Result
from pipeline.picture.frame import Frame
from pipeline.sinks.window import Window, has_display

needs_xvfb = pytest.mark.skipif(
    shutil.which("Xvfb") is None or shutil.which("xdotool") is None, reason="needs Xvfb and xdotool"
)


@pytest.fixture
def _screen(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A screen of its own, its number chosen by the server, which says it when it is ready."""
    reader, writer = os.pipe()
    command = ["Xvfb", "-displayfd", str(writer), "-screen", "0", "800x600x24"]
    with subprocess.Popen(command, pass_fds=[writer], stderr=subprocess.DEVNULL) as server:
        os.close(writer)
        with os.fdopen(reader) as ready:
            monkeypatch.setenv("DISPLAY", f":{ready.readline().strip()}")
        monkeypatch.setenv("QT_LOGGING_RULES", "*=false")
        yield
        server.terminate()


def rendered(value: int, index: int = 0) -> RenderedFrame:
    pixels = np.full((120, 160, 3), value, np.uint8)
    frame = Frame.from_pixels(pixels, source_id="street.mp4", index=index)
    return RenderedFrame(Result(frame, Detections.empty(), ("dog",)), pixels)


def press(key: str, window: Window, title: str) -> None:
    search = subprocess.run(["xdotool", "search", "--name", title], capture_output=True, text=True, timeout=20)
    for number in search.stdout.split():
        subprocess.run(["xdotool", "windowfocus", number, "key", "--window", number, key], timeout=20, check=True)
    for _ in range(50):
        window.poll()


def test_without_a_display_the_error_says_what_to_do() -> None:
    assert not has_display()
    with pytest.raises(SinkError, match="no display to show a window on; use --no-show"):
        Window("streamdet")


@pytest.mark.skipif(find_library("X11") is None, reason="needs libX11")
def test_a_display_that_cannot_be_reached_is_an_error_and_no_abort(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPLAY", ":9999")
    with pytest.raises(SinkError, match="the display ':9999' cannot be reached; use --no-show"):
        Window("streamdet")


@needs_xvfb
@pytest.mark.usefixtures("_screen")
def test_keys_pause_save_and_end_and_so_does_closing_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    window = Window("streamdet test")
    window.write(rendered(10, index=7))
    window.poll()
    press("s", window, "streamdet test")
    assert [path.name for path in tmp_path.glob("*.png")] == ["street-000007.png"]
    press("space", window, "streamdet test")
    assert window.is_paused
    press("space", window, "streamdet test")
    assert not window.is_paused
    assert not window.wants_stop
    press("q", window, "streamdet test")
    assert window.wants_stop
    # In the same test, because a process has one life with Qt: neither another display nor a new start.
    window.wants_stop = False
    cv2.destroyWindow("streamdet test")  # what Qt does when the person closes the last one
    window.poll()
    assert window.wants_stop
    window.close()
    window.close()


def test_the_import_order_that_makes_windows_hang_is_refused() -> None:
    program = (
        "import av, os; os.environ['DISPLAY'] = ':0'\n"
        "import pipeline.picture.display as display, pipeline.sinks.window as window\n"
        "display._reaches_x_server = lambda: True\n"
        "window.Window('streamdet')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert "av was imported before OpenCV: import cv2 first" in done.stderr
