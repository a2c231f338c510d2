"""Surface: what a server shows of a run and can change in it; the same from Python and over HTTP."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from pipeline.json_values import Json
from pipeline.serve.view import LiveView
from pipeline.sinks.events.files import EventFileKind, EventFiles

Page = Callable[[], tuple[int, str, bytes]]
"""Gives a status, a content type and a body; may be called from any thread."""


class Surface(Protocol):
    """A run that is shown. Every method may be called from any thread, and raises a StreamdetError with one line."""

    def views(self) -> Mapping[str, LiveView]:
        """The views of all sources that there are or were, by name."""

    def pages(self) -> Mapping[str, Page]:
        """What monitors read, by path."""

    def sources(self) -> list[dict[str, Json]]:
        """The sources with their states and counts."""

    def stats(self) -> dict[str, Json]:
        """The numbers of the run."""

    def stats_of(self, name: str) -> dict[str, Json]:
        """The numbers of one source, and of what all share."""

    def event_files(self, kind: EventFileKind) -> Sequence[EventFiles]:
        """The clips or snapshots that the run's sinks have written."""

    def settings(self) -> dict[str, Json]:
        """Which detections are kept now."""

    def change_settings(self, values: Mapping[str, Json]) -> dict[str, Json]:
        """Keep others from the next frame on; returns all settings."""

    def shapes(self, name: str) -> dict[str, Json]:
        """The lines and zones of a source."""

    def change_shapes(self, name: str, values: Mapping[str, Json]) -> dict[str, Json]:
        """Count at others from the next frame on; returns all that `shapes` does."""

    def save_shapes(self, name: str) -> str:
        """Write them to the run's configuration; returns the name of its file."""

    def add(self, values: Mapping[str, Json]) -> str:
        """Start a source; returns its name."""

    def pause(self, name: str, *, is_paused: bool = True) -> None:
        """Let a source wait, or go on."""

    def remove(self, name: str) -> None:
        """Ask a source to end."""
