"""Metering: microseconds that meters and ledger take of a frame, and those of a whole flow without pictures.

python -m benchmarks.metering
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable

import numpy as np

from benchmarks.machine import describe_machine
from pipeline.app.run.object_tally import ObjectTally
from pipeline.flow.graph import Flow
from pipeline.flow.ledger import Ledger
from pipeline.flow.meters import StageMeter
from pipeline.flow.running import Running
from pipeline.picture.detections import Detections, Result
from pipeline.picture.frame import Frame
from pipeline.testing import CollectingSink, FunctionStage, ItemSource

NUM_FRAMES = 20_000
NUM_NODES = 7  # capture, preprocess, detect, nms, render, recording, JSON lines


def microseconds_a_frame(work: Callable[[], None]) -> float:
    """The best of five rounds, CPU time of the process."""
    times = []
    for _ in range(5):
        began = time.process_time()
        work()
        times.append((time.process_time() - began) / NUM_FRAMES)
    return 1e6 * min(times)


def metering() -> None:
    """Every call that a frame makes to the ledger and the meters, in the order of a run with two sinks."""
    clock = time.monotonic
    ledger = Ledger(["camera"], clock=clock)
    meters = [StageMeter(name=str(number), kind="stage", workers=1) for number in range(NUM_NODES)]
    for _ in range(NUM_FRAMES):
        ticket = ledger.capture("camera")
        ledger.branch(ticket, 2)
        for meter in meters:
            now = clock()
            meter.waited(now - ticket.captured_at_seconds)
            meter.served(clock() - now, "camera", clock())
        ledger.finish(ticket, "delivered")
        ledger.finish(ticket, "delivered")


def tally() -> None:
    """What the count of objects by class takes, of frames with 10 objects of 5 classes."""
    boxes = np.tile(np.array([0, 0, 2, 2], np.float32), (10, 1))
    detections = Detections(boxes, np.full(10, 0.9, np.float32), np.arange(10) % 5)
    frame = Frame.from_pixels(np.zeros((6, 8, 3), np.uint8), source_id="camera")
    result = Result(frame, detections, ("person", "car", "bus", "dog", "bicycle"))
    objects = ObjectTally()
    for _ in range(NUM_FRAMES):
        objects(result)


def whole_flow() -> None:
    """Integers through five stages and two sinks: threads, queues, metering, everything but pictures."""
    flow = Flow.from_sources(ItemSource(itertools.islice(itertools.count(), NUM_FRAMES)))
    for _ in range(3):
        flow = flow.then(FunctionStage[int, int](lambda item: (item,)))
    flow = flow.to(CollectingSink()).then(FunctionStage[int, int](lambda item: (item,))).to(CollectingSink())
    with Running(flow) as running:
        running.wait()


def main() -> None:
    """Measure and print."""
    print(describe_machine())
    print(f"metering alone           {microseconds_a_frame(metering):6.1f} µs a frame (bar: 50)")
    print(f"objects by class, 10     {microseconds_a_frame(tally):6.1f} µs a frame")
    print(f"the whole flow, no work  {microseconds_a_frame(whole_flow):6.1f} µs a frame")


if __name__ == "__main__":
    main()
