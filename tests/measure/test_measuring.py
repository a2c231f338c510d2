"""Measuring: processor time, floors, repeats and the meters themselves tell the truth."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import replace

import pytest

from pipeline.measure.charts import pareto_front
from pipeline.measure.measured import Measured, Percentiles
from pipeline.measure.processor import DETECT, OTHER, RECORD, SOURCE, Reading, Usage, read_processor
from pipeline.measure.self_test import Check, self_test
from pipeline.measure.summary import Figure, Floors, Summary, apportioned, disturbances, typical_cpu_ms_by_role
from tests.support.measured import a_floor, a_run


def usage(seconds: dict[int, float], *, names: dict[int, str] | None = None, process: float | None = None) -> Usage:
    return Usage(1.0, sum(seconds.values()) if process is None else process, 0.0, 0.0, seconds, names or {})


def test_a_busy_loop_reads_as_its_own_processor_time_and_not_as_that_of_others() -> None:
    first = read_processor()
    until = time.process_time() + 0.2
    while time.process_time() < until:
        pass
    spent = Usage.between(first, read_processor())
    assert spent.process_seconds == pytest.approx(0.2, abs=0.05)
    assert spent.wall_seconds >= 0.19
    assert sum(spent.thread_seconds.values()) == pytest.approx(spent.process_seconds, abs=0.05)


def test_others_are_what_the_machine_did_and_we_did_not() -> None:
    first = Reading(10.0, 1.0, 100.0, 3.0, {1: 0.5}, {})
    last = Reading(12.0, 2.0, 104.0, 3.5, {1: 1.0, 2: 0.25}, {})
    spent = Usage.between(first, last)
    assert (spent.process_seconds, spent.other_cores, spent.stolen_cores) == (1.0, 1.5, 0.25)
    assert spent.thread_seconds == {1: 0.5, 2: 0.25}


def test_threads_of_libraries_count_for_the_role_that_they_work_for() -> None:
    seconds = {1: 1.0, 2: 2.0, 3: 4.0, 4: 8.0, 5: 16.0}
    names = {3: "av:hevc:df0", 4: "python", 5: "python"}
    roles = {1: SOURCE, 2: RECORD}
    assert usage(seconds, names=names).by_role(roles, engine_threads={1, 4}) == {
        SOURCE: 5.0,
        RECORD: 18.0,
        DETECT: 8.0,
        OTHER: 0.0,
    }
    without_recording = usage(seconds, names=names, process=35.0).by_role({1: SOURCE, 2: "nms"}, engine_threads={4})
    assert without_recording == {SOURCE: 5.0, "nms": 2.0, DETECT: 8.0, OTHER: 20.0}


def test_roles_add_up_to_the_process_where_threads_tick_more_than_it() -> None:
    roles = {1: SOURCE, 2: "nms"}
    by_role = usage({1: 3.0, 2: 1.0}, names={}, process=2.0).by_role(roles, engine_threads={})
    assert by_role == {SOURCE: 1.5, "nms": 0.5, OTHER: 0.0}


def test_threads_that_have_ended_count_for_the_role_that_they_are_known_to_have_had() -> None:
    by_role = usage({1: 3.0}, names={}, process=5.0).by_role({1: "nms"}, engine_threads={}, ended=SOURCE)
    assert by_role == {"nms": 3.0, SOURCE: 2.0, OTHER: 0.0}


def test_rounded_parts_add_up_to_the_rounded_total() -> None:
    assert apportioned({"a": 0.333, "b": 0.333, "c": 0.334}, total=1.0, digits=2) == {"a": 0.33, "b": 0.33, "c": 0.34}
    assert apportioned({"a": 1.26, "b": 1.26}, total=2.52, digits=1) == {"a": 1.3, "b": 1.2}
    assert apportioned({}, total=0.0) == {}


@pytest.mark.parametrize("num", [1, 2, 3, 4])
def test_the_roles_add_up_to_the_median_of_the_repeats(num: int) -> None:
    repeats = [
        a_run(10.0, cpu_ms_per_frame=cost, cpu_ms_by_role={"detect": cost - 1.0, f"only in {cost}": 1.0})
        for cost in (9.251, 4.002, 30.0, 9.256)[:num]
    ]
    median = Figure.of([repeat.cpu_ms_per_frame for repeat in repeats]).as_json()["median"]
    assert round(sum(typical_cpu_ms_by_role(repeats).values()), 3) == median


def run(fps: float, *, dropped: int = 0, others: float = 0.0, stolen: float = 0.0) -> Measured:
    latency: Percentiles = {"p50": 1000 / fps, "p95": 2000 / fps, "p99": None}
    return a_run(fps, latency_ms=latency, num_stale=dropped, num_full=1, other_cores=others, stolen_cores=stolen)


def test_a_summary_is_the_median_with_its_spread_beside_the_floors() -> None:
    floors = Floors.of([a_floor(200, 2.0)], [a_floor(40, 14.0)], [a_floor(50, 6.0)])
    assert set(floors.parts) == {"sources", "network"}
    summary = Summary.of([run(40), run(20), run(30, dropped=4)], floors)
    assert (summary.fps.median, summary.fps.least, summary.fps.most) == (30, 20, 40)
    assert summary.fps.spread == pytest.approx(2 / 3)
    assert (summary.num_captured, summary.num_dropped) == (300, 7)
    assert summary.typical.fps.delivered == 30
    assert set(summary.latency_ms) == {"p50", "p95"}
    assert summary.cpu_efficiency == pytest.approx((2 + 6) / 10)  # the cheaper of the two bare networks
    assert summary.fps_efficiency == pytest.approx(30 / 50)  # the faster of the two, which is slower than the source


def test_a_measured_run_comes_back_from_its_json_as_it_was() -> None:
    for measured in (a_run(10.0), replace(a_run(10.0, loops={"a.mp4": 2}), every=3, network_wh=[64, 32])):
        assert Measured.from_json(json.loads(json.dumps(measured.to_json()))) == measured


def test_the_json_of_a_measured_run_has_loops_and_every_only_where_they_tell_something() -> None:
    assert not {"loops", "every"} & set(a_run(10.0).to_json())


def test_a_recording_has_a_third_floor() -> None:
    floors = Floors.of([a_floor(200, 2.0)], [a_floor(40, 4.0)], [a_floor(50, 6.0)], [a_floor(25, 3.0)])
    assert (floors.fps, floors.cpu_ms) == (25, 9.0)


def test_without_floors_there_is_no_efficiency() -> None:
    summary = Summary.of([run(10)], None)
    assert summary.cpu_efficiency is None
    assert summary.fps_efficiency is None


def test_what_disturbed_the_machine_is_said() -> None:
    quiet = [run(30), run(31)]
    assert disturbances(quiet, Figure(30, 30, 31), cores=2) == []
    (others,) = disturbances([run(30, others=0.7)], Figure(30, 30, 30), cores=2)
    assert "0.7 of 2 cores" in others
    (stolen,) = disturbances([run(30, stolen=0.4)], Figure(30, 30, 30), cores=2)
    assert "host" in stolen
    (apart,) = disturbances(quiet, Figure(30, 20, 40), cores=2)
    assert "differ by 67%" in apart


def test_nobody_on_the_pareto_front_is_beaten_in_both() -> None:
    points = {"slow best": (10.0, 0.5), "fast": (40.0, 0.3), "beaten": (9.0, 0.4), "twin": (40.0, 0.3)}
    assert pareto_front(points) == ["slow best", "fast", "twin"]
    assert pareto_front({}) == []


def test_a_check_fails_beyond_one_percent() -> None:
    assert Check("", 100.0, 100.9, "").passes
    assert not Check("", 100.0, 98.9, "").passes
    assert not Check("", 0.0, 1.0, "").passes


def test_the_meters_account_for_every_frame_of_a_known_run_and_read_its_durations_about_right() -> None:
    before = sys.getswitchinterval()
    sys.setswitchinterval(0.0005)
    try:
        checks = self_test(num_items=80)
    finally:
        sys.setswitchinterval(before)
    accounted = [check for check in checks if check.unit == ""]
    assert len(accounted) == 3
    assert all(check.error == 0 for check in accounted)
    # Of the durations, that they are about right: a machine that is busy with other tests is no laboratory.
    assert all(abs(check.error) < 0.2 for check in checks)
