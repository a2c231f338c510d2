"""OpenCV loop as a contender: read, letterbox, run, decode, suppress, draw, write, one after the other.

    python -m benchmarks.competitors.opencv_loop < job.json

Its recording is MPEG-4 part 2, because OpenCV's wheel has no H.264.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import cv2

from benchmarks.by_hand import Array, HandWritten, draw
from benchmarks.job import Job, Outcome, Stopwatch, do_job


def run_loop(job: Job) -> Outcome:
    """Every frame through `cv2.VideoCapture`, the detector and, with a folder, `cv2.VideoWriter`."""
    detector = HandWritten(job.model)
    capture = cv2.VideoCapture(job.video)
    writer: cv2.VideoWriter | None = None
    count = num_detections = 0
    with Stopwatch() as watch:
        for frame in itertools.islice(_frames(capture), job.num_frames):
            detections = detector(frame)
            if job.folder is not None:
                writer = writer or _open_writer(f"{job.folder}/loop.mp4", capture, frame)
                draw(frame, detections)
                writer.write(frame)
            count += 1
            num_detections += len(detections[1])
        if writer is not None:
            writer.release()
    return watch.outcome(count, num_detections)


def _frames(capture: cv2.VideoCapture) -> Iterator[Array]:
    while True:
        is_read, frame = capture.read()
        if not is_read:
            return
        yield frame


def _open_writer(path: str, capture: cv2.VideoCapture, frame: Array) -> cv2.VideoWriter:
    size_wh = (frame.shape[1], frame.shape[0])
    return cv2.VideoWriter(path, cv2.VideoWriter.fourcc(*"mp4v"), capture.get(cv2.CAP_PROP_FPS), size_wh)


if __name__ == "__main__":
    do_job(run_loop)
