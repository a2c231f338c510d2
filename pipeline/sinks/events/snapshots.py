"""Snapshots: an event → a JPEG of its frame, drawn, and one of the object alone."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from pipeline.picture.counting.event import Event
from pipeline.picture.crops import crops_of
from pipeline.picture.detections import Result
from pipeline.picture.look import PLAIN, Look
from pipeline.sinks.events.files import EventFileKind, EventFiles
from pipeline.sinks.events.names import event_stem
from pipeline.sinks.picture_file import write_picture
from pipeline.sinks.picture_names import PictureNames
from pipeline.sinks.writable import refuse_unwritable_folder


class Snapshots:
    """Writes `folder/street-000012-crossed-gate-ID.jpg` and, of an event of one object, the same with `-crop`.

    names: those of the run's pictures. look: how they are drawn. Raises SinkError where nothing can be written into
    the folder.
    """

    event_file_kind: EventFileKind = "snapshot"

    def __init__(self, folder: str | Path, *, names: PictureNames | None = None, look: Look = PLAIN) -> None:
        self._folder, self._names, self._look = Path(folder), names or PictureNames(), look
        refuse_unwritable_folder(self._folder, "snapshots")
        self.event_files = EventFiles()

    def write(self, item: Result) -> None:
        """Write the pictures of a frame's events, drawn once. Raises SinkError."""
        if not item.events:
            return
        plot = item.plot(look=self._look)
        for event in item.events:
            stem = Path(self._names.name_of(item.frame, suffix=".jpg")).stem
            path = self._folder / event_stem(stem, event, ending=".jpg")
            write_picture(path, plot, what="a snapshot")
            self.event_files.keep([event.id], path)
            if has_crop(event):
                box = np.array([event.box_xyxy], np.float32)  # [1, 4]
                (crop,) = crops_of(item.frame.pixels, box)
                write_picture(self._folder / event_stem(stem, event, ending="-crop.jpg"), crop, what="a snapshot")

    def close(self) -> None:
        """Do nothing: every picture was written at once."""


def has_crop(event: Event) -> bool:
    """Whether an event has a box that can be cut out."""
    return event.box_xyxy is not None and all(map(math.isfinite, event.box_xyxy))
