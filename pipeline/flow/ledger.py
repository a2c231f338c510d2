"""Ledger: captures and ends of branches → the bucket in which each frame ended, with counts, rates and latency.

Each captured frame ends in exactly one bucket:

    delivered        it reached the end of the flow in every branch that did not drop it
    dropped_stale    it was too old when its turn came or before it was decoded, or on its way when the run stopped
    dropped_full     a newer frame took its place in a full queue
    filtered         a stage ended it on purpose, by returning nothing for it, or its source left it out undecoded
    failed           a stage or sink failed on it, or the run failed while it was on its way

At any instant `captured = delivered + dropped_stale + dropped_full + filtered + failed + in_flight`.
Rates are FPS, computed by `pipeline.flow.meters.RateMeter`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from pipeline.flow.meters import DurationSummary, Histogram, RateMeter

Bucket = Literal["delivered", "dropped_stale", "dropped_full", "filtered", "failed"]

# Where the branches of a frame end differently, the first of these that occurs is the frame's bucket.
_PRECEDENCE: tuple[Bucket, ...] = ("failed", "delivered", "filtered", "dropped_stale", "dropped_full")


class Ticket:
    """Goes with one frame through the flow; only the ledger changes it."""

    __slots__ = ("accounts", "bucket", "captured_at_seconds", "index", "open_branches", "source_id")

    def __init__(
        self, source_id: str, index: int, captured_at_seconds: float, accounts: tuple[_Account, _Account]
    ) -> None:
        self.source_id = source_id
        self.index = index
        self.accounts = accounts  # that its end is booked in
        self.captured_at_seconds = captured_at_seconds
        self.open_branches = 1
        self.bucket: Bucket | None = None


@dataclass(frozen=True, slots=True)
class FrameCounts:
    """How many frames were captured, where they ended, how fast and how late."""

    captured: int
    delivered: int
    dropped_stale: int
    dropped_full: int
    filtered: int
    failed: int
    in_flight: int
    captured_rate: float | None
    delivered_rate: float | None
    recent_captured_rate: float | None
    recent_delivered_rate: float | None
    latency: DurationSummary  # capture to the end of the last branch, of delivered frames

    @property
    def dropped(self) -> int:
        """Dropped for either reason."""
        return self.dropped_stale + self.dropped_full


@dataclass(frozen=True, slots=True)
class LatencyCounts:
    """A histogram of the time from capture to the end of the last branch, of delivered frames."""

    at_most: tuple[int, ...]  # of each bound that was asked for
    num: int
    sum_seconds: float


class _Account:
    """The books of one source, or of all."""

    __slots__ = ("buckets", "captured", "captured_rate", "delivered_rate", "latency")

    def __init__(self) -> None:
        self.captured = 0
        self.buckets: dict[Bucket, int] = dict.fromkeys(_PRECEDENCE, 0)
        self.captured_rate, self.delivered_rate = RateMeter(), RateMeter()
        self.latency = Histogram()

    def counts(self, now_seconds: float) -> FrameCounts:
        return FrameCounts(
            captured=self.captured,
            **self.buckets,
            in_flight=self.captured - sum(self.buckets.values()),
            captured_rate=self.captured_rate.overall(),
            delivered_rate=self.delivered_rate.overall(),
            recent_captured_rate=self.captured_rate.recent(now_seconds),
            recent_delivered_rate=self.delivered_rate.recent(now_seconds),
            latency=DurationSummary.of(self.latency),
        )


class Ledger:
    """Books every frame of a run; may be used from any thread.

    on_settled: called once for each source that has ended, when all of its frames have.
    """

    def __init__(
        self,
        source_ids: Iterable[str],
        *,
        clock: Callable[[], float],
        on_settled: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._clock = clock
        self._on_settled = on_settled
        self._lock = threading.Lock()
        self._all = _Account()
        self._by_source = {source_id: _Account() for source_id in source_ids}
        self._num_captured = dict.fromkeys(self._by_source, 0)
        self._open: set[Ticket] = set()
        self._num_open = dict.fromkeys(self._by_source, 0)
        self._ended: set[str] = set()  # sources of which frames are still on their way

    def add_source(self, source_id: str) -> None:
        """Open the books of another source, or those of one that has ended and comes back."""
        with self._lock:
            self._ended.discard(source_id)
            self._by_source.setdefault(source_id, _Account())
            self._num_captured.setdefault(source_id, 0)
            self._num_open.setdefault(source_id, 0)

    def end_source(self, source_id: str) -> None:
        """Say that a source gives no more frames."""
        with self._lock:
            self._ended.add(source_id)
            is_settled = self._is_settled(source_id)
        if is_settled:
            self._on_settled(source_id)

    def capture(self, source_id: str, *, at_seconds: float | None = None) -> Ticket:
        """Book a new frame. at_seconds: when it was captured, if earlier than now."""
        now = self._clock()
        with self._lock:
            accounts = self._by_source[source_id], self._all
            captured_at = now if at_seconds is None else min(now, at_seconds)
            ticket = Ticket(source_id, self._num_captured[source_id], captured_at, accounts)
            self._num_captured[source_id] += 1
            self._open.add(ticket)
            self._num_open[source_id] += 1
            for account in accounts:
                account.captured += 1
                account.captured_rate.tick(now)
        return ticket

    def skip(self, source_id: str, num: int, bucket: Bucket = "dropped_stale") -> None:
        """Book frames that their source left out, by default as too old: captured, and at once in a bucket."""
        now = self._clock()
        with self._lock:
            self._num_captured[source_id] += num
            for account in (self._by_source[source_id], self._all):
                account.captured += num
                account.buckets[bucket] += num
                for _ in range(num):
                    account.captured_rate.tick(now)

    def branch(self, ticket: Ticket, num_branches: int) -> None:
        """One item of this frame has become several, each of which will be finished."""
        with self._lock:
            ticket.open_branches += num_branches - 1

    def finish(self, ticket: Ticket, bucket: Bucket) -> None:
        """One branch of this frame has ended; with the last one the frame is in its bucket."""
        now = self._clock()
        with self._lock:
            if ticket.bucket is None or _PRECEDENCE.index(bucket) < _PRECEDENCE.index(ticket.bucket):
                ticket.bucket = bucket
            ticket.open_branches -= 1
            if ticket.open_branches == 0:
                self._settle(ticket, now)
            is_settled = ticket.open_branches == 0 and self._is_settled(ticket.source_id)
        if is_settled:
            self._on_settled(ticket.source_id)

    def close(self, bucket: Bucket) -> None:
        """End every frame that is still on its way, in this bucket unless a branch of it had ended before."""
        now = self._clock()
        with self._lock:
            for ticket in list(self._open):
                ticket.bucket = ticket.bucket or bucket
                self._settle(ticket, now)

    def forget(self) -> None:
        """Begin new books: frames that were captured before are in none of the numbers from now on."""
        with self._lock:
            self._all = _Account()
            self._by_source = {source_id: _Account() for source_id in self._by_source}

    def latency_percentiles_seconds(self) -> tuple[float, ...]:
        """Of delivered frames, the 0th to 100th percentile of the time from capture; empty before the first."""
        with self._lock:
            percentiles = [self._all.latency.percentile_seconds(percent) for percent in range(101)]
        return tuple(seconds for seconds in percentiles if seconds is not None)

    def latency_counts(self, bounds_seconds: Sequence[float]) -> dict[str, LatencyCounts]:
        """By source, how many delivered frames took at most each of these times from capture, within 1 %."""
        with self._lock:
            latencies = {source_id: account.latency for source_id, account in self._by_source.items()}
            return {
                source_id: LatencyCounts(
                    tuple(latency.num_at_most(bound) for bound in bounds_seconds), latency.num, latency.sum_seconds
                )
                for source_id, latency in latencies.items()
            }

    def statistics(self) -> tuple[FrameCounts, dict[str, FrameCounts]]:
        """A snapshot: of all sources together, and of each."""
        now = self._clock()
        with self._lock:
            by_source = {source_id: account.counts(now) for source_id, account in self._by_source.items()}
            return self._all.counts(now), by_source

    def _is_settled(self, source_id: str) -> bool:
        """Whether a source has ended and all of its frames have; true once."""
        if source_id not in self._ended or self._num_open[source_id]:
            return False
        self._ended.discard(source_id)
        return True

    def _settle(self, ticket: Ticket, now_seconds: float) -> None:
        assert ticket.bucket is not None
        self._open.discard(ticket)
        self._num_open[ticket.source_id] -= 1
        for account in ticket.accounts:
            account.buckets[ticket.bucket] += 1
            if ticket.bucket == "delivered":
                account.delivered_rate.tick(now_seconds)
                account.latency.add(now_seconds - ticket.captured_at_seconds)
