"""Clips: a folder → short drawn streets with a key frame a second, and every box that a serial run gives of them."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

import pipeline
from pipeline.fleet.table import read_detections
from pipeline.sources.street.traffic import TrafficOptions, TrafficSource

Rows = Counter[tuple[str, int, tuple[object, ...]]]
"""File, frame and its boxes, as often as they are there."""

FPS = 30
SETTINGS = {"engine.device": "cpu", "engine.threads": 1}
_COLUMNS = ("class_id", "score", "x1", "y1", "x2", "y2")


def write_clips(folder: Path, seconds: Sequence[int]) -> list[Path]:
    """Write a clip of each length; no two of them, and no two seconds of one, are alike."""
    folder.mkdir(parents=True, exist_ok=True)
    return [_write(folder / f"{number}.mp4", seed=number, seconds=length) for number, length in enumerate(seconds)]


def serial_rows(paths: Iterable[Path]) -> Rows:
    """What a run of each file gives, by the public function."""
    return Counter(
        (str(path), result.frame.index, tuple((row.class_id, row.score, *row.box) for row in result.rows()))
        for path in paths
        for result in pipeline.detect(path, model="demo", settings=SETTINGS)
    )


def mapped_rows(out: Path) -> Rows:
    """What the folder of a map holds."""
    return Counter(
        (row["file"], frame["frame"], tuple(tuple(box[name] for name in _COLUMNS) for box in frame["detections"]))
        for row in read_detections(out / "detections").to_pylist()
        for frame in row["frames"]
    )


def _write(path: Path, *, seed: int, seconds: int) -> Path:
    import av  # after OpenCV, see pipeline/sinks/__init__.py

    street = TrafficSource(TrafficOptions(seed=seed, seconds=seconds, size_wh=(512, 288)))
    with av.open(str(path), "w") as container:
        options = {"preset": "ultrafast", "g": str(FPS), "keyint_min": str(FPS), "sc_threshold": "0", "bf": "0"}
        stream = container.add_stream("libx264", rate=FPS, options=options)
        stream.width, stream.height, stream.pix_fmt = 512, 288, "yuv420p"
        stream.codec_context.time_base = stream.time_base = Fraction(1, FPS)
        for index, timed in enumerate(street.pictures(threading.Event())):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(timed.picture.pixels), format="bgr24")
            frame.pts = index
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path
