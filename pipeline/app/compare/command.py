"""Compare: the options of `streamdet compare` → a table, drawn frames, and which detector to take."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from pipeline.accuracy.classes import in_classes_of_data, match_classes
from pipeline.app.class_names import names_of, some_of
from pipeline.app.compare.gated import run_compare_gated
from pipeline.app.compare.options import CompareOptions
from pipeline.app.compare.report import print_comparison, report_of_comparison
from pipeline.app.compare.result import Candidate, Comparison, Teacher
from pipeline.app.config.loading import with_keys
from pipeline.app.config.run import RunConfig
from pipeline.app.engines import open_engine
from pipeline.app.extras import load
from pipeline.app.frame_sample import detections_in_sample, sample_of
from pipeline.app.gating import refuse_gated
from pipeline.app.machine import available_cores
from pipeline.app.measure_apart import Case, Measure, measure_apart
from pipeline.app.model_branch import checked_detector, model_of
from pipeline.app.options import size
from pipeline.app.output_paths import (
    files_of_model,
    inputs_of,
    make_folder,
    refuse_folder_of_images,
    refuse_overwriting,
)
from pipeline.app.process import prepare_process
from pipeline.app.progress import Phase, WorkProgress
from pipeline.app.report_file import write_report
from pipeline.app.terminal import tell, wide_console
from pipeline.app.thresholds import suppression_options
from pipeline.detector.detector import DetectFunction, EngineDetector
from pipeline.errors import ConfigError, MissingExtraError, ModelError, SinkError
from pipeline.masking import masked_address
from pipeline.measure.measured import Measured
from pipeline.measure.sampling import Sample
from pipeline.measure.side_by_side import side_by_side
from pipeline.measure.summary import Summary
from pipeline.measure.teacher import Labels, TeacherAgreement, Tiled, shown
from pipeline.picture.detections import Detections
from pipeline.picture.detector_spec import DetectorSpec
from pipeline.sinks.writable import refuse_unwritable

# From this score on detections count for AP.
_AP_SCORE = 0.05


def run_compare(options: CompareOptions, *, measure: Measure = measure_apart) -> int:
    """Label, judge, draw, measure, print and write; 0. Raises a StreamdetError for what cannot be compared."""
    prepare_process()
    if options.gated:
        return _run_gated(options, measure)
    tiles = tiles_of_text(options.tiles)
    names = names_of(options.models)
    configs = {name: _config(options, model) for name, model in zip(names, options.models, strict=True)}
    _refuse(options, configs[names[0]])
    specs = {name: checked_detector(config)[1] for name, config in configs.items()}
    teacher_name, why, teacher_config = _chosen_teacher(options, configs)
    _, teacher_spec = checked_detector(teacher_config)
    common = _common_classes(teacher_name, teacher_spec, {name: spec.class_names for name, spec in specs.items()})
    say = WorkProgress()
    sample = sample_of(configs[names[0]], options.frames, refuses_live=True)
    say(f"{len(sample.timed_pictures)} frames of {masked_address(options.source)}")
    teacher = _teach(teacher_name, why, teacher_config, options, sample, tiles, say)
    labels = [_only(label, common) for label in teacher.labels]
    if not any(len(label.sure) for label in labels):
        raise ConfigError(
            f"the teacher {teacher.name} must be sure of something, from score {options.sure_score:g} on, in the "
            f"{len(sample.timed_pictures)} sampled frames, it is of nothing; take another --teacher, or a lower "
            "--sure-score"
        )
    candidates = []
    for name, config in configs.items():
        with say.phase(name, total=len(labels)) as phase:
            candidates.append(_judge(name, config, specs[name], teacher, labels, common, sample, phase))
        say(f"{name}: AP {100 * candidates[-1].agreement.ap:.1f} against {teacher.name}")
    for candidate in candidates:
        if not candidate.is_teacher:
            candidate.pictures = _draw_worst(candidate, labels, sample, teacher, options)
    _measure_speeds(candidates, options, say, measure)
    comparison = Comparison(
        masked_address(options.source),
        sample.frame_indices,
        teacher,
        labels,
        common,
        candidates,
        sure_score=options.sure_score,
        ap_score=_AP_SCORE,
        repeats=options.repeats,
        seconds=options.seconds,
    )
    print_comparison(comparison)
    if options.report is not None:
        write_report(report_of_comparison(comparison), options.report)
        tell(wide_console(), f"written  {options.report}")
    return 0


def _run_gated(options: CompareOptions, measure: Measure) -> int:
    """Compare one model with itself behind a gate. Raises ConfigError for options that are of several models."""
    if len(options.models) != 1 or options.teacher is not None:
        raise ConfigError(
            f"--gated compares one model with itself, got {len(options.models)} and "
            f"{'no' if options.teacher is None else 'a'} --teacher; name one model"
        )
    config = _config(options, options.models[0])
    refuse_overwriting([("--report", options.report)], inputs_of(config), overwrite=options.overwrite)
    if options.report is not None:
        refuse_unwritable(options.report, "the report")
    checked_detector(config)
    return run_compare_gated(options, config, measure=measure)


def tiles_of_text(text: str) -> tuple[int, int]:
    """Rows and columns of ROWSxCOLUMNS. Raises ConfigError for anything else."""
    match = re.fullmatch("([1-9])x([1-9])", text.lower())
    if match is None:
        raise ConfigError(f"--tiles must be ROWSxCOLUMNS of 1 to 9 each, such as 2x2, got {text!r}")
    return int(match[1]), int(match[2])


def _config(options: CompareOptions, model: str) -> RunConfig:
    return options.config.load(sources=(options.source,), model=model, flow__mode="every-frame", output__show=False)


def _refuse(options: CompareOptions, config: RunConfig) -> None:
    """Find out before the work whether it can be done."""
    refuse_gated(config, "compare without --gated")
    if len(options.models) < 1 + (options.teacher is None):
        raise ConfigError("compare needs two models or more, or one and another as --teacher")
    models = [path for model in (*options.models, options.teacher) for path in files_of_model(model)]
    inputs = {**inputs_of(config), "the model": models}
    if options.worst:
        refuse_folder_of_images("--output", options.output, inputs["the source itself"])
    pictures = [("--output", options.output)] if options.worst else []
    refuse_overwriting([("--report", options.report)], inputs, overwrite=options.overwrite, folders=pictures)
    if options.report is not None:
        refuse_unwritable(options.report, "the report")
    if options.worst:
        make_folder("--output", options.output)


def _chosen_teacher(options: CompareOptions, configs: Mapping[str, RunConfig]) -> tuple[str, str, RunConfig]:
    """The teacher's name, why it is the one, and its configuration."""
    if options.teacher is not None:
        name, why = Path(options.teacher).stem, "as asked for"
        config = _config(options, options.teacher)
    else:
        name, why = _strongest(configs)
        config = configs[name]
    if options.teacher_size is not None:
        size(options.teacher_size, "--teacher-size")
        config = with_keys(config, {"hints.size": options.teacher_size})
    return name, why, config


def _teach(
    name: str,
    why: str,
    config: RunConfig,
    options: CompareOptions,
    sample: Sample,
    tiles: tuple[int, int],
    progress: WorkProgress,
) -> Teacher:
    """Let the teacher label the sampled frames, in fp32."""
    path, spec = model_of(config)
    config = with_keys(config, {"engine.precision": "fp32"})
    engine, _ = open_engine(config, path, spec, threads=available_cores())
    detector: DetectFunction = EngineDetector(engine, score_threshold=options.sure_score / 2)
    rows, columns = tiles
    if tiles != (1, 1):
        detector = Tiled(
            detector, rows=rows, columns=columns, iou_threshold=spec.iou_threshold if spec.needs_nms else 0.5
        )
    labels = []
    with progress.phase(f"the teacher {name}", total=len(sample.timed_pictures)) as phase:
        for timed in sample.timed_pictures:
            (detections,) = detector([timed.picture])
            labels.append(Labels.of(detections, sure_score=options.sure_score))
            phase.advance()
    progress(f"the teacher {name}: {len(labels)} frames labelled")
    size = "any size" if spec.resize == "in-graph" else "×".join(map(str, spec.network_wh))
    described = f"{engine.device}, {engine.precision}, {size}, " + (
        "the frame as a whole" if tiles == (1, 1) else f"the frame and {rows}×{columns} tiles of it"
    )
    engine.close()
    return Teacher(name, path, why, spec.class_names, tuple(labels), described)


def _strongest(configs: Mapping[str, RunConfig]) -> tuple[str, str]:
    """The candidate that computes most, and how that is known."""
    paths = {name: model_of(config) for name, config in configs.items()}
    try:
        count = load("export.graph.onnx_flops", extra="measure").count_onnx
        work = {
            name: count(path, None if configs[name].hints.size is None else spec.network_wh).flops
            for name, (path, spec) in paths.items()
        }
        best = max(work, key=lambda name: work[name])
        return best, f"it computes most, {work[best] / 1e9:.2f} GFLOPs per frame"
    except (MissingExtraError, ModelError):
        products = {
            name: spec.network_wh[0] * spec.network_wh[1] * path.stat().st_size for name, (path, spec) in paths.items()
        }
        best = max(products, key=lambda name: products[name])
        return best, "its file size times the pixels of its input is largest; FLOPs could not be counted"


def _common_classes(teacher: str, spec: DetectorSpec, candidates: Mapping[str, tuple[str, ...]]) -> frozenset[int]:
    """The teacher's classes that every candidate knows. Raises ConfigError if there is none."""
    common = set(range(len(spec.class_names)))
    for name, class_names in candidates.items():
        common &= set(match_classes(class_names, spec.class_names).tolist())
        if not common:
            raise ConfigError(
                f"all models must have a class in common, {name} ({some_of(class_names, most=6)}) has none with "
                f"{teacher} ({some_of(spec.class_names, most=6)}) and the others; give names with --set "
                "hints.class_names=FILE"
            )
    return frozenset(common)


def _judge(
    name: str,
    config: RunConfig,
    spec: DetectorSpec,
    teacher: Teacher,
    labels: Sequence[Labels],
    common: frozenset[int],
    sample: Sample,
    phase: Phase,
) -> Candidate:
    """Let a candidate look at the sampled frames, and say how closely it agrees with the teacher."""
    score = _shown_score(config, spec)
    in_own_classes, _ = detections_in_sample(
        config, sample, score_threshold=min(_AP_SCORE, score), on_frame=phase.advance
    )
    classes = match_classes(spec.class_names, teacher.class_names)
    detections = [_of_classes(in_classes_of_data(of_frame, classes), common) for of_frame in in_own_classes]
    sizes = [timed.picture.size_wh for timed in sample.timed_pictures]
    agreement = TeacherAgreement.of(detections, labels, sizes, shown_score=score)
    return Candidate(name, config, spec, model_of(config)[0].samefile(teacher.path), detections, agreement)


def _of_classes(detections: Detections, class_ids: frozenset[int]) -> Detections:
    return detections.select(np.isin(detections.class_ids, list(class_ids)))


def _only(label: Labels, class_ids: frozenset[int]) -> Labels:
    return Labels(_of_classes(label.sure, class_ids), _of_classes(label.unsure, class_ids))


def _shown_score(config: RunConfig, spec: DetectorSpec) -> float:
    """From which score on `run` shows detections."""
    return suppression_options(config.detection, spec).score_threshold


def _measure_speeds(
    candidates: Sequence[Candidate], options: CompareOptions, progress: WorkProgress, measure: Measure
) -> None:
    """Each in turn, so that what disturbs the machine disturbs all alike; what cannot be measured has no summary."""
    repeats: dict[str, list[Measured]] = {candidate.name: [] for candidate in candidates}
    with progress.phase("measuring", total=options.repeats * len(candidates), has_lines=True) as phase:
        for number, candidate in itertools.product(range(options.repeats), candidates):
            name = candidate.name
            try:
                measured = measure(Case.of(candidate.config, seconds=options.seconds, warm_up_seconds=0.5))
            except ConfigError as error:  # the video may be too short, which takes nothing from the rest
                progress(f"{name}: its speed cannot be measured: {error}")
                continue
            finally:
                phase.advance()
            repeats[name].append(measured)
            progress(f"{name}: {measured.delivered_fps:.1f} frames/s ({number + 1})")
    for candidate in candidates:
        runs = repeats[candidate.name]
        candidate.summary = Summary.of(runs, None) if runs else None


def _draw_worst(
    candidate: Candidate, labels: Sequence[Labels], sample: Sample, teacher: Teacher, options: CompareOptions
) -> tuple[Path, ...]:
    """Write the frames in which they differ most, the worst first; none in which they agree."""
    frames = candidate.agreement.frames
    worst = sorted(range(len(frames)), key=lambda row: -frames[row].weight)[: options.worst]
    paths = []
    for number, row in enumerate(worst, 1):
        if not frames[row].weight:
            break
        index = sample.frame_indices[row]
        drawn = side_by_side(
            sample.timed_pictures[row].picture.copy_pixels(),
            labels[row],
            shown(candidate.detections[row], _shown_score(candidate.config, candidate.spec)),
            frames[row],
            class_names=teacher.class_names,
            teacher=f"{teacher.name}: {teacher.described}",
            candidate=candidate.name,
            where=f"{Path(masked_address(options.source)).name}, frame {index}",
        )
        stem = re.sub(r"[^\w.-]+", "_", candidate.name).strip("_")
        path = options.output / f"{stem}-worst-{number}-frame-{index}.png"
        if not cv2.imwrite(str(path), drawn):
            raise SinkError(f"{path}: the picture cannot be written there")
        paths.append(path)
    return tuple(paths)
