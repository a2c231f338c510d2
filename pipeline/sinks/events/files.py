"""Event files: the id of an event → the newest files that show it, for who asks while the run goes on."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

EventFileKind = Literal["clip", "snapshot"]

_MOST_EVENTS = 1000


class EventFiles:
    """The files of the last 1000 events of one sink, which keeps them; others may ask from any thread."""

    def __init__(self) -> None:
        self._paths: dict[str, Path] = {}  # by id, the earliest first

    def keep(self, event_ids: Iterable[str], path: Path) -> None:
        """Remember the file, which is complete, of some events."""
        for event_id in event_ids:
            self._paths[event_id] = path
        while len(self._paths) > _MOST_EVENTS:
            self._paths.pop(next(iter(self._paths)))

    def path_of(self, event_id: str) -> Path | None:
        """None: there is none, or it was too long ago."""
        return self._paths.get(event_id)


@runtime_checkable
class HasEventFiles(Protocol):
    """A sink that writes a file for events."""

    event_file_kind: EventFileKind
    event_files: EventFiles


def path_of_event(event_id: str, of_sinks: Iterable[EventFiles]) -> Path | None:
    """The file of an event, among those of several sinks; None: none has it."""
    return next((path for files in of_sinks if (path := files.path_of(event_id)) is not None), None)
