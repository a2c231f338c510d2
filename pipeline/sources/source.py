"""FrameSource: the interface of every source; opened in its constructor, it yields pictures with their media times."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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


@runtime_checkable
class HasImages(Protocol):
    """A source whose pictures, or some of them, are images of their own."""

    @property
    def images(self) -> Sequence[str]:
        """The files or addresses, in order, with those that cannot be read."""


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
