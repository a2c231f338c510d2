"""FrameSource: the interface of every source; opened in its constructor, it yields pictures with their media times."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from pipeline.flow.stage import Stop
from pipeline.picture.detections import Detections
from pipeline.picture.frame import TimedPicture


class FrameSource(Protocol):
    """A video, a camera, a folder of images, or a drawn street.

    Opened in its constructor, which raises SourceError for what cannot be opened; read from one thread.
    """

    @property
    def source_id(self) -> str:
        """The source's name in ledgers, outputs and errors: the word that the user typed."""

    @property
    def is_live(self) -> bool:
        """Whether it goes on without us, so that the newest frame is worth more than every frame."""

    @property
    def size_wh(self) -> tuple[int, int] | None:
        """Width and height of the upright pictures, or None where they differ or are not known."""

    @property
    def frames_per_second(self) -> float | None:
        """The declared rate, or None."""

    @property
    def num_frames(self) -> int | None:
        """The declared number of frames, which is often wrong in files, or None."""

    @property
    def damage(self) -> tuple[str, ...]:
        """One line for each kind of damage; complete when `pictures` has ended."""

    def pictures(self, stop: Stop, *, every: int = 1) -> Iterator[TimedPicture]:
        """Yield pictures with media time in order; return at the end, or soon after `stop` is set.

        every: yield the first picture and every nth after it; where possible, the others are not even decoded.
        Raises SourceError for a source that breaks so that it cannot go on.
        """

    def close(self) -> None:
        """Let go of every resource. May be called more than once."""


class Part(Protocol):
    """One file of a source that reads several."""

    @property
    def source_id(self) -> str:
        """The file's name in records and outputs."""

    @property
    def frames_per_second(self) -> float | None:
        """The declared rate, or None."""

    def pictures(self, stop: Stop, *, every: int = 1) -> Iterator[TimedPicture]:
        """As those of a FrameSource; numbers and times are those of the file."""


@runtime_checkable
class HasParts(Protocol):
    """A recorded source of several files, read one after another, whose frames bear the names of the files."""

    @property
    def part_ids(self) -> Sequence[str]:
        """The source_id of every part."""

    def part_rate(self, part_id: str) -> float | None:
        """The declared frames a second of a part that has been opened; None: not known."""

    def parts(self) -> Iterator[Part]:
        """Open a part, close it before the next one. Raises SourceError if none could be read."""


@runtime_checkable
class HasImages(Protocol):
    """A source whose pictures, or some of them, are images of their own."""

    @property
    def images(self) -> Sequence[str]:
        """The files or addresses, in order, with those that cannot be read."""

    @property
    def unreadable(self) -> Sequence[str]:
        """The files, videos included, of which no picture could be read; complete when `pictures` has ended."""


@runtime_checkable
class HasFile(Protocol):
    """A source whose pictures come from one file, at its media times, so that its sound can be read beside them."""

    @property
    def file(self) -> Path | None:
        """The file; None where the source turned out to have none that can be read again."""


@runtime_checkable
class HasGroundTruth(Protocol):
    """A source with the ground truth of its pictures, because it draws them."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the class ids of `truth`."""

    def truth(self, frame_index: int) -> Detections:
        """The labelled objects of a frame, in source pixels, with score 1."""

    def ignored(self, frame_index: int) -> Detections:
        """Objects too small or too hidden to be labelled; a detection of one is neither right nor wrong."""
