"""A live stream that is opened again: it begins without libav's long look at its rate, which is known by then."""

from __future__ import annotations

import random

from benchmarks.soaking.rtsp import RtspCamera
from pipeline.sources.options import NetworkOptions
from pipeline.sources.video.seen_packets import SeenPackets
from pipeline.sources.video.source import VideoSource


def test_a_camera_that_gives_fewer_pictures_than_libav_counts_for_a_rate_is_open_again() -> None:
    camera, num_left = RtspCamera("door", random.Random(0)), 12  # libav counts 20 for a rate, unless it is told not to

    def until_it_stalls(data: bytes) -> bytes:
        nonlocal num_left
        num_left -= 1
        camera.is_stalled = num_left == 0
        return data

    camera.spoil = until_it_stalls
    seen = SeenPackets()
    seen.was_open = True
    try:
        source = VideoSource(camera.address, network=NetworkOptions(open_timeout_s=5), seen=seen)
        assert (source.is_live, source.size_wh) == (True, (320, 180))
        source.close()
    finally:
        camera.close()
