"""Crops: the result of a frame → a JPEG of each detection, in a folder of its class."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from pipeline.picture.detections import Result
from pipeline.sinks.picture_file import write_picture
from pipeline.sinks.picture_names import PictureNames, fitted
from pipeline.sinks.writable import refuse_unwritable_folder

_REFUSED = re.compile(r'[\x00-\x1f<>:"/\\|?*]')  # by one file system or another


class Crops:
    """Writes `folder/person/street-000012-0.jpg`: class, picture and the number of the detection in it; nothing drawn.

    names: those of the run's pictures. Raises SinkError where nothing can be written into the folder.
    """

    def __init__(self, folder: str | Path, *, names: PictureNames | None = None) -> None:
        self._folder, self._names = Path(folder), names or PictureNames()
        self._keeps_suffix = self._names.alike_but_for_suffix() is not None
        refuse_unwritable_folder(self._folder, "crops")

    def write(self, item: Result) -> None:
        """Write the crops of a frame. Raises SinkError."""
        if not len(item.detections):
            return
        name = PurePosixPath(self._names.name_of(item.frame))
        stem = name.name if self._keeps_suffix else name.stem
        class_ids = item.detections.class_ids.tolist()
        for number, (crop, class_id) in enumerate(zip(item.crops(), class_ids, strict=True)):
            folder = self._folder / folder_of_class(item.class_name(class_id)) / name.parent
            write_picture(folder / fitted(stem, f"-{number}.jpg"), crop, what="a crop")

    def close(self) -> None:
        """Do nothing: every crop was written at once."""


def folder_of_class(class_name: str) -> str:
    """A class as the name of a folder: as it is, but for what a file system refuses.

    >>> folder_of_class("traffic light"), folder_of_class("a/b"), folder_of_class("..")
    ('traffic light', 'a_b', '_')
    """
    name = _REFUSED.sub("_", class_name).strip().rstrip(".")
    return fitted(name[:100]) or "_"
