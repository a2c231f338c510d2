"""Health: a run is well while frames flow, or may be silent; systemd and monitors hear the same."""

from __future__ import annotations

import logging
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.app.config.loading import load_config
from pipeline.app.run.health import Health, Verdict, allowed_silence_seconds
from pipeline.app.run.systemd import Systemd
from pipeline.events import FIELDS
from pipeline.flow.graph import Flow
from pipeline.flow.running import Running, RunStatistics
from pipeline.sources.states import SourceState, SourceStates, StateName
from pipeline.testing import CollectingSink, ItemSource, StepClock


def at(*, delivered: dict[str, int], dropped: int = 0, in_flight: int = 0) -> RunStatistics:
    """A snapshot of a run of these sources; the first has the frames that were dropped or are on their way."""
    flow = Flow.from_sources(ItemSource([1], source_id="any")).to(CollectingSink())
    with Running(flow) as running:
        running.wait()
    none = replace(running.statistics().frames, captured=0, delivered=0)
    by_source = {
        name: replace(none, captured=num + (dropped + in_flight) * (index == 0), delivered=num)
        for index, (name, num) in enumerate(delivered.items())
    }
    num = sum(delivered.values())
    frames = replace(none, captured=num + dropped + in_flight, delivered=num, dropped_full=dropped, in_flight=in_flight)
    return replace(running.statistics(), frames=frames, frames_by_source=by_source)


def states(**names: StateName) -> dict[str, SourceState]:
    """Sources in these states."""
    return {source: SourceState(name, 0.0, 0.0) for source, name in names.items()}


def test_a_run_is_not_well_before_its_first_frame_and_well_while_frames_flow() -> None:
    clock = StepClock()
    health = Health(silence_seconds=40, clock=clock)
    assert health.verdict() == Verdict(False, "starting: no frame has been delivered yet")
    health.observe(at(delivered={"door": 1}), states=states(door="live"))
    assert health.verdict() == Verdict(True, "frames flow")


def test_sources_may_be_silent_for_as_long_as_the_run_waits_for_them() -> None:
    clock = StepClock()
    health = Health(silence_seconds=40, clock=clock)
    for seconds in range(0, 50, 5):
        clock.now_seconds = float(seconds)
        health.observe(at(delivered={"door": 7}), states=states(door="live"))
        assert health.verdict().is_well == (seconds <= 40)
    assert health.verdict().reason == "no source has given a frame for 45 s"


def test_one_silent_camera_of_two_is_named_and_no_reason_to_start_anew() -> None:
    clock = StepClock()
    health = Health(silence_seconds=40, clock=clock)
    for seconds in range(0, 100, 5):
        clock.now_seconds = float(seconds)
        health.observe(at(delivered={"door": seconds + 1, "yard": 3}), states=states(door="live", yard="stalled"))
    assert health.verdict() == Verdict(True, "frames flow, but not from yard")
    assert health.states() == {"door": "live", "yard": "stalled"}


def test_where_all_sources_are_paused_silence_has_no_limit() -> None:
    clock = StepClock()
    health = Health(silence_seconds=40, clock=clock)
    health.observe(at(delivered={"door": 7, "yard": 7}), states=states(door="live", yard="live"))
    for seconds in range(5, 200, 5):
        clock.now_seconds = float(seconds)
        health.observe(at(delivered={"door": 7}), states=states(door="paused", yard="ended"))
        assert health.verdict() == Verdict(True, "frames flow")
    assert health.states() == {"door": "paused", "yard": "ended"}
    clock.advance(41)
    health.observe(at(delivered={"door": 7}), states=states(door="live"))
    assert health.verdict() == Verdict(False, "no source has given a frame for 41 s")


def test_frames_that_come_and_never_end_are_a_reason_to_start_anew() -> None:
    clock = StepClock()
    health = Health(silence_seconds=1000, clock=clock)
    for seconds in range(0, 45, 5):
        clock.now_seconds = float(seconds)
        health.observe(at(delivered={"door": 1}, dropped=seconds, in_flight=2), states=states(door="live"))
        assert health.verdict().is_well == (seconds <= 35)  # the first of them came at 5 s
    assert health.verdict().reason == "frames come, and for 35 s none has been delivered"


def test_a_main_thread_that_hangs_is_a_reason_to_start_anew() -> None:
    clock = StepClock()
    health = Health(silence_seconds=1000, clock=clock)
    health.observe(at(delivered={"door": 1}), states=states(door="live"))
    clock.advance(31)
    assert health.verdict() == Verdict(False, "the run has not answered for 31 s")


def test_changes_of_a_sources_state_are_events(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "pipeline")
    clock = StepClock()
    health = Health(silence_seconds=1000, clock=clock)
    door = SourceStates(is_live=True, clock=clock, wall_clock=clock)

    def look(seconds: float) -> None:
        clock.now_seconds = seconds
        health.observe(at(delivered={"door": 1}), states={"door": door.state})

    look(0.0)
    door.wait()
    clock.now_seconds = 2.0
    door.see_picture()
    look(2.0)
    door.wait()
    look(13.0)
    door.lose("door: broke off", retry_in_seconds=1.0)
    look(14.0)
    door.see_picture()
    door.pause()
    look(15.0)
    look(16.0)
    door.pause(is_paused=False)
    look(17.0)
    door.end()
    look(18.0)
    assert [getattr(record, FIELDS) for record in caplog.records] == [
        {"source": "door", "state": state, "before": before, "seconds": seconds, "reason": reason}
        for state, before, seconds, reason in [
            ("live", "connecting", 2.0, ""),
            ("stalled", "live", 11.0, "no picture for 11 s"),
            ("lost", "stalled", 1.0, "door: broke off"),
            ("paused", "lost", 1.0, ""),
            ("live", "paused", 2.0, ""),
            ("ended", "live", 1.0, ""),
        ]
    ]


def test_a_camera_may_be_away_for_as_long_as_the_configuration_says() -> None:
    assert allowed_silence_seconds(load_config(settings=["network.reconnect_s=600"])) == 610
    assert allowed_silence_seconds(load_config(settings=["network.reconnect_s=0"])) == 30


@pytest.fixture
def manager(tmp_path: Path) -> socket.socket:
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    channel.bind(str(tmp_path / "notify"))
    channel.setblocking(False)
    return channel


def heard(manager: socket.socket) -> list[str]:
    messages = []
    try:
        while True:
            messages += manager.recv(4096).decode().splitlines()
    except BlockingIOError:
        return messages


def test_systemd_hears_when_a_run_is_ready_goes_on_and_stops(tmp_path: Path, manager: socket.socket) -> None:
    clock = StepClock()
    environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "30000000"}
    systemd = Systemd(environment, clock=clock)
    with manager:
        systemd.observe(Verdict(False, "starting: no frame has been delivered yet"), "0 FPS")
        assert heard(manager) == ["STATUS=starting: no frame has been delivered yet"]
        clock.advance(3)
        systemd.observe(Verdict(True, "frames flow"), "25 FPS")
        assert heard(manager) == ["READY=1", "WATCHDOG=1"]
        clock.advance(9)
        systemd.observe(Verdict(True, "frames flow"), "25 FPS")
        assert heard(manager) == ["STATUS=25 FPS"]
        clock.advance(1)
        systemd.observe(Verdict(True, "frames flow"), "25 FPS")
        assert heard(manager) == ["WATCHDOG=1"]  # three times within the 30 s
        clock.advance(30)
        systemd.observe(Verdict(False, "frames come, and none is delivered"), "25 FPS")
        assert heard(manager) == ["STATUS=frames come, and none is delivered"]
        systemd.stopping()
        systemd.stopping()
        assert heard(manager) == ["STOPPING=1"]


def test_an_abstract_socket_is_spoken_to_as_well() -> None:
    name = f"streamdet-test-{id(object())}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(f"\0{name}")
        channel.setblocking(False)
        Systemd({"NOTIFY_SOCKET": f"@{name}"}).stopping()
        assert heard(channel) == ["STOPPING=1"]


@pytest.mark.parametrize(
    "environment",
    [{}, {"NOTIFY_SOCKET": "/nowhere/at/all"}, {"WATCHDOG_USEC": "often"}, {"NOTIFY_SOCKET": "vsock:2:1234"}],
)
def test_without_a_manager_nothing_happens(environment: dict[str, str]) -> None:
    systemd = Systemd(environment)
    systemd.observe(Verdict(True, "frames flow"), "25 FPS")
    systemd.stopping()


def test_the_watchdog_of_another_process_is_not_ours(tmp_path: Path, manager: socket.socket) -> None:
    environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}
    with manager:
        Systemd(environment).observe(Verdict(True, "frames flow"), "25 FPS")
        assert heard(manager) == ["READY=1", "STATUS=25 FPS"]
