"""Screenshots of the live page: a run of drawn streets in, pictures for the documents out.

    python -m tools.live_screenshots docs/images

Needs Debian's chromium and the extra serve; the pictures are JPEGs, and small.
"""

from __future__ import annotations

import argparse
import base64
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.chromium import Tab, opened_tab

_SOURCES = """sources:
  - {url: "sim:traffic?seed=3&size=640x360", name: avenue}
  - {url: "sim:traffic?seed=8&size=640x360", name: crossing}
lines: {gate: "0.5,0.3,0.5,1"}
zones: {yard: {points: "0.55,0.5,0.95,0.5,0.98,0.9,0.6,0.95", classes: [bus, truck]}}
events: {clip_before_s: 0.5, clip_after_s: 0.5}
"""
_FILL_SECONDS = 25.0  # until the charts show something


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
    Screenshot("live-phone", (390, 780), theme="dark", script="document.getElementById('clip').close()"),
)


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
    options = parser.parse_args(arguments)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        run = _run(Path(folder), port)
        try:
            _wait_for(port)
            with opened_tab(f"http://127.0.0.1:{port}/", Path(folder, "profile")) as tab:
                time.sleep(_FILL_SECONDS)
                for shot in SCREENSHOTS:
                    print(take(tab, shot, options.folder))
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
