"""Addresses: an image or a file is read once, a camera without end, whatever its server answers."""

from __future__ import annotations

import base64
import contextlib
import io
import itertools
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from pipeline.errors import SourceError, SourceRefusedError
from pipeline.picture.frame import PixelArray, TimedPicture
from pipeline.sources.address_user import with_escaped_user
from pipeline.sources.images import StillSource
from pipeline.sources.opening import open_source
from pipeline.sources.options import NetworkOptions, SourceOptions
from pipeline.sources.reconnecting import ReconnectingSource, StreamOver
from pipeline.sources.source import FrameSource
from pipeline.sources.video.source import VideoSource
from pipeline.testing import StepClock
from tests.support.pictures import difference, noise

NUM_FRAMES = 8
FILES = {  # name → encoder, pixel format and container
    "film.ts": ("libx264", "yuv420p", "mpegts"),
    "film.mjpeg": ("mjpeg", "yuvj420p", "mjpeg"),
    "film.h264": ("libx264", "yuv420p", "h264"),
    "film.gif": ("gif", "bgr8", "gif"),
    "film.webm": ("libvpx", "yuv420p", "webm"),
}

IMAGES = ["photo.jpg", "photo.PNG?token=1", "photo.webp", "photo.avif", "snapshot.cgi?token=1", "photo"]


def scene(index: int) -> PixelArray:
    """Brighter with the index; lit from the left, uint8 [48, 64, 3]."""
    y, x = np.mgrid[0:48, 0:64]
    return np.stack([200 - 2 * x, 40 + 15 * index + 0 * x, 160 - 2 * y], axis=2).astype(np.uint8)


def jpeg(index: int) -> bytes:
    return cv2.imencode(".jpg", scene(index))[1].tobytes()


def film(name: str) -> bytes:
    encoder, pixel_format, container_name = FILES[name]
    target = io.BytesIO()
    options = {"live": "1"} if container_name == "webm" else {}  # it declares no duration
    with av.open(target, "w", format=container_name, options=options) as container:
        stream = container.add_stream(encoder, Fraction(25))
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = 64, 48, pixel_format
        for index in range(NUM_FRAMES):
            frame = VideoFrame.from_ndarray(scene(index), format="bgr24").reformat(format=pixel_format)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return target.getvalue()


def part(
    index: int,
    *,
    boundary: str = "--frame",
    end_of_line: str = "\r\n",
    content_type: str | None = "Content-Type: image/jpeg",
    length: str | None = "Content-Length: ",
    too_long: int = 0,
    extra: tuple[str, ...] = (),
    ends: bool = True,
) -> bytes:
    content = jpeg(index)
    lines = [boundary, *([content_type] if content_type else []), *extra]
    if length is not None:
        lines.append(f"{length}{len(content) + too_long}")
    head = "".join(line + end_of_line for line in (*lines, ""))
    return head.encode() + content + (end_of_line.encode() if ends else b"")


CAMERAS: dict[str, dict[str, Any]] = {
    "as the standard says": {},
    "without lengths": {"length": None},
    "lines end with LF": {"end_of_line": "\n"},
    "lines end with LF, without lengths": {"end_of_line": "\n", "length": None},
    "the boundary has four dashes": {"boundary": "----frame"},
    "the boundary has no dashes": {"boundary": "frame"},
    "the boundary has no dashes, without lengths": {"boundary": "frame", "length": None},
    "image/jpg": {"content_type": "Content-Type: image/jpg"},
    "a type with parameters": {"content_type": "Content-type: image/jpeg; charset=binary"},
    "no type": {"content_type": None},
    "neither type nor length": {"content_type": None, "length": None},
    "more headers": {"extra": ("X-Timestamp:12.5", "Server: camera", "Date: today")},
    "a line that is no header": {"extra": ("no colon here",)},
    "no line end after the picture": {"ends": False},
    "no line end after the picture, without lengths": {"ends": False, "length": None},
    "lengths of 0": {"length": "Content-Length: 0"},
    "lengths that are too short": {"too_long": -20},
    "lengths that are too long": {"too_long": 20},
    "headers in small letters": {"length": "content-length:", "content_type": "content-type:image/jpeg"},
}


class Server(ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: dict[str, tuple[str, bytes]] = {}
        self.requests: list[str] = []

    def at(self, path: str, content: bytes, content_type: str = "application/octet-stream") -> str:
        """The address at which this is served: with its length, below /sized; else until the connection is closed."""
        self.answers[path] = content_type, content
        return f"http://127.0.0.1:{self.server_port}{path}"


class Handler(BaseHTTPRequestHandler):
    server: Any

    def do_GET(self) -> None:
        self.server.requests.append(self.path)
        content_type, content = self.server.answers[self.path]
        if self.path.startswith("/guarded") and self.headers["Authorization"] != "Basic Z3Vlc3Q6YUBi":  # guest:a@b
            self.send_error(401)
            return
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        if self.path.startswith("/short"):
            self.send_header("Content-Length", str(2 * len(content)))
        if self.path.startswith("/sized"):
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def read(source: FrameSource) -> list[TimedPicture]:
    timed_pictures: list[TimedPicture] = []
    try:
        timed_pictures.extend(source.pictures(threading.Event()))
    finally:
        source.close()
    return timed_pictures


def slow_clock() -> Callable[[], float]:
    """One that makes the network slow: 0.4 s go by whenever somebody looks at it."""
    clock = StepClock(0.0)

    def look() -> float:
        clock.advance(0.4)
        return clock()

    return look


both_servers = pytest.mark.parametrize("folder", ["/sized", "/unsized"])


@both_servers
@pytest.mark.parametrize(
    "name", ["photo.jpg", "photo.PNG?token=1", "photo.webp", "photo.avif", "snapshot.cgi?token=1", "photo"]
)
def test_an_image_is_read_once(name: str, folder: str, server: Server) -> None:
    suffix = next((suffix for suffix in (".png", ".webp", ".avif") if suffix in name.lower()), ".jpg")
    content = cv2.imencode(suffix, scene(3))[1].tobytes()
    source = open_source(server.at(f"{folder}/{name}", content))
    assert isinstance(source, StillSource)
    assert (source.is_live, source.num_frames, source.size_wh) == (False, 1, (64, 48))
    (timed,) = read(source)
    assert timed.pts_seconds == 0
    assert difference(timed.picture.pixels, np.asarray(cv2.imdecode(np.frombuffer(content, np.uint8), 1))) == 0


def test_a_photograph_at_an_address_is_turned_as_its_exif_says(server: Server) -> None:
    content = jpeg(0)
    for number, turned in {2: np.fliplr, 5: lambda pixels: pixels.transpose(1, 0, 2)}.items():
        exif = b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0" + bytes([number, 0, 0, 0, 0, 0, 0])
        photo = content[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + content[2:]
        (timed,) = read(open_source(server.at(f"/sized/{number}.jpg", photo)))
        assert difference(timed.picture.pixels, turned(scene(0))) < 4


def test_an_image_is_had_with_user_and_password_and_neither_is_told(server: Server) -> None:
    address = server.at("/guarded/photo.png", cv2.imencode(".png", scene(3))[1].tobytes())
    source = open_source(address.replace("://", "://guest:a%40b@"))
    assert isinstance(source, StillSource)
    assert "a%40b" not in source.source_id
    assert isinstance(open_source(address.replace("://", "://guest:a@b@")), StillSource)
    address_with_secret = server.at("/sized/photo.png?token=0123456789abcdef", b"no image")
    with pytest.raises(SourceError, match="is not an image that can be decoded") as raised:
        open_source(address_with_secret)
    assert "0123456789abcdef" not in str(raised.value)
    with pytest.raises(SourceError, match=r"photo\.png: cannot be opened: .*401"):
        open_source(address)


def test_a_camera_may_push_at_an_address_that_ends_like_an_image(server: Server) -> None:
    body = b"".join(part(index) for index in range(NUM_FRAMES))
    source = open_source(server.at("/mjpg/video.jpg", body, "multipart/x-mixed-replace; boundary=frame"))
    assert isinstance(source, ReconnectingSource)
    assert len(list(itertools.islice(source.pictures(threading.Event()), NUM_FRAMES))) == NUM_FRAMES
    source.close()


def test_an_image_that_breaks_off_is_refused(server: Server) -> None:
    address = server.at("/short/photo.jpg", jpeg(0)[:500])
    with pytest.raises(SourceError, match=r"/short/photo\.jpg: "):
        open_source(address)


def test_the_preview_behind_a_photograph_is_not_a_second_picture(server: Server) -> None:
    content = jpeg(0)
    says_so = b"\xff\xe2" + (2 + 8).to_bytes(2, "big") + b"MPF\0MM\0\x2a"
    source = open_source(server.at("/sized/phone.jpg", content[:2] + says_so + content[2:] + jpeg(5)))
    assert isinstance(source, StillSource)
    (timed,) = read(source)
    assert difference(timed.picture.pixels, scene(0)) < 4


def test_a_broken_image_at_an_address_is_refused(server: Server) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    broken = bytearray(cv2.imencode(".jpg", noise)[1].tobytes())
    broken[1500:1600] = bytes(100)
    with pytest.raises(SourceError, match=r"^http://127\.0\.0\.1:\d+/sized/b\.jpg: is a broken JPEG$"):
        open_source(server.at("/sized/b.jpg", bytes(broken)))


def test_an_image_in_a_file_of_any_name_is_that_image(tmp_path: Path) -> None:
    path = tmp_path / "photo"
    path.write_bytes(jpeg(3))
    source = open_source(str(path))
    assert isinstance(source, StillSource)
    assert len(read(source)) == 1


@both_servers
@pytest.mark.parametrize("name", FILES)
def test_a_file_without_a_duration_is_read_once_and_whole(name: str, folder: str, server: Server) -> None:
    address = server.at(f"{folder}/{name}", film(name))
    source = open_source(address)
    assert isinstance(source, VideoSource)
    assert not source.is_live
    timed_pictures = read(source)
    assert [round(float(timed.picture.pixels[:, :, 1].mean())) for timed in timed_pictures] == pytest.approx(
        [40 + 15 * index for index in range(NUM_FRAMES)], abs=12
    )
    assert np.diff([timed.pts_seconds for timed in timed_pictures]) == pytest.approx(0.04, abs=0.002)
    assert source.damage == ()
    assert set(server.requests) == {f"{folder}/{name}"}
    assert len(server.requests) <= 2  # it may be read again as JPEGs, but not again and again


def mp4_with_its_index_at_the_end() -> bytes:
    """Of more than libav keeps of what it has read."""
    target = io.BytesIO()
    with av.open(target, "w", format="mp4") as container:
        stream = container.add_stream("libx264", Fraction(25), options={"crf": "1"})
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for seed in range(NUM_FRAMES):
            container.mux(stream.encode(VideoFrame.from_ndarray(noise(320, 240, seed=seed), format="bgr24")))
        container.mux(stream.encode(None))
    return target.getvalue()


def test_a_video_with_its_index_at_its_end_is_read_from_a_server_without_ranges(server: Server) -> None:
    content = mp4_with_its_index_at_the_end()
    address = server.at("/sized/film.mp4?token=s3cretPassw0rd", content)
    source = open_source(address)
    assert (source.is_live, source.num_frames, source.size_wh) == (False, NUM_FRAMES, (320, 240))
    assert "s3cret" not in source.source_id
    assert len(read(source)) == NUM_FRAMES


def test_one_that_breaks_off_there_is_refused_with_the_way_out(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.sources.download.MOST_BYTES", 100_000)
    address = server.at("/sized/film.mp4", mp4_with_its_index_at_the_end())
    with pytest.raises(
        SourceRefusedError, match=r"gives no ranges, and it breaks off or has more than .*; download it"
    ):
        open_source(address)


def test_a_stream_that_takes_its_time_is_live(server: Server) -> None:
    address = server.at("/unsized/film.ts", film("film.ts"))
    source = VideoSource(address, clock=slow_clock())
    assert source.is_live
    again = VideoSource(address, clock=slow_clock())
    assert source.beginning == again.beginning is not None
    other = VideoSource(server.at("/unsized/film.webm", film("film.webm")), clock=slow_clock())
    assert other.beginning not in (None, source.beginning)
    for opened in (source, again, other):
        opened.close()


@pytest.mark.parametrize("name", CAMERAS)
def test_a_camera_that_pushes_jpegs_is_live_however_sloppily_it_speaks(name: str, server: Server) -> None:
    body = b"".join(part(index, **CAMERAS[name]) for index in range(NUM_FRAMES))
    body += part(NUM_FRAMES, **CAMERAS[name])  # without lengths, the last one ends with the next boundary
    address = server.at("/camera", body, "multipart/x-mixed-replace; boundary=frame")
    source = VideoSource(address, clock=slow_clock())
    assert (source.is_live, source.size_wh) == (True, (64, 48))
    timed_pictures: list[TimedPicture] = []
    with contextlib.suppress(SourceError):  # at the end the server hangs up
        timed_pictures.extend(source.pictures(threading.Event()))
    source.close()
    numbers = [round((float(timed.picture.pixels[:, :, 1].mean()) - 40) / 15) for timed in timed_pictures]
    once = list(range(NUM_FRAMES))
    assert once in (numbers[:NUM_FRAMES], numbers[1 : NUM_FRAMES + 1])  # the latter where it connected again
    assert (np.diff([timed.pts_seconds for timed in timed_pictures]) > 0).all()


PREFACES = [b"\r\n\r\n", b"welcome\r\n", b"--frame\r\nContent-Type: text/plain\r\n\r\nhello\r\n"]


@pytest.mark.parametrize("before", PREFACES)
def test_what_a_camera_says_before_its_first_picture_is_skipped(before: bytes, server: Server) -> None:
    body = before + b"".join(part(index) for index in range(NUM_FRAMES))
    source = open_source(server.at("/camera", body, "multipart/x-mixed-replace; boundary=frame"))
    timed_pictures = source.pictures(threading.Event())
    assert max(difference(next(timed_pictures).picture.pixels, scene(index)) for index in range(NUM_FRAMES)) < 4
    source.close()


def test_what_is_no_video_at_all_is_still_refused_as_such(server: Server) -> None:
    page = b"<html><body>" + b"no camera here " * 500 + b"</body></html>"
    with pytest.raises(SourceError, match=r"/page: is not a video that can be read"):
        open_source(server.at("/sized/page", page, "text/html"))


def test_an_address_that_begins_again_with_the_same_picture_is_a_file(caplog: pytest.LogCaptureFixture) -> None:
    still = StillSource(jpeg(0), source_id="http://host/slow.ts")

    def reopen() -> StillSource:
        raise StreamOver("begins again with the same picture: a file, read to its end")

    source = ReconnectingSource(still, reopen, clock=StepClock(0.0))

    class NoWait(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            return False

    with caplog.at_level(logging.WARNING):
        assert len(list(source.pictures(NoWait()))) == 1
    assert caplog.messages[-1].startswith("http://host/slow.ts: begins again with the same picture: a file")
    assert source.damage == ()


@pytest.mark.parametrize(
    ("typed", "opened"),
    [
        ("rtsp://user:p@ss/w0rd@127.0.0.1:9/x", "rtsp://user:p%40ss%2Fw0rd@127.0.0.1:9/x"),
        ("rtsp://user:p@ss/w@cam.example.com/x", "rtsp://user:p%40ss%2Fw@cam.example.com/x"),
        ("rtsp://admin:p?w#1@10.0.0.1/x", "rtsp://admin:p%3Fw%231@10.0.0.1/x"),
        ("rtsp://admin:p/w@camera/x?mail=a@b", "rtsp://admin:p%2Fw@camera/x?mail=a@b"),
        ("http://me@mail.com:pw@[::1]/x", "http://me%40mail.com:pw@[::1]/x"),
        ("rtsp://admin:100%@10.0.0.1", "rtsp://admin:100%25@10.0.0.1"),
        ("rtsp://admin:a%40b@camera/x", "rtsp://admin:a%40b@camera/x"),
        ("rtsp://admin:pw@camera/path@v2/x", "rtsp://admin:pw@camera/path@v2/x"),
        ("http://admin:pw@camera/img@2x.jpg", "http://admin:pw@camera/img@2x.jpg"),
        ("http://admin:pw@camera/x?to=a@10.0.0.1", "http://admin:pw@camera/x?to=a@10.0.0.1"),
        ("rtsp://camera:554/a@10.0.0.1", "rtsp://camera:554/a@10.0.0.1"),
        ("rtsp://[::1]:8554/a@b", "rtsp://[::1]:8554/a@b"),
        ("srt://u:p@ss/w@10.0.0.1:9", "srt://u:p@ss/w@10.0.0.1:9"),
    ],
)
def test_a_user_and_a_password_are_escaped_and_an_at_behind_the_host_is_not(typed: str, opened: str) -> None:
    assert with_escaped_user(typed) == opened
    assert with_escaped_user(opened) == opened


def test_a_camera_is_told_the_password_that_was_typed_whatever_is_in_it() -> None:
    requests: list[bytes] = []

    def answer() -> None:
        connection, _ = camera.accept()
        with connection, connection.makefile("rb") as lines:
            for number in (1, 2):
                requests.append(b"".join(iter(lines.readline, b"\r\n")))
                wanted = (
                    f'RTSP/1.0 401 Unauthorized\r\nCSeq: {number}\r\nWWW-Authenticate: Basic realm="camera"\r\n\r\n'
                )
                connection.sendall(wanted.encode())

    with socket.create_server(("127.0.0.1", 0)) as camera:
        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(SourceError, match="401") as refused:
            open_source(f"rtsp://user:p@ss/w0rd@127.0.0.1:{camera.getsockname()[1]}/x")
        thread.join()
    assert base64.b64encode(b"user:p@ss/w0rd") in requests[1]
    assert "ss" not in str(refused.value).partition("@")[0]


def test_a_refusal_tells_no_address_of_libavs_own() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(SourceError) as refused:
        open_source(f"rtsp://127.0.0.1:{port}/x")
    assert str(refused.value) == f"rtsp://127.0.0.1:{port}/x: cannot be opened: Connection refused"


@pytest.mark.parametrize("path", ["stream", "live.m3u8", "image.jpg"])
@pytest.mark.parametrize(
    "head", [b"", b"HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=b\r\n\r\n"]
)
def test_a_mute_web_server_is_not_waited_for_twice(path: str, head: bytes) -> None:
    """It is asked once for the stream, and for a quarter of the patience whether it sends anything."""
    requests: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener, contextlib.ExitStack() as connections:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    connections.enter_context(connection)
                    requests.append(connection.recv(4096))
                    connection.sendall(head)

        threading.Thread(target=serve, daemon=True).start()
        options = SourceOptions(network=NetworkOptions(open_timeout_s=0.4, read_timeout_s=0.4))
        with pytest.raises(SourceError, match=r"no answer within 0.4 s|ended before a picture"):
            open_source(f"http://127.0.0.1:{listener.getsockname()[1]}/{path}", options=options)
    assert sum(b"Lavf" in request for request in requests) <= 1
