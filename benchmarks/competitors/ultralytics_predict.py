"""Ultralytics' `predict` as a contender; run by the Python of an environment in which it is installed.

Its best way through a video: `stream=True`, one image a batch. On Linux it records Motion JPEG into an AVI file,
which costs it more than its drawing; no setting changes that.
"""

from __future__ import annotations

import os
from importlib import import_module

from benchmarks.job import IOU_THRESHOLD, SCORE_THRESHOLD, Job, Outcome, Stopwatch, do_job


def predict(job: Job) -> Outcome:
    """Every frame through `YOLO.predict` on ONNX Runtime's CPU."""
    # Nothing is installed, fetched or reported behind one's back.
    os.environ |= {"YOLO_AUTOINSTALL": "false", "YOLO_OFFLINE": "true"}
    import numpy as np
    import onnxruntime

    ultralytics = import_module("ultralytics")
    detector = ultralytics.YOLO(job.model, task="detect")
    choices = {"conf": SCORE_THRESHOLD, "iou": IOU_THRESHOLD, "device": "cpu", "verbose": False}
    detector.predict(np.zeros((640, 640, 3), np.uint8), **choices)  # opens the network and warms it up
    session = detector.predictor.model.backend.session
    count = num_detections = 0
    with Stopwatch() as watch:
        results = detector.predict(
            job.video,
            stream=True,
            vid_stride=1,
            save=job.folder is not None,
            project=job.folder,
            **choices,
        )
        for result in results:
            count += 1
            num_detections += len(result.boxes)
            if count == job.num_frames:
                break
        results.close()  # which finishes the recording
    remark = f"ultralytics {ultralytics.__version__}, ONNX Runtime {onnxruntime.__version__}"
    return watch.outcome(count, num_detections, f"{remark} on {session.get_providers()[0]}")


if __name__ == "__main__":
    do_job(predict)
