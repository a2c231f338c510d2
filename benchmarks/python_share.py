"""Python's share: processor time of a frame between its decoder and its sink, where all the rest happens on a GPU.

    python -m benchmarks.python_share [--detections 50]

Sources hand out planes that lie on a device, and the network answers at once, with `--detections` detections: capture,
queues, batches, reading outputs, NMS and the ledger are left.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from benchmarks.machine import describe_machine
from pipeline.app.process import prepare_process
from pipeline.detector.heads import Outputs
from pipeline.flow.graph import Flow
from pipeline.flow.running import Running
from pipeline.flow.stage import Stop
from pipeline.picture.detections import Result
from pipeline.picture.detector_spec import DetectorSpec
from pipeline.picture.frame import Frame
from pipeline.picture.nv12 import BT709, DevicePlane, Nv12, inputs_of, yuv_to_bgr
from pipeline.stages.detect_planes import DetectPlanes
from pipeline.stages.nms import Nms
from pipeline.testing import CollectingSink

SIZE_WH = (1920, 1080)
_K = 300
_NUM_FRAMES = 4800
SPEC = DetectorSpec(
    "y", (640, 640), "boxes", ("a",), layout="nhwc", dtype="uint8", batch=None, pixels="nv12", resize="stretch"
)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--detections", type=int, default=50)
    options = parser.parse_args()
    prepare_process()
    print(describe_machine())
    print(f"{'sources':>8} {'batch':>6} {'CPU ms / frame':>15} {'frames/s':>9}")
    for num_sources, batch in ((1, 1), (8, 8), (32, 8), (32, 16)):
        cpu_ms, rate = share(num_sources, batch, options.detections)
        print(f"{num_sources:8} {batch:6} {cpu_ms:15.3f} {rate:9.0f}")


def share(num_sources: int, batch: int, num_detections: int) -> tuple[float, float]:
    """Processor time a frame in milliseconds, and frames a second."""
    sources = [Planes(f"source {number}", _NUM_FRAMES // num_sources) for number in range(num_sources)]
    detect = DetectPlanes(Answering(num_detections))
    flow = Flow.from_sources(*sources).then_batched(detect, max_batch=batch, workers=2, capacity=2 * batch)
    sink = CollectingSink[Result]()
    began, processor = time.perf_counter(), time.process_time()
    with Running(flow.then(Nms(SPEC)).to(sink)) as running:
        running.wait()
    assert len(sink.got) == num_sources * (_NUM_FRAMES // num_sources)
    assert all(len(result.detections) == num_detections for result in sink.got[:10])
    used, seconds = time.process_time() - processor, time.perf_counter() - began
    return 1000 * used / len(sink.got), len(sink.got) / seconds


class Planes:
    """A recorded source of frames whose planes lie on a device."""

    is_live = False
    size_wh = SIZE_WH

    def __init__(self, source_id: str, num_frames: int) -> None:
        self.source_id, self._num_frames = source_id, num_frames

    def items(self, stop: Stop) -> Iterator[Frame]:
        picture: Any = self
        for index in range(self._num_frames):
            yield Frame(picture, self.source_id, index, index / 30, time.monotonic())

    def nv12(self) -> Nv12:
        width, height = SIZE_WH
        y, uv = (DevicePlane(0, (1, rows, 2048), "cuda", 0, None) for rows in (height, height // 2))
        return Nv12(y, uv, (width, height), yuv_to_bgr(BT709, full_range=False))

    def close(self) -> None: ...


class Answering:
    """A network that has its answers ready."""

    device, precision = "none", "fp32"

    def __init__(self, num_detections: int) -> None:
        self.spec = SPEC
        random = np.random.default_rng(0)
        corners = random.random((1, _K, 2), np.float32) * 600
        self._boxes = np.concatenate([corners, corners + 1 + 30 * random.random((1, _K, 2), np.float32)], axis=2)
        self._scores = np.zeros((1, _K), np.float32)
        self._scores[:, :num_detections] = 0.9 - 0.001 * np.arange(num_detections, dtype=np.float32)
        self._boxes[:, :num_detections, ::2] += 700 * np.arange(num_detections, dtype=np.float32)[:, None] % 10
        self._count = np.full(1, num_detections)

    def infer_planes(self, pictures: Sequence[Nv12]) -> Outputs:
        inputs_of(pictures)
        number = len(pictures)
        answers = {"boxes": self._boxes, "scores": self._scores, "num_detections": self._count}
        outputs = {name: np.repeat(value, number, axis=0) for name, value in answers.items()}
        return {**outputs, "class_ids": np.zeros((number, _K), np.int64)}

    def infer(self, tensor: object) -> Outputs:
        raise NotImplementedError

    def describe(self) -> str:
        return "a network that answers at once"

    def close(self) -> None: ...


if __name__ == "__main__":
    main()
