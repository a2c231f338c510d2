"""The editor of lines and zones in a real browser, by mouse and keyboard."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.picture.counting.counts import Counts
from tests.support.chromium import Tab, press, until
from tests.support.live_surface import FakeSurface, Writer


class Editor:
    """The editor of the first source, by mouse and keyboard."""

    def __init__(self, tab: Tab, surface: FakeSurface) -> None:
        self._tab, self._surface = tab, surface

    def __enter__(self) -> Editor:
        self._surface.calls.clear()
        self._tab.run("document.querySelector('.edit').click()")
        assert until(self._tab, "document.activeElement.className === 'add-line'")
        return self

    def __exit__(self, *_: object) -> None:
        press(self._tab, "Escape")
        assert until(self._tab, "document.querySelector('.shapes').hidden")
        press(self._tab, "Escape")

    def mouse(self, kind: str, x: float, y: float) -> None:
        buttons = 0 if kind == "mouseReleased" else 1
        self._tab.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=buttons, clickCount=1)

    def drag(self, *shares_xy: tuple[float, float]) -> None:
        """Press at the first point of the picture, and go on to the others."""
        points = [self._on_glass(*share) for share in shares_xy]
        self.mouse("mousePressed", *points[0])
        for point in points[1:]:
            self.mouse("mouseMoved", *point)
        self.mouse("mouseReleased", *points[-1])

    def click(self, selector: str) -> None:
        """With the mouse, at the middle of an element."""
        x, y, width, height = self._box(selector)
        self.mouse("mousePressed", x + width / 2, y + height / 2)
        self.mouse("mouseReleased", x + width / 2, y + height / 2)

    def rename(self, old: str, new: str) -> None:
        self._tab.run(
            f"(([input]) => {{ input.value = '{new}'; input.dispatchEvent(new Event('change')); }})"
            f"([...document.querySelectorAll('.shapes li input')].filter(({{ value }}) => value === '{old}'))"
        )

    def put(self) -> dict[str, dict[str, Any]]:
        """What the run was asked for last."""
        self._tab.run("[...window.__players.values()][0].editor.settled()")
        assert self._tab.run("document.querySelector('.shapes .save').textContent") == "Save to cameras.yaml"
        kind, call = self._surface.calls[-1]
        assert kind == "shapes"
        assert isinstance(call, tuple)
        return dict(call[1])

    def _box(self, selector: str) -> tuple[float, float, float, float]:
        """Left, top, width and height of an element on the page."""
        rect = f"document.querySelector('{selector}').getBoundingClientRect()"
        x, y, width, height = self._tab.run(f"(({{ x, y, width, height }}) => [x, y, width, height])({rect})")
        return x, y, width, height

    def _on_glass(self, x: float, y: float) -> tuple[float, float]:
        left, top, width, height = self._box(".editor")
        return left + x * width, top + y * height


def near(points: list[tuple[float, float]]) -> Any:
    """Points to a pixel of the glass."""
    return [pytest.approx(point, abs=0.004) for point in points]


def points_of(shapes: dict[str, Any], name: str) -> list[list[float]]:
    points: list[list[float]] = shapes[name]["points"]
    return points


def test_a_line_is_drawn_moved_renamed_deleted_and_saved_with_the_mouse(tab: Tab, page_surface: FakeSurface) -> None:
    page_surface.shapes_now |= {"lines": {"old": {"points": [[48, 0], [48, 64]], "classes": ["cat"]}}, "is_saved": True}
    with Editor(tab, page_surface) as editor:
        editor.click(".add-line")
        editor.drag((0.2, 0.8), (0.3, 0.5), (0.4, 0.6))
        shapes = editor.put()
        assert shapes["lines"]["old"] == {"points": [[48, 0], [48, 64]], "classes": ["cat"]}  # as it was written
        assert points_of(shapes["lines"], "line 1") == near([(0.2, 0.8), (0.4, 0.6)])
        editor.drag((0.5, 0.0), (0.6, 0.1), (0.7, 0.2))  # a point of the old line
        assert until(tab, "document.querySelector('.point').getAttribute('aria-label').includes('70.0 %, 20.0 %')")
        editor.drag((0.3, 0.7), (0.3, 0.9))  # the whole new one, as far as the picture goes
        editor.rename("line 1", "door")
        assert until(tab, "document.querySelectorAll('.shapes .name, .editor .name')[1].textContent === 'door'")
        editor.click(".shapes .save")
        assert until(tab, "document.querySelector('.shapes .save').textContent === 'Saved in cameras.yaml'")
        assert page_surface.calls[-1] == ("save", "door")
        _, (_, shapes) = page_surface.calls[-2]  # type: ignore[misc]
        assert shapes["lines"]["old"]["classes"] == ["cat"]
        assert points_of(shapes["lines"], "old") == near([(0.7, 0.2), (0.5, 1.0)])
        assert points_of(shapes["lines"], "door") == near([(0.2, 1.0), (0.4, 0.8)])
        editor.click(".shapes li button:last-of-type")
        assert list(editor.put()["lines"]) == ["door"]


def test_a_zone_is_drawn_by_its_corners_and_gets_and_loses_some(tab: Tab, page_surface: FakeSurface) -> None:
    page_surface.shapes_now |= {"lines": {}, "zones": {}, "is_saved": True}
    corners = [(0.2, 0.2), (0.8, 0.2), (0.8, 0.8)]
    with Editor(tab, page_surface) as editor:
        editor.click(".add-zone")
        for corner in [*corners, corners[0]]:
            editor.drag(corner)
        assert points_of(editor.put()["zones"], "zone 1") == near(corners)
        page_surface.shapes_now |= {"is_saved": True}
        editor.drag((0.5, 0.5), (0.4, 0.6), (0.3, 0.7))  # the dot between the last point and the first
        assert until(tab, "document.querySelectorAll('.editor .point').length === 4")
        assert points_of(editor.put()["zones"], "zone 1") == near([*corners, (0.3, 0.7)])
        tab.run("document.querySelectorAll('.editor .point')[1].focus()")
        press(tab, "Delete")
        assert until(tab, "document.querySelectorAll('.editor .point').length === 3")
        assert points_of(editor.put()["zones"], "zone 1") == near([corners[0], corners[2], (0.3, 0.7)])


def test_a_line_is_made_and_moved_by_the_keyboard(tab: Tab, page_surface: FakeSurface) -> None:
    page_surface.shapes_now |= {"lines": {}, "zones": {}, "is_saved": True}
    with Editor(tab, page_surface) as editor:
        press(tab, "Enter")  # on + Line
        assert until(tab, "document.activeElement.getAttribute('aria-label')?.startsWith('line 1, point 1 of 2')")
        for _ in range(3):
            press(tab, "ArrowDown")
        press(tab, "Tab")
        press(tab, "ArrowLeft")
        label = "document.activeElement.getAttribute('aria-label')"
        assert until(tab, f"{label} === 'line 1, point 2 of 2: 74.0 %, 50.0 %'")
        assert points_of(editor.put()["lines"], "line 1") == [[0.25, 0.53], [0.74, 0.5]]
        nodes = tab.call("Accessibility.getFullAXTree")["nodes"]
        names = [
            node.get("name", {}).get("value", "").strip()
            for node in nodes
            if not node["ignored"] and node["role"]["value"] in ("button", "textbox")
        ]
        assert {"Name of the line", "Delete line 1", "line 1, line; arrow keys move it"} <= set(names)
        assert "" not in names


def test_a_shape_that_the_run_refuses_says_why_and_one_out_of_reach_warns(
    tab: Tab, page_surface: FakeSurface, writer: Writer
) -> None:
    page_surface.shapes_now |= {
        "lines": {"line 1": {"points": [[0.1, 0.1], [0.9, 0.1]]}},
        "zones": {},
        "is_saved": True,
    }
    writer.counts = Counts((), (), unreachable=("line 1",))
    error = "document.querySelector('.shapes .error').textContent"
    with Editor(tab, page_surface) as editor:
        assert until(tab, "document.querySelector('.shapes .warning').textContent.includes('hardly an object')")
        editor.rename("line 1", "bad")
        assert until(tab, error) == "Not in effect: line bad must lie within the picture"
        assert tab.run("document.querySelector('.shapes .save').disabled")
        editor.rename("bad", "good")
        assert until(tab, f"{error} === ''")
        assert list(editor.put()["lines"]) == ["good"]
    writer.counts = None
