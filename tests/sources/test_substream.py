"""Substreams: a network looks at the small stream of a camera, and pictures are those of the large one."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame

from pipeline.errors import SourceError
from pipeline.flow.stage import Stop
from pipeline.picture.frame import TimedPicture
from pipeline.sources.arrays import ArraysSource
from pipeline.sources.packets import CodedPacket, CodedStream, PacketListener
from pipeline.sources.source import FrameSource
from pipeline.sources.substream import SubstreamSource
from pipeline.sources.video.source import VideoSource

GREY = 8  # by which a picture is brighter than the one before


def write_video(path: Path, size_wh: tuple[int, int], *, every: int = 1, num: int = 25, blue: int = 0) -> Path:
    """Grey pictures, 10 a second, of which each tells its number by its brightness; only every nth of them.

    blue: of the right half, by which one stream is told from the other.
    """
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"bf": "2", "g": "8", "qp": "1"})
        stream.width, stream.height, stream.pix_fmt = *size_wh, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 10)
        for number in range(0, num, every):
            pixels = np.full((size_wh[1], size_wh[0], 3), 16 + GREY * number, np.uint8)
            pixels[:, size_wh[0] // 2 :, 0] = blue
            frame = VideoFrame.from_ndarray(pixels, format="bgr24")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def open_large(path: Path) -> VideoSource:
    source = VideoSource(path)
    source.key_frames_alone = True
    return source


def number_of(pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> float:
    return (float(pixels[:, : pixels.shape[1] // 3, 1].mean()) - 16) / GREY


class Listener:
    """Keeps the times of the packets."""

    def __init__(self) -> None:
        self.times: list[float | None] = []

    def begin(self, stream: CodedStream) -> None:
        assert stream.size_wh == (160, 96)

    def take(self, packet: CodedPacket, pts_seconds: float | None) -> None:
        self.times.append(pts_seconds)


def test_every_picture_of_the_small_stream_has_the_pixels_of_the_large_one_at_its_time(tmp_path: Path) -> None:
    large = write_video(tmp_path / "large.mp4", (160, 96), blue=255)
    small = write_video(tmp_path / "small.mp4", (64, 48), every=2)
    source, listener = SubstreamSource(open_large(large), VideoSource(small)), Listener()
    source.listen(listener)
    pictures = list(source.pictures(threading.Event()))
    source.close()
    assert [timed.pts_seconds for timed in pictures] == pytest.approx([0.2 * index for index in range(13)])
    for index, timed in enumerate(pictures):
        assert timed.picture.size_wh == (160, 96)
        assert timed.picture.pixels.shape == (96, 160, 3)
        assert number_of(timed.picture.pixels) == pytest.approx(2 * index, abs=0.4)
        assert timed.picture.pixels[:, 120:, 0].mean() > 200
        for_network = timed.picture.resized((80, 48), colour="bgr")
        assert for_network.shape == (48, 80, 3)
        assert number_of(for_network) == pytest.approx(2 * index, abs=0.4)
        assert for_network[:, 60:, 0].mean() < 60
    assert sorted(seconds or 0.0 for seconds in listener.times) == pytest.approx([0.1 * index for index in range(25)])
    assert source.damage == ()


def test_pictures_that_the_large_stream_lacks_are_enlarged_and_counted(tmp_path: Path) -> None:
    class Unheard(VideoSource):
        def listen(self, listener: PacketListener) -> None: ...

    large = Unheard(write_video(tmp_path / "large.mp4", (160, 96), num=3))
    source = SubstreamSource(large, VideoSource(write_video(tmp_path / "small.mp4", (64, 48))))
    pictures = [timed.picture for timed in source.pictures(threading.Event())]
    assert pictures[20].pixels.shape == (96, 160, 3)
    assert number_of(pictures[20].copy_pixels()) == pytest.approx(20, abs=0.4)
    source.close()
    assert source.damage[-1] == "shown pictures that the large stream lacks, enlarged from detect_url: 1"


class Camera:
    """A live stream of a file, whose media times are from its own beginning, and which is given at other times."""

    is_live = True
    num_frames = None

    def __init__(self, path: Path, *, zero_seconds: float, media_seconds: float, after: threading.Event | None) -> None:
        self._video = open_large(path) if after is None else VideoSource(path)
        self._zero_seconds, self._media_seconds, self._after = zero_seconds, media_seconds, after
        self.ended = threading.Event()
        self.source_id, self.size_wh = self._video.source_id, self._video.size_wh
        self.frames_per_second, self.damage = 10.0, ()

    def listen(self, listener: PacketListener) -> None:
        shift = self._media_seconds

        class Shifted:
            def begin(self, stream: CodedStream) -> None:
                listener.begin(stream)

            def take(self, packet: CodedPacket, pts_seconds: float | None) -> None:
                listener.take(packet, (pts_seconds or 0.0) + shift)

        self._video.listen(Shifted())

    def pictures(self, stop: Stop, *, every: int = 1) -> Iterator[TimedPicture]:
        if self._after is not None:
            self._after.wait()
        for timed in self._video.pictures(stop, every=every):
            given_at = self._zero_seconds + timed.pts_seconds
            yield timed._replace(pts_seconds=timed.pts_seconds + self._media_seconds, captured_at_seconds=given_at)
        self.ended.set()

    def close(self) -> None:
        self._video.close()


def test_live_streams_are_joined_by_when_the_camera_gave_each_picture(tmp_path: Path) -> None:
    """The small stream was opened half a second later, and each counts its times from a beginning of its own."""
    large = Camera(write_video(tmp_path / "large.mp4", (160, 96)), zero_seconds=1000.0, media_seconds=7.0, after=None)
    small = Camera(
        write_video(tmp_path / "small.mp4", (64, 48), num=18),
        zero_seconds=1000.5,
        media_seconds=90.0,
        after=large.ended,
    )
    source = SubstreamSource(large, small)
    pictures = list(source.pictures(threading.Event()))
    assert [timed.pts_seconds for timed in pictures] == pytest.approx([7.5 + 0.1 * index for index in range(18)])
    for index, timed in enumerate(pictures):
        assert number_of(timed.picture.pixels) == pytest.approx(index + 5, abs=0.4)
        assert number_of(timed.picture.resized((40, 24), colour="bgr")) == pytest.approx(index, abs=0.4)
    source.close()


def test_two_sources_that_cannot_be_one_camera_s_are_refused(tmp_path: Path) -> None:
    video = write_video(tmp_path / "a.mp4", (64, 48), num=2)
    live = Camera(video, zero_seconds=0.0, media_seconds=0.0, after=None)
    with pytest.raises(SourceError, match=r"must be two streams of one camera, got a live one, .*, and a recorded one"):
        SubstreamSource(live, VideoSource(video))
    arrays: FrameSource = ArraysSource([np.zeros((4, 4, 3), np.uint8)])
    with pytest.raises(SourceError, match="a source with detect_url must be a video or a stream; leave it out"):
        SubstreamSource(arrays, VideoSource(video))


def test_a_large_stream_that_fails_fails_the_source(tmp_path: Path) -> None:
    class Broken(VideoSource):
        def pictures(self, stop: Stop, *, every: int = 1) -> Iterator[TimedPicture]:
            yield from super().pictures(stop, every=every)
            raise SourceError("broke off")

    video = write_video(tmp_path / "a.mp4", (64, 48), num=5)
    source = SubstreamSource(Broken(video), VideoSource(video))
    with pytest.raises(SourceError, match="broke off"):
        list(source.pictures(threading.Event()))
    source.close()


def test_a_run_that_ends_early_reads_no_further(tmp_path: Path) -> None:
    video = write_video(tmp_path / "a.mp4", (64, 48))
    source = SubstreamSource(open_large(video), VideoSource(video))
    pictures = source.pictures(threading.Event())
    next(pictures)
    pictures.close()  # type: ignore[attr-defined]
    source.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("packets of")]
