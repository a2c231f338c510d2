"""Seen packets: what was read of a live stream → where a playlist that is opened again has something new."""

from __future__ import annotations

import zlib
from collections import deque

MOST = 20_000  # packets: 10 minutes at 30 frames/s, more than live playlists hold


class SeenPackets:
    """Remembers packets by their time and content, so that a playlist that is opened again is not replayed.

    was_open: whether the stream has been opened; set by whoever opens it.
    """

    def __init__(self) -> None:
        self.was_open = False
        self._order: deque[int] = deque(maxlen=MOST)
        self._marks: set[int] = set()

    def __len__(self) -> int:
        return len(self._order)

    def add(self, pts: int | None, content: bytes) -> bool:
        """Remember a packet; whether it is new. pts: as it is in the stream."""
        mark = hash((pts, zlib.crc32(content)))  # one number is a third of the memory of two
        if mark in self._marks:
            return False
        if len(self._order) == MOST:
            self._marks.discard(self._order[0])
        self._order.append(mark)
        self._marks.add(mark)
        return True
