"""The page in a real browser: what it asks the run to do, what it says, and how it is used without a mouse."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("uvicorn", reason="the extra serve is not installed")

from pipeline.picture.counting.counts import Counts, LineCounts
from pipeline.picture.counting.event import Event
from pipeline.picture.detections import Detections, Result
from pipeline.picture.frame import Frame
from pipeline.serve.encode import jpeg_of
from pipeline.serve.trust import Policy
from pipeline.serve.view import LiveView, ViewOptions
from tests.support.chromium import Tab, opened_tab
from tests.support.coded_videos import coded_video
from tests.support.events import crossing
from tests.support.live_surface import FakeSurface, served

CONTROLS = frozenset(("button", "link", "slider", "checkbox", "textbox", "searchbox", "DisclosureTriangle", "dialog"))
COUNTS = {
    "lines": {"gate": {"points": [[0, 30], [90, 30]], "in": {"cat": 2, "dog": 1}, "out": {"cat": 4}}},
    "zones": {
        "<b>yard": {"points": [[0, 0], [90, 0], [90, 60]], "inside": {"cat": 5}, "entered": {"cat": 7}, "left": {}}
    },
}
EVENT = {"kind": "crossed", "name": "gate", "class_name": "cat", "track_id": 8, "direction": "in"}


def result(number: int, *events: Event) -> Result:
    frame = Frame.from_pixels(
        np.full((64, 96, 3), 40 + number % 200, np.uint8), index=number, pts_seconds=0.02 * number
    )
    boxes = np.array([[10, 10, 40, 50]], np.float32)
    return Result(
        frame, Detections(boxes, np.full(1, 0.5, np.float32), np.ones(1, np.int64)), ("cat", "dog"), events=events
    )


class Writer:
    """A source that gives 50 pictures a second to its view, until it is stopped."""

    def __init__(self, view: LiveView) -> None:
        self._view = view
        self.events: list[Event] = []  # of the next picture
        self.counts: Counts | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._write)

    def _write(self) -> None:
        number = 0
        while not self._stop.wait(0.02):
            events, self.events = self.events, []
            self._view.write(replace(result(number, *events), counting=self.counts))
            number += 1

    def __enter__(self) -> Writer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


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
    for kind in ("rawKeyDown", "char", "keyUp") if key == "Enter" else ("rawKeyDown", "keyUp"):
        codes = {"Enter": 13, "Tab": 9, "Escape": 27}
        text = {"text": "\r"} if kind == "char" else {}
        tab.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=codes[key], **text)


@pytest.fixture(scope="module")
def view() -> LiveView:
    return LiveView(ViewOptions("door", ("cat", "dog")))


@pytest.fixture(scope="module")
def surface(view: LiveView) -> FakeSurface:
    return FakeSurface({"door": view, "yard": LiveView(ViewOptions("yard", ("cat", "dog")))})


@pytest.fixture(scope="module")
def writer(view: LiveView) -> Iterator[Writer]:
    with Writer(view) as writer:
        yield writer


@pytest.fixture(scope="module")
def tab(surface: FakeSurface, writer: Writer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with served(surface) as url, opened_tab(url, tmp_path_factory.mktemp("profile")) as tab:
        assert until(tab, "document.querySelectorAll('#class-list input').length === 2")
        assert until(tab, "document.querySelector('#detections tbody tr')")
        yield tab


def test_every_control_has_a_name(tab: Tab) -> None:
    tab.run("document.getElementById('classes').open = true")
    nodes = tab.call("Accessibility.getFullAXTree")["nodes"]
    controls = [
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in nodes
        if not node["ignored"] and node["role"]["value"] in CONTROLS
    ]
    assert len(controls) > 15
    assert [control for control in controls if not control[1].strip()] == []
    names = [name for _, name in controls]
    assert {"Enlarge door", "Enlarge yard", "Snapshot of door", "Add source"} <= {name.strip("+ ") for name in names}
    assert any(name.startswith("Score threshold") for name in names)


def test_the_tab_key_reaches_everything_in_the_order_in_which_it_is_read(tab: Tab) -> None:
    order = """[...document.querySelectorAll('a[href],button,input,summary')].filter(
      (element) => !element.disabled && element.checkVisibility() && element.type !== "checkbox")"""
    tab.run(f"document.activeElement.blur(); window.scrollTo(0, 0); window.__order = {order}; 0")
    num = tab.run("window.__order.length")
    reached = []
    for _ in range(num + 8):
        press(tab, "Tab")
        reached.append(tab.run("window.__order.indexOf(document.activeElement)"))
    positions = [position for position in reached if position >= 0][:num]
    start = positions.index(0)
    assert positions[start:] == list(range(num))[: num - start]
    assert set(reached) >= set(range(num))


def test_enter_enlarges_a_source_and_escape_goes_back(tab: Tab) -> None:
    tab.run("document.querySelectorAll('.enlarge')[1].focus()")
    press(tab, "Enter")
    visible = "[...document.querySelectorAll('.tile')].filter((tile) => tile.checkVisibility()).length"
    assert until(tab, f"{visible} === 1")
    assert tab.run("document.activeElement.getAttribute('aria-label')") == "Show all sources beside yard"
    press(tab, "Escape")
    assert until(tab, f"{visible} === 2")
    assert tab.run("document.activeElement.getAttribute('aria-label')") == "Enlarge yard"


def test_the_controls_change_the_run(tab: Tab, surface: FakeSurface) -> None:
    surface.calls.clear()
    tab.run(
        "const slider = document.getElementById('score'); slider.value = 0.7; slider.dispatchEvent(new Event('input'))"
    )
    assert until(tab, "document.getElementById('score').value === '0.7'")
    tab.run("document.querySelector('.pause').click()")
    tab.run("""document.getElementById('show-add').click();
      document.getElementById('add-url').value = ' rtsp://gate/stream ';
      document.querySelector('#add .main').click()""")
    assert until(tab, "!document.getElementById('add').open")
    tab.run("document.querySelectorAll('.remove')[1].click()")
    assert until(tab, "performance.getEntriesByType('resource').some(({name}) => name.endsWith('/api/sources/yard'))")
    assert ("change", {"score_threshold": 0.7}) in surface.calls
    assert ("pause", ("door", True)) in surface.calls
    assert ("add", {"url": "rtsp://gate/stream"}) in surface.calls
    assert ("remove", "yard") in surface.calls


def test_what_the_run_refuses_stands_on_the_page_without_a_password(tab: Tab) -> None:
    tab.run("document.querySelector('#class-list input').click()")
    line = until(tab, "!document.getElementById('trouble').hidden && document.getElementById('trouble').textContent")
    assert "settings must be some of score_threshold" in line
    assert "secret" not in line
    assert until(tab, "!document.querySelector('#class-list input').checked")  # as the run has it


def test_counts_and_events_of_messages_are_shown_as_text(tab: Tab, view: LiveView) -> None:
    boxes = {
        "t": "boxes",
        "pts": 1e6,
        "frame": 1,
        "capture": 1,
        "age_ms": 1,
        "dets": [],
        "counts": COUNTS,
        "events": [EVENT],
    }
    assert view._loop is not None
    view._loop.call_soon_threadsafe(view.put_text, json.dumps(boxes))
    assert until(tab, "!document.getElementById('counts').hidden && !document.getElementById('events').hidden")
    rows = tab.run(
        "[...document.querySelectorAll('#counts tbody tr')].map((row) => [...row.cells].map((c) => c.innerText))"
    )
    assert rows == [["door: gate", "3", "4", ""], ["door: <b>yard", "7", "0", "5"]]
    assert "cat #8 crossed gate in · door" in tab.run("document.querySelector('#events li').textContent")


def test_an_event_gets_its_snapshot_and_its_clip_when_they_are_there(
    tab: Tab, writer: Writer, surface: FakeSurface, tmp_path: Path
) -> None:
    event = crossing(3.0, source_id="door", class_name="dog")
    writer.events = [event]
    item = "[...document.querySelectorAll('#events li')].find((item) => item.textContent.includes('dog #7'))"
    assert until(tab, item)
    assert tab.run(f"{item}.querySelector('img, button')") is None
    snapshot, clip = tmp_path / "door.jpg", tmp_path / "door.mp4"
    snapshot.write_bytes(jpeg_of(result(1)))
    clip.write_bytes(coded_video("mp4", size_wh=(320, 96), num_frames=5))
    surface.files["snapshot"].keep([event.id], snapshot)
    surface.files["clip"].keep([event.id], clip)
    assert until(tab, f"{item}.querySelector('img')?.naturalWidth === 96")
    tab.run(f"{item}.querySelector('button').click()")
    assert until(tab, "document.querySelector('#clip video').videoWidth === 320")
    assert tab.run("document.getElementById('clip-title').textContent") == "dog #7 crossed gate in"
    tab.run("document.querySelector('#clip button').click()")
    assert until(tab, "!document.getElementById('clip').open")
    assert (
        tab.run("[...document.querySelectorAll('#events li')].filter((i) => i.textContent.includes('dog')).length") == 1
    )


LINE_PIXELS = """[...document.querySelectorAll('.overlay')].map((canvas) => {
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  let num = 0;
  for (let at = 0; at < data.length; at += 4) num += data[at] === 255 && data[at + 1] === 209 && data[at + 2] === 102;
  return num;
})"""


def test_a_line_of_a_message_is_drawn_on_its_source_alone(tab: Tab, writer: Writer) -> None:
    assert tab.run(LINE_PIXELS) == [0, 0]
    gate = LineCounts("gate", np.array([[48.0, 10.0], [48.0, 60.0]]), {"cat": 1}, {})
    writer.counts = Counts((gate,), ())
    assert until(tab, f"({LINE_PIXELS})[0] > 300 && ({LINE_PIXELS})[1] === 0")
    writer.counts = None


def test_a_recording_begins_with_a_key_frame_and_plays(tab: Tab, tmp_path: Path) -> None:
    import av

    saved = """import("/recorder.js").then(async ({ Recorder }) => {
      const socket = new WebSocket("ws://" + location.host + "/ws/view/door");
      socket.binaryType = "arraybuffer";
      return new Promise((done) => {
        let recorder = null, num = 0;
        socket.onmessage = async ({ data }) => {
          if (typeof data === "string") return;
          if (!recorder) { recorder = new Recorder(data); return; }
          recorder.take(data);
          if (++num < 40) return;
          socket.onmessage = null; socket.close();
          done([...new Uint8Array(await recorder.file().arrayBuffer())]);
        };
      });
    })"""
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(bytes(tab.run(saved)))
    with av.open(str(clip)) as container:
        frames = list(container.decode(video=0))
    assert len(frames) == 40
    assert frames[0].key_frame


def test_the_page_waits_for_a_server_that_is_gone_and_asks_for_another_ones_token(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    view, after = LiveView(ViewOptions("door")), LiveView(ViewOptions("door"))
    old, new = Policy("the-token-of-the-first-run", port=port), Policy("the-token-of-the-second-run", port=port)
    with Writer(view):
        with served(FakeSurface({"door": view}), old, port=port) as url:
            context = opened_tab(f"{url}?open={old.token}", tmp_path / "profile")
            tab = context.__enter__()
            assert until(tab, "document.getElementById('link').textContent === 'connected'")
        try:
            assert until(tab, "document.getElementById('link').textContent === 'not connected'")
            assert "does not answer; trying again" in tab.run("document.getElementById('trouble').textContent")
            with Writer(after), served(FakeSurface({"door": after}), old, port=port):
                assert until(tab, "document.getElementById('link').textContent === 'connected'")
                tab.run("window.__num = [...window.__players.values()][0].player.shown.length")
                assert until(tab, "[...window.__players.values()][0].player.shown.length > window.__num + 5")
            with served(FakeSurface({"door": view}), new, port=port) as url:
                assert until(tab, "document.getElementById('locked').open")
                tab.open(f"{url}?open=wrong")
                assert "not the token of this run" in tab.run("document.body.textContent")
                tab.run(f"document.querySelector('input').value = '{new.token}'")
                tab.follow("document.querySelector('button').click()")
                assert until(tab, "document.getElementById('link')?.textContent === 'connected'")
        finally:
            context.__exit__(None, None, None)
