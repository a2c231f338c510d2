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


SHOW_SEVERAL = """
import sys
import cv2, numpy as np
from pipeline.picture.detections import Detections, RenderedFrame, Result
from pipeline.picture.frame import Frame
from pipeline.picture.display import screen_wh
from pipeline.sinks.window import Window
shown, now = [], [0.0]
imshow = cv2.imshow
cv2.imshow = lambda title, pixels: (shown.append(pixels.copy()), imshow(title, pixels))
sizes = {"door": (640, 480), "/path of/yard": (640, 480), "lane": None}
tiles = {"yard.mp4": "/path of/yard"}
name = lambda result: [result.frame.source_id]
window = Window("several", sizes_wh=sizes, tiles=tiles, overlay=name, clock=lambda: now[0])
def write(source, value, index):
    pixels = np.full((480, 640, 3), value, np.uint8)
    frame = Frame.from_pixels(pixels, source_id=source, index=index)
    window.write(RenderedFrame(Result(frame, Detections.empty(), ()), pixels))
print(*screen_wh(), *window._captions.values())
print(window._mosaic.grid.size_wh[0] <= 720 and window._mosaic.grid.size_wh[1] <= 540)
write("door", 50, 3); write("/path of/yard", 200, 8)
now[0] = 1.0; window.poll()
now[0] = 10.0; write("yard.mp4", 210, 9); window.poll()
before = shown[-1]
now[0] = 20.0; window.poll()
print(len(shown), (shown[-1] != before).any(), (shown[0] != before).any())
cv2.imwrite(sys.argv[1] + "/shown.jpg", shown[0])
cv2.imwrite(sys.argv[1] + "/stalled.jpg", shown[-1])
print(*sorted(path.name for path in window.save()))
now[0] = 30.0; write("gate", 90, 1); window.poll()
print(*window._captions.values(), *shown[-1].shape[:2], *shown[-1][400, 540])
print(window.wants_stop)
window.close()
"""


@needs_xvfb
@pytest.mark.usefixtures("_screen")
def test_several_sources_share_a_window_that_fits_the_screen_and_tells_the_age_of_one_that_stalls(
    tmp_path: Path,
) -> None:
    command = [sys.executable, "-c", SHOW_SEVERAL, str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=tmp_path, env=environment)
    assert done.stdout.splitlines() == [
        "800 600 door yard lane",
        "True",
        "3 True True",
        "door-000003.png yard-000009.png",
        "door yard lane gate 540 720 90 90 90",  # one that comes later gets a tile, too
        "False",
    ], done.stderr
    saved = cv2.imread(str(tmp_path / "yard-000009.png"))
    assert saved is not None
    assert saved.shape == (480, 640, 3)
    assert (saved == 210).all()  # without what only the window shows


def test_the_import_order_that_makes_windows_hang_is_refused() -> None:
    program = (
        "import av, os; os.environ['DISPLAY'] = ':0'\n"
        "import pipeline.picture.display as display, pipeline.sinks.window as window\n"
        "display._reaches_x_server = lambda: True\n"
        "window.Window('streamdet')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert "av was imported before OpenCV: import cv2 first" in done.stderr
