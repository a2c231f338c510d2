"""How is an evaluation told, to people and to programs?"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from pipeline.accuracy.coco import CocoAccuracy
from pipeline.accuracy.tracking import TrackingAccuracy
from pipeline.accuracy.truth import LabelledData
from pipeline.app.class_names import some_of
from pipeline.app.evaluate.streaming import Streaming
from pipeline.app.machine import versions
from pipeline.app.terminal import table_of_numbers, tell, wide_console

_COLUMNS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR100")


@dataclass(frozen=True, slots=True)
class Judged:
    """How accurate one model, or one file of detections, is."""

    name: str
    coco: CocoAccuracy
    voc_area: tuple[float | None, ...]  # AP at IoU .5 by class
    voc_eleven: tuple[float | None, ...]
    confusion: Any  # [C + 1, C + 1]
    sure_score: float  # from which on detections count for the confusion
    unknown_classes: tuple[str, ...]  # of the data's that have objects, those that the model does not know
    detect_ms: float | None  # the network's median time for an image, or batch, in this run; None: a file
    about: dict[str, Any]  # for the report
    streaming: tuple[Streaming, ...] = ()
    tracking: TrackingAccuracy | None = None


def print_eval(judged: Sequence[Judged], data: LabelledData, *, per_class: bool) -> None:
    """Tell a person: tables, and what must be known to read them."""
    console = wide_console(140)
    table = table_of_numbers("model", *_COLUMNS, "VOC AP50", "ms")
    for each in judged:
        table.add_row(
            each.name,
            *(_number(each.coco.numbers[name]) for name in _COLUMNS),
            _number(_mean(each.voc_area)),
            _number(each.detect_ms, 1),
        )
    console.print(table, markup=False, highlight=False)
    for each in judged if per_class else ():
        classes = table_of_numbers(each.name, "objects", "AP", "AP50", "AR100", "VOC AP50")
        for one in each.coco.classes:
            numbers = (one.ap, one.ap50, one.ar100, each.voc_area[one.class_id])
            classes.add_row(data.class_names[one.class_id], str(one.num_objects), *map(_number, numbers))
        console.print()
        console.print(classes, markup=False, highlight=False)
    _print_video(judged, len(data.images), console)
    counts = _counts(data)
    lines = [
        f"{data.origin}: {counts['num_images']} images, {counts['num_objects']} objects of {counts['num_classes']} "
        f"classes, {counts['num_ignored']} more that are ignored"
    ]
    for each in judged:
        if "device" in each.about:
            about = each.about
            lines.append(
                f"{each.name}: on {about['device']}, scores from {about['score_threshold']:g} on, at most "
                f"{about['max_detections']} detections an image; ms is the median time of the stage detect"
            )
        if each.unknown_classes:
            lines.append(
                f"{each.name}: does not know {len(each.unknown_classes)} of these classes, each of which counts 0: "
                f"{some_of(each.unknown_classes)}"
            )
    for line in lines:
        tell(console, line, "dim")


def report_of_eval(judged: Sequence[Judged], data: LabelledData) -> dict[str, Any]:
    """Everything that was found out, in JSON types."""
    return {
        "data": {"origin": data.origin, **_counts(data)},
        "results": [_result(each, data.class_names) for each in judged],
        "versions": versions(),
    }


def draw_charts(judged: Sequence[Judged], data: LabelledData, folder: Path) -> None:
    """Draw as PNG how precise and complete each is, and what it takes for what, into a folder that is there."""
    from pipeline.accuracy.charts import draw_confusion, draw_precision_recall

    where = f"on {Path(data.origin).name}\n"
    for each in judged:
        stem = re.sub(r"[^\w.-]+", "_", each.name.removesuffix(".json")).strip("_")
        draw_precision_recall(
            folder / f"{stem}-precision-recall.png",
            each.coco,
            data.class_names,
            title=f"{each.name}: how precise, how complete\n{where}IoU .50",
        )
        draw_confusion(
            folder / f"{stem}-confusion.png",
            each.confusion,
            data.class_names,
            title=f"{each.name}: what is taken for what\n{where}scores from {each.sure_score:g} on, IoU .50",
        )


def _result(judged: Judged, class_names: Sequence[str]) -> dict[str, Any]:
    return {
        "name": judged.name,
        **judged.about,
        "detect_ms": _rounded(judged.detect_ms, 3),
        "coco": {name: _rounded(value) for name, value in judged.coco.numbers.items()},
        "voc": {
            "AP50": _rounded(_mean(judged.voc_area)),
            "AP50 at 11 points": _rounded(_mean(judged.voc_eleven)),
        },
        "unknown_classes": list(judged.unknown_classes),
        "classes": [
            {
                "name": class_names[each.class_id],
                "num_objects": each.num_objects,
                "AP": _rounded(each.ap),
                "AP50": _rounded(each.ap50),
                "AR100": _rounded(each.ar100),
                "VOC AP50": _rounded(judged.voc_area[each.class_id]),
                "precision at recall 0, .01 … 1": [round(value, 4) for value in each.precisions.tolist()],
            }
            for each in judged.coco.classes
        ],
        "streaming": [
            {
                "latency": each.latency,
                "num_answered": each.num_answered,
                "mean_lag_frames": _rounded(each.mean_lag_frames, 3),
                "coco": {name: _rounded(value) for name, value in each.coco.numbers.items()},
            }
            for each in judged.streaming
        ],
        "tracking": None
        if judged.tracking is None
        else {
            "all": None if judged.tracking.overall is None else asdict(judged.tracking.overall),
            "classes": {class_names[each]: asdict(numbers) for each, numbers in judged.tracking.classes.items()},
        },
        "confusion": {
            "score_threshold": judged.sure_score,
            "classes": [*class_names, "background"],
            "rows are truth, columns are found": judged.confusion.tolist(),
        },
    }


def _print_video(judged: Sequence[Judged], num_images: int, console: Console) -> None:
    if any(each.streaming for each in judged):
        table = table_of_numbers("streaming", "latency", "sAP", "sAP50", "AP", "frames answered", "frames behind")
        for each in judged:
            for row in each.streaming:
                numbers = row.coco.numbers
                table.add_row(
                    each.name,
                    row.latency,
                    _number(numbers["AP"]),
                    _number(numbers["AP50"]),
                    _number(each.coco.numbers["AP"]),
                    f"{row.num_answered} of {num_images}",
                    _number(row.mean_lag_frames, 1),
                )
        console.print()
        console.print(table, markup=False, highlight=False)
    if any(each.tracking is not None for each in judged):
        table = table_of_numbers(
            "tracking by ByteTrack", "HOTA", "DetA", "AssA", "MOTA", "IDF1", "switches", "identities"
        )
        for each in judged:
            overall = None if each.tracking is None else each.tracking.overall
            if overall is not None:
                shares = (overall.hota, overall.deta, overall.assa, overall.mota, overall.idf1)
                counts = (overall.num_id_switches, overall.num_identities)
                table.add_row(each.name, *map(_number, shares), *map(str, counts))
        console.print()
        console.print(table, markup=False, highlight=False)


def _counts(data: LabelledData) -> dict[str, int]:
    by_class = data.num_objects_by_class()
    return {
        "num_images": len(data.images),
        "num_objects": int(by_class.sum()),
        "num_classes": int((by_class > 0).sum()),
        "num_ignored": sum(len(image.truth.ignored) for image in data.images),
    }


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _rounded(value: float | None, digits: int = 6) -> float | None:
    return None if value is None else round(value, digits)


def _number(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
