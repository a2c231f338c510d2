"""Tiles: what they gain in accuracy and cost in time, on photographs and on large pictures full of small things.

    python -m benchmarks.tiles --model yolox_nano_coco_416.onnx --data voc100/ [--grids 1x1 2x2 2x3 4x6]

The large pictures, of 3840 × 2160, are walls of the same photographs, each shrunk to 320 × 180 or less, with their
labels: so the truth is known. AP is COCO's, over the pipeline's own detections (`pipeline.app.detection_run`), with the
scores and as many detections as `eval` counts; the time is the median of the stage detect for a frame.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from benchmarks.machine import describe_machine
from pipeline.accuracy.coco import coco_accuracy
from pipeline.accuracy.truth import LabelledData, LabelledImage, Truth
from pipeline.app.config.loading import load_config
from pipeline.app.detection_run import SCORE_THRESHOLD, detect_all
from pipeline.app.labelled_data import labelled
from pipeline.app.model_branch import model_of
from pipeline.picture.detections import Detections
from pipeline.picture.frame import PixelArray
from pipeline.sources.images import read_image

WALL_WH, CELL_WH = (3840, 2160), (320, 180)
NUMBERS = ("AP", "AP50", "APs", "APm", "APl", "AR100")
_MAX_DETECTIONS = 1000  # COCO's rule counts the best 100 of a class anyway


def wall_of(images: list[LabelledImage], path: Path) -> LabelledImage:
    """Photographs side by side in one large picture, which is written, and all their labels."""
    pixels: PixelArray = np.full((WALL_WH[1], WALL_WH[0], 3), 114, np.uint8)
    moved = []
    for number, image in enumerate(images):
        assert image.path is not None
        photo = read_image(image.path)
        row, column = divmod(number, WALL_WH[0] // CELL_WH[0])
        left, top = column * CELL_WH[0], row * CELL_WH[1]
        scale = min(CELL_WH[0] / photo.shape[1], CELL_WH[1] / photo.shape[0])
        width, height = round(photo.shape[1] * scale), round(photo.shape[0] * scale)
        small = cv2.resize(photo, (width, height), interpolation=cv2.INTER_AREA)
        pixels[top : top + height, left : left + width] = small
        scale_xy = np.array([width / photo.shape[1], height / photo.shape[0]] * 2, np.float32)
        moved.append((image.truth, scale_xy, np.array([left, top] * 2, np.float32)))
    cv2.imwrite(str(path), pixels)
    objects = _together([_moved(truth.objects, scale, offset) for truth, scale, offset in moved])
    ignored = _together([_moved(truth.ignored, scale, offset) for truth, scale, offset in moved])
    return LabelledImage(path.name, path.stem, Truth.of(objects, ignored), WALL_WH, path)


def walls_of(data: LabelledData, folder: Path) -> LabelledData:
    """All photographs of labelled data on as many walls as they need."""
    num_cells = (WALL_WH[0] // CELL_WH[0]) * (WALL_WH[1] // CELL_WH[1])
    images = list(data.images)
    walls = [
        wall_of(images[start : start + num_cells], folder / f"wall-{start}.png")
        for start in range(0, len(images), num_cells)
    ]
    return replace(data, origin="walls", images=tuple(walls))


def _moved(detections: Detections, scale: np.ndarray, offset: np.ndarray) -> Detections:
    boxes = (detections.boxes_xyxy * scale + offset).astype(np.float32)
    return Detections(boxes, detections.scores, detections.class_ids)


def _together(parts: list[Detections]) -> Detections:
    return Detections(
        np.concatenate([part.boxes_xyxy for part in parts]),
        np.concatenate([part.scores for part in parts]),
        np.concatenate([part.class_ids for part in parts]),
    )


def row_of(model: str, data: LabelledData, grid: str, *, has_whole: bool) -> str:
    """One line of the table."""
    settings = {
        "model": model,
        "tiles.grid": grid,
        "tiles.whole_frame": has_whole,
        "detection.score_threshold": SCORE_THRESHOLD,
        "detection.max_detections": _MAX_DETECTIONS,
        "engine.device": "cpu",
        "engine.inflight": 1,
        "flow.mode": "every-frame",
        "output.show": False,
    }
    config = load_config(None, options=settings)
    _, spec = model_of(config)
    run = detect_all(config, data, spec)
    numbers = coco_accuracy(run.detections, [image.truth for image in data.images]).numbers
    cells = ["–" if numbers[name] is None else f"{numbers[name]:.3f}" for name in NUMBERS]
    frame_word = "with" if has_whole else "without"
    return f"| {grid} | {'–' if grid == '1x1' else frame_word} | {' | '.join(cells)} | {run.detect_ms:.0f} |"


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True, help="labelled photographs, as `streamdet eval --data` takes them")
    parser.add_argument("--grids", nargs="+", default=["1x1", "2x2", "2x3", "4x6"])
    options = parser.parse_args()
    print(describe_machine())
    data = labelled(options.data, None)
    with tempfile.TemporaryDirectory() as folder:
        for name, pictures in (("photographs", data), ("walls", walls_of(data, Path(folder)))):
            print(f"\n{len(pictures.images)} {name}, {Path(options.model).name}\n")
            print(f"| tiles | whole frame | {' | '.join(NUMBERS)} | ms |\n|---|---|{'---|' * (len(NUMBERS) + 1)}")
            for grid in options.grids:
                for has_whole in (True,) if grid == "1x1" else (True, False):
                    print(row_of(options.model, pictures, grid, has_whole=has_whole), flush=True)


if __name__ == "__main__":
    main()
