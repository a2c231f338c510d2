"""Does every frame end in exactly one bucket, whatever happens to its branches?"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipeline.flow.ledger import Bucket, FrameCounts, Ledger
from pipeline.testing import StepClock

BUCKETS: tuple[Bucket, ...] = ("delivered", "dropped_stale", "dropped_full", "filtered", "failed")


def balance(counts: FrameCounts) -> int:
    return (
        counts.delivered
        + counts.dropped_stale
        + counts.dropped_full
        + counts.filtered
        + counts.failed
        + counts.in_flight
    )


def test_latency_is_from_capture_to_delivery() -> None:
    clock = StepClock()
    ledger = Ledger(["camera"], clock=clock)
    ticket = ledger.capture("camera")
    clock.advance(0.040)
    ledger.finish(ticket, "delivered")
    frames, _ = ledger.statistics()
    assert frames.delivered == 1
    assert frames.latency.p50 is not None
    assert abs(frames.latency.p50 - 0.040) < 0.0005


def test_a_frame_that_one_sink_got_and_another_dropped_is_delivered_once() -> None:
    ledger = Ledger(["camera"], clock=StepClock())
    ticket = ledger.capture("camera")
    ledger.branch(ticket, 2)
    ledger.finish(ticket, "dropped_full")
    assert ledger.statistics()[0].in_flight == 1
    ledger.finish(ticket, "delivered")
    frames, _ = ledger.statistics()
    assert (frames.delivered, frames.dropped, frames.in_flight) == (1, 0, 0)


def test_a_failed_branch_makes_the_frame_failed() -> None:
    ledger = Ledger(["camera"], clock=StepClock())
    ticket = ledger.capture("camera")
    ledger.branch(ticket, 2)
    ledger.finish(ticket, "delivered")
    ledger.finish(ticket, "failed")
    assert ledger.statistics()[0].failed == 1


@given(st.lists(st.tuples(st.sampled_from("ab"), st.lists(st.sampled_from(BUCKETS), max_size=3)), max_size=30))
def test_the_books_balance_at_every_instant(frames: list[tuple[str, list[Bucket]]]) -> None:
    ledger = Ledger("ab", clock=StepClock())
    for source_id, ends in frames:
        ticket = ledger.capture(source_id)
        if len(ends) > 1:
            ledger.branch(ticket, len(ends))
        for bucket in ends:
            ledger.finish(ticket, bucket)
            everything, by_source = ledger.statistics()
            assert balance(everything) == everything.captured
            assert all(balance(counts) == counts.captured for counts in by_source.values())
    ledger.close("dropped_stale")
    everything, by_source = ledger.statistics()
    assert everything.in_flight == 0
    assert everything.captured == len(frames) == sum(counts.captured for counts in by_source.values())
