"""Drawn video: a drawn street in, an H.264 file of any length out, of which only the first frames are drawn."""

from __future__ import annotations

import threading
from fractions import Fraction
from pathlib import Path

import numpy as np

from pipeline.sources.street.traffic import TrafficOptions, TrafficSource


def write_street(path: Path, *, size_wh: tuple[int, int], num_frames: int, num_drawn: int = 60) -> Path:
    """Write an H.264 video at 30 frames/s, of which the first `num_drawn` frames are drawn and then repeated.

    Drawing costs more than decoding or the detector, and would hide both; and every contender can read a file.
    Repeated packets are decoded like any other: the first of them is a key frame, and none refers to those before it.
    """
    import av  # after OpenCV, see pipeline/sinks/__init__.py

    num_drawn = min(num_drawn, num_frames)
    street = TrafficSource(TrafficOptions(seed=1000, seconds=num_drawn / 30, size_wh=size_wh))
    with av.open(str(path), "w") as container:
        options = {"preset": "ultrafast", "tune": "zerolatency", "crf": "20", "g": "100000"}
        stream = container.add_stream("libx264", rate=30, options=options)
        stream.width, stream.height, stream.pix_fmt = *size_wh, "yuv420p"
        stream.codec_context.time_base = stream.time_base = Fraction(1, 30)
        packets = []
        for index, timed in enumerate(street.pictures(threading.Event())):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(timed.picture.pixels), format="bgr24")
            frame.pts = index
            packets += stream.encode(frame)
        packets += stream.encode()
        drawn = [(bytes(packet), packet.is_keyframe) for packet in packets]
        for index in range(num_frames):
            data, is_keyframe = drawn[index % len(drawn)]
            packet = av.Packet(data)
            packet.pts = packet.dts = index
            packet.duration, packet.time_base, packet.stream = 1, Fraction(1, 30), stream
            packet.is_keyframe = is_keyframe
            container.mux(packet)
    return path
