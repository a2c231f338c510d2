"""Videos: a path and what to vary → an H.264 file of `scene`s, and a source → all its pictures."""

from __future__ import annotations

import threading
from fractions import Fraction
from pathlib import Path

import av
from av.video.frame import VideoFrame

from pipeline.picture.frame import TimedPicture
from pipeline.sources.source import FrameSource
from tests.support.pictures import scene


def write_video(
    path: Path,
    *,
    num_frames: int = 12,
    size_wh: tuple[int, int] = (64, 48),
    rate: Fraction = Fraction(30000, 1001),
    turned_degrees: int = 0,
    also_small: bool = False,
    options: dict[str, str] | None = None,
) -> Path:
    """Write `scene(0)`, `scene(1)` and so on; also_small: behind a smaller stream of 32 × 32."""
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream("libx264", rate, options={"crf": "1", "g": "4"})
        stream.width, stream.height, stream.pix_fmt = *size_wh, "yuv420p"
        streams = [stream]
        if also_small:
            small = container.add_stream("libx264", rate)
            small.width, small.height, small.pix_fmt = 32, 32, "yuv420p"
            streams.insert(0, small)
        if turned_degrees:
            stream.set_display_rotation(turned_degrees)
        for index in range(num_frames):
            for stream in streams:
                frame = VideoFrame.from_ndarray(scene(index, (stream.width, stream.height)), format="bgr24")
                container.mux(stream.encode(frame))
        for stream in streams:
            container.mux(stream.encode(None))
    return path


def read_all(source: FrameSource) -> list[TimedPicture]:
    """All pictures of a source, which is closed."""
    try:
        return list(source.pictures(threading.Event()))
    finally:
        source.close()
