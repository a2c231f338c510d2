"""What is kept: a source holds no frame, packet or decoder longer than it needs it, collector or not.

The garbage collector is off, because what waits for it in a run of days are megabytes of samples.
"""

from __future__ import annotations

import gc
import random
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame

from benchmarks.soaking.over_http import MjpegCamera
from pipeline.sources.opening import open_source
from pipeline.sources.options import NetworkOptions, SourceOptions
from pipeline.sources.video.source import VideoSource
from tests.support.videos import write_video

MOST_HELD = 6  # by the decoder's caller, on their way


@pytest.fixture(autouse=True)
def without_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def num_alive(kind: type) -> int:
    return sum(issubclass(type(thing), kind) for thing in gc.get_objects())


def test_a_frame_is_freed_when_the_next_one_is_taken(tmp_path: Path) -> None:
    video = write_video(tmp_path / "a.mp4", num_frames=60)
    before = num_alive(VideoFrame), num_alive(Packet)
    source = VideoSource(video)
    pictures = source.pictures(threading.Event())
    for _ in range(50):
        assert next(pictures).picture.pixels.ndim == 3
    assert num_alive(VideoFrame) - before[0] <= MOST_HELD
    assert num_alive(Packet) - before[1] <= MOST_HELD
    source.close()


def test_a_stream_that_broke_leaves_no_decoder_behind() -> None:
    camera = MjpegCamera("door", random.Random(0))
    source = open_source(camera.address, options=SourceOptions(network=NetworkOptions(reconnect_s=20)))
    try:
        before = num_alive(VideoSource), num_alive(VideoCodecContext), num_alive(Packet)
        pictures = source.pictures(threading.Event())
        next(pictures)
        camera.cut()
        while not any("breaks in the stream: 1" in line for line in source.damage):
            next(pictures)
        next(pictures)
        assert num_alive(VideoSource) == before[0] == 1
        assert num_alive(VideoCodecContext) == before[1]
        assert num_alive(Packet) <= before[2] + 1
    finally:
        source.close()
        camera.close()


def test_a_closed_source_that_is_kept_for_its_damage_has_no_decoder(tmp_path: Path) -> None:
    video = write_video(tmp_path / "a.mp4", num_frames=10)
    before = num_alive(VideoCodecContext)
    source = VideoSource(video)
    assert num_alive(VideoCodecContext) > before
    next(source.pictures(threading.Event()))
    source.close()
    source.close()
    assert num_alive(VideoCodecContext) == before
    assert (source.damage, source.codec_name, source.size_wh) == ((), "h264", (64, 48))
