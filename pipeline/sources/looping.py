"""LoopingSource: a recorded source that ends → one that begins anew, so that a short file can be measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol, runtime_checkable

from pipeline.flow.stage import Stop
from pipeline.picture.frame import TimedPicture
from pipeline.sources.kinds import files_of, kind_of
from pipeline.sources.packets import HasPackets, PacketListener, ShiftedPackets
from pipeline.sources.source import FrameSource


def can_be_read_again(word: str, source: FrameSource) -> bool:
    """Whether `word` opens a source with the same pictures again; stdin, pipes, cameras and networks do not."""
    return not source.is_live and (kind_of(word).is_repeatable or bool(files_of(word)))


def loops_of(source: FrameSource) -> int:
    """How often a source was opened and read again."""
    return source.num_loops if isinstance(source, CountsLoops) else 0


@runtime_checkable
class CountsLoops(Protocol):
    """A source that begins anew where it ends."""

    @property
    def num_loops(self) -> int:
        """How often it has."""


class LoopingSource:
    """A recorded source that is opened and read again wherever it ends; numbers and media times go on.

    The open source is the first pass. `damage` is that of one pass, not of all.

    reopen: opens the source again, or raises SourceError.
    """

    is_live = False
    num_frames = None

    def __init__(self, source: FrameSource, reopen: Callable[[], FrameSource]) -> None:
        self.source_id = source.source_id
        self.size_wh = source.size_wh
        self.frames_per_second = source.frames_per_second
        self.num_loops = 0  # how often it was opened again
        self._source = source
        self._reopen = reopen
        self._damage: tuple[str, ...] | None = None  # of the first pass, once that is over
        self._listener: PacketListener | None = None
        self._packets: ShiftedPackets | None = None  # of this pass

    def listen(self, listener: PacketListener) -> None:
        self._listener = listener
        self._listen_to_pass(shift_seconds=0.0)

    @property
    def damage(self) -> tuple[str, ...]:
        return self._source.damage if self._damage is None else self._damage

    def pictures(self, stop: Stop, *, every: int = 1) -> Iterator[TimedPicture]:
        step_seconds = every / (self.frames_per_second or 1.0)  # images are a second apart
        first_number, shift_seconds, last_seconds = 0, 0.0, 0.0
        while True:
            number = -every
            for timed in self._source.pictures(stop, every=every):
                if number < 0 and self.num_loops:
                    shift_seconds = last_seconds + step_seconds - timed.pts_seconds
                    if self._packets is not None:
                        self._packets.shift(shift_seconds)
                number = number + every if timed.number is None else timed.number
                last_seconds = timed.pts_seconds + shift_seconds
                yield timed._replace(pts_seconds=last_seconds, number=first_number + number)
            if stop.is_set() or number < 0:  # a source without a picture would have none again
                return
            first_number += number + every
            self._begin_anew()

    def close(self) -> None:
        self._source.close()

    def _begin_anew(self) -> None:
        self._damage = self.damage
        self._source.close()
        self._source = self._reopen()
        self.num_loops += 1
        self._listen_to_pass()

    def _listen_to_pass(self, *, shift_seconds: float | None = None) -> None:
        if self._listener is not None and isinstance(self._source, HasPackets):
            self._packets = ShiftedPackets(self._listener, shift_seconds=shift_seconds)
            self._source.listen(self._packets)
