"""Screenshots of the live page: a run of drawn streets in, pictures and a moving one for the documents out.

    python -m tools.live_screenshots docs/images [--only live-page live-editor]

Needs Debian's chromium and the extra serve; the pictures are JPEGs, and small, the moving one is a WebP.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from tests.support.chromium import Tab, opened_tab

_SOURCES = """sources:
  - {url: "sim:traffic?seed=3&size=640x360", name: avenue}
  - {url: "sim:traffic?seed=8&size=640x360", name: crossing}
lines: {gate: "0.5,0.3,0.5,1"}
zones: {yard: {points: "0.55,0.5,0.95,0.5,0.98,0.9,0.6,0.95", classes: [bus, truck]}}
events: {clip_before_s: 0.5, clip_after_s: 0.5}
"""
_FILL_SECONDS = 25.0  # until the charts show something
_SETTLE_SECONDS = 6.0  # until boxes show


@dataclass(frozen=True, slots=True)
class Screenshot:
    """A picture of the page. script: what is done on it before."""

    name: str
    size_wh: tuple[int, int]
    theme: str = "light"
    script: str = ""


SCREENSHOTS = (
    Screenshot("live-desktop", (1280, 800)),
    Screenshot("live-dark", (1280, 860), theme="dark", script="document.querySelector('.enlarge').click()"),
    Screenshot(
        "live-clip",
        (1280, 860),
        script="document.querySelector('.is-large .enlarge').click(); document.querySelector('#events button').click()",
    ),
    Screenshot("live-phone", (390, 780), theme="dark", script="document.getElementById('clip')?.close()"),
)
_FILM = "live-page"
_FILM_WH = (1120, 760)
_FILM_SIZE_WH = (728, 494)  # of its pictures
_FILM_FPS = 5.0
_STILL_SECONDS = 1.5  # at the beginning and the end


class Hand:
    """A mouse over a page, which films what it does."""

    def __init__(self, tab: Tab) -> None:
        self._tab = tab
        self._at = (560.0, 300.0)
        self.pictures: list[Image.Image] = []
        tab.run(_POINTER)

    def wait(self, seconds: float) -> None:
        """Film what happens by itself."""
        for _ in range(round(seconds * _FILM_FPS)):
            self._film()
            time.sleep(0.5 / _FILM_FPS)

    def go(self, x: float, y: float, *, steps: int = 5, is_down: bool = False) -> None:
        """Move to a point of the page, in pixels."""
        begin = self._at
        for step in range(1, steps + 1):
            self._at = tuple(a + (b - a) * step / steps for a, b in zip(begin, (x, y), strict=True))  # type: ignore[assignment]
            self._send("mouseMoved", is_down=is_down)
            self._film()

    def drag(self, begin: tuple[float, float], end: tuple[float, float]) -> None:
        """From one point to another, with the button down."""
        self.go(*begin)
        self._send("mousePressed", is_down=True)
        self.go(*end, steps=9, is_down=True)
        self._send("mouseReleased", is_down=False)
        self.wait(0.5)

    def click(self, selector: str) -> None:
        """In the middle of an element."""
        x, y, width, height = self.box(selector)
        self.go(x + width / 2, y + height / 2)
        self._send("mousePressed", is_down=True)
        self._send("mouseReleased", is_down=False)
        self.wait(0.5)

    def box(self, selector: str) -> tuple[float, float, float, float]:
        """Left, top, width and height of an element."""
        rect = f"document.querySelector({json.dumps(selector)}).getBoundingClientRect()"
        x, y, width, height = self._tab.run(f"(({{ x, y, width, height }}) => [x, y, width, height])({rect})")
        return x, y, width, height

    def _send(self, kind: str, *, is_down: bool) -> None:
        x, y = self._at
        self._tab.run(f"window.__pointer({x}, {y})")
        self._tab.call(
            "Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=int(is_down), clickCount=1
        )

    def _film(self) -> None:
        data = base64.b64decode(self._tab.call("Page.captureScreenshot", format="png")["data"])
        self.pictures.append(
            Image.open(io.BytesIO(data)).convert("RGB").resize(_FILM_SIZE_WH, Image.Resampling.LANCZOS)
        )


_POINTER = """(() => {
  const arrow = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  arrow.setAttribute("viewBox", "0 0 24 24");
  arrow.style.cssText = "position:fixed;z-index:99;width:26px;height:26px;pointer-events:none;left:0;top:0";
  arrow.innerHTML = '<path d="M4 2l16 11h-7l4 8-3 1.5-4-8-6 5z" fill="#fff" stroke="#111" stroke-width="1.5"/>';
  document.body.append(arrow);
  window.__pointer = (x, y) => { arrow.style.transform = `translate(${x - 4}px, ${y - 2}px)`; };
  return 0;
})()"""


def film(tab: Tab, folder: Path) -> list[Path]:
    """A line and a zone that are drawn and saved, as a moving picture; and the editor, as one that stands still."""
    width, height = _FILM_WH
    tab.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
    tab.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    tab.run("window.scrollTo(0, 0)")
    hand = Hand(tab)
    hand.wait(_STILL_SECONDS)
    hand.click(".edit")
    left, top, wide, high = hand.box(".is-large .editor")

    def at(x: float, y: float) -> tuple[float, float]:
        return left + x * wide, top + y * high

    hand.drag(at(0.5, 0.3), at(0.42, 0.36))
    hand.click(".is-large .add-line")
    hand.drag(at(0.06, 0.7), at(0.38, 0.97))
    hand.wait(1.0)
    path = take(tab, Screenshot("live-editor", _FILM_WH, theme="dark", script="0"), folder)
    hand.click(".is-large .save")
    hand.click(".is-large .done")
    hand.wait(_STILL_SECONDS)
    moving = folder / f"{_FILM}.webp"
    first, *others = hand.pictures
    duration = round(1000 / _FILM_FPS)
    first.save(moving, save_all=True, append_images=others, duration=duration, loop=0, quality=36, method=1)
    return [path, moving]


def take(tab: Tab, shot: Screenshot, folder: Path) -> Path:
    """The file that a picture was written to."""
    width, height = shot.size_wh
    tab.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)
    tab.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": shot.theme}])
    tab.run(f"{shot.script}; document.activeElement.blur(); window.scrollTo(0, 0)")
    time.sleep(2.0)  # until the boxes fit
    data = tab.call("Page.captureScreenshot", format="jpeg", quality=56)["data"]
    path = folder / f"{shot.name}.jpg"
    path.write_bytes(base64.b64decode(data))
    return path


def main(arguments: Sequence[str] | None = None) -> None:
    """Run, wait until there is something to see, and take all pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="leave out all others")
    options = parser.parse_args(arguments)
    shots = [shot for shot in SCREENSHOTS if options.only is None or shot.name in options.only]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        run = _run(Path(folder), port)
        try:
            _wait_for(port)
            with opened_tab(f"http://127.0.0.1:{port}/", Path(folder, "profile")) as tab:
                time.sleep(_FILL_SECONDS)
                for shot in shots:
                    print(take(tab, shot, options.folder))
                if options.only is None or _FILM in options.only:
                    tab.open(f"http://127.0.0.1:{port}/")
                    time.sleep(_SETTLE_SECONDS)
                    print(*film(tab, options.folder), sep="\n")
        finally:
            run.terminate()
            run.wait()


def _run(folder: Path, port: int) -> subprocess.Popen[bytes]:
    """A run of both sources, whose events leave clips and snapshots in a folder."""
    config = folder / "sources.yaml"
    config.write_text(_SOURCES, encoding="utf-8")
    words = ["--config", str(config), "-m", "demo", "--live", "--rate", "12", "--serve", str(port)]
    words += ["--clips", str(folder / "clips"), "--snapshots", str(folder / "snapshots")]
    return subprocess.Popen([sys.executable, "-m", "pipeline.app.cli", "run", *words], stdout=subprocess.DEVNULL)


def _wait_for(port: int) -> None:
    for _ in range(300):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            time.sleep(0.1)
    raise SystemExit("the run did not listen within 30 s")


if __name__ == "__main__":
    main()
