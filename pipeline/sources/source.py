"""What must a source of pictures offer?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

from pipeline.flow.stage import Stop
from pipeline.picture.detections import Detections
from pipeline.picture.frame import TimedPicture


class FrameSource(Protocol):
    """A video, a camera, a folder of images, or traffic drawn by the machine.

    Opened in its constructor, which raises SourceError for what cannot be opened; read from one thread.
    """

    @property
    def source_id(self) -> str:
        """Names the source in ledgers, outputs and errors: what the user typed."""

    @property
    def is_live(self) -> bool:
        """Whether it goes on without us, so that the newest frame is worth more than each frame."""

    @property
    def size_wh(self) -> tuple[int, int] | None:
        """Width and height of the upright pictures, or None where they differ or are not known."""

    @property
    def frames_per_second(self) -> float | None:
        """The declared rate, or None."""

    @property
    def num_frames(self) -> int | None:
        """The declared number of frames, which files are known to get wrong, or None."""

    @property
    def damage(self) -> tuple[str, ...]:
        """What could not be read, one line each; complete when `pictures` has ended."""

    def pictures(self, stop: Stop, *, every: int = 1) -> Iterator[TimedPicture]:
        """Yield pictures with media time in order; return at the end, or soon after `stop` is set.

        every: only each `every`-th picture, from the first on; those between are not even decoded where that can be.
        Raises SourceError for a source that breaks in a way that leaves nothing to go on with.
        """

    def close(self) -> None:
        """Let go of every resource. May be called more than once."""


@runtime_checkable
class HasGroundTruth(Protocol):
    """A source that knows what is in its pictures, as one that draws them does."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """What the class ids of `truth` mean."""

    def truth(self, frame_index: int) -> Detections:
        """The objects of a frame, in source pixels, with score 1."""

    def unlabelled(self, frame_index: int) -> Detections:
        """Objects too small or too hidden to be wanted; finding one is neither right nor wrong."""
