"""Shared statistics: the numbers of a source, gathered once a second → a message for each of its viewers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping

from pipeline.json_values import Json
from pipeline.serve.messages import stats_message

_FRESH_SECONDS = 0.9  # less than the second between two messages


class SharedStatistics:
    """Gathers when a viewer asks and what there is is a second old. Used in the server's loop alone.

    gather: the numbers now; called in a thread, because it waits for others. clock: monotonic seconds.
    """

    def __init__(
        self, gather: Callable[[], Mapping[str, Json]], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._gather, self._clock = gather, clock
        self._gathering = asyncio.Lock()
        self._at_seconds = float("-inf")
        self._values: Mapping[str, Json] = {}
        self._text = ""  # for a viewer that missed nothing

    async def message(self, num_dropped: int) -> str:
        """The text for a viewer. num_dropped: pictures that were left out for it."""
        async with self._gathering:
            if self._clock() - self._at_seconds >= _FRESH_SECONDS:
                self._values = await asyncio.to_thread(self._gather)
                self._at_seconds = self._clock()
                self._text = stats_message({**self._values, "dropped_for_viewer": 0})
        return stats_message({**self._values, "dropped_for_viewer": num_dropped}) if num_dropped else self._text
