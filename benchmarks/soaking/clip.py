"""Clip: a drawn street and a size → a second of it, encoded once, for cameras that send it over and over.

Each second of a clip begins with a key frame, whose parameter sets are in the stream. The NaN clip is white, which is
what makes the soak's detector fail.
"""

from __future__ import annotations

import fractions
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import av
import cv2
import numpy as np
import numpy.typing as npt

FPS = 10
NUM_FRAMES = 4 * FPS  # of a clip, before it begins again
SIZE_WH, OTHER_WH = (320, 180), (256, 192)
WHITE = 255

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Clip:
    """Frames of one size: what an H.264 and a JPEG encoder made of each."""

    size_wh: tuple[int, int]
    h264: Sequence[bytes]  # Annex B, one access unit a frame; every FPS-th is a key frame
    jpeg: Sequence[bytes]


@cache
def clip(size_wh: tuple[int, int] = SIZE_WH, *, is_white: bool = False) -> Clip:
    """The street at that size, or nothing but white."""
    pictures = [np.full((*size_wh[::-1], 3), WHITE, np.uint8)] * NUM_FRAMES if is_white else _street(size_wh)
    jpegs = [cv2.imencode(".jpg", picture)[1].tobytes() for picture in pictures]
    return Clip(size_wh, _encoded(pictures, size_wh), jpegs)


def _street(size_wh: tuple[int, int]) -> list[Pixels]:
    """Apart by the time between two frames, so that objects move as they do in a camera of that rate."""
    from pipeline.sources.street.clip import CLIP_FILE

    with av.open(str(CLIP_FILE)) as container:
        stream = container.streams.video[0]
        step = round(float(stream.average_rate or 30) / FPS)
        frames = itertools.islice(container.decode(stream), 0, step * NUM_FRAMES, step)
        pixels = [frame.to_ndarray(format="bgr24") for frame in frames]
    resized = (cv2.resize(picture, size_wh, interpolation=cv2.INTER_AREA) for picture in pixels)
    return [np.asarray(picture, np.uint8) for picture in resized]


def _encoded(pictures: Sequence[Pixels], size_wh: tuple[int, int]) -> list[bytes]:
    encoder = av.CodecContext.create("libx264", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height = size_wh
    encoder.pix_fmt = "yuv420p"
    encoder.time_base = fractions.Fraction(1, FPS)
    encoder.framerate = fractions.Fraction(FPS)
    encoder.options = {
        "preset": "veryfast",
        "tune": "zerolatency",
        "crf": "26",
        "x264-params": f"keyint={FPS}:min-keyint={FPS}:scenecut=0:repeat-headers=1:bframes=0:sliced-threads=0",
    }
    packets = []
    for number, pixels in enumerate(pictures):
        frame = av.VideoFrame.from_ndarray(pixels, format="bgr24")
        frame.pts = number
        packets += encoder.encode(frame)
    packets += encoder.encode(None)
    assert len(packets) == len(pictures)
    return [bytes(packet) for packet in packets]
