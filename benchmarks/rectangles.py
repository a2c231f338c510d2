"""Rectangles: detectors in the shape of the video against the square that their files have, in speed and accuracy.

    python -m benchmarks.rectangles --models yolox_nano_coco_416.onnx … --videos street.mp4 … [--data voc100/]

Frames a second are of whole runs on the CPU, in turns, each in a process of its own; the factor is the median over
turns. AP is that of the rectangle against the square's own confident detections, and beside it that of the square
itself with each picture elsewhere in its padding: what the detector varies by anyway. Labelled photographs are seen
each in its own shape.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import tempfile
from pathlib import Path

from benchmarks.machine import describe_machine
from export.graph.network_size import resized_network
from export.proof.images import images_of
from export.proof.other_size import prove_size
from pipeline.accuracy.classes import in_classes_of_data, match_classes
from pipeline.accuracy.coco import coco_accuracy
from pipeline.accuracy.truth import LabelledData
from pipeline.app.config.loading import load_config
from pipeline.app.detection_run import MAX_DETECTIONS, SCORE_THRESHOLD
from pipeline.app.labelled_data import labelled
from pipeline.app.measure_apart import Case, measure_apart
from pipeline.detector.detector import EngineDetector
from pipeline.detector.engine import OrtEngine
from pipeline.detector.recognise import recognise
from pipeline.picture.detector_spec import DetectorSpec
from pipeline.picture.frame import ArrayPicture
from pipeline.picture.network_shape import shape_for
from pipeline.sources.images import read_image

_IMAGES = 48


def rates_of(models: list[Path], video: Path, *, seconds: float, repeats: int) -> list[list[float]]:
    """Frames a second of each model on a video, by turn."""
    rates: list[list[float]] = [[] for _ in models]
    for _ in range(repeats):
        for model, of_model in zip(models, rates, strict=True):
            settings = {
                "sources": (str(video),),
                "model": str(model),
                "engine.device": "cpu",
                "flow.mode": "every-frame",
                "output.show": False,
            }
            case = Case.of(load_config(None, options=settings), seconds=seconds)
            of_model.append(measure_apart(case).delivered_fps)
    return rates


def row_of_video(model: Path, video: Path, folder: Path, options: argparse.Namespace) -> str:
    """One line of the table of videos."""
    images, spec = images_of(str(video), most=_IMAGES), recognise(model)
    shape = shape_for(images[0].picture.size_wh, spec.network_wh, spec.resize)
    copy = folder / f"{model.stem}-{shape[0]}x{shape[1]}.onnx"
    resized = resized_network(model, spec, copy, shape)
    proof = prove_size(model, spec, copy, resized, images, largest_drop=0.005)
    square, rectangle = rates_of([model, copy], video, seconds=options.seconds, repeats=options.repeats)
    factor = statistics.median(ours / theirs for ours, theirs in zip(rectangle, square, strict=True))
    share = (shape[0] * shape[1]) / (spec.network_wh[0] * spec.network_wh[1])
    cells = [
        video.stem,
        model.stem,
        "{} × {}".format(*shape),
        f"{share:.2f}",
        f"{statistics.median(square):.1f}",
        f"{statistics.median(rectangle):.1f}",
        f"{factor:.2f}",
        *(f"{100 * value:.1f}" for value in (*proof.of_copy, *proof.of_moved)),
    ]
    return f"| {' | '.join(cells)} |"


def accuracy_of(models: dict[tuple[int, int], tuple[Path, DetectorSpec]], data: LabelledData) -> tuple[float, float]:
    """AP and AP50 on labelled photographs; models: by the shape that a photograph has in the network."""
    detectors = {
        shape: EngineDetector(OrtEngine(path, spec), score_threshold=SCORE_THRESHOLD)
        for shape, (path, spec) in models.items()
    }
    _, spec = next(iter(models.values()))
    square, classes = (
        max(models, key=lambda shape: shape[0] * shape[1]),
        match_classes(spec.class_names, data.class_names),
    )
    detections = []
    for image in data.images:
        assert image.path is not None
        picture = ArrayPicture(read_image(image.path))
        shape = shape_for(picture.size_wh, square, spec.resize)
        (in_image,) = detectors[shape if shape in detectors else square]([picture])
        detections.append(in_classes_of_data(in_image, classes))
    numbers = coco_accuracy(detections, [image.truth for image in data.images]).numbers
    return numbers["AP"] or 0.0, numbers["AP50"] or 0.0


def row_of_photographs(model: Path, data: LabelledData, folder: Path) -> str:
    """One line of the table of photographs, each seen in the square, and in its own shape."""
    spec = dataclasses.replace(recognise(model), max_detections=MAX_DETECTIONS)
    square = {spec.network_wh: (model, spec)}
    shapes = dict(square)
    for image in data.images:
        assert image.path is not None
        height, width = read_image(image.path).shape[:2]
        shape = shape_for((width, height), spec.network_wh, spec.resize)
        if shape not in shapes and shape[0] * shape[1] != spec.network_wh[0] * spec.network_wh[1]:
            path = folder / f"{model.stem}-{shape[0]}x{shape[1]}.onnx"
            shapes[shape] = path, resized_network(model, spec, path, shape)
    numbers = (*accuracy_of(square, data), *accuracy_of(shapes, data))
    return f"| {model.stem} | {len(shapes) - 1} | {' | '.join(f'{100 * number:.1f}' for number in numbers)} |"


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--models", nargs="+", type=Path, required=True)
    parser.add_argument("--videos", nargs="+", type=Path, required=True)
    parser.add_argument("--data", help="labelled photographs, as `streamdet eval --data` takes them")
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    print(describe_machine())
    names = "video | model | shape | pixels | square, frames/s | rectangle | factor | AP | AP50 | moved, AP | AP50"
    print(f"\n| {names} |\n|{'---|' * 11}")
    with tempfile.TemporaryDirectory() as folder:
        for video in options.videos:
            for model in options.models:
                print(row_of_video(model, video, Path(folder), options), flush=True)
        if options.data:
            data = labelled(options.data, None)
            names = f"{len(data.images)} photographs | shapes | square, AP | AP50 | each in its own, AP | AP50"
            print(f"\n| {names} |\n|{'---|' * 6}")
            for model in options.models:
                print(row_of_photographs(model, data, Path(folder)), flush=True)


if __name__ == "__main__":
    main()
