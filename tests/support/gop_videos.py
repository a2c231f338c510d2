"""GOP videos: encoder options → a small file whose pictures all differ, with key frames to cut at."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

H264 = {"x264-params": "keyint=10:min-keyint=10:scenecut=0:bframes=3:b-pyramid=normal:open-gop=0"}
OPEN_H264 = {"x264-params": "keyint=10:min-keyint=10:scenecut=0:bframes=3:b-pyramid=normal:open-gop=1"}
OPEN_HEVC = {"x265-params": "keyint=10:min-keyint=10:bframes=3:open-gop=1:log-level=none"}


def write_gop_video(
    path: Path, encoder: str = "libx264", options: dict[str, str] | None = None, *, num_frames: int = 60, gaps: int = 0
) -> Path:
    """A ball that moves over a slope, 25 frames a second. gaps: ticks of 1/1000 s by which the rate varies."""
    if encoder not in av.codecs_available:
        pytest.skip(f"this build of av has no {encoder}")
    y, x = np.mgrid[0:48, 0:64].astype(np.float32)
    random = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(encoder, Fraction(25), options=options or H264)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        pts = 0
        for index in range(num_frames):
            ball = 150 * np.exp(-((x - 8 - index / 2) ** 2 + (y - 8 - index / 3) ** 2) / 40)
            pixels = np.stack([ball + x, ball + y, ball + index], axis=2).clip(0, 255).astype(np.uint8)
            frame = VideoFrame.from_ndarray(pixels, format="bgr24")
            frame.pts, frame.time_base = pts, Fraction(1, 1000)
            pts += 40 + (int(random.integers(0, gaps)) if gaps else 0)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_late_start(path: Path, original: Path, *, num_hidden: int) -> Path:
    """The same packets as MP4, with an edit list that hides pictures at the beginning."""
    with av.open(str(original)) as container, av.open(str(path), "w") as copy:
        stream = container.streams.video[0]
        target = copy.add_stream_from_template(stream)
        for packet in container.demux(stream):
            if packet.dts is None:
                continue
            ticks = round(num_hidden * Fraction(1, 25) / packet.time_base)
            packet.pts, packet.dts = (packet.pts or 0) - ticks, packet.dts - ticks
            packet.stream = target
            copy.mux(packet)
    return path
