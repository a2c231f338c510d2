"""Every nth picture: equal to that of a full decode, though most other pictures are not decoded."""

from __future__ import annotations

import io
import os
import threading
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from pipeline.errors import SourceError
from pipeline.picture.frame import TimedPicture
from pipeline.sources.options import DecodeOptions, Span
from pipeline.sources.video.needed_packets import NeededPackets
from pipeline.sources.video.source import VideoSource
from tests.support.assets import ASSETS, needs_assets

Videos = dict[str, tuple[Path, list[TimedPicture]]]
"""A file and all its pictures, by name."""

NUM_FRAMES = 75
PYRAMID = "keyint=10:min-keyint=10:scenecut=0:bframes=3:b-pyramid=normal"
VIDEOS: dict[str, tuple[str, dict[str, str]]] = {  # file name to encoder and its options
    "closed.mp4": ("libx264", {"x264-params": f"{PYRAMID}:open-gop=0"}),
    "open.mp4": ("libx264", {"x264-params": f"{PYRAMID}:open-gop=1"}),
    "open.ts": ("libx264", {"x264-params": f"{PYRAMID}:open-gop=1"}),
    "disposable.mp4": ("libx265", {"x265-params": "keyint=10:min-keyint=10:bframes=3:open-gop=1:log-level=none"}),
    "open.mkv": ("libx265", {"x265-params": "keyint=10:min-keyint=10:bframes=3:open-gop=1:log-level=none"}),
    "stripes.mp4": ("libx264", {"x264-params": "keyint=10:intra-refresh=1"}),  # no key frame to begin at
    "interlaced.ts": ("libx264", {"x264-params": "keyint=10:bframes=2:tff=1"}),
    "untimed.h264": ("libx264", {"x264-params": "keyint=10"}),
    "b.mp4": ("mpeg4", {"bf": "2", "g": "12"}),
    "b.mpg": ("mpeg2video", {"bf": "2", "g": "12"}),
    "intra.avi": ("mjpeg", {}),
    "hidden.webm": ("libvpx-vp9", {"g": "10", "lag-in-frames": "10", "deadline": "realtime", "cpu-used": "8"}),
    "hidden8.webm": ("libvpx", {"g": "10", "auto-alt-ref": "1", "lag-in-frames": "10", "cpu-used": "8"}),
}


def write_video(folder: Path, name: str) -> Path:
    """A ball that moves over a slope, so that no two pictures are alike, nor coded alone without need."""
    encoder, options = VIDEOS[name]
    if encoder not in av.codecs_available:
        pytest.skip(f"this build of av has no {encoder}")
    path = folder / name
    y, x = np.mgrid[0:48, 0:64].astype(np.float32)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(encoder, Fraction(25), options=options)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height = 64, 48
        stream.pix_fmt = "yuvj420p" if encoder == "mjpeg" else "yuv420p"
        for index in range(NUM_FRAMES):
            ball = 150 * np.exp(-((x - 8 - index / 2) ** 2 + (y - 8 - index / 3) ** 2) / 40)
            pixels = np.stack([ball + x, ball + y, ball + index], axis=2).clip(0, 255).astype(np.uint8)
            container.mux(stream.encode(VideoFrame.from_ndarray(pixels, format="bgr24")))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Videos:
    """Files, with all their pictures, by name; filled as they are asked for."""
    return {"": (tmp_path_factory.mktemp("videos"), [])}


def video(videos: Videos, name: str) -> tuple[Path, list[TimedPicture]]:
    if name not in videos:
        path = write_video(videos[""][0], name)
        videos[name] = path, read(path)[0]
    return videos[name]


def read(path: Path, *, every: int = 1, threads: int = 1) -> tuple[list[TimedPicture], tuple[str, ...]]:
    source = VideoSource(path, decode=DecodeOptions(threads=threads))
    timed_pictures = list(source.pictures(threading.Event(), every=every))
    source.close()
    return timed_pictures, source.damage


def assert_same(ours: list[TimedPicture], theirs: list[TimedPicture]) -> None:
    assert [timed.pts_seconds for timed in ours] == pytest.approx([timed.pts_seconds for timed in theirs], abs=1e-6)
    assert all(np.array_equal(a.picture.pixels, b.picture.pixels) for a, b in zip(ours, theirs, strict=True))


def num_needed(path: Path, every: int) -> int:
    """How many packets of a file would be decoded."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        packets = [packet for packet in container.demux(stream) if packet.size]
        first_pts = min(packet.pts for packet in packets if packet.pts is not None)
        is_intra = stream.codec_context.codec.intra_only
        needed: NeededPackets[Packet[VideoStream]] = NeededPackets(every, first_pts=first_pts, is_intra=is_intra)
        return sum(packet is not None for packet in needed.choose([*packets, None]))


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("every", [2, 3, 7, 10, 25])
@pytest.mark.parametrize("name", VIDEOS)
def test_each_nth_picture_is_the_one_that_a_full_decode_gives(
    videos: Videos, name: str, every: int, threads: int
) -> None:
    path, full = video(videos, name)
    assert len(full) == NUM_FRAMES
    timed_pictures, damage = read(path, every=every, threads=threads)
    assert_same(timed_pictures, full[::every])
    assert damage == ()


@pytest.mark.parametrize(
    ("name", "every", "most"),
    [
        ("closed.mp4", 10, 8),  # the key frames
        ("closed.mp4", 25, 10),  # on the way to 25 also what that refers to
        ("open.mp4", 20, 4),
        ("disposable.mp4", 2, 56),  # not the disposable ones between
        ("intra.avi", 7, 11),
    ],
)
def test_fewer_packets_are_decoded(videos: Videos, name: str, every: int, most: int) -> None:
    assert num_needed(video(videos, name)[0], every) <= most


def test_one_in_one_is_every_picture(videos: Videos) -> None:
    path, full = video(videos, "open.mp4")
    assert_same(read(path, every=1, threads=2)[0], full)


def test_times_that_begin_again_are_counted_on(videos: Videos, tmp_path: Path) -> None:
    part = video(videos, "open.ts")[0].read_bytes()
    path = tmp_path / "twice.ts"
    path.write_bytes(part + part)
    full, _ = read(path)
    assert len(full) == 2 * NUM_FRAMES
    assert_same(read(path, every=7)[0], full[::7])


def test_what_is_cut_off_before_a_key_frame_begins_with_the_same_picture(videos: Videos, tmp_path: Path) -> None:
    path = tmp_path / "cut.ts"
    with av.open(str(video(videos, "open.ts")[0])) as full, av.open(str(path), "w") as cut:
        stream = cut.add_stream_from_template(full.streams.video[0])
        packets = [packet for packet in full.demux(video=0) if packet.size]
        second = [position for position, packet in enumerate(packets) if packet.is_keyframe][1]
        for packet in packets[second:]:
            packet.stream = stream
            cut.mux(packet)
    timed_pictures, _ = read(path)
    assert_same(read(path, every=3)[0], timed_pictures[::3])


def test_a_pipe_is_decoded_in_full_and_thinned_out(videos: Videos) -> None:
    path, full = video(videos, "open.ts")
    readable, writable = os.pipe()
    with os.fdopen(readable, "rb") as pipe:
        with os.fdopen(writable, "wb") as writer:
            writer.write(path.read_bytes())  # a few kB: the pipe holds them
        source = VideoSource(pipe, source_id="-")
        assert_same(list(source.pictures(threading.Event(), every=4)), full[::4])
        source.close()
    assert source.damage == ()


def test_an_open_file_gives_the_same(videos: Videos) -> None:
    path, full = video(videos, "closed.mp4")
    source = VideoSource(io.BytesIO(path.read_bytes()), source_id="memory")
    assert_same(list(source.pictures(threading.Event(), every=10)), full[::10])
    source.close()


def test_a_stop_ends_the_reading(videos: Videos) -> None:
    source, stop = VideoSource(video(videos, "open.mp4")[0]), threading.Event()
    pictures = source.pictures(stop, every=3)
    next(pictures)
    stop.set()
    assert list(pictures) == []
    source.close()
    assert source.damage == ()


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("every", [3, 10])
def test_a_damaged_packet_is_told_and_breaks_nothing(videos: Videos, tmp_path: Path, every: int, threads: int) -> None:
    full = video(videos, "closed.mp4")[0]
    with av.open(str(full)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        position = [position for position, packet in enumerate(packets) if packet.is_keyframe][3]
        start, size = packets[position].pos, packets[position].size
    assert start is not None
    content = bytearray(full.read_bytes())
    content[start : start + size] = b"\xff" * size
    path = tmp_path / "damaged.mp4"
    path.write_bytes(content)
    timed_pictures, damage = read(path, every=every, threads=threads)
    assert len(timed_pictures) >= NUM_FRAMES // every - 10 // every
    assert (np.diff([timed.pts_seconds for timed in timed_pictures]) > 0).all()
    first_at = timed_pictures[0].pts_seconds  # each keeps its number, whatever was lost before it
    assert [timed.number for timed in timed_pictures[1:]] == [
        round(25 * (timed.pts_seconds - first_at)) for timed in timed_pictures[1:]
    ]
    assert any("packets not decodable" in line for line in damage)


def test_a_file_that_was_cut_off_says_how_long_it_should_be(videos: Videos, tmp_path: Path) -> None:
    full = video(videos, "open.mkv")[0].read_bytes()
    path = tmp_path / "short.mkv"
    path.write_bytes(full[: len(full) * 3 // 4])
    timed_pictures, damage = read(path, every=3)
    assert 5 < len(timed_pictures) < 20
    assert "declared to last until 3.0 s, read until" in damage[-1]


@needs_assets
@pytest.mark.parametrize("every", [3, 30])
@pytest.mark.parametrize(
    "name",
    [
        "awkward/bgs_video02.avi",
        "awkward/dec_rot90.mov",
        "awkward/tc_animated.gif",
        "awkward/tc_av1_video.mkv",
        "awkward/tc_discard_first_keyframe.mp4",
        "awkward/tc_h265_10bits.mp4",
        "awkward/tc_nasa_13013.mp4",
        "awkward/tc_test_non_zero_start.mp4",
        "awkward/tc_testsrc2_vp8.webm",
        "awkward/vfr_people.mp4",
        "videos/sk_bikes.mp4",
    ],
)
def test_real_videos_give_the_same(name: str, every: int) -> None:
    full, damage = read(ASSETS / name, threads=2)
    timed_pictures, damage_of_nth = read(ASSETS / name, every=every, threads=2)
    assert_same(timed_pictures, full[::every])
    assert damage_of_nth == damage


# --- a span of a file ------------------------------------------------------------------------------------


def read_span(path: Path, span: Span, *, every: int = 1) -> list[TimedPicture]:
    source = VideoSource(path, decode=DecodeOptions(threads=2), span=span)
    timed_pictures = list(source.pictures(threading.Event(), every=every))
    assert source.damage == ()
    source.close()
    return timed_pictures


def of_span(full: list[TimedPicture], span: Span, every: int) -> list[tuple[int, TimedPicture]]:
    """What a full decode gives between two times from its first picture on, numbered."""
    first = full[0].pts_seconds
    last = float("inf") if span.end_s is None else span.end_s - 1e-6
    inside = [
        (index, timed) for index, timed in enumerate(full) if span.start_s - 1e-6 <= timed.pts_seconds - first < last
    ]
    return inside[::every]


def assert_is_span(ours: list[TimedPicture], full: list[TimedPicture], span: Span, every: int = 1) -> None:
    theirs = of_span(full, span, every)
    assert theirs
    assert [timed.number for timed in ours] == [number for number, _ in theirs]
    assert_same(ours, [timed for _, timed in theirs])


@pytest.mark.parametrize("every", [1, 2, 7])
@pytest.mark.parametrize(
    "span",
    [Span(0, 0.6), Span(0.04), Span(1.0, 2.0), Span(0.92, 0.96), Span(1.21, 1.79), Span(2.9), Span(1.6, 99)],
    ids=lambda span: f"{span.start_s}-{span.end_s}",
)
@pytest.mark.parametrize("name", VIDEOS)
def test_a_span_has_the_pictures_numbers_and_times_of_the_full_decode(
    videos: Videos, name: str, span: Span, every: int
) -> None:
    path, full = video(videos, name)
    assert_is_span(read_span(path, span, every=every), full, span, every)


def test_a_span_is_decoded_from_a_key_frame_near_it_and_not_read_to_the_end(videos: Videos) -> None:
    path, full = video(videos, "closed.mp4")
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        packets = [packet for packet in container.demux(stream) if packet.size]
        assert stream.time_base is not None
        ticks = [round(second / stream.time_base) for second in (1.24, 1.4)]  # frames 31 to 34, of the GOP from 30 on
        first_pts = min(packet.pts for packet in packets if packet.pts is not None)
        span = (first_pts + ticks[0], first_pts + ticks[1])
        read: list[object] = []
        needed: NeededPackets[Packet[VideoStream]] = NeededPackets(1, first_pts=first_pts, span=span)
        chosen = [
            packet
            for packet in needed.choose(read.append(packet) or packet for packet in [*packets, None])  # type: ignore[func-returns-value]
            if packet is not None
        ]
    assert len(chosen) <= 10
    assert len(read) <= 62
    assert len(full) == NUM_FRAMES


def test_a_span_of_a_pipe_is_decoded_from_the_beginning(videos: Videos) -> None:
    path, full = video(videos, "open.ts")

    read_end, write_end = os.pipe()

    def write() -> None:
        with os.fdopen(write_end, "wb") as pipe:
            pipe.write(path.read_bytes())

    writer = threading.Thread(target=write)
    writer.start()
    with os.fdopen(read_end, "rb", buffering=0) as pipe:
        source = VideoSource(pipe, span=Span(1.0, 1.5))
        timed_pictures = list(source.pictures(threading.Event(), every=2))
        source.close()
        pipe.read()
        writer.join()
    assert_is_span(timed_pictures, full, Span(1.0, 1.5), 2)


@pytest.mark.parametrize("name", ["closed.mp4", "hidden8.webm"])
def test_a_start_past_the_end_is_refused_and_an_end_past_it_is_not(videos: Videos, name: str) -> None:
    path, full = video(videos, name)
    with pytest.raises(SourceError, match=r"--start 10 s is past its end, at 3\.0 s"):
        read_span(path, Span(10.0))
    assert_is_span(read_span(path, Span(0, 1000)), full, Span(0, 1000))


def test_a_stop_ends_a_span_without_a_complaint(videos: Videos) -> None:
    stop = threading.Event()
    stop.set()
    source = VideoSource(video(videos, "closed.mp4")[0], span=Span(10.0))
    assert list(source.pictures(stop)) == []
    source.close()


@needs_assets
@pytest.mark.parametrize(
    ("name", "span"),
    [
        ("videos/ds_retail02.mp4", Span(2.0, 3.0)),  # HEVC with B-frames
        ("awkward/vfr_people.mp4", Span(1.0, 4.0)),
        ("awkward/tc_test_non_zero_start.mp4", Span(0.1, 0.3)),
        ("awkward/tc_discard_first_keyframe.mp4", Span(0.2, 0.6)),  # an edit list hides its first pictures
    ],
)
def test_spans_of_awkward_files_are_those_of_the_full_decode(name: str, span: Span) -> None:
    source = VideoSource(ASSETS / name)
    stop_seconds = (span.end_s or 0) + 1
    full: list[TimedPicture] = []
    for timed in source.pictures(threading.Event()):
        full.append(timed)
        if timed.pts_seconds - full[0].pts_seconds > stop_seconds:
            break
    source.close()
    span_source = VideoSource(ASSETS / name, span=span)
    timed_pictures = list(span_source.pictures(threading.Event()))
    span_source.close()
    assert_is_span(timed_pictures, full, span)
