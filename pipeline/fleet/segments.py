"""Segments: a part of a video file, and what detects → one row with the detections of its frames.

`run_segment` is the unit that is distributed: it depends on nothing but its arguments and writes nothing, so that it
may be done anywhere, twice, or again after a crash.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.errors import SourceError
from pipeline.fleet.remote_files import file_status, local_path
from pipeline.fleet.table import RowBuilder, require_pyarrow
from pipeline.picture.detections import Result
from pipeline.picture.frame import Frame
from pipeline.sources.options import DecodeOptions
from pipeline.sources.video.parts import Part, PartSource, VideoIndex, index_video
from pipeline.sources.video.source import VideoSource

if TYPE_CHECKING:
    import pyarrow

ResultsOf = Callable[[Iterable[Frame]], Iterator[Result]]
"""The frames of one file, in order → their results, in order; it keeps nothing from one call to the next."""


@dataclass(frozen=True, slots=True)
class InputFile:
    """A video, as it was when the manifest was made."""

    number: int  # in the manifest
    path: str
    num_bytes: int
    changed_at_ns: int  # its modification time

    def refuse_if_changed(self) -> None:
        """Raise SourceError for a file that is gone, or another than the one that was cut into segments."""
        try:
            status = file_status(self.path)
        except SourceError:
            raise
        except OSError as error:
            raise SourceError(f"{self.path}: cannot be opened: {error.strerror}") from error
        if status != (self.num_bytes, self.changed_at_ns):
            raise SourceError(f"{self.path}: has changed since the manifest was made; map it into another folder")


@dataclass(frozen=True, slots=True)
class Segment:
    """The unit of work. part: None for a whole file."""

    name: str  # of this segment in the manifest, and of its result
    file: InputFile
    part: Part | None = None
    seconds: float = 0.0  # its length, as far as it is known
    num_frames: int = 0  # the same

    @property
    def cost(self) -> float:
        """By which the longest is done first: seconds of video, and bytes where those are not known."""
        return self.seconds or self.file.num_bytes / 1e6


def segments_of(file: InputFile, index: VideoIndex) -> list[Segment]:
    """The segments of an indexed file, in its order."""
    if not index.parts:
        return [whole_file(file, index.seconds, index.num_frames)]
    total = sum(part.num_frames for part in index.parts) or 1
    return [
        Segment(
            f"{file.number:06d}-{number:05d}",
            file,
            part,
            (index.seconds or 0.0) * part.num_frames / total,
            part.num_frames,
        )
        for number, part in enumerate(index.parts)
    ]


def whole_file(file: InputFile, seconds: float | None = None, num_frames: int | None = None) -> Segment:
    """The one segment of a file that is not cut."""
    return Segment(f"{file.number:06d}-whole", file, None, seconds or 0.0, num_frames or 0)


def index_file(file: InputFile, *, segment_seconds: float | None) -> list[Segment]:
    """Cut a file into segments of about that length; None: into one. Raises SourceError for what is not a video."""
    file.refuse_if_changed()
    with local_path(file.path) as path:
        index = index_video(path, part_seconds=float("inf") if segment_seconds is None else segment_seconds)
    return segments_of(file, index)


def run_segment(
    segment: Segment, results_of: ResultsOf, *, every: int = 1, decode: DecodeOptions | None = None
) -> pyarrow.Table:
    """The row of a segment, as `pipeline.fleet.table` describes it.

    every: detect in each nth frame, counted from the first one of the file. Raises SourceError for what cannot be read,
    SeamError for a part that must be read with the rest of its file, and what `results_of` raises.
    """
    require_pyarrow()
    segment.file.refuse_if_changed()
    part, decode = segment.part, decode or DecodeOptions(threads=1)
    with local_path(segment.file.path) as path:
        source = VideoSource(path, decode=decode) if part is None else PartSource(path, part, decode=decode)
        try:
            builder = RowBuilder()
            for result in results_of(_frames(source, every)):
                builder.add(result)
            return builder.table(segment.name, segment.file.path, source.size_wh or (0, 0), source.damage)
        finally:
            source.close()


def _frames(source: VideoSource, every: int) -> Iterator[Frame]:
    index = -every
    for timed in source.pictures(threading.Event(), every=every):
        index = index + every if timed.number is None else timed.number
        yield Frame(timed.picture, source.source_id, index, timed.pts_seconds, time.monotonic(), timed.image)
