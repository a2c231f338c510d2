"""Sampling: a source → some frames of it that stand for all."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from pipeline.errors import ConfigError
from pipeline.flow.stage import Stop
from pipeline.picture.frame import TimedPicture
from pipeline.sources.source import FrameSource

# Frames from one of a live source to the next, so that something has moved.
_LIVE_STRIDE = 5


class Sample:
    """Some frames of a source, in memory: a source itself, that can be read again and again."""

    is_live = False
    size_wh = None
    frames_per_second = None
    damage = ()

    def __init__(self, source_id: str, timed_pictures: dict[int, TimedPicture], *, is_of_live: bool = False) -> None:
        self.source_id = source_id
        self.is_of_live = is_of_live  # whether the source that they are from is live
        self.frame_indices = tuple(timed_pictures)  # in the source
        self.timed_pictures = tuple(timed_pictures.values())
        self.num_frames: int | None = len(timed_pictures)

    def pictures(self, stop: Stop, *, every: int = 1) -> Iterator[TimedPicture]:
        for timed in self.timed_pictures[::every]:
            if stop.is_set():
                return
            yield timed

    def close(self) -> None:
        """Nothing is held but memory."""


def take_sample(source: FrameSource, num_frames: int, *, of_first: int | None = None) -> Sample:
    """At most `num_frames` frames, evenly over a recorded source or its first `of_first`; of a live one the next.

    The whole source is read once, because declared lengths can be wrong; at most twice as many frames are
    held on the way. Closes the source. Raises ConfigError where there is no frame, SourceError for what breaks.
    """
    kept = _kept_frames(source, num_frames, of_first)
    source.close()
    if not kept:
        raise ConfigError(f"{source.source_id}: must have at least one frame to sample, it has none")
    indices = list(kept)
    num = min(num_frames, len(indices))
    chosen = [indices[(2 * part + 1) * len(indices) // (2 * num)] for part in range(num)]  # the middle of each part
    return Sample(source.source_id, {index: kept[index] for index in chosen}, is_of_live=source.is_live)


def _kept_frames(source: FrameSource, num_frames: int, of_first: int | None) -> dict[int, TimedPicture]:
    """Frames at equal distances by their index: at least `num_frames` of a long source, and at most twice as many."""
    stride = _LIVE_STRIDE if source.is_live else max(1, min(source.num_frames or 0, of_first or 2**62) // num_frames)
    kept: dict[int, TimedPicture] = {}
    for index, timed in enumerate(source.pictures(threading.Event())):
        if index == of_first or (source.is_live and len(kept) == num_frames):
            break
        if index % stride == 0:
            kept[index] = timed
        if len(kept) > 2 * num_frames:  # longer than declared
            stride *= 2
            kept = {index: timed for index, timed in kept.items() if index % stride == 0}
    return kept
