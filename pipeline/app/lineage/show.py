"""Command `lineage show`: an idea of object detection → a picture of it, drawn from what the code computes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from pipeline.accuracy.classes import in_classes_of_data, match_classes
from pipeline.accuracy.truth import Truth
from pipeline.app.extras import load
from pipeline.app.lineage.options import LineageOptions
from pipeline.app.one_frame import frame_of
from pipeline.app.opened_detector import OpenedDetector, open_detector
from pipeline.app.output_paths import files_of_model, refuse_overwriting
from pipeline.app.progress import WorkProgress
from pipeline.app.terminal import SafeConsole, tell
from pipeline.errors import ConfigError
from pipeline.picture.frame import ArrayPicture
from pipeline.sinks.writable import refuse_unwritable
from pipeline.sources.kinds import files_of
from pipeline.sources.street.traffic import SCHEME, TrafficOptions, TrafficSource, parse_options

_PICTURES = "export.lineage.pictures"


def show_idea(options: LineageOptions) -> None:
    """Draw the idea. Raises a StreamdetError for what cannot be opened, run or written."""
    idea = options.subject
    if idea not in _DRAW:
        raise ConfigError(f"lineage show must name an idea: {', '.join(_DRAW)}; got {idea}")
    output = options.output or Path(f"{idea}.png")
    if output.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise ConfigError(f"--output must end in .png or .jpg, got {output}")
    config = options.config.load(model=options.model)
    inputs = {"the frame": files_of(options.shown), "the model": files_of_model(config.model)}
    refuse_overwriting([("--output", output)], inputs, overwrite=options.overwrite)
    refuse_unwritable(output, "the picture")
    if idea == "anchors" and options.model is not None:
        raise ConfigError("--model has no effect on anchors, which are those of the demo network; leave it out")
    with ExitStack() as stack:
        _DRAW[idea](options, output, open_detector(config, stack))
    tell(SafeConsole(), f"wrote {output}")


def _draw_iou(options: LineageOptions, output: Path, detector: OpenedDetector) -> None:
    pixels = frame_of(options.shown, options.frame)
    (kept,), (candidates,) = (run([ArrayPicture(pixels)]) for run in (detector.detect, detector.all_proposals))
    load(f"{_PICTURES}.iou", extra="measure").draw_iou(output, pixels, kept, candidates)


def _draw_nms(options: LineageOptions, output: Path, detector: OpenedDetector) -> None:
    if not detector.spec.needs_nms:
        raise ConfigError(f"nms needs a model whose boxes are suppressed by streamdet, {detector.path} does it itself")
    pixels = frame_of(options.shown, options.frame)
    (candidates,) = detector.proposals([ArrayPicture(pixels)])
    load(f"{_PICTURES}.nms", extra="measure").draw_nms(output, pixels, candidates, detector.suppression)


def _draw_anchors(options: LineageOptions, output: Path, detector: OpenedDetector) -> None:
    pixels = frame_of(options.shown, options.frame)
    (objects,) = detector.detect([ArrayPicture(pixels)])
    load(f"{_PICTURES}.anchors").draw_anchors(output, pixels, objects)


def _draw_fpn(options: LineageOptions, output: Path, detector: OpenedDetector) -> None:
    pixels = frame_of(options.shown, options.frame)
    load(f"{_PICTURES}.pyramid", extra="measure").draw_pyramid(output, detector.path, detector.spec, pixels)


def _draw_pr(options: LineageOptions, output: Path, detector: OpenedDetector) -> None:
    if not options.shown.startswith(SCHEME):
        raise ConfigError(f"--on must be {SCHEME}?… for pr, which needs the truth of each frame, got {options.shown}")
    drawn: TrafficOptions = replace(parse_options(options.shown), fps=1.0, seconds=float(options.frames))
    source = TrafficSource(drawn)
    classes = match_classes(detector.spec.class_names, source.class_names)
    if (classes < 0).all():
        raise ConfigError(f"--model must know a class of {', '.join(source.class_names)}, {detector.path} knows none")
    detections, truths = [], []
    with WorkProgress().phase("judging", total=options.frames) as phase:
        for index in range(options.frames):
            (in_frame,) = detector.detect_all([ArrayPicture(source.paint(index))])
            detections.append(in_classes_of_data(in_frame, classes))
            truths.append(Truth.of(source.truth(index), source.ignored(index)))
            phase.advance()
    draw = load(f"{_PICTURES}.precision_recall", extra="measure").draw_precision_recall
    draw(output, detections, truths, source.class_names)


_DRAW: Mapping[str, Callable[[LineageOptions, Path, OpenedDetector], None]] = {
    "iou": _draw_iou,
    "nms": _draw_nms,
    "pr": _draw_pr,
    "anchors": _draw_anchors,
    "fpn": _draw_fpn,
}
