"""Floors: the least that parts of the path take on this machine, each alone; a job in, its outcome out.

    python -m benchmarks.floors < job.json

`bare` is `session.run` alone on a fixed tensor; `bare-pair` is two such callers at once, on two cores as many as
streamdet has. `decode` decodes with one thread and throws away; `convert` makes network inputs of pictures that are
decoded already; `encode` encodes pictures on which boxes are drawn already, with the options of streamdet's recording;
nothing is converted for it.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime

from benchmarks.by_hand import HandWritten
from benchmarks.job import Job, Outcome, Stopwatch, do_job
from pipeline.picture.detections import Detections, Result
from pipeline.picture.drawing import draw_result
from pipeline.picture.frame import Frame
from pipeline.picture.i420 import I420, HasI420
from pipeline.sources.opening import open_source

# Decoded 1080p pictures are 3 MB each.
_MOST_HELD = 48


def bare(job: Job, *, num_callers: int = 1) -> Outcome:
    """The network alone, on a fixed tensor; several callers share the frames."""
    session = _open_session(job)
    image = session.get_inputs()[0]
    tensor = _noise_for(image)

    def run(num_frames: int) -> None:
        for _ in range(num_frames):
            session.run(None, {image.name: tensor})

    run(3)
    share = -(-job.num_frames // num_callers)
    callers = [threading.Thread(target=run, args=(share,)) for _ in range(num_callers)]
    with Stopwatch() as watch:
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
    return watch.outcome(share * num_callers)


def bare_pair(job: Job) -> Outcome:
    """Two callers at once."""
    return bare(job, num_callers=2)


def decode(job: Job) -> Outcome:
    """Decoding alone, with one thread."""
    import av

    with av.open(job.video) as container, Stopwatch() as watch:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        count = sum(1 for _ in itertools.islice(container.decode(stream), job.num_frames))
    return watch.outcome(count)


def convert(job: Job) -> Outcome:
    """Network inputs of decoded pictures, as the preprocess stage makes them."""
    from pipeline.app.process import prepare_process
    from pipeline.detector.recognise import recognise
    from pipeline.stages.preprocess import Preprocess

    prepare_process()
    source = open_source(job.video)
    timed_pictures = itertools.islice(source.pictures(threading.Event()), min(job.num_frames, _MOST_HELD))
    frames = [Frame(timed.picture, "", index, timed.pts_seconds, 0.0) for index, timed in enumerate(timed_pictures)]
    stage = Preprocess(recognise(Path(job.model)))
    with Stopwatch() as watch:
        for index in range(job.num_frames):
            for network_input in stage.process(frames[index % len(frames)]):
                network_input.give_back()
    source.close()
    return watch.outcome(job.num_frames)


def encode(job: Job) -> Outcome:
    """Encoding alone, with one thread."""
    import av

    from pipeline.sinks.encoder import CODEC_OPTIONS

    planes = list(_annotated(job))
    with av.open(f"{job.folder}/encoded.mp4", "w") as container:
        stream = container.add_stream("libx264", rate=30, options=CODEC_OPTIONS["libx264"])
        (stream.width, stream.height), stream.pix_fmt = planes[0].size_wh, "yuv420p"
        stream.codec_context.thread_count = 1
        frames = [av.VideoFrame.from_ndarray(picture.planes, format="yuv420p") for picture in planes]
        with Stopwatch() as watch:
            for index in range(job.num_frames):
                frame = frames[index % len(frames)]
                frame.pts = index
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
    return watch.outcome(job.num_frames)


FLOORS: dict[str, Callable[[Job], Outcome]] = {
    "bare": bare,
    "bare-pair": bare_pair,
    "decode": decode,
    "convert": convert,
    "encode": encode,
}
"""By `Job.kind`."""


def _open_session(job: Job) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    if job.threads is not None:
        options.intra_op_num_threads = job.threads
    return onnxruntime.InferenceSession(job.model, options, providers=["CPUExecutionProvider"])


def _noise_for(image: onnxruntime.NodeArg) -> npt.NDArray[np.generic]:
    sides = [side if isinstance(side, int) else 1 for side in image.shape]  # a batch of any size is one of 1
    noise = np.random.default_rng(0).random(sides, np.float32)
    return (255 * noise).astype(np.uint8) if image.type == "tensor(uint8)" else noise


def _annotated(job: Job) -> Iterator[I420]:
    """The first pictures, with the detections of the OpenCV loop drawn on their planes."""
    detector = HandWritten(job.model)
    source = open_source(job.video)
    for timed in itertools.islice(source.pictures(threading.Event()), min(job.num_frames, _MOST_HELD)):
        assert isinstance(timed.picture, HasI420)
        planes = timed.picture.copy_i420()
        assert planes is not None, "this video has no planes of 8 bits in 4:2:0"
        boxes, scores, class_ids = detector(timed.picture.pixels)
        detections = Detections(boxes.astype(np.float32), scores.astype(np.float32), class_ids.astype(np.int64))
        draw_result(planes, Result(Frame(timed.picture, "", 0, 0.0, 0.0), detections, ()))
        yield planes
    source.close()


if __name__ == "__main__":
    do_job(lambda job: FLOORS[job.kind](job))
