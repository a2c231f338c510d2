"""Roboflow's InferencePipeline as a contender, with the loop's detector inside; run by a Python that has `inference`.

Its best settings for a file: no `max_fps`, it waits for every frame (`WAIT`, `LAZY`), predictions dispatched in the
main thread; or its defaults, where the job's settings contain `defaults`. supervision draws, and its VideoSink writes.
"""

from __future__ import annotations

import os
from importlib import import_module
from importlib.metadata import version
from typing import Any

from benchmarks.job import Job, Outcome, Stopwatch, do_job

_OFFLINE = {
    "TELEMETRY_OPT_OUT": "True",
    "OFFLINE_MODE": "true",
    "METRICS_ENABLED": "False",
    "DISABLE_VERSION_CHECK": "true",
}


def run_pipeline(job: Job) -> Outcome:
    """Every frame through an InferencePipeline with custom logic."""
    os.environ |= _OFFLINE
    has_defaults = "defaults" in job.settings
    if not has_defaults:
        os.environ["ENABLE_FRAME_DROP_ON_VIDEO_FILE_RATE_LIMITING"] = "False"
    import onnxruntime
    import supervision

    inference = import_module("inference")
    buffers = import_module("inference.core.interfaces.camera.video_source")
    from benchmarks.by_hand import HandDetections, HandWritten

    detector = HandWritten(job.model)
    box_annotator, label_annotator = supervision.BoxAnnotator(), supervision.LabelAnnotator()
    sink: Any = None
    if job.folder is not None:
        about = supervision.VideoInfo.from_video_path(job.video)
        sink = supervision.VideoSink(f"{job.folder}/roboflow.mp4", about, codec="mp4v")
    count = num_detections = 0

    def detect(frames: list[Any]) -> list[HandDetections]:
        return [detector(frame.image) for frame in frames]

    def take(result: HandDetections, frame: Any) -> None:
        nonlocal count, num_detections
        if count == job.num_frames:
            return
        count += 1
        boxes, scores, class_ids = result
        num_detections += len(scores)
        if sink is not None:
            detections = supervision.Detections(xyxy=boxes, confidence=scores, class_id=class_ids.astype(int))
            labels = [f"{class_id} {score:.2f}" for class_id, score in zip(class_ids, scores, strict=True)]
            picture = box_annotator.annotate(frame.image, detections)
            sink.write_frame(label_annotator.annotate(picture, detections, labels))
        if count == job.num_frames:
            pipeline.terminate()

    best = {
        "max_fps": None,
        "source_buffer_filling_strategy": buffers.BufferFillingStrategy.WAIT,
        "source_buffer_consumption_strategy": buffers.BufferConsumptionStrategy.LAZY,
    }
    pipeline = inference.InferencePipeline.init_with_custom_logic(
        video_reference=job.video, on_video_frame=detect, on_prediction=take, **({} if has_defaults else best)
    )
    if sink is not None:
        sink.__enter__()
    with Stopwatch() as watch:
        pipeline.start(**({} if has_defaults else {"use_main_thread": True}))
        pipeline.join()
        if sink is not None:
            sink.__exit__(None, None, None)
    remark = f"inference {version('inference')}, supervision {version('supervision')}"
    return watch.outcome(count, num_detections, f"{remark}, ONNX Runtime {onnxruntime.__version__}")


if __name__ == "__main__":
    do_job(run_pipeline)
