"""Pixel aspect: a recording keeps the shape of what was filmed with pixels that are not square."""

from __future__ import annotations

import threading
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from pipeline.picture.detections import Detections, RenderedFrame, Result
from pipeline.picture.frame import ArrayPicture, Frame, TimedPicture
from pipeline.picture.pixel_aspect import pixel_aspect_of
from pipeline.sinks.recording import Recording
from pipeline.sources.video.picture import VideoPicture
from pipeline.sources.video.source import VideoSource

WIDE = Fraction(16, 11)
NUM_FRAMES = 20


def write_video(
    path: Path, aspect: Fraction, *, size_wh: tuple[int, int] = (64, 48), encoder: str = "libx264", degrees: int = 0
) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(encoder, Fraction(25))
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = *size_wh, "yuv420p"
        stream.codec_context.sample_aspect_ratio = aspect
        if degrees:
            stream.set_display_rotation(degrees)
        white = np.full((size_wh[1], size_wh[0]), 255, np.uint8)
        for _ in range(NUM_FRAMES):
            container.mux(stream.encode(VideoFrame.from_ndarray(white, format="gray").reformat(format="yuv420p")))
        container.mux(stream.encode(None))
    return path


def read(path: Path) -> list[TimedPicture]:
    source = VideoSource(path)
    timed_pictures = list(source.pictures(threading.Event()))
    source.close()
    return timed_pictures


def record(path: Path, timed_pictures: list[TimedPicture], *, in_planes: bool) -> Path:
    sink = Recording(path)
    for index, timed in enumerate(timed_pictures):
        frame = Frame(timed.picture, "", index, timed.pts_seconds, 0.0)
        planes = timed.picture.copy_i420() if in_planes and isinstance(timed.picture, VideoPicture) else None
        sink.write(
            RenderedFrame(
                Result(frame, Detections.empty(), ()), timed.picture.copy_pixels() if planes is None else planes
            )
        )
    sink.close()
    return path


def aspect_of(path: Path) -> Fraction:
    with av.open(str(path)) as container:
        ratio = container.streams.video[0].sample_aspect_ratio or Fraction(1)
        return Fraction(ratio.numerator, ratio.denominator)


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv"])
@pytest.mark.parametrize("in_planes", [False, True])
@pytest.mark.parametrize("aspect", [WIDE, Fraction(8, 9), Fraction(1)])
def test_a_recording_keeps_the_pixel_aspect(aspect: Fraction, in_planes: bool, suffix: str, tmp_path: Path) -> None:
    timed_pictures = read(write_video(tmp_path / f"in.{suffix}", aspect))
    assert {pixel_aspect_of(timed.picture) for timed in timed_pictures} == {aspect}
    assert {timed.picture.size_wh for timed in timed_pictures} == {(64, 48)}  # as stored, and so are boxes
    assert aspect_of(record(tmp_path / f"out.{suffix}", timed_pictures, in_planes=in_planes)) == aspect


@pytest.mark.parametrize(("name", "encoder"), [("a.mp4", "libvpx-vp9"), ("a.ts", "libx264"), ("a.mpg", "mpeg2video")])
def test_it_comes_from_the_container_or_from_the_bitstream(name: str, encoder: str, tmp_path: Path) -> None:
    timed_pictures = read(write_video(tmp_path / name, Fraction(4, 3), encoder=encoder))  # 16:9, which MPEG-2 can tell
    assert {pixel_aspect_of(timed.picture) for timed in timed_pictures} == {Fraction(4, 3)}


@pytest.mark.parametrize(("degrees", "expected"), [(90, 1 / WIDE), (180, WIDE), (-90, 1 / WIDE)])
def test_a_quarter_turn_turns_the_pixels_as_well(degrees: int, expected: Fraction, tmp_path: Path) -> None:
    timed_pictures = read(write_video(tmp_path / "in.mp4", WIDE, degrees=degrees))
    assert pixel_aspect_of(timed_pictures[0].picture) == expected
    assert aspect_of(record(tmp_path / "out.mp4", timed_pictures, in_planes=True)) == expected


def test_where_the_pixel_aspect_changes_the_shape_is_kept_in_the_first_one(tmp_path: Path) -> None:
    """As when a television programme in 4:3 is followed by one in 16:9, of as many pixels."""
    path = tmp_path / "changes.ts"
    parts = [write_video(tmp_path / f"{index}.ts", aspect) for index, aspect in enumerate([Fraction(1), Fraction(2)])]
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    timed_pictures = read(path)
    aspects = [pixel_aspect_of(timed.picture) for timed in timed_pictures]
    assert aspects == sorted(aspects)
    assert abs(aspects.count(Fraction(2)) - NUM_FRAMES) <= 4  # told by the decoder, not by its frames
    out = record(tmp_path / "out.mp4", timed_pictures, in_planes=True)
    assert aspect_of(out) == 1
    with av.open(str(out)) as container:
        first, *_, last = [frame.to_ndarray(format="gray") for frame in container.decode(video=0)]
    assert first.min() > 200
    assert last[14:34].min() > 200  # twice as wide as high by its pixels: half the height is left
    assert max(last[:10].max(), last[38:].max()) < 40


def test_a_picture_that_does_not_tell_has_square_pixels() -> None:
    assert pixel_aspect_of(ArrayPicture(np.zeros((4, 4, 3), np.uint8))) == 1
