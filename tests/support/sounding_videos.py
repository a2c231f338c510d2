"""Sounding videos: flashes and clicks at the same times → a file, and a recording → when they come in it."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

RATE = 48000
FRAMES_PER_SECOND = 25
CLICK_SECONDS = 0.04


def write_sounding_video(
    path: Path, *, seconds: int = 4, codec: str = "aac", begins_at_seconds: int = 0, sound_seconds: float | None = None
) -> Path:
    """Write a dark video with a white picture and a loud click at each full second but the first, and a quiet tone."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", FRAMES_PER_SECOND, options={"crf": "10", "g": "25"})
        audio = container.add_stream(codec, rate=RATE)
        assert isinstance(video, VideoStream)
        assert isinstance(audio, AudioStream)
        video.width, video.height, video.pix_fmt = 96, 64, "yuv420p"
        audio.layout = "mono"
        for index in range(seconds * FRAMES_PER_SECOND):
            is_flash = index % FRAMES_PER_SECOND == 0 and index > 0
            picture = VideoFrame.from_ndarray(np.full((64, 96, 3), 250 * is_flash, np.uint8), format="bgr24")
            picture.pts = index + begins_at_seconds * FRAMES_PER_SECOND
            picture.time_base = Fraction(1, FRAMES_PER_SECOND)
            container.mux(video.encode(picture))
        num_samples = round((seconds if sound_seconds is None else sound_seconds) * RATE)
        times = np.arange(num_samples) / RATE
        is_click = np.logical_and(times % 1 < CLICK_SECONDS, times >= 1)
        samples = (np.where(is_click, 0.8, 0.02) * np.sin(2 * np.pi * 1000 * times)).astype(np.float32)
        for start in range(0, num_samples, 1024):
            piece = samples[None, start : start + 1024]
            if audio.format.name.startswith("s16"):
                piece = (piece * 32767).astype(np.int16)
            sound = AudioFrame.from_ndarray(piece, format="s16" if piece.dtype == np.int16 else "fltp", layout="mono")
            sound.sample_rate, sound.time_base = RATE, Fraction(1, RATE)
            sound.pts = start + begins_at_seconds * RATE
            container.mux(audio.encode(sound))
        container.mux(video.encode(None))
        container.mux(audio.encode(None))
    return path


def flashes_and_clicks(path: Path) -> tuple[list[float], list[float], float]:
    """When the bright pictures come, when the loud sounds begin, and when the sound ends, all in seconds."""
    with av.open(str(path)) as container:
        pictures = [(frame.time, frame.to_ndarray(format="gray").mean()) for frame in container.decode(video=0)]
    flashes = [float(time or 0.0) for time, brightness in pictures if brightness > 128]
    with av.open(str(path)) as container:
        pieces = [(frame.time, frame.sample_rate, frame.to_ndarray()) for frame in container.decode(audio=0)]
    loud = np.concatenate(
        [
            np.stack([(time or 0.0) + np.arange(piece.shape[-1]) / rate, np.abs(_floats(piece)[0])])
            for time, rate, piece in pieces
        ],
        axis=1,
    )  # [2, samples]: seconds and loudness
    times = loud[0, loud[1] > 0.3]
    clicks = [float(time) for time, before in zip(times, [-1.0, *times[:-1]], strict=True) if time - before > 0.2]
    return flashes, clicks, float(loud[0, -1])


def _floats(piece: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    return np.asarray(piece / 32768 if piece.dtype == np.int16 else piece, np.float32)
