"""Coded videos: a few moving pictures → the bytes of a small H.264 video, made once."""

from __future__ import annotations

import io
from collections.abc import Iterator
from functools import cache

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

FPS = 25


@cache
def coded_video(
    container: str,
    *,
    size_wh: tuple[int, int] = (96, 64),
    num_frames: int = 30,
    num_b_frames: int = 0,
    gop: int = 10,
    codec: str = "libx264",
) -> bytes:
    """Noise that moves by three pixels a frame, at 25 frames/s. gop: frames from key frame to key frame."""
    content = io.BytesIO()
    picture = np.random.default_rng(0).integers(0, 256, (size_wh[1], size_wh[0], 3), np.uint8)
    with av.open(content, "w", format=container) as out:
        stream = out.add_stream(codec, rate=FPS)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height = size_wh
        stream.pix_fmt = "yuv420p"
        stream.options = {"bf": str(num_b_frames), "g": str(gop), "preset": "veryfast"} if codec == "libx264" else {}
        for number in range(num_frames):
            frame = av.VideoFrame.from_ndarray(np.roll(picture, 3 * number, 1), format="rgb24")
            frame.pts = number
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return content.getvalue()


def packets_of(content: bytes) -> Iterator[tuple[VideoStream, Packet[VideoStream]]]:
    """The stream with each of its packets, in decoding order."""
    with av.open(io.BytesIO(content), "r") as container:
        assert isinstance(container, InputContainer)
        stream = container.streams.video[0]
        for packet in container.demux(stream):
            if packet.size:
                yield stream, packet


def frames_of(content: bytes) -> list[VideoFrame]:
    """Every picture, in the order in which they are shown."""
    with av.open(io.BytesIO(content), "r") as container:
        assert isinstance(container, InputContainer)
        return list(container.decode(video=0))
