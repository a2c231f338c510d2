"""Outputs elsewhere: -o takes an address and --mosaic joins sources, from the command line to the report."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import av
import pytest

from pipeline.app.config.loading import load_config
from pipeline.app.output import Feed
from pipeline.app.video_outputs import MOSAIC
from pipeline.errors import ConfigError
from tests.support.command_line import Streamdet, refused


@pytest.fixture
def closed_port() -> int:
    """A port of this machine that nobody listens to."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def run_words(video: Path, detector: Path, *words: object) -> tuple[object, ...]:
    return ("run", video, "-m", detector, "--device", "cpu", *words)


def test_a_run_is_sent_and_the_report_counts_what_was(
    small_video: Path, small_detector: Path, tmp_path: Path, streamdet: Streamdet
) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        receiver.bind(("127.0.0.1", 0))
        address, report = f"udp://127.0.0.1:{receiver.getsockname()[1]}", tmp_path / "r.json"
        done = streamdet(*run_words(small_video, small_detector, "-o", address, "--report", report))
        assert done.returncode == 0, done.stderr
        assert receiver.recv(2000)[0] == 0x47  # the first byte of a packet of MPEG-TS
    (name, stream), *others = json.loads(report.read_text())["streams"].items()
    assert (name, others) == (address, [])
    assert (stream["not_sent"], stream["breaks"], stream["reason"]) == (0, 0, "")
    assert f"sent     {stream['sent']} of {stream['sent']} frames to {address}" in done.stdout
    assert f"written  {report}" in done.stdout


def test_an_address_that_is_never_reached_ends_the_run_with_an_error_and_the_report_says_why(
    small_video: Path, small_detector: Path, tmp_path: Path, streamdet: Streamdet, closed_port: int
) -> None:
    report, lines = tmp_path / "r.json", tmp_path / "o.jsonl"
    address = f"rtmp://127.0.0.1:{closed_port}/live/s3cret-key"
    words = ("-o", address, "--report", report, "--jsonl", lines)
    done = streamdet(*run_words(small_video, small_detector, *words))
    assert done.returncode == 1
    assert "could never be reached: Connection refused; all " in done.stderr
    assert f"sent     0 of {len(lines.read_text().splitlines())} frames to rtmp://" in done.stdout
    stream = json.loads(report.read_text())["streams"][f"rtmp://127.0.0.1:{closed_port}/live/***"]
    assert (stream["sent"], stream["reason"]) == (0, "Connection refused")
    assert "s3cret" not in done.stdout + done.stderr + report.read_text()


def test_addresses_that_cannot_be_sent_to_are_refused_before_the_run(
    small_video: Path, small_detector: Path, streamdet: Streamdet
) -> None:
    words = run_words(small_video, small_detector)
    assert refused(streamdet(*words, "-o", "http://h/x"), "--output must be a file or an address of rtsp://")
    assert refused(streamdet(*words, "-o", "udp://h"), "--output must have a port")
    assert refused(streamdet(*words, small_video, "-o", "udp://h:1"), "takes one stream; put all sources into one")


def test_a_mosaic_is_one_video_of_all_sources(
    small_video: Path, small_detector: Path, tmp_path: Path, streamdet: Streamdet
) -> None:
    path = tmp_path / "wall.mp4"
    words = (small_video, small_video, "-o", path, "--mosaic", "--set", "output.mosaic_size=640x360")
    done = streamdet(*run_words(small_video, small_detector, *words))
    assert done.returncode == 0, done.stderr
    assert f"written  {path}" in done.stdout
    assert [file.name for file in tmp_path.iterdir()] == ["wall.mp4"]
    with av.open(str(small_video)) as container:
        num_frames, rate = sum(1 for _ in container.decode(video=0)), container.streams.video[0].average_rate
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.width <= 640
        assert stream.height <= 360
        assert abs(sum(1 for _ in container.decode(stream)) - num_frames) <= 1
        assert stream.average_rate == pytest.approx(float(rate or 0), rel=0.02)


def test_a_mosaic_that_cannot_be_made_is_refused_before_the_run(
    small_video: Path, small_detector: Path, streamdet: Streamdet, tmp_path: Path
) -> None:
    words = run_words(small_video, small_detector, "--mosaic")
    assert refused(streamdet(*words, "--no-show"), "--mosaic", "which is missing: add -o wall.mp4")
    assert refused(streamdet(*words, "-o", tmp_path / "w.mp4", "--set", "output.mosaic_size=big"), "WIDTHxHEIGHT")
    assert refused(streamdet(*words, "-o", small_video), "must not be the source itself")


def test_a_mosaic_of_a_live_and_a_recorded_source_is_refused(tmp_path: Path) -> None:
    feeds = [Feed("camera", 30.0, True), Feed("street.mp4", 25.0, False)]
    config = load_config(options={"output.video": str(tmp_path / "wall.mp4"), "output.mosaic": True})
    (request,) = MOSAIC.requests(config, feeds)
    with pytest.raises(ConfigError, match="all live or all recorded; --live plays files as cameras do"):
        MOSAIC.open(request)
