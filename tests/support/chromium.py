"""Chromium: a page in Debian's headless browser, driven over the DevTools protocol; skipped visibly without one."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

_OPTIONS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0", "--no-first-run"),
    *("--autoplay-policy=no-user-gesture-required", "--mute-audio", "--disable-dev-shm-usage"),
)


class Tab:
    """A page. `run` evaluates JavaScript, awaits what it gives, and returns that."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._number = 0

    def call(self, method: str, **parameters: object) -> Any:
        """A command of the DevTools protocol."""
        self._number += 1
        self._connection.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while (answer := json.loads(self._connection.recv(timeout=60))).get("id") != self._number:
            pass
        assert "error" not in answer, answer
        return answer["result"]

    def open(self, url: str) -> None:
        """Go to an address, and wait until its page is there."""
        self.call("Page.enable")
        self.call("Page.navigate", url=url)
        self._wait_for_page()

    def follow(self, script: str) -> None:
        """Run a script that goes to another page, and wait until that is there."""
        self.run(f"setTimeout(() => {{ {script} }}), 0")
        self._wait_for_page()

    def _wait_for_page(self) -> None:
        while json.loads(self._connection.recv(timeout=60)).get("method") != "Page.loadEventFired":
            pass

    def run(self, script: str) -> Any:
        """The value of a script, as JSON can hold it."""
        answer = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")


@contextmanager
def opened_tab(url: str, profile: Path, *, size_wh: tuple[int, int] = (1100, 900)) -> Iterator[Tab]:
    """The page at an address. profile: an empty folder for the browser's files."""
    sync_client = pytest.importorskip("websockets.sync.client", reason="drives the browser")
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("needs Debian's chromium, which plays H.264")
    options = [*_OPTIONS, f"--user-data-dir={profile}", "--window-size={},{}".format(*size_wh)]
    process = subprocess.Popen(
        [program, *options, "about:blank"],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stderr is not None
        line = next(line for line in process.stderr if "DevTools listening on" in line)
        host = line.split("//")[1].split("/")[0]
        with sync_client.connect(line.split()[-1], max_size=None) as browser:
            targets = Tab(browser).call("Target.getTargets")["targetInfos"]
        target = next(target["targetId"] for target in targets if target["type"] == "page")
        with sync_client.connect(f"ws://{host}/devtools/page/{target}", max_size=None) as page:
            tab = Tab(page)
            tab.open(url)
            yield tab
    finally:
        process.kill()
        process.communicate()


def until(tab: Tab, condition: str) -> Any:
    """The first value of an expression that holds; None where none does for 15 seconds."""
    script = """new Promise((done) => {
      const ends = performance.now() + 15000;
      const look = () => {
        const value = (() => %s)();
        if (value || performance.now() > ends) done(value instanceof Node || value || null);
        else setTimeout(look, 20);
      };
      look();
    })"""
    return tab.run(script % condition)


def press(tab: Tab, key: str) -> None:
    """A key, as a keyboard sends it."""
    for kind in ("rawKeyDown", "char", "keyUp") if key == "Enter" else ("rawKeyDown", "keyUp"):
        codes = {"Enter": 13, "Tab": 9, "Escape": 27, "Delete": 46, "ArrowLeft": 37, "ArrowDown": 40}
        text = {"text": "\r"} if kind == "char" else {}
        tab.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=codes[key], **text)
