"""The page in a real browser: what it asks the run to do, what it says, and how it is used without a mouse."""

from __future__ import annotations

import socket
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("uvicorn", reason="the extra serve is not installed")

from pipeline.picture.counting.counts import Counts, LineCounts, ZoneCounts
from pipeline.serve.encode import jpeg_of
from pipeline.serve.trust import Policy
from pipeline.serve.view import LiveView, ViewOptions
from tests.support.chromium import Tab, opened_tab, press, until
from tests.support.coded_videos import coded_video
from tests.support.events import crossing
from tests.support.live_surface import FakeSurface, Writer, cat_or_dog, served

CONTROLS = frozenset(("button", "link", "slider", "checkbox", "textbox", "searchbox", "DisclosureTriangle", "dialog"))


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


def test_what_a_gate_lets_through_stands_beside_what_it_misses(tab: Tab) -> None:
    assert until(tab, "document.querySelector('.gate:not([hidden])')")
    assert tab.run("document.querySelectorAll('.gate').length") == 2  # and of two sources one has a gate
    shown = "[...document.querySelectorAll('.gate')].filter((line) => !line.hidden).map((line) => line.textContent)"
    assert tab.run(shown) == [
        "the network saw 32 % of the frames; 1 of 40 checks missed an object (95 %: 0.4 % to 12.9 %); "
        "one in 6 at this load"
    ]


def test_the_controls_change_the_run(tab: Tab, page_surface: FakeSurface) -> None:
    page_surface.calls.clear()
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
    assert ("change", {"score_threshold": 0.7}) in page_surface.calls
    assert ("pause", ("door", True)) in page_surface.calls
    assert ("add", {"url": "rtsp://gate/stream"}) in page_surface.calls
    assert ("remove", "yard") in page_surface.calls


def test_what_the_run_refuses_stands_on_the_page_without_a_password(tab: Tab) -> None:
    tab.run("document.querySelector('#class-list input').click()")
    line = until(tab, "!document.getElementById('trouble').hidden && document.getElementById('trouble').textContent")
    assert "settings must be some of score_threshold" in line
    assert "secret" not in line
    assert until(tab, "!document.querySelector('#class-list input').checked")  # as the run has it


COUNTS = Counts(
    (LineCounts("gate", np.array([[0.0, 30], [90, 30]]), {"cat": 2, "dog": 1}, {"cat": 4}),),
    (ZoneCounts("<b>yard", np.array([[0.0, 0], [90, 0], [90, 60]]), {"cat": 5}, {}, {"cat": 7}, {}, None, None),),
)


def test_counts_and_events_of_messages_are_shown_as_text(tab: Tab, writer: Writer) -> None:
    writer.counts, writer.events = COUNTS, [crossing(1.0, track_id=8, class_name="cat")]
    assert until(tab, "!document.getElementById('counts').hidden && !document.getElementById('events').hidden")
    rows = tab.run(
        "[...document.querySelectorAll('#counts tbody tr')].map((row) => [...row.cells].map((c) => c.innerText))"
    )
    assert rows == [["door: gate", "3", "4", ""], ["door: <b>yard", "7", "0", "5"]]
    assert "cat #8 crossed gate in · door" in tab.run("document.querySelector('#events li').textContent")
    writer.counts = None
    assert until(tab, "document.getElementById('counts').hidden")


def test_an_event_gets_its_snapshot_and_its_clip_when_they_are_there(
    tab: Tab, writer: Writer, page_surface: FakeSurface, tmp_path: Path
) -> None:
    event = crossing(3.0, source_id="door", class_name="dog")
    writer.events = [event]
    item = "[...document.querySelectorAll('#events li')].find((item) => item.textContent.includes('dog #7'))"
    assert until(tab, item)
    assert tab.run(f"{item}.querySelector('img, button')") is None
    snapshot, clip = tmp_path / "door.jpg", tmp_path / "door.mp4"
    snapshot.write_bytes(jpeg_of(cat_or_dog(1)))
    clip.write_bytes(coded_video("mp4", size_wh=(320, 96), num_frames=5))
    page_surface.files["snapshot"].keep([event.id], snapshot)
    page_surface.files["clip"].keep([event.id], clip)
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

    saved = """Promise.all(["recorder", "player"].map((name) => import(`/${name}.js`))).then(async (modules) => {
      const [{ Recorder }, { takenApart }] = modules;
      const socket = new WebSocket("ws://" + location.host + "/ws/view/door");
      socket.binaryType = "arraybuffer";
      return new Promise((done) => {
        let recorder = null, num = 0;
        socket.onmessage = async ({ data }) => {
          if (typeof data === "string") return;
          const { media } = takenApart(data);
          if (!recorder) { recorder = new Recorder(media); return; }
          recorder.take(media);
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
    assert len(frames) == clip.read_bytes().count(b"moof") >= 40
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
