"""Batch closing: service times and the age of the oldest item → how long a batch may wait for more items."""

from __future__ import annotations

import threading
from collections import deque

_NUM_REMEMBERED = 16  # batches, of which the slowest is expected again
_RESERVE = 0.1  # of the allowed latency, for the stages that follow


class BatchCloser:
    """Decides for one batch stage when a batch is closed: when it is full, or when its oldest item can wait no longer.

    max_latency_seconds: how old an item may be when its batch is done; None: a batch never waits.
    May be used from several threads.
    """

    def __init__(self, *, max_batch: int, max_latency_seconds: float | None) -> None:
        self._max_batch = max_batch
        self._max_latency_seconds = max_latency_seconds
        self._service_seconds: deque[float] = deque(maxlen=_NUM_REMEMBERED)
        self._lock = threading.Lock()

    def patience_seconds(self, *, num_items: int, oldest_at_seconds: float, now_seconds: float) -> float:
        """How long a batch may still wait for one more item, in seconds; 0: close it now.

        oldest_at_seconds: when its oldest item was captured. No batch waits before a first one has been timed.
        """
        if num_items >= self._max_batch or self._max_latency_seconds is None:
            return 0.0
        with self._lock:
            if not self._service_seconds:
                return 0.0
            expected = max(self._service_seconds)
        done_by = oldest_at_seconds + self._max_latency_seconds * (1 - _RESERVE)
        return max(0.0, done_by - expected - now_seconds)

    def ran(self, seconds: float) -> None:
        """Count a batch that took `seconds` from the moment at which it was closed."""
        with self._lock:
            self._service_seconds.append(seconds)
