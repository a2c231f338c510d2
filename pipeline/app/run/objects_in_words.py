"""Objects in words: counts of objects → a line for the panel, a table for the end of a run, a list for an image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.app.class_names import some_of
from pipeline.app.config.detection import DetectionConfig
from pipeline.app.run.object_tally import ClassCount, ImageCounts, ImageDetections, ObjectCounts
from pipeline.app.terminal import short_name, tell
from pipeline.app.thresholds import suppression_options
from pipeline.picture.detector_spec import DetectorSpec

_MOST_CLASSES = 10
_MOST_DETECTIONS = 25
_INDENT = " " * 9


def counts_line(counts: ObjectCounts, *, width: int) -> str:
    """The classes that fit into a line, most at once and in how many frames: `person 4 in 120 frames, car 2 in 98`."""
    if not counts.classes:
        return "nothing yet"
    parts = [f"{count.name} {count.most_at_once} in {count.num_frames}" for count in counts.classes]
    parts[0] += " frames"
    for num in range(len(parts), 1, -1):
        left_out = len(parts) - num
        line = ", ".join([*parts[:num], *([f"{left_out} more"] if left_out else [])])
        if len(line) <= width:
            return line
    return ", ".join([parts[0], *([f"{len(parts) - 1} more"] if len(parts) > 1 else [])])


def why_nothing(detection: DetectionConfig, spec: DetectorSpec) -> str:
    """What a detection must be to be kept, and so what to change where there was none."""
    threshold = suppression_options(detection, spec).score_threshold
    kept = some_of(detection.classes) + " (--classes)" if detection.classes else "any class"
    own = ", or its class's own (detection.class_score_thresholds)" if detection.class_score_thresholds else ""
    names = (
        f"; the model knows {len(spec.class_names)} classes: {some_of(spec.class_names)}" if spec.class_names else ""
    )
    return f"kept is {kept} with a score of at least {threshold:g} (--score-threshold){own}{names}"


def print_counts(counts: ObjectCounts, images: ImageCounts | None, console: Console, *, nothing: str) -> None:
    """What was detected in a run: images one by one where they are few, otherwise by class.

    nothing: what is said where there is nothing, see `why_nothing`.
    """
    unit = "frames" if images is None else "images"
    if not counts.num_frames:
        tell(console, f"found    nothing can be said: no {unit[:-1]} was delivered")
    elif images is not None and images.few:
        for image in images.few:
            _print_image(image, console, nothing=nothing)
    elif not counts.classes:
        tell(console, f"found    nothing in {counts.num_frames} {unit}: {nothing}")
    else:
        tell(console, f"found    objects in {counts.num_frames_with_objects} of {counts.num_frames} {unit}", "bold")
        console.print(_table_of_classes(counts.classes, unit))
    if images is not None and not images.few:
        _print_images_without(images, console)


def _table_of_classes(classes: Sequence[ClassCount], unit: str) -> Table:
    have_tracks = any(count.num_tracks is not None for count in classes)
    table = Table(box=None, header_style="dim", pad_edge=False)
    table.add_column(_INDENT + "class", overflow="fold")
    most = "most at once" if unit == "frames" else "most in one"
    for column in (unit, most, "boxes", *(["distinct"] if have_tracks else [])):
        table.add_column(column, justify="right", no_wrap=True)
    for count in classes[:_MOST_CLASSES]:
        tracks = [] if not have_tracks else ["–" if count.num_tracks is None else str(count.num_tracks)]
        numbers = (str(count.num_frames), str(count.most_at_once), str(count.num_boxes))
        table.add_row(Text(_INDENT + count.name), *numbers, *tracks)
    rest = classes[_MOST_CLASSES:]
    if rest:
        tracks = [str(sum(count.num_tracks or 0 for count in rest))] if have_tracks else []
        num_boxes = str(sum(count.num_boxes for count in rest))
        table.add_row(Text(f"{_INDENT}{len(rest)} more"), "", "", num_boxes, *tracks)
    return table


def _print_image(image: ImageDetections, console: Console, *, nothing: str) -> None:
    name, num = f"{image.name}, {image.size_wh[0]}×{image.size_wh[1]}", len(image.detections)
    if not num:
        tell(console, f"found    nothing in {name}: {nothing}")
        return
    tell(console, f"found    {num} object{'s' if num > 1 else ''} in {name}", "bold")
    table = Table(box=None, header_style="dim", pad_edge=False)
    table.add_column(_INDENT + "class", overflow="fold")
    for column in ("score", "left", "top", "right", "bottom"):
        table.add_column(column, justify="right", no_wrap=True)
    by_score = np.argsort(-image.detections.scores, kind="stable").tolist()
    for index in by_score[:_MOST_DETECTIONS]:
        sides = (f"{side:.0f}" for side in image.detections.boxes_xyxy[index].tolist())
        score = f"{image.detections.scores[index]:.2f}"
        table.add_row(Text(_INDENT + image.class_names[index]), score, *sides)
    console.print(table)
    if num > _MOST_DETECTIONS:
        tell(console, f"{_INDENT}{num - _MOST_DETECTIONS} more with lower scores; --jsonl FILE writes all", "dim")


def _print_images_without(images: ImageCounts, console: Console) -> None:
    num = images.num_without_objects
    if num:
        names = [short_name(name) for name in images.names_without_objects]
        more = f" and {num - len(names)} more" if num > len(names) else ""
        tell(console, f"{_INDENT}nothing in {num}: {', '.join(names)}{more}")
