"""Drawing: milliseconds to draw boxes with labels on a 1080p picture.

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
from functools import partial

import cv2
import numpy as np

from benchmarks.machine import describe_machine
from pipeline.picture.coco import COCO_80
from pipeline.picture.detections import Detections, Result
from pipeline.picture.drawing import draw_result
from pipeline.picture.frame import Frame, PixelArray

WIDTH, HEIGHT = 1920, 1080
NUM_FRAMES = 100


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
