"""Drawing: milliseconds to draw boxes with labels, and trails, on a 1080p picture.

One core; supervision's box and label annotators draw the same beside it where they are installed. Boxes and scores
are new in every frame, as they are in a video.

    python -m benchmarks.drawing
"""

from __future__ import annotations

import importlib.util
import itertools
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import cv2
import numpy as np

from benchmarks.machine import describe_machine
from pipeline.picture.boxes import convert
from pipeline.picture.coco import COCO_80
from pipeline.picture.detections import Detections, Result, TrackedCentres, Tracks
from pipeline.picture.drawing import draw_result
from pipeline.picture.frame import Frame, PixelArray
from pipeline.picture.i420 import I420

WIDTH, HEIGHT = 1920, 1080
NUM_FRAMES = 100
NUM_TRAIL = 45


def main() -> None:
    """Print the milliseconds a frame."""
    cv2.setNumThreads(1)
    rng = np.random.default_rng(0)
    canvas = rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    print(f"{describe_machine()}\nmedians of {NUM_FRAMES} frames of {WIDTH} x {HEIGHT}, one core\n")
    for num_boxes in (0, 10, 50, 200):
        results = [_result(rng, canvas, num_boxes) for _ in range(NUM_FRAMES)]
        print(
            f"  {num_boxes:3} boxes: streamdet {_median_ms(partial(draw_result, canvas), results):6.2f} ms",
            end="",
        )
        if importlib.util.find_spec("supervision"):
            print(f", supervision {_median_ms(_supervision(canvas), results):6.2f} ms")
        else:
            print(", supervision is not installed")
    for num_boxes in (10, 50):
        ms = {
            (kind, is_followed): _median_ms(
                partial(draw_result, target), _followed(rng, canvas, num_boxes, is_followed)
            )
            for kind, target in (("BGR", canvas), ("planes", I420.empty((WIDTH, HEIGHT), "bt709")))
            for is_followed in (False, True)
        }
        trails = ", ".join(
            f"on {kind} {ms[kind, True]:5.2f} ms, without {ms[kind, False]:5.2f} ms" for kind in ("BGR", "planes")
        )
        print(f"  {num_boxes:3} objects with trails of {NUM_TRAIL} frames: {trails}")
    number = itertools.count()
    nothing = _result(rng, canvas, 0)
    overlay_ms = _median_ms(
        lambda _: draw_result(canvas, nothing, overlay=[f"FPS 29.7 · latency {next(number)} ms"]), results
    )
    copy_ms = _median_ms(lambda _: canvas.copy(), results)
    print(f"  overlay of one line: {overlay_ms:.2f} ms; copy of the picture: {copy_ms:.2f} ms")


def _result(rng: np.random.Generator, canvas: PixelArray, num_boxes: int) -> Result:
    top_left = rng.uniform((0, 0), (WIDTH - 100, HEIGHT - 100), (num_boxes, 2))
    boxes = np.hstack([top_left, top_left + rng.uniform(20, 260, (num_boxes, 2))]).astype(np.float32)  # [N, 4]
    scores = rng.uniform(0.25, 1, num_boxes).astype(np.float32)
    detections = Detections(boxes, scores, rng.integers(0, len(COCO_80), num_boxes))
    return Result(Frame.from_pixels(canvas), detections, COCO_80)


def _followed(rng: np.random.Generator, canvas: PixelArray, num: int, is_followed: bool) -> list[Result]:
    """A frame NUM_FRAMES times of objects that go straight on, some pixels a frame, their detections a little off."""
    result, ids = _result(rng, canvas, num), np.arange(num)
    result = replace(result, detections=replace(result.detections, track_ids=ids))
    if not is_followed:
        return [result] * NUM_FRAMES
    now, speeds = convert(result.detections.boxes_xyxy, "xyxy", "cxcywh")[:, :2], rng.normal(0, 4, (num, 2))
    offsets = np.arange(NUM_TRAIL)[::-1, None, None] * speeds + rng.normal(0, 0.7, (NUM_TRAIL, num, 2))  # [T, N, 2]
    trail = tuple(
        TrackedCentres(number / 30, ids, (now - offset).astype(np.float32)) for number, offset in enumerate(offsets)
    )
    return [replace(result, tracks=Tracks(Detections.empty(), trail))] * NUM_FRAMES


def _supervision(canvas: PixelArray) -> Callable[[Result], object]:
    import supervision

    box_annotator, label_annotator = supervision.BoxAnnotator(), supervision.LabelAnnotator()

    def draw(result: Result) -> None:
        detections = result.detections.to_supervision()
        names = [result.class_name(class_id) for class_id in result.detections.class_ids.tolist()]
        labels = [f"{name} {score:.0%}" for name, score in zip(names, result.detections.scores, strict=True)]
        label_annotator.annotate(box_annotator.annotate(canvas, detections), detections, labels)

    return draw


def _median_ms(draw: Callable[[Result], object], results: list[Result]) -> float:
    draw(results[0])
    seconds = []
    for result in results:
        start = time.perf_counter()
        draw(result)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds) * 1e3


if __name__ == "__main__":
    main()
