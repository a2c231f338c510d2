"""Command `eval`: models and labelled images → how accurate each is, as a table, a report and charts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from pipeline.accuracy.classes import match_classes
from pipeline.accuracy.coco import coco_accuracy
from pipeline.accuracy.confusion import confusion_matrix
from pipeline.accuracy.result_file import read_result_file, write_result_file
from pipeline.accuracy.shapes import shape_accuracy
from pipeline.accuracy.truth import LabelledData
from pipeline.accuracy.voc import voc_precisions
from pipeline.app.class_names import names_of, some_of
from pipeline.app.config.run import RunConfig
from pipeline.app.detection_run import MAX_DETECTIONS, SCORE_THRESHOLD, ModelRun, detect_all
from pipeline.app.evaluate.options import EvalOptions
from pipeline.app.evaluate.report import FileSubject, Judged, RunSubject, draw_charts, print_eval, report_of_eval
from pipeline.app.evaluate.streaming import (
    MEASURED,
    frame_times,
    latency_of,
    measured_latencies,
    pretended,
    run_live,
    tracked,
)
from pipeline.app.labelled_data import labelled
from pipeline.app.model_branch import checked_detector
from pipeline.app.output_paths import inputs_of, make_folder, refuse_folder_of_images, refuse_overwriting
from pipeline.app.process import prepare_process
from pipeline.app.progress import WorkProgress
from pipeline.app.report_file import write_report
from pipeline.app.thresholds import suppression_options
from pipeline.errors import ConfigError
from pipeline.picture.detections import Detections
from pipeline.picture.detector_spec import DetectorSpec
from pipeline.sinks.writable import refuse_unwritable
from pipeline.sources.words import is_drawn

_SURE_SCORE = 0.25  # of a file of detections, whose detector's own threshold is not known


def run_eval(options: EvalOptions) -> int:
    """Run, judge, print and write; 0. Raises a StreamdetError for a model, data or an output that will not do."""
    prepare_process()
    configs = [_config(options, model) for model in options.models or ((None,) if options.detections is None else ())]
    word = _word_of_data(options)
    subjects = [(config, *checked_detector(config)) for config in configs]
    data = labelled(word, options.images, max_images=options.max_images, needs_images=bool(configs))
    _refuse_outputs(options, configs, data)
    _refuse_no_video(options, data, has_models=bool(configs))
    names = names_of([str(path) for _, path, _ in subjects])
    for name, (_, _, spec) in zip(names, subjects, strict=True):
        _refuse_stranger(name, spec, data)  # before any of them runs
    judged: list[Judged] = []
    detections: Sequence[Detections] = ()
    if options.detections is not None:
        judged.append(_judge_file(options.detections, data))
    progress = WorkProgress()
    for name, (config, path, spec) in zip(names, subjects, strict=True):
        with progress.phase(name, total=len(data.images)) as phase:
            run = detect_all(config, data, spec, on_image=phase.advance)
        detections = run.detections
        with progress.phase(f"judging {name}"):
            of_images = _judge_run(name, path, config, spec, data, run)
            judged.append(_on_video(of_images, detections, config, data, spec, options))
    if options.save_detections is not None:
        write_result_file(options.save_detections, detections, data)
    if options.report is not None:
        write_report(report_of_eval(judged, data), options.report)
    if options.charts is not None:
        draw_charts(judged, data, options.charts)
    print_eval(judged, data, per_class=options.per_class)
    return 0


def _on_video(
    judged: Judged,
    detections: Sequence[Detections],
    config: RunConfig,
    data: LabelledData,
    spec: DetectorSpec,
    options: EvalOptions,
) -> Judged:
    """The same, with streaming and tracking where the options request them."""
    if not (options.streams or options.pretended_latencies or options.tracks):
        return judged
    times = frame_times(data, options.frames_per_second)
    streaming = []
    for word in options.pretended_latencies:
        seconds = latency_of(word)
        latencies = measured_latencies(config, data) if seconds is None else seconds
        name = f"{1000 * np.median(latencies):.0f} ms" + (" (measured)" if seconds is None else "")
        streaming.append(pretended(detections, data, times, latencies, name))
    if options.streams:
        streaming.append(run_live(config, data))
    tracking = tracked(detections, data, times, score_threshold=spec.score_threshold) if options.tracks else None
    return replace(judged, streaming=tuple(streaming), tracking=tracking)


def _config(options: EvalOptions, model: str | None) -> RunConfig:
    """Every frame counts, whatever the source; the rest is as the user says."""
    defaults = (f"detection.score_threshold={SCORE_THRESHOLD}", f"detection.max_detections={MAX_DETECTIONS}")
    is_street = options.data is not None and is_drawn(options.data)
    request = replace(options.config, settings=(*defaults, *options.config.settings))
    config = request.load(
        sources=(options.data,) if is_street else (),
        model=model,
        detection__score_threshold=options.score_threshold,
        flow__mode="every-frame",
        flow__max_frames=options.max_images if is_street else None,
        output__show=False,
    )
    if config.flow.every != 1:
        raise ConfigError(f"flow.every must be 1 for eval, which judges every image, got {config.flow.every}")
    return config


def _refuse_outputs(options: EvalOptions, configs: Sequence[RunConfig], data: LabelledData) -> None:
    """Refuse, before the work, outputs that cannot be written."""
    read = [path for config in configs for paths in inputs_of(config).values() for path in paths]
    read += [] if options.detections is None else [options.detections]
    outputs = [("--save-detections", options.save_detections), ("--report", options.report)]
    charts, inputs = [("--charts", options.charts)], {"what is read": [*read, *data.files]}
    refuse_overwriting(outputs, inputs, overwrite=options.overwrite, folders=charts)
    for option, path in outputs:
        if path is not None:
            refuse_unwritable(path, option.removeprefix("--"))
    if options.save_detections is not None and len(configs) != 1:
        raise ConfigError(f"--save-detections takes one --model, got {len(configs)}; run them one by one")
    if options.charts is not None:
        refuse_folder_of_images(
            "--charts", options.charts, [image.path for image in data.images if image.path is not None]
        )
        make_folder("--charts", options.charts)


def _refuse_no_video(options: EvalOptions, data: LabelledData, *, has_models: bool) -> None:
    """Refuse, before the work, streaming and tracking of data that is not a video."""
    for word in options.pretended_latencies:
        latency_of(word)
    if not (options.streams or options.pretended_latencies or options.tracks):
        return
    if not has_models:
        raise ConfigError("--streaming, --pretend-latency and --tracking need a model that runs, not --detections")
    frame_times(data, options.frames_per_second)
    if not is_drawn(data.origin) and (options.streams or MEASURED in options.pretended_latencies):
        raise ConfigError(
            f"{data.origin}: a live run needs sim:traffic; of images use --pretend-latency 80ms with --fps"
        )
    if options.tracks and any(image.truth.objects.track_ids is None for image in data.images):
        raise ConfigError(f"{data.origin}: --tracking needs labels with identities, as sim:traffic has")


def _word_of_data(options: EvalOptions) -> str:
    if options.data is None:
        raise ConfigError(
            "--data must name the labels: a COCO JSON, a folder with Pascal VOC's XML, a data.yaml, or sim:traffic"
        )
    if options.images is not None and not options.images.is_dir():
        raise ConfigError(f"--images must be a folder, got {options.images}")
    return options.data


def _refuse_stranger(name: str, spec: DetectorSpec, data: LabelledData) -> None:
    if (match_classes(spec.class_names, data.class_names) < 0).all():
        raise ConfigError(
            f"{name} must know one of the classes of {data.origin} ({some_of(data.class_names)}), it knows "
            f"{some_of(spec.class_names) or 'no names; give them with --set hints.class_names=FILE'}"
        )


def _judge_file(path: Path, data: LabelledData) -> Judged:
    detections = read_result_file(path, data)
    subject = FileSubject(str(path))
    return _judge(path.name, detections, data, sure_score=_SURE_SCORE, known_ids=None, subject=subject)


def _judge_run(
    name: str, path: Path, config: RunConfig, spec: DetectorSpec, data: LabelledData, run: ModelRun
) -> Judged:
    section = config.detection
    subject = RunSubject(
        model=str(path),
        device=run.device,
        precision=run.precision,
        agreement=run.agreement,
        score_threshold=section.score_threshold,
        max_detections=section.max_detections,
        nms_iou_threshold=suppression_options(section, spec).iou_threshold if spec.needs_nms else None,
        seconds=round(run.statistics.elapsed_seconds, 3),
    )
    known_ids = set(match_classes(spec.class_names, data.class_names).tolist())
    return _judge(
        name,
        run.detections,
        data,
        sure_score=spec.score_threshold,
        known_ids=known_ids,
        detect_ms=run.detect_ms,
        subject=subject,
    )


def _judge(
    name: str,
    detections: Sequence[Detections],
    data: LabelledData,
    *,
    sure_score: float,
    known_ids: set[int] | None,
    subject: RunSubject | FileSubject,
    detect_ms: float | None = None,
) -> Judged:
    truths = [image.truth for image in data.images]
    num_classes = len(data.class_names)
    coco = coco_accuracy(detections, truths)
    unknown = [row.class_id for row in coco.classes if known_ids is not None and row.class_id not in known_ids]
    return Judged(
        name,
        coco,
        tuple(voc_precisions(detections, truths, num_classes=num_classes)),
        tuple(voc_precisions(detections, truths, num_classes=num_classes, rule="11-point")),
        confusion_matrix(detections, truths, num_classes=num_classes, score_threshold=sure_score),
        sure_score,
        tuple(data.class_names[class_id] for class_id in unknown),
        detect_ms,
        subject,
        shapes=shape_accuracy(detections, data),
    )
