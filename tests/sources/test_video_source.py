"""Video source: every readable picture comes out, upright, in the right colours and at the right time."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterator
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import av
import av.logging
import cv2
import numpy as np
import pytest
from av.video.frame import VideoFrame

from pipeline.errors import SourceError
from pipeline.picture.frame import TimedPicture
from pipeline.sources.options import NetworkOptions
from pipeline.sources.video.on_gpu import GpuPicture
from pipeline.sources.video.picture import VideoPicture
from pipeline.sources.video.source import VideoSource
from tests.support.assets import ASSETS, needs_assets
from tests.support.pictures import difference, scene
from tests.support.videos import read_all, write_video

AWKWARD = {  # frames that can be read, size
    "bgs_demo.avi": (51, (48, 48)),
    "bgs_video02.avi": (748, (320, 240)),
    "dec_corrupted.mp4": (49, (1280, 720)),
    "dec_rot180.mov": (3, (568, 320)),
    "dec_rot90.mov": (3, (320, 568)),
    "odd_321x241_people.mp4": (50, (321, 241)),
    "rot90_people.mp4": (50, (270, 480)),
    "tc_animated.gif": (4, (64, 48)),
    "tc_av1_video.mkv": (125, (640, 360)),
    "tc_discard_first_keyframe.mp4": (25, (64, 64)),
    "tc_h265_10bits.mp4": (30, (200, 200)),
    "tc_nasa_13013.mp4": (390, (480, 270)),
    "tc_test_non_zero_start.mp4": (12, (200, 112)),
    "tc_testsrc2_odd_height_and_width_444_10bit.mp4": (25, (321, 241)),
    "tc_testsrc2_vp8.webm": (30, (1280, 720)),
    "vfr_people.mp4": (36, (480, 270)),
}
REFUSED = {
    "empty.mp4": "is empty",
    "trunc_no_moov.mp4": "moov atom not found",
    "tc_nasa_13013.mp4.audio.mp3": r"no video stream; as mp3 it holds audio \(mp3",
}


def test_pictures_that_nobody_needs_any_more_leave_the_memory_at_once(tmp_path: Path) -> None:
    source = VideoSource(write_video(tmp_path / "a.mp4"))
    gc.disable()  # which would find them later
    try:
        before = sum(type(thing) is VideoFrame for thing in gc.get_objects())
        for timed in source.pictures(threading.Event()):
            assert timed.picture.pixels.any()
        del timed
        source.close()
        assert sum(type(thing) is VideoFrame for thing in gc.get_objects()) <= before + 1  # the decoder's own
    finally:
        gc.enable()


def test_a_video_hands_out_every_frame_with_its_media_time(tmp_path: Path) -> None:
    source = VideoSource(write_video(tmp_path / "a.mp4"))
    timed_pictures = read_all(source)
    assert [timed.pts_seconds for timed in timed_pictures] == pytest.approx(
        [index * 1001 / 30000 for index in range(12)], abs=1e-4
    )
    assert (source.size_wh, source.num_frames, source.is_live) == ((64, 48), 12, False)
    assert source.frames_per_second == pytest.approx(30000 / 1001)
    assert source.damage == ()
    assert max(difference(timed.picture.pixels, scene(index)) for index, timed in enumerate(timed_pictures)) < 4


def test_pixels_are_read_only_and_copies_may_be_drawn_on(tmp_path: Path) -> None:
    picture = read_all(VideoSource(write_video(tmp_path / "a.mp4")))[0].picture
    canvas = picture.copy_pixels()
    canvas[:] = 7
    assert difference(picture.pixels, scene(0)) < 4
    picture.copy_pixels()[:] = 7
    assert difference(picture.pixels, scene(0)) < 4
    with pytest.raises(ValueError, match="read-only"):
        picture.pixels[0, 0, 0] = 1


def test_a_copy_of_a_picture_that_is_bgr_already_is_a_copy() -> None:
    frame = VideoFrame.from_ndarray(scene(0), format="bgr24")
    VideoPicture(frame).copy_pixels()[:] = 7
    assert difference(VideoPicture(frame).pixels, scene(0)) == 0


@pytest.mark.parametrize("size_wh", [(40, 30), (37, 53), (128, 96), (64, 48)])
@pytest.mark.parametrize(
    "pixel_format",
    ["yuv420p", "yuvj420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv444p12le", "nv12", "yuyv422", "gbrp", "bgra"],
)
def test_a_resized_picture_is_the_whole_picture_resized_by_opencv(pixel_format: str, size_wh: tuple[int, int]) -> None:
    frame = VideoFrame.from_ndarray(scene(3), format="bgr24").reformat(format=pixel_format)
    picture = VideoPicture(frame)
    expected = np.asarray(cv2.resize(scene(3), size_wh), np.uint8)
    assert difference(picture.resized(size_wh, colour="bgr"), expected) < 2.5
    assert difference(picture.resized(size_wh, colour="rgb")[:, :, ::-1], expected) < 2.5
    assert difference(picture.pixels, scene(3)) < 2.5


PAIRED = {
    "nv12": "yuv420p",
    "nv21": "yuv420p",
    "nv16": "yuv422p",
    "nv24": "yuv444p",
    "p010le": "yuv420p10le",
    "p016le": "yuv420p16le",
}


def paired_up(frame: VideoFrame, kind: str) -> VideoFrame:
    """The same samples with U and V in turns; P010 has its ten bits at the top of sixteen."""
    sample, shift = {"p010le": ("<u2", 6), "p016le": ("<u2", 0)}.get(kind, ("u1", 0))
    y, u, v = (np.frombuffer(plane, sample).reshape(plane.height, -1) << shift for plane in frame.planes)  # type: ignore[call-overload]
    pair = (v, u) if kind in ("nv21", "nv42") else (u, v)
    paired = VideoFrame(frame.width, frame.height, kind)
    for plane, values in zip(paired.planes, (y, np.stack(pair, axis=-1).reshape(len(u), -1)), strict=True):
        row = np.zeros((plane.height, plane.line_size // np.dtype(sample).itemsize), sample)
        width = min(row.shape[1], values.shape[1])
        row[:, :width] = values[:, :width]
        plane.update(row.tobytes())
    paired.colorspace, paired.color_range = frame.colorspace, frame.color_range
    return paired


@pytest.mark.parametrize("size_wh", [(64, 48), (63, 47)])
@pytest.mark.parametrize(("paired", "planar"), PAIRED.items())
def test_a_picture_with_its_colour_in_pairs_is_that_with_its_colour_in_planes(
    paired: str, planar: str, size_wh: tuple[int, int]
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (size_wh[1], size_wh[0], 3), np.uint8)
    in_planes = VideoFrame.from_ndarray(noise, format="bgr24").reformat(format=planar)
    in_planes.colorspace, in_planes.color_range = 1, 1
    in_pairs = paired_up(in_planes, paired)
    ours, theirs = VideoPicture(in_pairs), VideoPicture(in_planes)
    assert np.array_equal(ours.copy_pixels(), theirs.copy_pixels())
    assert np.array_equal(ours.pixels, theirs.pixels)
    for small_wh in ((32, 24), (50, 70)):
        assert np.array_equal(ours.resized(small_wh, colour="rgb"), theirs.resized(small_wh, colour="rgb"))
    assert np.array_equal(GpuPicture(in_pairs).pixels, theirs.pixels)
    planes, expected = ours.copy_i420(), theirs.copy_i420()
    assert (planes is None) == (expected is None) == (planar != "yuv420p" or size_wh == (63, 47))
    if planes is not None and expected is not None:
        assert np.array_equal(planes.planes, expected.planes)


@pytest.mark.parametrize("size_wh", [(1, 1), (2, 2), (3, 5), (33, 21), (99, 101)])
def test_odd_sizes_keep_their_last_row_and_column(size_wh: tuple[int, int]) -> None:
    for pixel_format, unit in (("yuv420p", 1), ("yuv422p", 1), ("yuv420p10le", 4)):
        frame = VideoFrame(*size_wh, pixel_format)
        for plane, level in zip(frame.planes, (180, 128, 128), strict=True):
            plane.update((level * unit).to_bytes(1 if unit == 1 else 2, "little") * (plane.buffer_size // min(unit, 2)))
        picture = VideoPicture(frame)
        assert picture.pixels.shape == (*size_wh[::-1], 3)
        assert np.ptp(picture.pixels) <= 1
        assert np.ptp(picture.resized((17, 11), colour="rgb")) <= 1


def test_a_grey_picture_has_three_equal_channels() -> None:
    grey = np.repeat(np.linspace(20, 230, 64).astype(np.uint8)[None], 48, axis=0)  # [48, 64]
    picture = VideoPicture(VideoFrame.from_ndarray(grey, format="gray"))
    assert difference(picture.pixels, np.repeat(grey[:, :, None], 3, axis=2)) < 1.5
    assert np.ptp(picture.resized((32, 24), colour="rgb"), axis=2).max() <= 1


def test_a_title_in_another_encoding_than_utf_8_keeps_no_video_from_being_read(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(write_video(tmp_path / "b.mp4", num_frames=3))) as plain, av.open(str(path), "w") as titled:
        titled.metadata["title"] = "Caf?"
        stream = titled.add_stream_from_template(plain.streams.video[0])
        for packet in plain.demux(video=0):
            if packet.size:
                packet.stream = stream
                titled.mux(packet)
    content = path.read_bytes()
    assert content.count(b"Caf?") == 1
    path.write_bytes(content.replace(b"Caf?", b"Caf\xe9"))
    assert len(read_all(VideoSource(path))) == 3


@pytest.mark.parametrize(
    ("height", "tag", "full_range", "kr_kb"),
    [
        (48, 1, False, (0.2126, 0.0722)),
        (48, 5, False, (0.299, 0.114)),
        (48, 6, False, (0.299, 0.114)),
        (48, 6, True, (0.299, 0.114)),
        (48, 9, False, (0.2627, 0.0593)),
        (48, 2, False, (0.299, 0.114)),  # not tagged: SD
        (720, 2, False, (0.2126, 0.0722)),  # not tagged: HD
    ],
)
def test_colours_follow_the_matrix_and_range_of_the_file(
    height: int, tag: int, full_range: bool, kr_kb: tuple[float, float]
) -> None:
    luma, blue_difference, red_difference = 120, 90, 170
    frame = VideoFrame(64, height, "yuv420p")
    for plane, value in zip(frame.planes, (luma, blue_difference, red_difference), strict=True):
        plane.update(bytes([value]) * plane.buffer_size)
    frame.colorspace, frame.color_range = tag, 2 if full_range else 1

    kr, kb = kr_kb
    y, c = (luma / 255, 255) if full_range else ((luma - 16) / 219, 224)
    red = y + 2 * (1 - kr) * (red_difference - 128) / c
    blue = y + 2 * (1 - kb) * (blue_difference - 128) / c
    green = (y - kr * red - kb * blue) / (1 - kr - kb)
    expected = 255 * np.array([blue, green, red])
    picture = VideoPicture(frame)
    assert np.abs(picture.pixels[5, 5] - expected).max() < 3
    assert np.abs(picture.resized((32, 32), colour="bgr")[5, 5] - expected).max() < 3


@pytest.mark.parametrize("degrees", [90, 180, -90])
def test_a_turned_video_comes_out_upright(degrees: int, tmp_path: Path) -> None:
    path = write_video(tmp_path / "turned.mp4", turned_degrees=degrees)
    source = VideoSource(path)
    picture = read_all(source)[0].picture
    is_read, expected = cv2.VideoCapture(str(path)).read()
    assert is_read
    assert source.size_wh == picture.size_wh == expected.shape[1::-1]
    assert difference(picture.pixels, np.asarray(expected, np.uint8)) < 2
    half_wh = (expected.shape[1] // 2, expected.shape[0] // 2)
    assert difference(picture.resized(half_wh, colour="bgr"), np.asarray(cv2.resize(expected, half_wh), np.uint8)) < 2


def test_a_picture_may_be_converted_by_several_threads_at_once(tmp_path: Path) -> None:
    pictures = [timed.picture for timed in read_all(VideoSource(write_video(tmp_path / "a.mp4", size_wh=(320, 240))))]
    wrong: list[int] = []

    def convert() -> None:
        for index, picture in enumerate(pictures):
            same = difference(picture.copy_pixels(), picture.pixels) == 0
            if not same or difference(picture.pixels, scene(index, (320, 240))) > 4:
                wrong.append(index)
            picture.resized((160, 120), colour="rgb")

    threads = [threading.Thread(target=convert) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_the_largest_of_several_video_streams_is_taken(tmp_path: Path) -> None:
    source = VideoSource(write_video(tmp_path / "two.mp4", also_small=True))
    assert len(read_all(source)) == 12
    assert source.size_wh == (64, 48)


def test_a_stop_ends_the_reading(tmp_path: Path) -> None:
    source, stop = VideoSource(write_video(tmp_path / "a.mp4")), threading.Event()
    timed_pictures = source.pictures(stop)
    next(timed_pictures)
    stop.set()
    assert list(timed_pictures) == []
    assert source.damage == ()
    source.close()
    source.close()


def test_a_decoder_never_calls_back_into_python(tmp_path: Path) -> None:
    """Its threads would wait for the GIL while av, which holds it, waits for them: a hang when the process ends."""
    source = VideoSource(write_video(tmp_path / "a.mp4"))
    assert av.logging.get_level() is None
    source.close()


def test_timestamps_that_jump_back_are_replaced_and_counted(tmp_path: Path) -> None:
    part = write_video(tmp_path / "a.mkv", rate=Fraction(25)).read_bytes()
    twice = tmp_path / "twice.mkv"
    twice.write_bytes(part + part)
    source = VideoSource(twice)
    times = [timed.pts_seconds for timed in read_all(source)]
    assert len(times) == 24
    assert np.diff(times) == pytest.approx(0.04)
    assert source.damage == ("12 of 24 timestamps did not go forward and were replaced",)


def test_a_stream_without_timestamps_runs_at_its_declared_rate(tmp_path: Path) -> None:
    times = [timed.pts_seconds for timed in read_all(VideoSource(write_video(tmp_path / "a.h264", rate=Fraction(25))))]
    assert times == pytest.approx([index / 25 for index in range(12)])


def test_what_can_be_read_of_a_damaged_file_is_delivered_and_the_rest_is_counted(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4")
    with av.open(str(path)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    content = bytearray(path.read_bytes())
    start, size = packets[5]
    assert start is not None
    content[start : start + size] = b"\xff" * size
    path.write_bytes(content)
    source = VideoSource(path)
    assert len(read_all(source)) == 11
    damage = "\n".join(source.damage)
    assert "1 of 12 packets not decodable (" in damage
    assert "12 frames declared, 11 read" in damage


def test_a_file_that_was_cut_off_says_how_long_it_should_be(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", num_frames=90, rate=Fraction(10))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    source = VideoSource(path)
    assert 20 < len(read_all(source)) < 70
    assert "declared to last until 9.0 s, read until" in source.damage[-1]


def test_files_without_video_are_refused_with_what_they_hold(tmp_path: Path) -> None:
    sound = tmp_path / "sound.wav"
    with av.open(str(sound), "w") as container:
        stream = container.add_stream("pcm_s16le", 8000, layout="mono")
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), layout="mono")
        silence.sample_rate = 8000
        container.mux(stream.encode(silence))
    with pytest.raises(SourceError, match=r"sound.wav: no video stream; as wav it holds audio \(pcm_s16le\)$"):
        VideoSource(sound)
    text = tmp_path / "notes.txt"
    text.write_text("to be or not to be\n" * 50)
    with pytest.raises(SourceError, match=r"no video stream; as tty it holds text \(ansi\)"):
        VideoSource(text)
    numbers = tmp_path / "numbers.bin"
    numbers.write_bytes(bytes(range(256)) * 20)
    with pytest.raises(SourceError, match=r"no video stream; as bin it holds text"):
        VideoSource(numbers)
    numbers = numbers.rename(tmp_path / "numbers.onnx")
    with pytest.raises(SourceError, match="is not a video that can be read"):
        VideoSource(numbers)
    empty = tmp_path / "empty.mp4"
    empty.touch()
    with pytest.raises(SourceError, match="is empty"):
        VideoSource(empty)
    with pytest.raises(SourceError, match="No such file"):
        VideoSource(tmp_path / "absent.mp4")


# Pipes


def test_a_pipe_is_read_to_its_end(tmp_path: Path) -> None:
    content = write_video(tmp_path / "a.mkv").read_bytes()
    readable, writable = os.pipe()
    with os.fdopen(readable, "rb") as pipe:
        with os.fdopen(writable, "wb") as writer:
            writer.write(content)  # a few kB: the pipe holds them
        source = VideoSource(pipe, source_id="-")
        assert len(read_all(source)) == 12
    assert source.source_id == "-"


def test_a_stop_ends_the_wait_for_a_silent_pipe(tmp_path: Path) -> None:
    content = write_video(tmp_path / "a.ts", num_frames=60).read_bytes()
    readable, writable = os.pipe()
    with os.fdopen(readable, "rb") as pipe, os.fdopen(writable, "wb") as writer:
        writer.write(content)
        writer.flush()
        source, stop = VideoSource(pipe), threading.Event()
        timer = threading.Timer(0.2, stop.set)
        timer.start()
        assert len(list(source.pictures(stop))) > 10  # and does not wait for the writer
        timer.join()
        source.close()


def test_what_cannot_come_through_a_pipe_says_what_can(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", size_wh=(640, 480), num_frames=60)  # its index comes last
    assert path.stat().st_size > 100_000  # and is out of reach at the start
    readable, writable = os.pipe()

    def write() -> None:
        with os.fdopen(writable, "wb") as writer:
            writer.write(path.read_bytes())

    thread = threading.Thread(target=write)
    thread.start()
    refusal = pytest.raises(SourceError, match="send MPEG-TS, Matroska or fragmented MP4 through a pipe")
    with os.fdopen(readable, "rb") as pipe, refusal:
        VideoSource(pipe)
    thread.join()


def test_a_pipe_through_which_nothing_comes_is_given_up() -> None:
    readable, writable = os.pipe()
    silence = pytest.raises(SourceError, match=r"no video came through the pipe for 0\.1 s")
    with os.fdopen(readable, "rb") as pipe, os.fdopen(writable, "wb"), silence:
        VideoSource(pipe, network=NetworkOptions(open_timeout_s=0.1))


def test_an_open_file_is_seeked_in(tmp_path: Path) -> None:
    with write_video(tmp_path / "a.mp4").open("rb") as file:  # its index comes last
        assert len(read_all(VideoSource(file))) == 12


# Networks: a server on the loopback that answers by path


class Server(ThreadingHTTPServer):
    def __init__(self, video: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.video = video
        self.released = threading.Event()  # lets stalled answers go

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{path}"


class Handler(BaseHTTPRequestHandler):
    """Answers by path: a file, a stream that breaks off, one that falls silent, nothing at all, or 404."""

    server: Any

    def do_GET(self) -> None:
        answers = {
            "/film.mp4": self.send_film,
            "/camera.mjpg": self.send_stream,
            "/stalls.mjpg": self.send_stream_and_stall,
            "/silent.mp4": self.stall,
        }
        answers.get(self.path, self.refuse)()

    def send_film(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.server.video)))
        self.end_headers()
        self.wfile.write(self.server.video)

    def send_stream(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        for index in range(8):
            jpeg = cv2.imencode(".jpg", scene(index))[1].tobytes()
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n".encode()
            self.wfile.write(head + jpeg + b"\r\n")

    def send_stream_and_stall(self) -> None:
        self.send_stream()
        self.stall()

    def stall(self) -> None:
        self.server.released.wait(10)

    def refuse(self) -> None:
        self.send_error(404)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    film = write_video(tmp_path / "film.mp4", options={"movflags": "faststart"})
    server = Server(film.read_bytes())
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.released.set()
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_file_on_the_network_is_no_live_source(server: Server) -> None:
    source = VideoSource(server.url("film.mp4"))
    assert len(read_all(source)) == 12
    assert (source.is_live, source.num_frames) == (False, 12)


def test_an_mjpeg_stream_is_live_and_its_time_is_that_of_arrival(server: Server) -> None:
    source = VideoSource(server.url("camera.mjpg"))
    assert (source.is_live, source.size_wh, source.frames_per_second) == (True, (64, 48), None)
    timed_pictures: list[TimedPicture] = []
    with pytest.raises(SourceError, match=r"camera\.mjpg: broke off"):
        timed_pictures.extend(source.pictures(threading.Event()))  # keeps what came before the break
    source.close()
    assert len(timed_pictures) == 8
    assert difference(timed_pictures[3].picture.pixels, scene(3)) < 4
    times = [timed.pts_seconds for timed in timed_pictures]
    assert all(np.diff(times) > 0)
    assert times[-1] != pytest.approx(7 / 25)  # which is what the mpjpeg demuxer says, whatever the camera does


def test_a_stream_that_falls_silent_is_given_up_in_time(server: Server) -> None:
    source = VideoSource(server.url("stalls.mjpg"), network=NetworkOptions(read_timeout_s=0.3))
    with pytest.raises(SourceError, match=r"fell silent for 0.3 s"):
        list(source.pictures(threading.Event()))
    source.close()


def test_networks_are_refused_with_the_reason(server: Server) -> None:
    with pytest.raises(SourceError, match="404 Not Found"):
        VideoSource(server.url("absent.mp4"))
    with pytest.raises(SourceError, match=r"no answer within 0.3 s; is it on and reachable\?"):
        VideoSource(server.url("silent.mp4"), network=NetworkOptions(open_timeout_s=0.3))
    with pytest.raises(SourceError, match="Connection refused"):
        VideoSource("http://127.0.0.1:1/film.mp4")


def test_a_password_in_an_address_is_not_told_to_anybody() -> None:
    with pytest.raises(SourceError, match=r"^rtsp://admin:\*\*\*@127.0.0.1:1/live: cannot be opened"):
        VideoSource("rtsp://admin:secret@127.0.0.1:1/live")


# Real files


@needs_assets
@pytest.mark.parametrize("name", AWKWARD)
def test_every_frame_of_an_awkward_file_comes_out(name: str) -> None:
    source = VideoSource(ASSETS / "awkward" / name)
    times, sizes = [], set()
    for timed in source.pictures(threading.Event()):
        times.append(timed.pts_seconds)
        sizes.add(timed.picture.size_wh)
    source.close()
    num_frames, size_wh = AWKWARD[name]
    assert (len(times), sizes, source.size_wh) == (num_frames, {size_wh}, size_wh)
    assert (np.diff(times) > 0).all()


@needs_assets
@pytest.mark.parametrize("name", REFUSED)
def test_an_awkward_file_without_pictures_is_refused_with_the_reason(name: str) -> None:
    with pytest.raises(SourceError, match=REFUSED[name]):
        VideoSource(ASSETS / "awkward" / name)


@needs_assets
def test_damage_is_told_and_lying_headers_are_not_accused() -> None:
    def damage(name: str) -> str:
        source = VideoSource(ASSETS / "awkward" / name)
        read_all(source)
        return "\n".join(source.damage)

    assert "1 of 50 packets not decodable" in damage("dec_corrupted.mp4")
    assert "50 frames declared" in damage("trunc_moov_front.mp4")
    assert damage("bgs_video02.avi") == "750 frames declared, 748 read"
    assert damage("tc_discard_first_keyframe.mp4") == ""  # its edit list hides the 5 on purpose
    assert damage("vfr_people.mp4") == ""


@needs_assets
def test_media_time_is_kept_as_it_is() -> None:
    timed_pictures = read_all(VideoSource(ASSETS / "awkward" / "tc_test_non_zero_start.mp4"))
    assert timed_pictures[0].pts_seconds == pytest.approx(127995 / 15360)
    times = [timed.pts_seconds for timed in read_all(VideoSource(ASSETS / "awkward" / "vfr_people.mp4"))]
    assert times[-1] == pytest.approx(4.9)
    assert len({round(step, 3) for step in np.diff(times)}) > 1


@needs_assets
@pytest.mark.parametrize("name", ["sk_bikes.mp4", "intel_bottle.mp4"])
def test_ordinary_videos_are_what_opencv_reads(name: str) -> None:
    capture = cv2.VideoCapture(str(ASSETS / "videos" / name))
    source = VideoSource(ASSETS / "videos" / name)
    num_frames = 0
    for picture, *_ in source.pictures(threading.Event()):
        assert capture.grab()
        if num_frames % 50 == 0:
            assert difference(picture.pixels, np.asarray(capture.retrieve()[1], np.uint8)) < 0.5
        num_frames += 1
    assert not capture.grab()
    assert num_frames == source.num_frames
    source.close()
