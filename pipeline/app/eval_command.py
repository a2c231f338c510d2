"""What happens between `streamdet eval` and its table?

Each model runs through the pipeline, as it would in use, so that what is judged is what really runs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import Progress

from pipeline.accuracy.classes import in_classes_of_data, match_classes
from pipeline.accuracy.coco import CocoAccuracy, coco_accuracy
from pipeline.accuracy.confusion import confusion_matrix
from pipeline.accuracy.opening import open_labelled, with_images
from pipeline.accuracy.result_file import read_result_file, write_result_file
from pipeline.accuracy.tracking import TrackingAccuracy
from pipeline.accuracy.truth import LabelledData, LabelledImage, Truth
from pipeline.accuracy.voc import voc_precisions
from pipeline.app.assemble import assemble, model_of
from pipeline.app.config import RunConfig, load_config
from pipeline.app.machine import versions
from pipeline.app.report import write_report
from pipeline.app.running_command import prepare_process
from pipeline.app.terminal import table_of_numbers, wide_console
from pipeline.app.video_eval import (
    MEASURED,
    Streaming,
    frame_times,
    latency_of,
    measured_latencies,
    pretended,
    run_live,
    tracked,
)
from pipeline.errors import ConfigError, SinkError, SourceError
from pipeline.flow.running import Running, RunStatistics
from pipeline.picture.detections import Detections
from pipeline.picture.detector_spec import DetectorSpec
from pipeline.sinks.writable import refuse_unwritable
from pipeline.sources.images import ImagesSource
from pipeline.sources.opening import open_source
from pipeline.sources.source import KnowsTruth

# What stands below the threshold that one would show counts for AP.
_SCORE_THRESHOLD = 0.001
_MAX_DETECTIONS = 100  # of an image, as in COCO's competition
_SURE_SCORE = 0.25  # of a file of detections, whose detector's own threshold is not known
_COLUMNS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR100")


@dataclass(frozen=True, slots=True)
class EvalOptions:
    """What was typed."""

    models: tuple[str, ...]
    data: str | None
    images: Path | None
    device: str | None
    score_threshold: float | None
    max_images: int | None
    detections: Path | None
    save_detections: Path | None
    report: Path | None
    charts: Path | None
    per_class: bool
    settings: tuple[str, ...]
    streams: bool = False
    pretended_latencies: tuple[str, ...] = ()
    tracks: bool = False
    frames_per_second: float | None = None


@dataclass(frozen=True, slots=True)
class ModelRun:
    """What a model found in labelled images, and how that went."""

    found: tuple[Detections, ...]  # image by image, in the classes of the data
    statistics: RunStatistics
    device: str
    precision: str


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
    run: ModelRun | None  # None: a file
    about: dict[str, Any]  # for the report
    streaming: tuple[Streaming, ...] = ()
    tracking: TrackingAccuracy | None = None

    @property
    def detect_ms(self) -> float | None:
        """The network's median time for an image, or batch, in this run."""
        nodes = () if self.run is None else self.run.statistics.nodes
        seconds = next((node.service.p50 for node in nodes if node.name == "detect"), None)
        return None if seconds is None else 1000 * seconds


def run_eval(options: EvalOptions) -> None:
    """Run, judge, print and write. Raises a StreamdetError for what cannot be judged or written."""
    prepare_process()
    configs = [_config(options, model) for model in options.models or ((None,) if options.detections is None else ())]
    _refuse_outputs(options, len(configs))
    data = _labelled(options, needs_images=bool(configs))
    _refuse_no_video(options, data, has_models=bool(configs))
    subjects = [(config, *model_of(config)) for config in configs]
    names = _names([str(path) for _, path, _ in subjects])
    for name, (_, _, spec) in zip(names, subjects, strict=True):
        _refuse_stranger(name, spec, data)  # before any of them runs
    judged: list[Judged] = []
    found: Sequence[Detections] = ()
    if options.detections is not None:
        judged.append(_judge_file(options.detections, data))
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        for name, (config, path, spec) in zip(names, subjects, strict=True):
            task = progress.add_task(name, total=len(data.images))
            run = detect_all(config, data, spec, on_image=partial(progress.advance, task))
            found = run.found
            judged.append(_on_video(_judge_run(name, path, config, spec, data, run), config, data, spec, options))
    if options.save_detections is not None:
        write_result_file(options.save_detections, found, data)
    if options.report is not None:
        write_report(_report(judged, data), options.report)
    if options.charts is not None:
        _draw(judged, data, options.charts)
    _print(judged, data, options)


def _on_video(
    judged: Judged, config: RunConfig, data: LabelledData, spec: DetectorSpec, options: EvalOptions
) -> Judged:
    """The same, with what holds of a video only, where that was asked for."""
    if not (options.streams or options.pretended_latencies or options.tracks):
        return judged
    assert judged.run is not None
    found, times = judged.run.found, frame_times(data, options.frames_per_second)
    streaming = []
    for word in options.pretended_latencies:
        seconds = latency_of(word)
        latencies = measured_latencies(config, data) if seconds is None else seconds
        name = f"{1000 * np.median(latencies):.0f} ms" + (" (measured)" if seconds is None else "")
        streaming.append(pretended(found, data, times, latencies, name))
    if options.streams:
        streaming.append(run_live(config, data))
    tracking = tracked(found, data, times, score_threshold=spec.score_threshold) if options.tracks else None
    return replace(judged, streaming=tuple(streaming), tracking=tracking)


def detect_all(
    config: RunConfig, data: LabelledData, spec: DetectorSpec, *, on_image: Callable[[], None] = lambda: None
) -> ModelRun:
    """Run a model over every image of `data`, or frame of drawn traffic, through the pipeline.

    Raises a StreamdetError for what cannot run, an image that cannot be read, and one of another size than labelled.
    """
    paths = [image.path for image in data.images if image.path is not None]
    source = ImagesSource(data.origin, paths=paths) if paths else None
    assembly = assemble(config, source=source)
    classes = match_classes(spec.class_names, data.class_names)
    found: dict[int, Detections] = {}
    with ExitStack() as stack:
        stack.callback(assembly.engine.close)
        running = stack.enter_context(Running(assembly.flow, results=True))
        for result in running:
            place = result.frame.index if source is None else int(result.frame.pts_seconds)
            _refuse_other_size(data.images[place], result.frame.size_wh)
            found[place] = in_classes_of_data(result.detections, classes)
            on_image()
    if len(found) < len(data.images):
        damage = [line for each in assembly.sources.values() for line in each.damage]
        raise SourceError(
            f"{data.origin}: every labelled image must be readable, {len(data.images) - len(found)} of "
            f"{len(data.images)} are not: {'; '.join(damage[:1])}"
        )
    ordered = tuple(found[place] for place in range(len(found)))
    return ModelRun(ordered, running.statistics(), assembly.engine.device, assembly.engine.precision)


def _config(options: EvalOptions, model: str | None) -> RunConfig:
    """Every frame counts, whatever the source; the rest is as the user says."""
    defaults = (f"detection.score_threshold={_SCORE_THRESHOLD}", f"detection.max_detections={_MAX_DETECTIONS}")
    is_drawn = options.data is not None and options.data.startswith("sim:")
    return load_config(
        settings=(*defaults, *options.settings),
        options={
            "sources": (options.data,) if is_drawn else (),
            "model": model,
            "engine.device": options.device,
            "detection.score_threshold": options.score_threshold,
            "flow.mode": "every-frame",
            "flow.max_frames": options.max_images if is_drawn else None,
            "output.show": False,
        },
    )


def _refuse_outputs(options: EvalOptions, num_models: int) -> None:
    """Find out before the work whether everything can be written."""
    inputs = [options.data, *options.models, *([] if options.detections is None else [str(options.detections)])]
    for path, option in ((options.save_detections, "--save-detections"), (options.report, "--report")):
        if path is None:
            continue
        if path.exists() and any(each and Path(each).exists() and path.samefile(each) for each in inputs):
            raise SinkError(f"{option} must not be what is read, got {path}; it would be overwritten")
        refuse_unwritable(path, option.removeprefix("--"))
    if options.save_detections is not None and num_models != 1:
        raise ConfigError(f"--save-detections takes what one --model finds, got {num_models}; run them one by one")
    if options.charts is not None:
        try:
            options.charts.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SinkError(f"--charts must be a folder that can be made, got {options.charts}: {error}") from error


def _refuse_no_video(options: EvalOptions, data: LabelledData, *, has_models: bool) -> None:
    """Find out before the work whether what holds of a video only can be had of this data."""
    for word in options.pretended_latencies:
        latency_of(word)
    asked = options.streams or options.pretended_latencies or options.tracks
    if not asked:
        return
    if not has_models:
        raise ConfigError("--streaming, --pretend-latency and --tracking need a model that runs, not --detections")
    frame_times(data, options.frames_per_second)
    if not data.origin.startswith("sim:") and (options.streams or MEASURED in options.pretended_latencies):
        raise ConfigError(
            f"{data.origin}: a live run needs sim:traffic; of images use --pretend-latency 80ms with --fps"
        )
    if options.tracks and any(image.truth.objects.track_ids is None for image in data.images):
        raise ConfigError(f"{data.origin}: --tracking needs labels with identities, as sim:traffic has")


def _labelled(options: EvalOptions, *, needs_images: bool) -> LabelledData:
    if options.data is None:
        raise ConfigError(
            "--data must say what to judge by: a COCO JSON, a folder with Pascal VOC's XML, a data.yaml, or sim:traffic"
        )
    if options.images is not None and not options.images.is_dir():
        raise ConfigError(f"--images must be a folder, got {options.images}")
    if options.data.startswith("sim:"):
        return drawn_data(options.data, max_images=options.max_images)
    data = open_labelled(options.data).first(options.max_images)
    return with_images(data, options.images) if needs_images else data


def labelled(word: str) -> LabelledData:
    """What `--data` means, with its images. Raises ConfigError for what is not labelled."""
    return drawn_data(word) if word.startswith("sim:") else with_images(open_labelled(word), None)


def average_precision(config: RunConfig, data: LabelledData) -> float | None:
    """COCO's AP of a configuration's detector, whatever its sources, outputs and thresholds; None without objects."""
    asked = config.model_copy(
        update={
            "sources": (data.origin,) if data.origin.startswith("sim:") else (),
            "detection": config.detection.model_copy(
                update={"score_threshold": _SCORE_THRESHOLD, "max_detections": _MAX_DETECTIONS}
            ),
            "flow": config.flow.model_copy(update={"mode": "every-frame", "max_frames": None, "rate_fps": None}),
            "output": config.output.model_copy(update={"video": None, "jsonl": None, "report": None, "show": False}),
        }
    )
    _, spec = model_of(asked)
    run = detect_all(asked, data, spec)
    return coco_accuracy(run.found, [image.truth for image in data.images]).numbers["AP"]


def drawn_data(word: str, *, max_images: int | None = None) -> LabelledData:
    """The frames of drawn traffic; what is there but too small or too hidden to be wanted is ignored.

    Raises ConfigError for traffic that never ends, unless `max_images` does.
    """
    source = open_source(word)
    assert isinstance(source, KnowsTruth), word
    num = min((each for each in (source.num_frames, max_images) if each is not None), default=None)
    if num is None:
        raise ConfigError(f"{word} must end: give it seconds=20, or --max-images")
    rate = source.frames_per_second
    images = tuple(
        LabelledImage(
            f"frame {index}",
            index,
            Truth.of(source.truth(index), source.unlabelled(index)),
            source.size_wh,
            pts_seconds=None if rate is None else index / rate,
        )
        for index in range(num)
    )
    source.close()
    return LabelledData(word, source.class_names, tuple(range(len(source.class_names))), images)


def _refuse_stranger(name: str, spec: DetectorSpec, data: LabelledData) -> None:
    if (match_classes(spec.class_names, data.class_names) < 0).all():
        raise ConfigError(
            f"{name} must know one of the classes of {data.origin} ({_some(data.class_names)}), it knows "
            f"{_some(spec.class_names) or 'no names; give them with --set hints.class_names=FILE'}"
        )


def _refuse_other_size(image: LabelledImage, size_wh: tuple[int, int]) -> None:
    if image.size_wh not in (None, size_wh):
        labelled = "×".join(map(str, image.size_wh or ()))
        raise ConfigError(
            f"{image.path or image.name}: the labels are of an image of {labelled}, it is {size_wh[0]}×{size_wh[1]}"
        )


def _judge_file(path: Path, data: LabelledData) -> Judged:
    found = read_result_file(path, data)
    return _judge(path.name, found, data, sure_score=_SURE_SCORE, known=None, run=None, about={"detections": str(path)})


def _judge_run(
    name: str, path: Path, config: RunConfig, spec: DetectorSpec, data: LabelledData, run: ModelRun
) -> Judged:
    asked = config.detection
    iou_threshold = spec.iou_threshold if asked.iou_threshold is None else asked.iou_threshold
    about = {
        "model": str(path),
        "device": run.device,
        "precision": run.precision,
        "score_threshold": asked.score_threshold,
        "max_detections": asked.max_detections,
        "nms_iou_threshold": iou_threshold if spec.needs_nms else None,
        "seconds": round(run.statistics.elapsed_seconds, 3),
    }
    known = set(match_classes(spec.class_names, data.class_names).tolist())
    return _judge(name, run.found, data, sure_score=spec.score_threshold, known=known, run=run, about=about)


def _judge(
    name: str,
    found: Sequence[Detections],
    data: LabelledData,
    *,
    sure_score: float,
    known: set[int] | None,
    run: ModelRun | None,
    about: dict[str, Any],
) -> Judged:
    truths = [image.truth for image in data.images]
    num_classes = len(data.class_names)
    coco = coco_accuracy(found, truths)
    unknown = [each.class_id for each in coco.classes if known is not None and each.class_id not in known]
    return Judged(
        name,
        coco,
        tuple(voc_precisions(found, truths, num_classes=num_classes)),
        tuple(voc_precisions(found, truths, num_classes=num_classes, rule="11-point")),
        confusion_matrix(found, truths, num_classes=num_classes, score_threshold=sure_score),
        sure_score,
        tuple(data.class_names[each] for each in unknown),
        run,
        about,
    )


def _report(judged: Sequence[Judged], data: LabelledData) -> dict[str, Any]:
    return {
        "data": {"origin": data.origin, **_counts(data)},
        "results": [_result(each, data.class_names) for each in judged],
        "versions": versions(),
    }


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


def _draw(judged: Sequence[Judged], data: LabelledData, folder: Path) -> None:
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


def _print(judged: Sequence[Judged], data: LabelledData, options: EvalOptions) -> None:
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
    for each in judged if options.per_class else ():
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
        if each.run is not None:
            about = each.about
            lines.append(
                f"{each.name}: on {about['device']}, scores from {about['score_threshold']:g} on, at most "
                f"{about['max_detections']} detections an image; ms is the median time of the stage detect"
            )
        if each.unknown_classes:
            lines.append(
                f"{each.name}: does not know {len(each.unknown_classes)} of these classes, each of which counts 0: "
                f"{_some(each.unknown_classes)}"
            )
    for line in lines:
        console.print(line, style="dim", markup=False, highlight=False, soft_wrap=True)


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


def _names(paths: Sequence[str]) -> list[str]:
    """The files' stems, or where two are alike, all of the paths."""
    stems = [Path(path).stem for path in paths]
    return stems if len(set(stems)) == len(stems) else list(paths)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (" …" if len(names) > 8 else "")


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _rounded(value: float | None, digits: int = 6) -> float | None:
    return None if value is None else round(value, digits)


def _number(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
