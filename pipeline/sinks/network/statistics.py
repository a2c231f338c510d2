"""Send statistics: a sink that sends → how many of its frames were sent, and why others were not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class SendStatistics:
    """What became of the frames of a stream."""

    num_sent: int
    num_not_sent: int  # while it was not connected, or because the receiver was too slow
    num_breaks: int  # of a connection that was made
    reason: str  # why it was last not connected; empty: it was always


@runtime_checkable
class SendsFrames(Protocol):
    """A sink that sends to an address."""

    @property
    def name(self) -> str:
        """The address, without its secrets."""

    def statistics(self) -> SendStatistics:
        """A snapshot, from any thread."""
