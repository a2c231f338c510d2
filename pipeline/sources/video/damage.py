"""Damage: counts of what went wrong while a video was read → one line for each kind, as a report prints it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.sources.video.header import Header

_TOLERATED_SECONDS = 1.0  # by which the declared end and the last frame may differ


@dataclass(slots=True)
class Damage:
    """Counts that grow while a video is read."""

    num_packets: int = 0
    num_undecodable: int = 0  # packets
    num_broken_reads: int = 0  # places where the demuxer reported an error
    num_hidden: int = 0  # packets that an edit list hides on purpose
    num_frames: int = 0  # frames handed out
    num_corrupt: int = 0  # of these, decoded with errors
    num_backwards: int = 0  # of these, with a timestamp that did not go forward
    odd_degrees: float = 0.0  # rotation beyond a quarter turn, which is not applied
    reason: str = ""  # libav's last message

    @property
    def because(self) -> str:
        """libav's last message in brackets, to follow a sentence; empty without one."""
        return f" ({self.reason})" if self.reason else ""

    def lines(self) -> Iterator[str]:
        if self.num_undecodable:
            yield f"{self.num_undecodable} of {self.num_packets} packets not decodable{self.because}"
        if self.num_broken_reads:
            yield f"the container is broken in {self.num_broken_reads} places{self.because}"
        if self.num_corrupt:
            yield f"{self.num_corrupt} of {self.num_frames} frames decoded with errors"
        if self.num_backwards:
            yield f"{self.num_backwards} of {self.num_frames} timestamps did not go forward and were replaced"
        if self.odd_degrees:
            yield f"its display matrix turns by {self.odd_degrees:+.0f}° beyond a quarter turn, which is left out"

    def shortfall(self, header: Header, *, num_seen: int, end_seconds: float, has_jumps: bool) -> Iterator[str]:
        """A line for frames or seconds that the header declared and that did not come; headers are known to be wrong.

        num_seen: frames of the file that were counted. end_seconds: end of the last one, in media time.
        has_jumps: whether the clock of the stream jumped, so that the declared end is one of its last part.
        """
        if header.num_frames is not None:
            num_declared = header.num_frames - self.num_hidden
            if num_seen < num_declared:
                yield f"{num_declared} frames declared, {num_seen} read"
        elif has_jumps or header.end_seconds is None:
            return
        elif end_seconds < header.end_seconds - _TOLERATED_SECONDS:
            yield f"declared to last until {header.end_seconds:.1f} s, read until {end_seconds:.1f} s"
