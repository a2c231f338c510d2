"""Lost framing: bytes without packets are told from silence, from a slow line, and from a process that was stopped."""

from __future__ import annotations

import random
import socket
import sys
import threading

import pytest

from benchmarks.soaking.rtsp import RtspCamera
from pipeline.errors import LostFramingError
from pipeline.sources.options import NetworkOptions
from pipeline.sources.video.lost_framing import LOOK_SECONDS, LOST_FRAMING, FramingWatch, matching, port_of
from pipeline.sources.video.seen_packets import SeenPackets
from pipeline.sources.video.source import VideoSource
from pipeline.sources.video.tcp_sockets import TcpSocket, sockets_to
from pipeline.testing import StepClock

linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what a socket has received")


class Line:
    """A connection of 25 packets a second, looked at as its thread does."""

    def __init__(self) -> None:
        self.clock = StepClock(1000.0)
        self.num_bytes = 0
        self.watch = FramingWatch(clock=self.clock)
        self._next_look_seconds = self.clock()

    def pass_time(self, seconds: float, *, num_bytes: int = 0) -> float | None:
        """Let time pass and bytes come; returns after how long the framing counted as lost."""
        for step in range(round(seconds / 0.01)):
            self.clock.advance(0.01)
            self.num_bytes += round(num_bytes * (step + 1) / round(seconds / 0.01)) - round(
                num_bytes * step / round(seconds / 0.01)
            )
            if self.clock() >= self._next_look_seconds:
                self._next_look_seconds += LOOK_SECONDS
                if self.watch.look(self.num_bytes):
                    return (step + 1) * 0.01
        return None

    def bring(self, num: int, *, size: int = 1000, seconds: float = 0.04) -> None:
        """Packets that are asked for, and come."""
        for _ in range(num):
            self.watch.ask()
            assert self.pass_time(seconds, num_bytes=size) is None
            self.watch.take(size)


def test_bytes_that_become_no_packets_mean_a_lost_framing_within_a_second_or_so() -> None:
    line = Line()
    line.bring(50)
    line.watch.ask()
    seconds = line.pass_time(5.0, num_bytes=5 * 25_000)
    assert seconds is not None
    assert 0.75 <= seconds <= 1.3


def test_a_camera_that_is_silent_but_for_its_reports_has_not_lost_it() -> None:
    line = Line()
    line.bring(50)
    line.watch.ask()
    assert line.pass_time(60.0, num_bytes=60 * 64) is None


def test_a_line_on_which_key_frames_take_two_seconds_has_not_lost_it() -> None:
    line = Line()
    for _ in range(5):
        line.bring(1, size=60_000, seconds=1.6)
        line.bring(24)
    line.watch.ask()
    assert line.pass_time(2.0, num_bytes=90_000) is None
    line.watch.take(90_000)


def test_what_waits_in_the_socket_while_nobody_asks_is_no_loss() -> None:
    line = Line()
    line.bring(50)
    assert line.pass_time(10.0, num_bytes=250_000) is None
    line.bring(50)


def test_a_process_that_was_stopped_looks_again_before_it_decides() -> None:
    line = Line()
    line.bring(50)
    line.watch.ask()
    assert line.pass_time(0.5) is None
    line.clock.advance(20.0)
    line.num_bytes += 500_000
    assert not line.watch.look(line.num_bytes)
    line.watch.take(1000)
    line.bring(50)


def test_before_anything_is_usual_nothing_is_lost() -> None:
    line = Line()
    line.bring(5)
    line.watch.ask()
    assert line.pass_time(30.0, num_bytes=3_000_000) is None


@linux
def test_a_socket_tells_what_it_has_received_until_it_is_closed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        before = sockets_to(port)
        with socket.create_connection(("127.0.0.1", port)) as mine, server.accept()[0] as theirs:
            (found,) = sockets_to(port) - before
            assert found.descriptor == mine.fileno()
            theirs.sendall(bytes(5000))
            mine.recv(5000, socket.MSG_WAITALL)
            assert found.num_received() == 5000
            found.shut_down()
            assert mine.recv(1) == b""
            other = TcpSocket(mine.fileno(), found.inode + 1)  # the number was given away again
            assert other.num_received() is None
            other.shut_down()
        assert found.num_received() is None
        found.shut_down()


class Connected(TcpSocket):
    def num_received(self) -> int | None:
        return self.inode


def test_of_the_connections_to_one_recorder_the_one_that_fits_the_packets_is_watched() -> None:
    connections = [Connected(3, 5_000_000), Connected(4, 1_050_000), Connected(5, 300_000)]
    assert matching(connections, 1_000_000) == [connections[1]]
    assert matching(connections, 1000) == connections  # too early to tell


@pytest.mark.parametrize(
    ("address", "port"),
    [
        ("rtsp://cam/1", 554),
        ("rtsps://me:p%40ss@cam/1", 322),
        ("rtsp://[::1]:8554/1", 8554),
        ("rtsp://cam:99999/1", 554),
        ("rtsp://cam:x/1", 554),
    ],
)
def test_an_address_has_the_port_of_its_scheme_or_its_own(address: str, port: int) -> None:
    assert port_of(address) == port


@linux
def test_a_camera_that_sends_garbage_breaks_long_before_the_read_timeout() -> None:
    camera, seen = RtspCamera("door", random.Random(0)), SeenPackets()
    seen.was_open = True  # so that it is opened at once
    source = VideoSource(camera.address, network=NetworkOptions(read_timeout_s=600), seen=seen)
    try:
        pictures = source.pictures(threading.Event())
        for _ in range(20):
            next(pictures)
        camera.spoil = lambda data: bytes(3 * len(data))  # no `$`, which could be taken for the next packet
        with pytest.raises(LostFramingError, match=LOST_FRAMING):
            list(pictures)
    finally:
        source.close()
        camera.close()
