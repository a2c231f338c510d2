"""Saved frames: the results of frames that meet a condition → a picture file of each, as it is or drawn on."""

from __future__ import annotations

from pathlib import Path

from pipeline.picture.detections import Result
from pipeline.picture.look import Look
from pipeline.sinks.frame_condition import Condition
from pipeline.sinks.picture_file import writable_names, write_picture
from pipeline.sinks.picture_names import PictureNames
from pipeline.sinks.writable import refuse_unwritable_folder


class SavedFrames:
    """Writes `folder/street-000012.jpg` for a frame that meets the condition; an image keeps its name.

    look: how the detections are drawn on it; None: not at all. Raises SinkError where nothing can be written into
    the folder.
    """

    def __init__(
        self, folder: str | Path, condition: Condition, *, names: PictureNames, look: Look | None = None
    ) -> None:
        self._folder, self._condition, self._names, self._look = Path(folder), condition, names, look
        refuse_unwritable_folder(self._folder, "saved frames")

    def write(self, item: Result) -> None:
        """Write the frame, or nothing. Raises SinkError."""
        if not self._condition(item.counts()):
            return
        name = self._names.name_of(item.frame)
        path = self._folder / writable_names([name])[name]
        pixels = item.frame.pixels if self._look is None else item.plot(look=self._look)
        write_picture(path, pixels, what="a saved frame")

    def close(self) -> None:
        """Do nothing: every frame was written at once."""
