"""Live surface: views without a run → what a server shows of them, and the server at a free port."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from pipeline.errors import ConfigError, FlowError
from pipeline.json_values import Json
from pipeline.picture.counting.counts import Counts
from pipeline.picture.counting.event import Event
from pipeline.picture.detections import Detections, Result
from pipeline.picture.frame import Frame
from pipeline.sinks.events.files import EventFileKind, EventFiles

if TYPE_CHECKING:
    from pipeline.serve.trust import Policy
    from pipeline.serve.view import LiveView


GATE: dict[str, Json] = {
    "inferred": 145,
    "carried": 305,
    "duty": 0.322222,
    "checked": 40,
    "missed": 1,
    "miss_rate": 0.025,
    "miss_rate_95": [0.004427, 0.128812],
    "open": 0,
    "every": 6,
}
"""What the gate of the door let through; the yard has none."""


class FakeSurface:
    """A surface of views; keeps the calls that it gets."""

    def __init__(self, views: Mapping[str, LiveView]) -> None:
        self._views = dict(views)
        self.calls: list[tuple[str, object]] = []
        self.shapes_now: dict[str, Json] = {
            "lines": {},
            "zones": {},
            "obstacle": None,
            "file": "cameras.yaml",
            "file_obstacle": None,
            "is_saved": True,
            "yaml": "",
        }
        self.files: dict[EventFileKind, EventFiles] = {"clip": EventFiles(), "snapshot": EventFiles()}

    def views(self) -> Mapping[str, LiveView]:
        return self._views

    def pages(self) -> Mapping[str, Callable[[], tuple[int, str, bytes]]]:
        return {"/healthz": lambda: (200, "text/plain", b"well\n")}

    def sources(self) -> list[dict[str, Json]]:
        return [{"name": name, "state": "live", "paused": False} for name in self._views]

    def stats(self) -> dict[str, Json]:
        return {"captured": 1}

    def stats_of(self, name: str) -> dict[str, Json]:
        gate: dict[str, Json] = {} if name != "door" else {"gate": GATE}
        return {"state": "live", "model": "fake", "device": "cpu", "precision": "fp32", "source": name, **gate}

    def event_files(self, kind: EventFileKind) -> list[EventFiles]:
        return [self.files[kind]]

    def settings(self) -> dict[str, Json]:
        return {"score_threshold": 0.5, "iou_threshold": 0.6, "classes": [], "class_names": ["cat", "dog"]}

    def change_settings(self, values: Mapping[str, Json]) -> dict[str, Json]:
        if "score_threshold" not in values:
            raise ConfigError("settings must be some of score_threshold, got rtsp://admin:secret@door/")
        self.calls.append(("change", dict(values)))
        return self.settings() | dict(values)

    def shapes(self, name: str) -> dict[str, Json]:
        return self.shapes_now

    def change_shapes(self, name: str, values: Mapping[str, Json]) -> dict[str, Json]:
        self.calls.append(("shapes", (name, dict(values))))
        if "bad" in str(values):
            raise ConfigError("line bad must lie within the picture")
        self.shapes_now = {**self.shapes_now, **values, "is_saved": False}
        return self.shapes_now

    def save_shapes(self, name: str) -> str:
        self.calls.append(("save", name))
        self.shapes_now = {**self.shapes_now, "is_saved": True}
        return "cameras.yaml"

    def add(self, values: Mapping[str, Json]) -> str:
        self.calls.append(("add", dict(values)))
        return str(values["url"])

    def pause(self, name: str, *, is_paused: bool = True) -> None:
        self.calls.append(("pause", (name, is_paused)))

    def remove(self, name: str) -> None:
        if name not in self._views:
            raise FlowError(f"there is no source {name}")
        self.calls.append(("remove", name))


@contextmanager
def served(surface: FakeSurface, policy: Policy | None = None, *, port: int = 0) -> Iterator[str]:
    """The address of a server on this machine. port: 0: any that is free."""
    from pipeline.serve.server import LiveServer
    from pipeline.serve.trust import Policy

    listening = socket.create_server(("127.0.0.1", port))
    port = listening.getsockname()[1]
    with LiveServer(listening, surface, policy or Policy(port=port)):
        yield f"http://127.0.0.1:{port}/"


def cat_or_dog(number: int, *events: Event) -> Result:
    """A dog in a picture of 96 × 64 that is brighter than the one before; 50 of them are a second."""
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
            self._view.write(replace(cat_or_dog(number, *events), counting=self.counts))
            number += 1

    def __enter__(self) -> Writer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
