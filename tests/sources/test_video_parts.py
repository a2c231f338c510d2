"""Parts of a video: read one by one they are the whole, picture by picture; what cannot be cut safely stays whole."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import SourceError
from pipeline.picture.frame import PixelArray
from pipeline.sources.options import DecodeOptions
from pipeline.sources.video.parts import Part, PartSource, SeamError, index_video
from pipeline.sources.video.source import VideoSource
from tests.support.assets import ASSETS, needs_assets
from tests.support.gop_videos import H264, OPEN_H264, OPEN_HEVC, write_gop_video, write_late_start

Pictures = list[tuple[int, float, PixelArray]]


def read(source: VideoSource) -> Pictures:
    """Numbers, times and pixels; the source is closed."""
    timed_pictures = list(source.pictures(threading.Event()))
    pictures = [
        (index if timed.number is None else timed.number, timed.pts_seconds, timed.picture.pixels)
        for index, timed in enumerate(timed_pictures)
    ]
    source.close()
    return pictures


def read_part(path: Path, part: Part, *, threads: int = 1) -> Pictures:
    return read(PartSource(path, part, decode=DecodeOptions(threads=threads)))


def assert_same(ours: Pictures, theirs: Pictures) -> None:
    assert [picture[:2] for picture in ours] == [picture[:2] for picture in theirs]
    assert all(np.array_equal(a[2], b[2]) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(
    ("name", "encoder", "options", "gaps"),
    [
        ("closed.mp4", "libx264", H264, 0),
        ("open.mp4", "libx264", OPEN_H264, 0),
        ("varying.mp4", "libx264", OPEN_H264, 90),
        ("varying.mkv", "libx265", OPEN_HEVC, 90),
        ("open.mov", "libx265", OPEN_HEVC, 0),
        ("hidden.webm", "libvpx-vp9", {"g": "10", "lag-in-frames": "10", "deadline": "realtime", "cpu-used": "8"}, 0),
    ],
)
def test_all_parts_together_are_the_whole(
    tmp_path: Path, name: str, encoder: str, options: dict[str, str], gaps: int, threads: int
) -> None:
    path = write_gop_video(tmp_path / name, encoder, options, gaps=gaps)
    index = index_video(path, part_seconds=0.5)
    assert len(index.parts) > 2
    parts = [picture for part in index.parts for picture in read_part(path, part, threads=threads)]
    assert_same(parts, read(VideoSource(path)))
    assert index.num_frames == len(parts)


def test_pictures_that_an_edit_list_hides_are_in_no_part(tmp_path: Path) -> None:
    path = write_late_start(
        tmp_path / "late.mp4", write_gop_video(tmp_path / "open.mp4", options=OPEN_H264), num_hidden=7
    )
    parts = [picture for part in index_video(path, part_seconds=0.5).parts for picture in read_part(path, part)]
    assert len(parts) == 53
    assert_same(parts, read(VideoSource(path)))


def test_every_nth_picture_is_counted_from_the_beginning_of_the_file(tmp_path: Path) -> None:
    path = write_gop_video(tmp_path / "open.mp4", options=OPEN_H264)
    numbers = []
    for part in index_video(path, part_seconds=0.5).parts:
        source = PartSource(path, part, decode=DecodeOptions(threads=1))
        numbers += [timed.number for timed in source.pictures(threading.Event(), every=7)]
        source.close()
    assert numbers == list(range(0, 60, 7))


@pytest.mark.parametrize(
    ("name", "reason"),
    [("jumpy.ts", "times may jump in mpegts"), ("one.mp4", "it has no key frame to cut at"), ("short.mp4", "short")],
)
def test_what_cannot_be_cut_safely_stays_whole(tmp_path: Path, name: str, reason: str) -> None:
    options = {"x264-params": "keyint=10:intra-refresh=1"} if name == "one.mp4" else OPEN_H264
    path = write_gop_video(tmp_path / name, options=options)
    index = index_video(path, part_seconds=3.0 if name == "short.mp4" else 0.5)
    assert index.parts == ()
    assert reason in index.reason


@pytest.mark.parametrize("seed", range(6))
def test_damage_is_never_taken_for_the_end_of_a_part(tmp_path: Path, seed: int) -> None:
    path = write_gop_video(tmp_path / "damaged.mp4", options=OPEN_H264)
    parts = index_video(path, part_seconds=0.5).parts
    content = bytearray(path.read_bytes())
    begin, end = content.index(b"mdat") + 4, content.index(b"moov") - 120
    middle = begin + (end - begin) * (seed + 1) // 7
    content[middle : middle + 100] = np.random.default_rng(seed).bytes(100)
    path.write_bytes(content)
    whole = read(VideoSource(path))
    pictures: Pictures = []
    try:
        for part in parts:
            pictures += read_part(path, part)
    except SeamError as error:
        assert "read the whole file" in str(error)  # noqa: PT017 - or there is none
        return
    assert_same(pictures, whole)


def test_a_part_of_another_file_is_refused(tmp_path: Path) -> None:
    (*_, last) = index_video(write_gop_video(tmp_path / "a.mp4"), part_seconds=0.5).parts
    other = write_gop_video(tmp_path / "b.mp4", options={"x264-params": "keyint=7:min-keyint=7:scenecut=0"})
    with pytest.raises(SeamError, match="key frame is not where it was"):
        read_part(other, last)


def test_what_is_not_a_video_is_refused_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(SourceError, match="is empty"):
        index_video(tmp_path / "empty.mp4", part_seconds=60)


@needs_assets
@pytest.mark.parametrize("name", ["awkward/tc_nasa_13013.mp4", "awkward/bgs_demo.avi"])
def test_parts_of_real_footage_are_the_whole(name: str) -> None:
    path = ASSETS / name
    parts = index_video(path, part_seconds=1.0).parts
    assert len(parts) > 1
    assert_same([picture for part in parts for picture in read_part(path, part)], read(VideoSource(path)))
