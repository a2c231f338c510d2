"""Meters: moments and durations → rates, latency percentiles, and the cost of each node of a flow."""

from __future__ import annotations

import math
import threading
from bisect import bisect_left
from collections import deque
from dataclasses import dataclass
from itertools import accumulate

_SMALLEST_SECONDS = 1e-6
_GROWTH = 1.02
_LOG_GROWTH = math.log(_GROWTH)
_NUM_BUCKETS = math.ceil(math.log(1e9) / _LOG_GROWTH)  # up to 1000 s


class RateMeter:
    """FPS, or any ticks per second: (ticks - 1) / (last - first), because n ticks span n - 1 intervals.

    Not locked; whoever owns it, locks.
    """

    __slots__ = ("_first", "_last", "_num_ticks", "_recent", "_window_seconds")

    def __init__(self, *, window_seconds: float = 3.0, max_recent: int = 4096) -> None:
        self._window_seconds = window_seconds
        self._recent: deque[float] = deque(maxlen=max_recent)
        self._num_ticks = 0
        self._first = self._last = 0.0

    def tick(self, now_seconds: float) -> None:
        """Count one event."""
        if self._num_ticks == 0:
            self._first = now_seconds
        self._last = now_seconds
        self._num_ticks += 1
        self._recent.append(now_seconds)
        while self._recent[0] < now_seconds - self._window_seconds:
            self._recent.popleft()

    def recent(self, now_seconds: float) -> float | None:
        """The rate over the sliding window that ends now; None before two ticks in it."""
        ticks = [tick for tick in self._recent if tick >= now_seconds - self._window_seconds]
        if len(ticks) < 2 or ticks[-1] <= ticks[0]:
            return None
        return (len(ticks) - 1) / (ticks[-1] - ticks[0])

    def overall(self) -> float | None:
        """The rate from the first tick to the last; None before two ticks."""
        if self._num_ticks < 2 or self._last <= self._first:
            return None
        return (self._num_ticks - 1) / (self._last - self._first)


class Histogram:
    """Durations in buckets that grow by 2 %: bounded memory, percentiles true within 1 %.

    Not locked; whoever owns it, locks.
    """

    __slots__ = ("_buckets", "num", "sum_seconds")

    def __init__(self) -> None:
        self._buckets = [0] * (_NUM_BUCKETS + 1)
        self.num = 0
        self.sum_seconds = 0.0

    def add(self, seconds: float) -> None:
        """Count one duration; below 1 µs counts as 1 µs, above 1000 s as 1000 s."""
        ratio = seconds / _SMALLEST_SECONDS
        bucket = int(math.log(ratio) / _LOG_GROWTH) if ratio > 1 else 0
        self._buckets[min(bucket, _NUM_BUCKETS)] += 1
        self.num += 1
        self.sum_seconds += seconds

    def num_at_most(self, seconds: float) -> int:
        """How many durations did not exceed this one, which counts as the nearest edge of a bucket."""
        num_buckets = round(math.log(seconds / _SMALLEST_SECONDS) / _LOG_GROWTH)
        return sum(self._buckets[: max(0, num_buckets)])

    def percentile_seconds(self, percent: float) -> float | None:
        """The duration that `percent` of all do not exceed (nearest rank); None where nothing was counted."""
        if not self.num:
            return None
        rank = max(1, math.ceil(self.num * percent / 100))
        bucket = bisect_left(list(accumulate(self._buckets)), rank)
        return float(_SMALLEST_SECONDS * _GROWTH ** (bucket + 0.5))


@dataclass(frozen=True, slots=True)
class DurationSummary:
    """A distribution of durations in seconds; None where nothing was counted."""

    num: int
    mean: float | None
    p50: float | None
    p95: float | None
    p99: float | None

    @classmethod
    def of(cls, histogram: Histogram) -> DurationSummary:
        """Summarise a histogram."""
        mean = histogram.sum_seconds / histogram.num if histogram.num else None
        p50, p95, p99 = (histogram.percentile_seconds(percent) for percent in (50, 95, 99))
        return cls(histogram.num, mean, p50, p95, p99)


@dataclass(frozen=True, slots=True)
class StageStatistics:
    """The work of one node of a flow so far; durations in seconds, rates in items per second.

    `busy` is the share of its workers' time that went into work rather than waiting for items or room.
    """

    name: str
    kind: str
    role: str  # what it does, whatever file or device is in its name
    workers: int
    service: DurationSummary
    wait: DurationSummary
    busy: float
    rate: float | None
    rate_by_source: dict[str, float | None]
    recent_rate: float | None
    dropped: int
    waiting: int


class StageMeter:
    """Service time, queue wait and rate of one node; may be used from any thread.

    role: by default the name.
    """

    def __init__(self, *, name: str, kind: str, workers: int, role: str = "") -> None:
        self._name, self._kind, self._role, self._workers = name, kind, role or name, workers
        self._lock = threading.Lock()
        self.forget()

    def forget(self) -> None:
        """Begin anew, with nothing counted."""
        with self._lock:
            self._service, self._wait = Histogram(), Histogram()
            self._rate = RateMeter()
            self._rate_by_source: dict[str, RateMeter] = {}

    def waited(self, seconds: float) -> None:
        """Note how long an item waited in the queue."""
        with self._lock:
            self._wait.add(seconds)

    def served(self, seconds: float | None, source_id: str, now_seconds: float) -> None:
        """Count an item that is done; `seconds`: of work on it, None where work and waiting cannot be told apart."""
        with self._lock:
            if seconds is not None:
                self._service.add(seconds)
            self._rate.tick(now_seconds)
            self._rate_by_source.setdefault(source_id, RateMeter()).tick(now_seconds)

    def statistics(
        self, *, now_seconds: float, elapsed_seconds: float, dropped: int = 0, waiting: int = 0
    ) -> StageStatistics:
        """A snapshot; `elapsed_seconds` is the time that the workers could have worked."""
        with self._lock:
            available = elapsed_seconds * self._workers
            return StageStatistics(
                name=self._name,
                kind=self._kind,
                role=self._role,
                workers=self._workers,
                service=DurationSummary.of(self._service),
                wait=DurationSummary.of(self._wait),
                busy=min(1.0, self._service.sum_seconds / available) if available > 0 else 0.0,
                rate=self._rate.overall(),
                rate_by_source={source: rate.overall() for source, rate in self._rate_by_source.items()},
                recent_rate=self._rate.recent(now_seconds),
                dropped=dropped,
                waiting=waiting,
            )
