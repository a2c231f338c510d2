"""Streaming and tracking: detections in the frames of a video → accuracy with latency priced in, and of tracks."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.accuracy.classes import in_classes_of_data, match_classes
from pipeline.accuracy.coco import CocoAccuracy, coco_accuracy
from pipeline.accuracy.streaming import Answer, latest_finished, simulate, streaming_detections
from pipeline.accuracy.tracking import TrackingAccuracy, tracking_accuracy, with_track_ids
from pipeline.accuracy.truth import LabelledData
from pipeline.app.assemble import assemble
from pipeline.app.config.run import RunConfig
from pipeline.app.engines import open_engine
from pipeline.app.model_branch import default_threads, model_of
from pipeline.app.options import duration
from pipeline.detector.detector import EngineDetector
from pipeline.errors import ConfigError
from pipeline.flow.running import Running
from pipeline.picture.detections import Detections
from pipeline.sources.opening import open_source

MEASURED = "measured"
_NUM_TIMED = 60  # frames whose latency is measured


@dataclass(frozen=True, slots=True)
class Streaming:
    """Accuracy with latency priced in."""

    latency: str  # `80 ms`, `measured`, or `a run`
    coco: CocoAccuracy
    num_answered: int  # frames that the detector worked on
    mean_lag_frames: float  # by how many frames what is shown is behind, where something is


def latency_of(word: str) -> float | None:
    """Seconds of a duration such as 80ms, 0.08s or 0ms; None for `measured`. Raises ConfigError for anything else."""
    if word == MEASURED:
        return None
    return duration(word, "--pretend-latency", may_be_zero=True)


def frame_times(data: LabelledData, frames_per_second: float | None) -> list[float]:
    """When each image was taken, in seconds: its own time, or its index at that rate; ConfigError for neither."""
    if frames_per_second is not None:
        return [index / frames_per_second for index in range(len(data.images))]
    times = [image.pts_seconds for image in data.images]
    if any(seconds is None for seconds in times):
        raise ConfigError(f"{data.origin}: streaming and tracking need frames of a video; give their rate with --fps")
    return [seconds for seconds in times if seconds is not None]


def pretended(
    detections: Sequence[Detections],
    data: LabelledData,
    times: Sequence[float],
    latencies: float | Sequence[float],
    name: str,
) -> Streaming:
    """Accuracy of the detections of every frame, shown with these latencies on a simulated clock."""
    return _judge(dict(enumerate(detections)), data, times, simulate(times, latencies), name)


def run_live(config: RunConfig, data: LabelledData) -> Streaming:
    """Let the pipeline run at the pace of the video, on this machine now, and judge what it shows when."""
    flow = config.flow.model_copy(update={"mode": "live"})
    assembly = assemble(config.without_gate().model_copy(update={"flow": flow}))
    classes = match_classes(assembly.engine.spec.class_names, data.class_names)
    by_index: dict[int, Detections] = {}
    stamps: list[tuple[int, float, float, float]] = []  # index, media time, captured, finished
    with Running(assembly.flow, results=True) as running:
        for result in running:
            frame = result.frame
            stamps.append((frame.index, frame.pts_seconds, frame.captured_at_seconds, time.monotonic()))
            by_index[frame.index] = in_classes_of_data(result.detections, classes)
    assembly.engine.close()
    if not stamps:
        raise ConfigError(f"{data.origin}: no frame came through; is the video too short for a live run?")
    # No frame comes before its time, so the least delay is where the clocks meet.
    began = min(captured - pts for _, pts, captured, _ in stamps)
    answers = [Answer(index, captured - began, finished - began) for index, _, captured, finished in stamps]
    times = frame_times(data, None)
    return _judge(by_index, data, times, answers, "a run")


def measured_latencies(config: RunConfig, data: LabelledData) -> list[float]:
    """Seconds from a picture to its detections, one after the other, on this machine now."""
    path, spec = model_of(config)
    engine, _ = open_engine(config, path, spec, threads=default_threads(live_sources=1), live_sources=1)
    detector = EngineDetector(engine, score_threshold=config.detection.score_threshold)
    source = open_source(data.origin)
    seconds = []
    for number, timed in enumerate(source.pictures(threading.Event())):
        if number == min(_NUM_TIMED, len(data.images)):
            break
        began = time.perf_counter()
        detector([timed.picture])
        seconds.append(time.perf_counter() - began)
    source.close()
    engine.close()
    return seconds


def tracked(
    detections: Sequence[Detections], data: LabelledData, times: Sequence[float], *, score_threshold: float
) -> TrackingAccuracy:
    """Give detections identities, by ByteTrack, and judge them; ConfigError without track ids in the truth."""
    truths = [image.truth for image in data.images]
    rate = (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 else 30.0
    sure = [rows.select(rows.scores >= np.float32(0.5 * score_threshold)) for rows in detections]
    ours = with_track_ids(sure, frames_per_second=rate, score_threshold=score_threshold)
    return tracking_accuracy(ours, [truth.objects for truth in truths], ignored=[truth.ignored for truth in truths])


def _judge(
    by_index: dict[int, Detections], data: LabelledData, times: Sequence[float], answers: Sequence[Answer], name: str
) -> Streaming:
    shown = latest_finished(times, answers)
    lags = [now - then for now, then in enumerate(shown) if then is not None]
    truths = [image.truth for image in data.images]
    accuracy = coco_accuracy(streaming_detections(by_index, shown), truths)
    return Streaming(name, accuracy, len(answers), float(np.mean(lags)) if lags else 0.0)
