"""Heard packets: all of a source, with the media times of its pictures, also where it is opened again."""

from __future__ import annotations

import threading
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pytest

from pipeline.sources.looping import LoopingSource
from pipeline.sources.options import Span
from pipeline.sources.packets import CodedPacket, CodedStream, PacketListener
from pipeline.sources.reconnecting import ReconnectingSource
from pipeline.sources.video.source import VideoSource
from pipeline.testing import StepClock
from tests.support.coded_videos import coded_video


class Listener:
    """Keeps what it hears."""

    def __init__(self) -> None:
        self.streams: list[CodedStream] = []
        self.times: list[float | None] = []
        self.num_keyframes = 0

    def begin(self, stream: CodedStream) -> None:
        self.streams.append(stream)

    def take(self, packet: CodedPacket, pts_seconds: float | None) -> None:
        self.times.append(pts_seconds)
        self.num_keyframes += packet.is_keyframe


@pytest.fixture(params=["mp4", "mpegts"])
def video(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / f"clip.{request.param}"
    path.write_bytes(coded_video(request.param))
    return path


def heard(listener: Listener, source: VideoSource | LoopingSource | ReconnectingSource, num: int) -> list[float]:
    """The times of some pictures of a source that is listened to."""
    hears: PacketListener = listener
    source.listen(hears)
    times = [timed.pts_seconds for timed in islice(source.pictures(threading.Event()), num)]
    source.close()
    return times


def test_every_packet_is_heard_with_the_time_of_its_picture(video: Path) -> None:
    listener = Listener()
    times = heard(listener, VideoSource(video), 30)
    assert listener.times == times
    assert listener.num_keyframes == 3
    (stream,) = listener.streams
    assert (stream.codec, stream.size_wh, stream.obstacle) == ("h264", (96, 64), None)


@pytest.mark.parametrize("kind", ["looping", "reconnecting"])
def test_times_go_on_where_the_source_is_opened_again(video: Path, kind: str) -> None:
    listener, clock = Listener(), StepClock()
    reopen: Callable[[], VideoSource] = lambda: VideoSource(video)  # noqa: E731
    if kind == "looping":
        times = heard(listener, LoopingSource(reopen(), reopen), 75)
    else:
        source = ReconnectingSource(reopen(), reopen, clock=clock, randomness=lambda: 0.0)
        times = heard(listener, source, 75)
    assert len(listener.streams) == 3
    assert set(times) <= set(listener.times)
    assert listener.times == sorted(time for time in listener.times if time is not None)


def test_of_a_part_it_is_said_that_the_packets_are_not_what_is_shown(video: Path) -> None:
    listener = Listener()
    heard(listener, VideoSource(video, span=Span(0.4, 0.8)), 5)
    assert listener.streams[0].obstacle == "only some pictures are taken"


def test_a_source_to_which_nobody_listens_keeps_no_packets(video: Path) -> None:
    source = VideoSource(video)
    next(iter(source.pictures(threading.Event())))
    assert source._reader.take_early() == []
    source.close()
