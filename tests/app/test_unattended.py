"""A run that nobody watches: its log in JSON, /metrics and /healthz, and what systemd hears."""

from __future__ import annotations

import json
import logging
import os
import socket
import sys
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest

from pipeline.app.logs import JsonFormatter
from pipeline.app.run.endpoint import Address, Endpoint, Page
from pipeline.errors import ConfigError
from pipeline.events import event
from pipeline.flow.meters import Histogram
from pipeline.version import __version__
from tests.support.command_line import Streamdet, run_streamdet


def get(endpoint: Endpoint, path: str, method: str = "GET") -> tuple[int, str]:
    connection = HTTPConnection(endpoint.address.host, endpoint.address.port, timeout=10)
    connection.request(method, path)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    pages = {"/healthz": lambda: Page(503, "text/plain", b"no\n"), "/metrics": lambda: Page(200, "text/plain", b"1\n")}
    with Endpoint(Address.parse("0", "--metrics"), pages, option="--metrics") as endpoint:
        yield endpoint


def test_pages_are_served_by_their_path(endpoint: Endpoint) -> None:
    assert endpoint.address.host == "127.0.0.1"
    assert get(endpoint, "/metrics?x=1") == (200, "1\n")
    assert get(endpoint, "/healthz") == (503, "no\n")
    assert get(endpoint, "/healthz", "HEAD") == (503, "")
    assert get(endpoint, "/") == (404, "there is /healthz and /metrics\n")


def test_who_connects_and_says_nothing_keeps_nobody_else_waiting(endpoint: Endpoint) -> None:
    mute = [socket.create_connection(endpoint.address) for _ in range(8)]
    assert get(endpoint, "/metrics") == (200, "1\n")
    for connection in mute:
        connection.close()


def test_a_port_in_use_is_an_error(endpoint: Endpoint) -> None:
    port = endpoint.address.port
    with pytest.raises(ConfigError, match=rf"--metrics: nobody can listen on 127.0.0.1:{port}: Address already in use"):
        Endpoint(endpoint.address, {}, option="--metrics")


@pytest.mark.parametrize(
    ("word", "address"),
    [("9100", ("127.0.0.1", 9100)), ("0.0.0.0:9100", ("0.0.0.0", 9100)), ("[::1]:9100", ("::1", 9100))],
)
def test_an_address_is_of_this_machine_alone_unless_a_host_is_named(word: str, address: tuple[str, int]) -> None:
    assert Address.parse(word, "--metrics") == address


@pytest.mark.parametrize("word", ["", "http", "70000", "::1:9100", "host:", "9100/metrics", "٣"])
def test_what_is_no_address_is_an_error(word: str) -> None:
    with pytest.raises(ConfigError, match=r"--metrics must be PORT or HOST:PORT, such as 9100 or 0.0.0.0:9100, got "):
        Address.parse(word, "--metrics")


def test_a_histogram_counts_up_to_a_bound() -> None:
    histogram = Histogram()
    for seconds in (0.001, 0.04, 0.06, 0.06, 2.0, 5000.0):
        histogram.add(seconds)
    assert [histogram.num_at_most(bound) for bound in (1e-7, 0.01, 0.05, 0.1, 2.5, 1000.0)] == [0, 1, 2, 4, 5, 5]


def formatted(level: int, message: str, **extra: object) -> dict[str, object]:
    record = logging.LogRecord("pipeline.x", level, "x.py", 1, message, (), None)
    record.__dict__.update(extra)
    record.created = 1_795_737_600.25
    line = JsonFormatter(["rtsp://me:pa ss@door/1"]).format(record)
    assert line.isascii()
    assert "\n" not in line
    result: dict[str, object] = json.loads(line)
    return result


def test_an_event_is_a_line_of_json_with_its_fields() -> None:
    fields = event("segment_finished", file="ü.mp4", frames=250, fps=float("nan"), message="not this one")
    assert formatted(logging.INFO, "finished", **fields) == {
        "time": "2026-11-27T00:00:00.250Z",
        "level": "info",
        "event": "segment_finished",
        "message": "finished",
        "file": "ü.mp4",
        "frames": 250,
        "fps": None,
    }


def test_an_ordinary_warning_is_a_line_too_and_secrets_are_masked_in_all_of_them() -> None:
    line = formatted(logging.WARNING, 'in "rtsp://admin:geheim@door/1"\nand more')
    assert (line["event"], line["message"]) == ("log", 'in "rtsp://admin:***@door/1"\nand more')
    line = formatted(logging.INFO, "x", **event("run_started", sources=["rtsp://me:pa ss@door/1"], more={"a": ("b",)}))
    assert line["sources"] == ["rtsp://***@door/1"]
    assert line["more"] == {"a": ["b"]}


def events_of(text: str) -> dict[str, dict[str, object]]:
    return {line["event"]: line for line in map(json.loads, text.splitlines())}


def test_a_run_logs_its_events_and_no_frame(small_video: Path, small_detector: Path, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(10)
        done = run_streamdet(
            *("run", small_video, "-m", small_detector, "--device", "cpu", "-o", tmp_path / "o.mp4", "--segment", "1s"),
            *("--log-format", "json"),
            env=os.environ | {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "30000000"},
        )
        assert done.returncode == 0, done.stderr
        messages = manager.recv(4096).decode().splitlines()
        while messages[-1] != "STOPPING=1":
            messages += manager.recv(4096).decode().splitlines()
    assert messages.index("READY=1") < messages.index("WATCHDOG=1") < messages.index("STOPPING=1")
    assert done.stdout == ""
    names = [json.loads(line)["event"] for line in done.stderr.splitlines()]
    assert names.count("segment_finished") == 3
    events = [name for name in names if name != "log"]  # a warning that this model is a foreign one
    assert (events[0], events[-1]) == ("run_started", "run_ended")
    assert len(names) < 12  # of 30 frames
    ended = events_of(done.stderr)["run_ended"]
    assert ended["frames"]["delivered"] == 30  # type: ignore[index]
    assert ended["error"] is None
    assert ended["advice"]


def test_an_error_is_an_event_as_well(streamdet: Streamdet, small_detector: Path) -> None:
    done = streamdet("run", "rtsp:///x", "nowhere.mp4", "-m", small_detector, "--log-format", "json")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert json.loads(line)["event"] == "error"
    assert streamdet("run", "nowhere.mp4", "-m", small_detector).stderr.startswith("streamdet: error: nowhere.mp4")


def test_without_prometheus_client_the_error_names_what_to_install(
    streamdet: Streamdet, small_video: Path, small_detector: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    monkeypatch.delitem(sys.modules, "pipeline.app.run.metrics", raising=False)
    done = streamdet("run", small_video, "-m", small_detector, "--metrics", "0")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert 'pip install "streamdet[metrics]"' in done.stderr


def test_metrics_are_those_of_the_run(small_video: Path, small_detector: Path) -> None:
    pytest.importorskip("prometheus_client", reason="the extra metrics is not installed")
    from prometheus_client.parser import text_string_to_metric_families

    from pipeline.app.assemble import assemble
    from pipeline.app.config.loading import load_config
    from pipeline.app.run.service import Service
    from pipeline.app.run.supervisor import Supervisor
    from pipeline.flow.running import Running

    config = load_config(
        options={"sources": (str(small_video),), "model": str(small_detector), "engine.device": "cpu"},
        settings=["output.show=false"],
    )
    with Service(config, metrics="0", environment={}) as service:
        assert service.endpoint is not None
        assert get(service.endpoint, "/healthz") == (503, "starting: no frame has been delivered yet\n")
        assert "streamdet_running 0.0" in get(service.endpoint, "/metrics")[1]
        assembly = assemble(config)
        with Running(assembly.flow) as running:
            service.began(Supervisor(running, assembly), running)
            running.wait()
        service.observe()
        status, text = get(service.endpoint, "/metrics")
        assert get(service.endpoint, "/healthz") == (200, "frames flow\n")
        assembly.engine.close()
    assert status == 200
    samples = {
        (sample.name, *(sample.labels[name] for name in sorted(sample.labels) if name != "source")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert samples["streamdet_frames_captured_total",] == 30
    assert samples["streamdet_frames_total", "delivered"] == 30
    assert samples["streamdet_frame_age_seconds_bucket", "+Inf"] == 30
    assert samples["streamdet_frame_age_seconds_count",] == 30
    assert samples["streamdet_source_state", "ended"] == 1
    assert samples["streamdet_run_info", "cpu", assembly.engine.spec.model_name, "fp32", __version__] == 1
    assert samples["process_resident_memory_bytes",] > 10**7
