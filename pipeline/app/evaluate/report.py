"""Report of `eval`: judged models → tables for a person, JSON for a program, charts."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.console import Console

from pipeline.accuracy.coco import CocoAccuracy
from pipeline.accuracy.tracking import TrackingAccuracy
from pipeline.accuracy.truth import LabelledData
from pipeline.app.class_names import some_of
from pipeline.app.evaluate.streaming import Streaming
from pipeline.app.machine import versions
from pipeline.app.terminal import table_of_numbers, tell, wide_console
from pipeline.json_values import Json

_COLUMNS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR100")


@dataclass(frozen=True, slots=True)
class RunSubject:
    """A model, and the conditions under which it ran."""

    model: str
    device: str
    precision: str
    agreement: str | None  # with the CPU in fp32; None: it is that
    score_threshold: float | None
    max_detections: int | None
    nms_iou_threshold: float | None  # None: NMS is in the network, or it needs none
    seconds: float


@dataclass(frozen=True, slots=True)
class FileSubject:
    """A file of detections."""

    detections: str


@dataclass(frozen=True, slots=True)
class Judged:
    """How accurate one model, or one file of detections, is."""

    name: str
    coco: CocoAccuracy
    voc_area: tuple[float | None, ...]  # AP at IoU .5 by class
    voc_eleven: tuple[float | None, ...]
    confusion: npt.NDArray[np.int64]  # [C + 1, C + 1], rows are truth, columns are detected, background last
    sure_score: float  # from which on detections count for the confusion
    unknown_classes: tuple[str, ...]  # of the data's that have objects, those that the model does not know
    detect_ms: float | None  # the network's median time for an image, or batch, in this run; None: a file
    subject: RunSubject | FileSubject
    streaming: tuple[Streaming, ...] = ()
    tracking: TrackingAccuracy | None = None
    shapes: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)  # by what they are of


def print_eval(judged: Sequence[Judged], data: LabelledData, *, per_class: bool) -> None:
    """Print tables, and the conditions under which their numbers hold."""
    console = wide_console(140)
    table = table_of_numbers("model", *_COLUMNS, "VOC AP50", "ms")
    for model in judged:
        table.add_row(
            model.name,
            *(_number(model.coco.numbers[name]) for name in _COLUMNS),
            _number(_mean(model.voc_area)),
            _number(model.detect_ms, 1),
        )
    console.print(table, markup=False, highlight=False)
    for model in judged if per_class else ():
        classes = table_of_numbers(model.name, "objects", "AP", "AP50", "AR100", "VOC AP50")
        for row in model.coco.classes:
            numbers = (row.ap, row.ap50, row.ar100, model.voc_area[row.class_id])
            classes.add_row(data.class_names[row.class_id], str(row.num_objects), *map(_number, numbers))
        console.print()
        console.print(classes, markup=False, highlight=False)
    for kind in ("masks", "keypoints", "oriented_boxes"):
        having = [model for model in judged if kind in model.shapes]
        if having:
            shapes = table_of_numbers(f"{kind.replace('_', ' ')}, COCO", *having[0].shapes[kind])
            for model in having:
                shapes.add_row(model.name, *map(_number, model.shapes[kind].values()))
            console.print()
            console.print(shapes, markup=False, highlight=False)
    _print_video(judged, len(data.images), console)
    counts = _counts(data)
    lines = [
        f"{data.origin}: {counts['num_images']} images, {counts['num_objects']} objects of {counts['num_classes']} "
        f"classes, {counts['num_ignored']} more that are ignored"
    ]
    for model in judged:
        if isinstance(model.subject, RunSubject):
            run = model.subject
            lines.append(
                f"{model.name}: on {run.device}, scores from {run.score_threshold:g} on, at most "
                f"{run.max_detections} detections an image; ms is the median time of the stage detect"
            )
        if model.unknown_classes:
            lines.append(
                f"{model.name}: does not know {len(model.unknown_classes)} of these classes, each of which counts 0: "
                f"{some_of(model.unknown_classes)}"
            )
    for line in lines:
        tell(console, line, "dim")


def report_of_eval(judged: Sequence[Judged], data: LabelledData) -> dict[str, Json]:
    """The report of an evaluation, in JSON types."""
    return {
        "data": {"origin": data.origin, **_counts(data)},
        "results": [_result(model, data.class_names) for model in judged],
        "versions": versions(),
    }


def draw_charts(judged: Sequence[Judged], data: LabelledData, folder: Path) -> None:
    """Draw precision over recall and the confusion of classes of each model as PNG, into an existing folder."""
    from pipeline.accuracy.charts import draw_confusion, draw_precision_recall

    where = f"on {Path(data.origin).name}\n"
    for model in judged:
        stem = re.sub(r"[^\w.-]+", "_", model.name.removesuffix(".json")).strip("_")
        draw_precision_recall(
            folder / f"{stem}-precision-recall.png",
            model.coco,
            data.class_names,
            title=f"{model.name}: how precise, how complete\n{where}IoU .50",
        )
        draw_confusion(
            folder / f"{stem}-confusion.png",
            model.confusion,
            data.class_names,
            title=f"{model.name}: what is taken for what\n{where}scores from {model.sure_score:g} on, IoU .50",
        )


def _result(judged: Judged, class_names: Sequence[str]) -> dict[str, Json]:
    return {
        "name": judged.name,
        **asdict(judged.subject),
        "detect_ms": _rounded(judged.detect_ms, 3),
        "coco": {name: _rounded(value) for name, value in judged.coco.numbers.items()},
        **{
            f"coco_{kind}": {name: _rounded(value) for name, value in numbers.items()}
            for kind, numbers in judged.shapes.items()
        },
        "voc": {
            "AP50": _rounded(_mean(judged.voc_area)),
            "AP50 at 11 points": _rounded(_mean(judged.voc_eleven)),
        },
        "unknown_classes": list(judged.unknown_classes),
        "classes": [
            {
                "name": class_names[row.class_id],
                "num_objects": row.num_objects,
                "AP": _rounded(row.ap),
                "AP50": _rounded(row.ap50),
                "AR100": _rounded(row.ar100),
                "VOC AP50": _rounded(judged.voc_area[row.class_id]),
                "precision at recall 0, .01 … 1": [round(value, 4) for value in row.precisions.tolist()],
            }
            for row in judged.coco.classes
        ],
        "streaming": [
            {
                "latency": row.latency,
                "num_answered": row.num_answered,
                "mean_lag_frames": _rounded(row.mean_lag_frames, 3),
                "coco": {name: _rounded(value) for name, value in row.coco.numbers.items()},
            }
            for row in judged.streaming
        ],
        "tracking": None
        if judged.tracking is None
        else {
            "all": None if judged.tracking.overall is None else asdict(judged.tracking.overall),
            "classes": {class_names[class_id]: asdict(row) for class_id, row in judged.tracking.classes.items()},
        },
        "confusion": {
            "score_threshold": judged.sure_score,
            "classes": [*class_names, "background"],
            "rows are truth, columns are found": judged.confusion.tolist(),
        },
    }


def _print_video(judged: Sequence[Judged], num_images: int, console: Console) -> None:
    if any(model.streaming for model in judged):
        table = table_of_numbers("streaming", "latency", "sAP", "sAP50", "AP", "frames answered", "frames behind")
        for model in judged:
            for row in model.streaming:
                numbers = row.coco.numbers
                table.add_row(
                    model.name,
                    row.latency,
                    _number(numbers["AP"]),
                    _number(numbers["AP50"]),
                    _number(model.coco.numbers["AP"]),
                    f"{row.num_answered} of {num_images}",
                    _number(row.mean_lag_frames, 1),
                )
        console.print()
        console.print(table, markup=False, highlight=False)
    if any(model.tracking is not None for model in judged):
        table = table_of_numbers(
            "tracking by ByteTrack", "HOTA", "DetA", "AssA", "MOTA", "IDF1", "switches", "identities"
        )
        for model in judged:
            overall = None if model.tracking is None else model.tracking.overall
            if overall is not None:
                shares = (overall.hota, overall.deta, overall.assa, overall.mota, overall.idf1)
                counts = (overall.num_id_switches, overall.num_identities)
                table.add_row(model.name, *map(_number, shares), *map(str, counts))
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
    present = [value for value in values if value is not None]
    return float(np.mean(present)) if present else None


def _rounded(value: float | None, digits: int = 6) -> float | None:
    return None if value is None else round(value, digits)


def _number(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
