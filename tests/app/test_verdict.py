"""Verdict: the sentence at the end names the bottleneck of made-up numbers, and the change to make."""

from __future__ import annotations

import pytest

from pipeline.app.run.verdict import ProcessorUse, judge
from pipeline.flow.ledger import Ledger
from pipeline.flow.meters import StageMeter, StageStatistics
from pipeline.flow.running import RunStatistics
from pipeline.testing import StepClock

NAMES = ("street.mp4", "preprocess", "detect", "nms", "render", "record out.mp4", "jsonl", "window")


def node(name: str, *, busy: float | None, workers: int = 1) -> StageStatistics:
    kind = "source" if name == "street.mp4" else "sink" if name in NAMES[5:] else "stage"
    role = {"street.mp4": "source", "record out.mp4": "record"}.get(name, name)
    meter = StageMeter(name=name, kind=kind, role=role, workers=workers)
    for _ in range(100):
        meter.served(None if busy is None else busy * workers / 100, "street.mp4", 1.0)
    return meter.statistics(now_seconds=1.0, elapsed_seconds=1.0)


def run(nodes: tuple[StageStatistics, ...], *, delivered: int = 100, dropped: int = 0) -> RunStatistics:
    clock = StepClock()
    ledger = Ledger(["street.mp4"], clock=clock)
    for count in range(delivered + dropped):
        ticket = ledger.capture("street.mp4")
        ledger.finish(ticket, "delivered" if count < delivered else "dropped_full")
        clock.advance(0.01)
    everything, by_source = ledger.statistics()
    return RunStatistics(1.0, everything, by_source, nodes)


@pytest.mark.parametrize(
    ("slow", "advice"),
    [
        ("street.mp4", "cheaper to decode"),
        ("preprocess", "nearer to the network's size"),
        ("detect", "smaller network"),
        ("nms", "--score-threshold"),
        ("render", "render.labels=false"),
        ("record out.mp4", "h264_nvenc"),
        ("jsonl", "faster disk"),
        ("window", "--no-show"),
    ],
)
def test_the_busiest_stage_limits_and_gets_its_advice(slow: str, advice: str) -> None:
    verdict = judge(run(tuple(node(name, busy=0.95 if name == slow else 0.2) for name in NAMES)), is_live=False)
    assert verdict.limited_by == slow
    assert advice in verdict.advice


def test_the_sentence_says_what_would_limit_next() -> None:
    nodes = (node("street.mp4", busy=0.25), node("detect", busy=1.0, workers=2), node("nms", busy=0.01))
    verdict = judge(run(nodes), is_live=False)
    assert "Limited by detect (100% busy, 20.0 ms a frame)" in verdict.advice
    assert "street.mp4 would limit next, at about 400 frames/s" in verdict.advice


def test_a_camera_that_is_kept_up_with_is_the_limit() -> None:
    verdict = judge(run((node("street.mp4", busy=None), node("detect", busy=0.5))), is_live=True)
    assert verdict.limited_by == "source"
    assert "100.0 frames/s" in verdict.advice
    assert "detect 50% busy" in verdict.advice


def test_a_camera_that_outruns_the_network_is_not_the_limit() -> None:
    verdict = judge(run((node("street.mp4", busy=None), node("detect", busy=0.99)), dropped=50), is_live=True)
    assert verdict.limited_by == "detect"


def test_where_no_stage_is_busy_the_machine_is_suspected() -> None:
    verdict = judge(run((node("street.mp4", busy=0.3), node("detect", busy=0.4))), is_live=False)
    assert verdict.limited_by == "waiting"
    assert "40%" in verdict.advice


def test_a_stage_of_ones_own_gets_general_advice() -> None:
    verdict = judge(run((node("blur-faces", busy=0.9),)), is_live=False)
    assert verdict.limited_by == "blur-faces"
    assert "more workers" in verdict.advice


def test_nothing_delivered_is_said_plainly() -> None:
    verdict = judge(run((node("detect", busy=0.0),), delivered=0), is_live=False)
    assert verdict.limited_by == "nothing"


def test_a_live_source_among_recorded_ones_sets_the_pace() -> None:
    verdict = judge(run((node("street.mp4", busy=None), node("detect", busy=0.4))), is_live=False)
    assert verdict.limited_by == "source"
    assert "pace of street.mp4" in verdict.advice


def test_where_no_core_is_left_the_processor_limits_and_the_dearest_role_is_to_be_changed() -> None:
    nodes = (node("street.mp4", busy=0.5), node("detect", busy=0.55, workers=2), node("record out.mp4", busy=0.3))
    use = ProcessorUse(cores=2, cores_used=1.95, seconds_by_role={"source": 0.2, "detect": 0.4, "record": 1.2})
    verdict = judge(run(nodes), is_live=False, processor=use)
    assert verdict.limited_by == "record out.mp4"
    assert "1.9 of 2 cores busy), of which record takes 67%" in verdict.advice
    assert "h264_nvenc" in verdict.advice


def test_a_processor_with_cores_to_spare_limits_nothing() -> None:
    use = ProcessorUse(cores=8, cores_used=1.5, seconds_by_role={"detect": 1.0})
    assert judge(run((node("detect", busy=0.95),)), is_live=False, processor=use).limited_by == "detect"


def test_a_live_run_that_keeps_up_is_limited_by_its_source_even_on_a_full_processor() -> None:
    use = ProcessorUse(cores=2, cores_used=2.0, seconds_by_role={"detect": 1.0})
    assert judge(run((node("detect", busy=0.95),)), is_live=True, processor=use).limited_by == "source"
