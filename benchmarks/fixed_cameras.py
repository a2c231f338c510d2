"""Fixed cameras: a detector, and files that stand in for sixteen live streams → detections a second, ages and drops.

Each file is played live at 25 frames a second, and begins with another key frame of one video, so that people do not
come everywhere at once. Detections are counted in the seconds in which something moves in front of a camera, by plain
differences from picture to picture, which is not how the gate sees it.
"""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from multiprocessing import get_context
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt
from av.container import OutputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from pipeline.app.assemble import assemble
from pipeline.app.config.loading import load_config
from pipeline.app.config.run import RunConfig
from pipeline.app.process import prepare_process
from pipeline.detector.recognise import recognise
from pipeline.flow.running import Running
from pipeline.measure.processor import Usage, read_processor
from pipeline.picture.detections import Result
from pipeline.picture.network_shape import shape_for

RATE = 25
SIZE_WH = (640, 360)
"""Of a camera's small stream."""

BAR_RATE, BAR_AGE_MS = 10.0, 200.0

_STEP_LEVELS = 12  # of 255, by which a pixel has changed, in a picture of a quarter of the width
_MOVING_SHARE = 0.002  # of those pixels
_MOVING_PICTURES = RATE // 2  # of a second in which something moves

Moving = npt.NDArray[np.bool_]
"""bool [pictures], whether something has moved since the picture before."""


@dataclass(frozen=True, slots=True)
class Camera:
    """A file that stands in for a camera. first: the picture of the video with which it begins."""

    path: Path
    first: int


@dataclass(frozen=True, slots=True)
class CamerasMeasured:
    """One run of all cameras, after its warm-up."""

    inferred_per_second: Sequence[float]  # by camera, where something moves
    moving: float  # the share of the seconds of all cameras in which something moves
    duty: float  # the share of all results that the network has given
    fps: float  # results a second of all cameras together
    age_ms: tuple[float, float]  # p50 and p95 of all results, from when a frame was due until its boxes were there
    inferred_age_ms: tuple[float, float]  # of those that the network has given
    num_captured: int
    num_dropped: int
    core_ms: float  # a captured frame
    cores: float
    other_cores: float
    core_ms_by_role: Mapping[str, float]  # a captured frame; they add up to `core_ms`

    @property
    def meets_bar(self) -> bool:
        """Whether every camera has enough detections, and they come soon enough."""
        ages = self.age_ms[1], self.inferred_age_ms[1]
        return min(self.inferred_per_second, default=0.0) >= BAR_RATE and max(ages) <= BAR_AGE_MS

    def __str__(self) -> str:
        rates = self.inferred_per_second
        return (
            f"{min(rates, default=0):.1f} detections/s at least, {statistics.median(rates or [0]):.1f} median, where "
            f"something moves ({self.moving:.0%} of the time); age {self.age_ms[0]:.0f} / {self.age_ms[1]:.0f} ms, "
            f"of detections {self.inferred_age_ms[0]:.0f} / {self.inferred_age_ms[1]:.0f}; {self.fps:.0f} results/s, "
            f"{self.duty:.0%} inferred; {self.num_dropped} of {self.num_captured} frames dropped; {self.core_ms:.2f} "
            f"core ms a frame ({', '.join(f'{role} {ms:.2f}' for role, ms in self.core_ms_by_role.items())}) on "
            f"{self.cores:.2f} cores, others {self.other_cores:.2f}"
        )


def write_cameras(video: Path, folder: Path, num: int) -> tuple[list[Camera], Moving]:
    """Files that stand in for cameras, and what moves in the pictures of the video.

    The pictures are taken for those of 25 a second, whatever the video says, and are coded as cameras do it: H.264
    without B-frames, a key frame every 2 s.
    """
    cycle = folder / "cycle.mp4"
    moving = _write_cycle(video, cycle)
    with av.open(str(cycle)) as container:
        stream = container.streams.video[0]
        packets = [packet for packet in container.demux(stream) if packet.size]
        keys = [index for index, packet in enumerate(packets) if packet.is_keyframe]
        cameras = [Camera(folder / f"camera{k:02}.mp4", keys[k * len(keys) // num]) for k in range(num)]
        for camera in cameras:
            _write_rotated(camera, packets, stream)
    return cameras, moving


def _write_cycle(video: Path, path: Path) -> Moving:
    """The video as the small stream of a camera; what moves in it."""
    options = {"preset": "veryfast", "crf": "25", "g": str(2 * RATE), "bf": "0", "sc_threshold": "0"}
    moving, before = [], None
    with av.open(str(video)) as source, av.open(str(path), "w") as target:
        stream = target.add_stream("libx264", RATE, options=options)
        stream.width, stream.height, stream.pix_fmt = *SIZE_WH, "yuv420p"
        stream.codec_context.time_base = Fraction(1, RATE)
        for index, frame in enumerate(source.decode(video=0)):
            small = frame.reformat(*SIZE_WH, format="yuv420p")
            small.pts, small.time_base = index, Fraction(1, RATE)
            target.mux(stream.encode(small))
            grey = _quarter(small)
            step = np.zeros_like(grey) if before is None else cv2.absdiff(grey, before)
            moving.append(float((step > _STEP_LEVELS).mean()) > _MOVING_SHARE)
            before = grey
        target.mux(stream.encode(None))
    return np.array(moving)


def _quarter(frame: VideoFrame) -> npt.NDArray[np.uint8]:
    """Its brightness, in a quarter of its width and height."""
    grey = frame.to_ndarray(format="gray")
    size_wh = (SIZE_WH[0] // 4, SIZE_WH[1] // 4)
    return np.asarray(cv2.resize(grey, size_wh, interpolation=cv2.INTER_AREA), np.uint8)


def _write_rotated(camera: Camera, packets: Sequence[Packet[VideoStream]], template: VideoStream) -> None:
    """All packets, from one of them on and then from the beginning."""
    container: OutputContainer
    with av.open(str(camera.path), "w") as container:
        stream = container.add_stream_from_template(template)
        for index in range(len(packets)):
            coded = packets[(camera.first + index) % len(packets)]
            packet = Packet(bytes(coded))
            packet.pts = packet.dts = index
            packet.duration, packet.time_base, packet.stream = 1, Fraction(1, RATE), stream
            packet.is_keyframe = coded.is_keyframe
            container.mux(packet)


SETTINGS: Mapping[str, Mapping[str, object]] = {
    "frames": {"gate.kind": "frames"},
    "between, every 2nd": {"gate.kind": "between", "gate.every": 2},
    "between, 200 ms": {"gate.kind": "between", "flow.max_latency_ms": 200},
    "the same, key frames while idle": {
        "gate.kind": "between",
        "flow.max_latency_ms": 200,
        "gate.decode_idle": "key-frames",
    },
}
"""What is tried, by what it is called."""


def camera_lines(
    video: Path, model: Path, folder: Path, *, num: int, seconds: float, loss_of: Callable[[RunConfig], str]
) -> Iterator[str]:
    """A line for each of SETTINGS. model: of a fixed size, which is made in the shape of the cameras.

    loss_of: what is lost against every frame, of the run of a file.
    """
    shaped = _shaped(model, folder)
    cameras, moving = write_cameras(video, folder, num)
    common = {"model": str(shaped), "engine.device": "cpu", "output.show": False}
    for name, settings in SETTINGS.items():
        live = {"sources": tuple(str(camera.path) for camera in cameras), "flow.mode": "live"}
        config = load_config(options={**common, **settings, **live})
        measured = measure_cameras(config, cameras, moving, seconds=seconds, warm_up_seconds=5.0)
        recorded = {"sources": (str(cameras[0].path),), "flow.mode": "every-frame", "flow.max_latency_ms": None}
        lost = loss_of(load_config(options={**common, **settings, **recorded}))
        verdict = "met" if measured.meets_bar else "not met"
        yield f"cameras    {name}: {measured}; one of them as a file: {lost}   (bar: {verdict})"


def _shaped(model: Path, folder: Path) -> Path:
    """The model with an input in the shape of the cameras."""
    from export.graph.network_size import resized_network

    spec = recognise(model)
    shape_wh = shape_for(SIZE_WH, spec.network_wh, spec.resize)
    path = folder / f"{model.stem}-{shape_wh[0]}x{shape_wh[1]}.onnx"
    resized_network(model, spec, path, shape_wh)
    return path


def measure_cameras(
    config: RunConfig, cameras: Sequence[Camera], moving: Moving, *, seconds: float, warm_up_seconds: float
) -> CamerasMeasured:
    """Run the cameras in a process of its own. config: of the run, its sources the files of the cameras."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_measure_here, config, tuple(cameras), moving, seconds, warm_up_seconds).result()


@dataclass(frozen=True, slots=True)
class _Seen:
    """A result of a camera, and when its frame was captured and it came, on the monotonic clock."""

    index: int
    is_inferred: bool
    captured_at_seconds: float
    shown_at_seconds: float


def _measure_here(
    config: RunConfig, cameras: Sequence[Camera], moving: Moving, seconds: float, warm_up_seconds: float
) -> CamerasMeasured:
    prepare_process()
    assembly = assemble(config, loops=True)
    engine_threads = set(read_processor().thread_seconds)
    seen: dict[str, list[_Seen]] = defaultdict(list)
    with Running(assembly.flow, results=True) as running:
        results = iter(running)
        _collect(results, seen, time.monotonic() + warm_up_seconds)
        running.forget_warm_up()
        first, num_before = read_processor(), {name: len(of_camera) for name, of_camera in seen.items()}
        _collect(results, seen, time.monotonic() + seconds)
        usage, run, threads = Usage.between(first, read_processor()), running.statistics(), running.thread_ids()
        running.abandon()
    assembly.close_engines()
    frames, roles = run.frames, {node.name: node.role for node in run.nodes}
    spent = usage.by_role(
        {thread: roles.get(name, "") for thread, name in threads.items()}, engine_threads=engine_threads
    )
    by_camera = {str(camera.path): camera for camera in cameras}
    began = {name: min(s.captured_at_seconds - s.index / RATE for s in of_camera) for name, of_camera in seen.items()}
    counted = {name: of_camera[num_before.get(name, 0) :] for name, of_camera in seen.items()}
    rates = {name: _rates(of_camera, by_camera[name], moving) for name, of_camera in counted.items()}
    ages = {
        is_inferred: [
            s.shown_at_seconds - began[name] - s.index / RATE
            for name, of_camera in counted.items()
            for s in of_camera
            if s.is_inferred or not is_inferred
        ]
        for is_inferred in (False, True)
    }
    num = sum(map(len, counted.values()))
    moving_seconds = sum(len(of_camera) for of_camera in rates.values())
    return CamerasMeasured(
        [statistics.mean(of_camera) for of_camera in rates.values() if of_camera],
        moving_seconds * RATE / max(1, frames.captured),
        len(ages[True]) / max(1, num),
        num / usage.wall_seconds,
        _p50_and_p95_ms(ages[False]),
        _p50_and_p95_ms(ages[True]),
        frames.captured,
        frames.dropped_stale + frames.dropped_full,
        1000 * usage.process_seconds / max(1, frames.captured),
        usage.process_seconds / usage.wall_seconds,
        usage.other_cores,
        {role: 1000 * seconds / max(1, frames.captured) for role, seconds in spent.items()},
    )


def _collect(results: Iterator[Result], seen: Mapping[str, list[_Seen]], until_seconds: float) -> None:
    for result in results:
        frame, now = result.frame, time.monotonic()
        seen[frame.source_id].append(_Seen(frame.index, not result.is_carried, frame.captured_at_seconds, now))
        if now >= until_seconds:
            return


def _rates(results: Sequence[_Seen], camera: Camera, moving: Moving) -> list[int]:
    """Detections in each whole second of a camera in which something moves."""
    if not results:
        return []
    first, last = -(-results[0].index // RATE), results[-1].index // RATE
    nums = np.bincount([s.index // RATE for s in results if s.is_inferred], minlength=last + 1)
    shown = [
        moving[(camera.first + np.arange(second * RATE, (second + 1) * RATE)) % len(moving)] for second in range(last)
    ]
    return [int(nums[second]) for second in range(first, last) if shown[second].sum() >= _MOVING_PICTURES]


def _p50_and_p95_ms(seconds: Sequence[float]) -> tuple[float, float]:
    p50, p95 = np.percentile(np.array(seconds or [np.nan]) * 1000, [50, 95])
    return float(p50), float(p95)
