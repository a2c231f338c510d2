"""Network stream: it sends what receivers can play, goes on without them, comes back, and says what was lost."""

from __future__ import annotations

import io
import json
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from time import monotonic

import av
import numpy as np
import pytest

from pipeline.errors import SinkError
from pipeline.picture.detections import Detections, RenderedFrame, Result
from pipeline.picture.frame import Frame, PixelArray
from pipeline.sinks.network import sending
from pipeline.sinks.network.sender import Sender
from pipeline.sinks.network.sending import EncodedFrame, Order
from pipeline.sinks.network.stream import NetworkStream, Pace
from tests.support.pictures import grey

needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg, to receive")


class Time:
    """A clock that stands still but for who waits."""

    def __init__(self) -> None:
        self.seconds = 50.0
        self.waits: list[float] = []

    def __call__(self) -> float:
        return self.seconds

    def wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.seconds += seconds


def rendered(pixels: PixelArray, *, pts: float = 0.0, captured_at: float = 0.0) -> RenderedFrame:
    frame = Frame.from_pixels(pixels, pts_seconds=pts, captured_at_seconds=captured_at)
    return RenderedFrame(Result(frame, Detections.empty(), ("dog",)), pixels)


def stream_to(address: str, time: Time, **options: object) -> NetworkStream:
    return NetworkStream(address, frames_per_second=10, clock=time, wait=time.wait, **options)  # type: ignore[arg-type]


@pytest.fixture
def receiver() -> Iterator[socket.socket]:
    """A socket that datagrams are sent to."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        opened.bind(("127.0.0.1", 0))
        opened.settimeout(20)
        yield opened


@pytest.fixture
def black_hole() -> Iterator[int]:
    """The port of a server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def received(receiver: socket.socket) -> bytes:
    """What has come in so far."""
    receiver.settimeout(0.2)
    content = io.BytesIO()
    try:
        while True:
            datagram = receiver.recv(65536)
            assert len(datagram) % 188 == 0
            assert len(datagram) <= 1316
            content.write(datagram)
    except TimeoutError:
        return content.getvalue()


def write_until_connected(stream: NetworkStream, item: Callable[[], RenderedFrame]) -> None:
    """Write frames, each after the connection has had time to be made or lost; a server may take a while to listen."""
    deadline = monotonic() + 60
    while monotonic() < deadline:
        if stream._is_connected:
            return
        stream.write(item())
        if stream._sender is not None:
            stream._sender.flush(20)
    raise AssertionError(stream.statistics())


def test_every_frame_of_a_file_comes_out_of_mpeg_ts_over_udp(receiver: socket.socket) -> None:
    time = Time()
    stream = stream_to(f"udp://127.0.0.1:{receiver.getsockname()[1]}", time)
    for index in range(25):
        stream.write(rendered(grey(8 * index, (322, 241)), pts=7.0 + index / 10))
    stream.close()
    with av.open(io.BytesIO(received(receiver)), "r", format="mpegts") as container:
        video = container.streams.video[0]
        pictures = list(container.decode(video))
        assert (video.codec_context.name, video.codec_context.has_b_frames) == ("h264", False)
    assert [(picture.width, picture.height) for picture in pictures] == [(322, 242)] * 25
    levels = [float(np.mean(picture.to_ndarray(format="bgr24"))) for picture in pictures]
    assert levels == pytest.approx([8 * index for index in range(25)], abs=4)
    times = [float(picture.time or 0) for picture in pictures]
    assert [time - times[0] for time in times] == pytest.approx([index / 10 for index in range(25)], abs=0.001)
    assert [index for index, picture in enumerate(pictures) if picture.key_frame] == [0, 1, 11, 21]
    assert (stream.statistics().num_sent, stream.statistics().num_not_sent) == (25, 0)


def test_a_recorded_source_is_sent_at_its_own_pace_and_never_waits_longer_than_a_second() -> None:
    time = Time()
    pace = Pace(is_live=False, clock=time, wait=time.wait)
    at = [pace.keep(rendered(grey(0), pts=pts)) for pts in (3.0, 3.5, 4.0, 64.0, 64.5)]
    assert at == pytest.approx([0, 0.5, 1.0, 2.0, 2.5])
    assert time.waits == pytest.approx([0.5, 0.5, 1.0, 0.5])


def test_a_slow_run_is_sent_when_it_comes() -> None:
    time = Time()
    pace = Pace(is_live=False, clock=time, wait=time.wait)
    at = []
    for index in range(4):
        at.append(pace.keep(rendered(grey(0), pts=index / 10)))
        time.seconds += 0.25
    assert at == pytest.approx([0, 0.25, 0.5, 0.75])
    assert time.waits == []


def test_a_live_source_keeps_its_times_and_is_not_held_up() -> None:
    time = Time()
    pace = Pace(is_live=True, clock=time, wait=time.wait)
    assert [pace.keep(rendered(grey(0), captured_at=at)) for at in (100.0, 100.5, 103.0)] == [0.0, 0.5, 3.0]
    assert time.waits == []


@pytest.mark.parametrize("scheme", ["rtsp", "rtmp"])
def test_a_server_that_is_never_there_is_an_error_at_the_end(scheme: str, caplog: pytest.LogCaptureFixture) -> None:
    time = Time()
    stream = stream_to(f"{scheme}://user:s3cret@127.0.0.1:{free_port()}/live/k3y", time)
    for index in range(30):
        stream.write(rendered(grey(index), pts=index / 10))
    with pytest.raises(SinkError, match=r"could never be reached: Connection refused; all 30 frames were not sent"):
        stream.close()
    assert stream.statistics().num_not_sent == 30
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 1  # once, not at each attempt
    assert "cannot be reached: Connection refused; trying again, and frames are not sent" in lines[0]
    assert "s3cret" not in caplog.text
    stream.close()  # says it once


def test_a_server_that_says_nothing_is_given_up_and_holds_nobody_up(
    black_hole: int, caplog: pytest.LogCaptureFixture
) -> None:
    time = Time()
    stream = stream_to(f"rtmp://127.0.0.1:{black_hole}/live/key", time, is_live=True, patience_seconds=2.0)
    for index in range(4):
        stream.write(rendered(grey(index), captured_at=float(index)))
        time.seconds += 1.0
    assert "cannot be reached: no answer within 2 s" in caplog.text
    with pytest.raises(SinkError, match="all 4 frames were not sent"):
        stream.close()
    assert "/live/key" not in caplog.text


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs a timer of the system")
def test_a_process_that_nobody_watches_any_longer_ends_by_itself(black_hole: int) -> None:
    order: Order = {
        "address": f"rtmp://127.0.0.1:{black_hole}/live/key",
        "muxer": "flv",
        "options": {},
        "width": 64,
        "height": 48,
        "rate": "10",
        "patience_seconds": 0.2,
    }
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = 64, 48, "yuv420p", Fraction(1, 10)
    encoder.options = {"tune": "zerolatency"}
    (packet,) = encoder.encode(av.VideoFrame.from_ndarray(grey(9), format="bgr24").reformat(format="yuv420p"))
    with subprocess.Popen([sys.executable, "-P", sending.__file__], stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(json.dumps(order).encode() + b"\n" + EncodedFrame(0, True, bytes(packet)).as_bytes())
        process.stdin.flush()  # and left open, as if whoever began it hung
        assert process.wait(30) == -signal.SIGALRM


def test_attempts_become_rarer(monkeypatch: pytest.MonkeyPatch) -> None:
    attempts: list[float] = []
    time = Time()

    def count(self: Sender, *args: object, **options: object) -> None:
        attempts.append(time.seconds - 50)
        begin(self, *args, **options)  # type: ignore[arg-type]

    begin = Sender.__init__
    monkeypatch.setattr(Sender, "__init__", count)
    stream = stream_to(f"rtsp://127.0.0.1:{free_port()}/s", time, is_live=True)
    while time.seconds < 64:
        stream.write(rendered(grey(0), captured_at=time.seconds))
        if stream._sender is not None:
            stream._sender.settle(10)
            stream.write(rendered(grey(0), captured_at=time.seconds))
        time.seconds += 0.25
    with pytest.raises(SinkError):
        stream.close()
    assert attempts == pytest.approx([0, 0.5, 1.5, 3.5, 7.5, 12.5])


def test_frames_that_a_receiver_is_too_slow_for_are_left_out_and_a_key_frame_follows(receiver: socket.socket) -> None:
    time = Time()
    stream = stream_to(f"udp://127.0.0.1:{receiver.getsockname()[1]}", time, is_live=True)
    stream.write(rendered(grey(0)))
    sender = stream._sender
    assert sender is not None
    sender.settle(20)
    sender._process.send_signal(signal.SIGSTOP)  # as one that waits for the network
    for index in range(1, 70):
        stream.write(rendered(grey(index), captured_at=index / 10))  # returns at once although nothing is sent
    assert stream.statistics().num_not_sent > 40
    sender._process.send_signal(signal.SIGCONT)
    sender.flush(20)
    for index in range(70, 75):
        stream.write(rendered(grey(index), captured_at=index / 10))
    stream.close()
    statistics = stream.statistics()
    assert 30 <= statistics.num_sent <= 40
    assert statistics.num_sent + statistics.num_not_sent == 75
    with av.open(io.BytesIO(received(receiver)), "r", format="mpegts") as container:
        pictures = list(container.decode(video=0))
    levels = [round(float(np.mean(picture.to_ndarray(format="gray")))) for picture in pictures]
    after_the_gap = next(index for index in range(1, len(levels)) if levels[index] - levels[index - 1] > 20)
    assert pictures[after_the_gap].key_frame
    assert len(pictures) == statistics.num_sent


def test_without_frames_nothing_is_opened_and_nothing_is_wrong() -> None:
    stream = stream_to(f"rtsp://127.0.0.1:{free_port()}/s", Time())
    stream.close()
    assert stream.statistics().num_not_sent == 0


def has_srt() -> bool:
    try:
        stream_to("srt://127.0.0.1:9999", Time()).close()
    except SinkError:
        return False
    return True


@pytest.mark.skipif(has_srt(), reason="this PyAV has SRT")
def test_srt_says_what_to_do_where_this_build_has_none() -> None:
    with pytest.raises(SinkError, match="PyAV's FFmpeg is built without SRT; send to udp://") as refused:
        stream_to("srt://127.0.0.1:9999?passphrase=s3cret", Time())
    assert "s3cret" not in str(refused.value)


@contextmanager
def listening(folder: Path, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """FFmpeg, which receives into got.mkv until the stream ends, and is waited for; killed where a test fails."""
    command = ["ffmpeg", "-nostdin", "-v", "error", "-y", *words, "-c", "copy", str(folder / "got.mkv")]
    with subprocess.Popen(command) as server:
        try:
            yield server
            server.wait(timeout=60)
        finally:
            server.kill()


@needs_ffmpeg
@pytest.mark.parametrize("scheme", ["rtsp", "rtmp"])
def test_a_server_that_comes_late_goes_away_and_comes_back_is_sent_to_again(
    scheme: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    address = f"{scheme}://127.0.0.1:{free_port()}/live/cam"
    options = ("-rtsp_flags", "listen", "-i", address) if scheme == "rtsp" else ("-listen", "1", "-i", address)
    time = Time()
    stream = stream_to(address, time, is_live=True)
    num_frames = 0

    def next_frame() -> RenderedFrame:
        nonlocal num_frames
        num_frames += 1
        time.seconds += 0.1
        return rendered(grey(num_frames % 200, (320, 240)), captured_at=time.seconds)

    for _ in range(3):
        stream.write(next_frame())  # nobody is there yet
    for turn in range(2):
        with listening(tmp_path, *options) as server:
            write_until_connected(stream, next_frame)
            for _ in range(30):
                stream.write(next_frame())
            if turn:
                stream.close()
            else:
                server.kill()
        if not turn:
            for _ in range(400):
                stream.write(next_frame())
                if stream._sender is None:
                    break
                stream._sender.flush(20)
    statistics = stream.statistics()
    assert statistics.num_breaks == 1
    assert statistics.num_sent + statistics.num_not_sent == num_frames
    assert statistics.num_sent >= 31
    assert "the connection broke: " in caplog.text
    assert "connected after" in caplog.text
    with av.open(str(tmp_path / "got.mkv")) as container:
        pictures = list(container.decode(video=0))
    assert len(pictures) >= 30
    assert pictures[0].key_frame
    assert (pictures[0].width, pictures[0].height) == (320, 240)
