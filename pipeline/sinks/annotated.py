"""Annotated pictures: rendered frames → an image file for each image, and a recording for each video.

Images keep the names and formats of those that were read; what cannot be written, such as HEIC, becomes .jpg.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

from pipeline.errors import SinkError
from pipeline.flow.stage import Sink
from pipeline.picture.detections import RenderedFrame
from pipeline.picture.image_file import WRITTEN_SUFFIXES
from pipeline.sinks.picture_file import writable_names, write_picture
from pipeline.sinks.picture_names import PictureNames
from pipeline.sinks.writable import refuse_unwritable, refuse_unwritable_folder

logger = logging.getLogger(__name__)

_WHAT = "an annotated picture"


class AnnotatedFolder:
    """Fills a folder: images under their own names, the frames of each other source as a recording.

    Recordings of one source after another are open one at a time. names: those of the run's pictures.
    record: opens the recording of a source_id. Raises SinkError where nothing can be written into the folder.
    """

    def __init__(
        self, folder: str | Path, *, names: PictureNames, record: Callable[[str], Sink[RenderedFrame]]
    ) -> None:
        self._folder = Path(folder)
        self._names = names
        self._written_names = writable_names(names.of_images)
        self._recordings = Recordings(record)
        self._warned_of: set[str] = set()
        refuse_unwritable_folder(self._folder, "annotated pictures")

    def write(self, item: RenderedFrame) -> None:
        """Write an image, or the next frame of a recording. Raises SinkError."""
        frame = item.result.frame
        if frame.image is None:
            self._recordings.write(item)
            return
        name = self._names.name_of(frame)
        written = self._written_names.get(name) or writable_names([name])[name]
        if written != name:
            self._warn_of_other_format(PurePosixPath(name).suffix.lower())
        write_picture(self._folder / written, item.pixels, what=_WHAT)

    def close(self) -> None:
        """Finish the recording. May be called more than once. Raises SinkError."""
        self._recordings.close()

    def _warn_of_other_format(self, suffix: str) -> None:
        if suffix not in self._warned_of:
            self._warned_of.add(suffix)
            logger.warning("%s: %s files are written as .jpg", self._folder, suffix or "nameless")


class AnnotatedImage:
    """Writes the one image of a run into a file. Raises SinkError for a file that cannot be written."""

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        refuse_unwritable(self._path, _WHAT)

    def write(self, item: RenderedFrame) -> None:
        """Write the image. Raises SinkError."""
        write_picture(self._path, item.pixels, what=_WHAT)

    def close(self) -> None:
        """Do nothing: the image was written at once."""


class Recordings:
    """A recording for each source whose frames come, of which one is open at a time.

    record: opens the recording of a source_id.
    """

    def __init__(self, record: Callable[[str], Sink[RenderedFrame]]) -> None:
        self._record = record
        self._source_id: str | None = None
        self._recording: Sink[RenderedFrame] | None = None

    def write(self, item: RenderedFrame) -> None:
        """Record a frame; the first one of another source ends the recording before. Raises SinkError."""
        source_id = item.result.frame.source_id
        if self._recording is None or source_id != self._source_id:
            self.close()
            self._recording, self._source_id = self._record(source_id), source_id
        self._recording.write(item)

    def close(self) -> None:
        """Finish the recording. May be called more than once. Raises SinkError."""
        recording, self._recording = self._recording, None
        if recording is not None:
            recording.close()


def image_paths(folder: str, images: Sequence[str], names: PictureNames) -> list[str]:
    """The files that an `AnnotatedFolder` writes for images of a run."""
    written = writable_names(names.of_images)
    return [str(Path(folder) / written[names.name_of_image(image)]) for image in images]


def refuse_image(path: str, *, num_images: int, videos: Sequence[str]) -> None:
    """Raise SinkError unless a run has one image and nothing else to write into an image file.

    videos: the sources that are not images.
    """
    suffix = Path(path).suffix
    if suffix.lower() not in WRITTEN_SUFFIXES:
        raise SinkError(f"--output: a {suffix} cannot be written, got {path}; take .jpg or .png")
    if videos:
        raise SinkError(
            f"--output must be a video (.mp4, .mkv, .mov, .webm) or a folder (out/) for {videos[0]}, which is not "
            f"an image, got {path}"
        )
    if num_images != 1:
        raise SinkError(f"--output must be a folder (out/) or a video (.mp4) for {num_images} images, got {path}")
