"""Sequence source: the images and videos of a folder, a glob or a list → their pictures, one file after another.

However many videos there are, one is open at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from pipeline.errors import SourceError
from pipeline.flow.stage import Stop
from pipeline.picture.frame import TimedPicture
from pipeline.sources.file_sets import FileSet
from pipeline.sources.images import ImagesSource
from pipeline.sources.source import FrameSource, Part


class SequenceSource:
    """First the images, which are the frames of one part, then each video, a part with numbers and times of its own.

    What cannot be read of it is damage. open_video: opens a video when its turn comes.
    """

    is_live = False
    size_wh = None
    frames_per_second = None
    num_frames = None

    def __init__(self, source_id: str, files: FileSet, *, open_video: Callable[[Path], FrameSource]) -> None:
        self.source_id = source_id
        self.images = tuple(map(str, files.images))
        self._files = files
        self._open_video = open_video
        self._part: _Part | None = None  # the one that is open
        self._damage: list[str] = []
        self._unreadable: list[str] = []
        self._rates: dict[str, float | None] = {}

    @property
    def part_ids(self) -> tuple[str, ...]:
        """The source_id of every part."""
        return (*([self.source_id] if self.images else []), *map(str, self._files.videos))

    def part_rate(self, part_id: str) -> float | None:
        """The declared frames a second of a part that has been opened; None: not known."""
        return self._rates.get(part_id)

    @property
    def damage(self) -> tuple[str, ...]:
        return (*self._damage, *(self._part.damage if self._part is not None else ()))

    @property
    def unreadable(self) -> tuple[str, ...]:
        """The files of which no picture could be read."""
        return (*self._unreadable, *(self._part.unreadable if self._part is not None else ()))

    def parts(self) -> Iterator[Part]:
        """Raises SourceError if none of the files could be read."""
        if self.images:
            yield from self._parts_of(self.source_id, lambda: ImagesSource(self.source_id, paths=self._files.images))
        for path in self._files.videos:
            yield from self._parts_of(str(path), partial(self._open_video, path))
        if len(self._unreadable) == len(self.images) + len(self._files.videos):
            raise SourceError(f"{self.source_id}: none of its files could be read; the first: {self._damage[0]}")

    def pictures(self, stop: Stop, *, every: int = 1) -> Iterator[TimedPicture]:
        """All pictures as those of one source: numbers and times go on from part to part."""
        next_seconds = 0.0
        for part in self.parts():
            shift_seconds: float | None = None
            for timed in part.pictures(stop, every=every):
                shift_seconds = next_seconds - timed.pts_seconds if shift_seconds is None else shift_seconds
                seconds = timed.pts_seconds + shift_seconds
                yield timed._replace(pts_seconds=seconds, number=None)
                next_seconds = seconds + every / (part.frames_per_second or 1.0)
            if stop.is_set():
                return

    def close(self) -> None:
        self._end_part()

    def _parts_of(self, part_id: str, open_part: Callable[[], FrameSource]) -> Iterator[Part]:
        """The part, while it is open; none where it cannot be opened."""
        try:
            source = open_part()
        except SourceError as error:
            self._damage.append(str(error))
            self._unreadable.append(part_id)
            return
        self._rates[part_id] = source.frames_per_second
        self._part = _Part(part_id, source)
        try:
            yield self._part
        finally:
            self._end_part()

    def _end_part(self) -> None:
        part, self._part = self._part, None
        if part is not None:
            self._damage += part.damage
            self._unreadable += part.unreadable
            part.close()


class _Part:
    """A file whose failure is damage, because others follow it."""

    def __init__(self, part_id: str, source: FrameSource) -> None:
        self.source_id = part_id
        self.frames_per_second = source.frames_per_second
        self._source = source
        self._failure: str | None = None
        self._num_pictures = 0

    def pictures(self, stop: Stop, *, every: int = 1) -> Iterator[TimedPicture]:
        try:
            for timed in self._source.pictures(stop, every=every):
                self._num_pictures += 1
                yield timed
        except SourceError as error:
            self._failure = str(error)

    @property
    def damage(self) -> Iterator[str]:
        """One line for each kind, with the file."""
        is_images = isinstance(self._source, ImagesSource)  # whose lines begin with the file, as failures do
        yield from (line if is_images else f"{self.source_id}: {line}" for line in self._source.damage)
        if self._failure is not None and not is_images:
            yield self._failure

    @property
    def unreadable(self) -> Iterator[str]:
        """The files of which no picture could be read."""
        if isinstance(self._source, ImagesSource):
            yield from self._source.unreadable
        elif self._failure is not None and not self._num_pictures:
            yield self.source_id

    def close(self) -> None:
        self._source.close()
