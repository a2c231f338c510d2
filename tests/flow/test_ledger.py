"""Ledger: every frame ends in exactly one bucket, whatever happens to its branches."""

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


def test_frames_captured_before_forgetting_are_in_none_of_the_numbers() -> None:
    clock = StepClock()
    ledger = Ledger(["camera"], clock=clock)
    early = [ledger.capture("camera") for _ in range(3)]
    ledger.finish(early[0], "delivered")
    ledger.forget()
    late = ledger.capture("camera")
    assert late.index == 3  # frames are numbered on
    clock.advance(0.020)
    ledger.finish(early[1], "delivered")
    ledger.finish(late, "delivered")
    ledger.close("failed")
    frames, by_source = ledger.statistics()
    assert (frames.captured, frames.delivered, frames.failed, frames.in_flight) == (1, 1, 0, 0)
    assert by_source["camera"] == frames
    assert frames.latency.num == 1


def test_latency_percentiles_go_from_the_fastest_to_the_slowest_frame() -> None:
    clock = StepClock()
    ledger = Ledger(["camera"], clock=clock)
    assert ledger.latency_percentiles_seconds() == ()
    for milliseconds in (10, 20, 40):
        ticket = ledger.capture("camera")
        clock.advance(milliseconds / 1000)
        ledger.finish(ticket, "delivered")
    percentiles = ledger.latency_percentiles_seconds()
    assert len(percentiles) == 101
    for percent, seconds in ((0, 0.010), (50, 0.020), (100, 0.040)):
        assert abs(percentiles[percent] / seconds - 1) < 0.011
