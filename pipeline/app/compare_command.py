"""What happens between `streamdet compare` and its advice which detector to take?"""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from pipeline.accuracy.classes import in_classes_of_data, match_classes
from pipeline.app.assemble import assemble, model_of, open_sources
from pipeline.app.config import RunConfig, load_config
from pipeline.app.export_command import load
from pipeline.app.machine import available_cores, processor_name, versions
from pipeline.app.one_run import Case, measure_apart
from pipeline.app.report import write_report
from pipeline.app.running_command import prepare_process
from pipeline.app.terminal import table_of_numbers, wide_console
from pipeline.detector.engine import OrtEngine
from pipeline.detector.whole_path import WholePath
from pipeline.errors import ConfigError, MissingExtraError, ModelError, SinkError
from pipeline.flow.running import Running
from pipeline.measure.sampling import Sample, take_sample
from pipeline.measure.side_by_side import side_by_side
from pipeline.measure.summary import Figure, Summary, disturbances
from pipeline.measure.teacher import SMALL_PX, Detector, Labels, Nearness, Recall, Tiled, shown
from pipeline.picture.detections import Detections
from pipeline.picture.detector_spec import DetectorSpec
from pipeline.sinks.writable import refuse_unwritable
from pipeline.sources.source import KnowsTruth

# From this score on detections count for AP.
_AP_SCORE = 0.05
# Less than this is no gain in speed, and no loss worth a warning in AP points.
_FASTER = 1.05
_SMALL_LOSS = 2.0
# Fewer objects say little about anybody.
_FEW_OBJECTS = 50

Say = Callable[[str], None]
Measure = Callable[[Case], Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class CompareOptions:
    """What was typed."""

    models: tuple[str, ...]
    source: str
    teacher: str | None = None
    teacher_size: str | None = None
    tiles: str = "1x1"
    frames: int = 60
    sure_score: float = 0.5
    device: str | None = None
    worst: int = 6
    output: Path = Path("compare-output")
    report: Path | None = None
    seconds: float = 3.0
    repeats: int = 2
    settings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Teacher:
    """Who labels, and why this one."""

    name: str
    path: Path
    why: str
    class_names: tuple[str, ...]
    labels: tuple[Labels, ...]  # of each sampled frame
    described: str  # device, precision, size, tiles


@dataclass(frozen=True, slots=True)
class Row:
    """What the verdict is made of."""

    name: str
    ap: float  # against the teacher, 0 to 1
    fps: Figure | None  # of the whole path on this machine; None: not measured
    is_teacher: bool  # whether it is the teacher's own network, which no other can be fairly compared with


@dataclass(slots=True)
class Candidate:
    """A model, and what came of it."""

    name: str
    config: RunConfig
    spec: DetectorSpec
    is_teacher: bool
    found: list[Detections]  # by sampled frame, of the common classes, numbered as the teacher's
    near: Nearness
    summary: Summary | None = None
    pictures: tuple[Path, ...] = ()

    @property
    def row(self) -> Row:
        """For the verdict."""
        return Row(self.name, self.near.ap, None if self.summary is None else self.summary.fps, self.is_teacher)


def run_compare(options: CompareOptions, *, measure: Measure = measure_apart) -> None:
    """Label, judge, draw, measure, print and write. Raises a StreamdetError for what cannot be compared."""
    prepare_process()
    tiles = tiles_asked(options.tiles)
    names = _names(options.models)
    configs = {name: _config(options, model) for name, model in zip(names, options.models, strict=True)}
    specs = {name: model_of(config)[1] for name, config in configs.items()}
    _refuse(options)
    say = progress_lines()
    sample = sample_of(configs[names[0]], options.frames, refuses_live=True)
    say(f"{len(sample.shots)} frames of {options.source}")
    teacher = _teach(options, configs, sample, tiles, say)
    common = _common_classes(teacher, {name: spec.class_names for name, spec in specs.items()})
    labels = [_only(label, common) for label in teacher.labels]
    if not any(len(label.sure) for label in labels):
        raise ConfigError(
            f"the teacher {teacher.name} must be sure of something, from score {options.sure_score:g} on, in the "
            f"{len(sample.shots)} sampled frames, it is of nothing; take another --teacher, or a lower --sure-score"
        )
    candidates = []
    for name, config in configs.items():
        candidates.append(_judge(name, config, specs[name], teacher, labels, common, sample))
        say(f"{name}: AP {100 * candidates[-1].near.ap:.1f} against {teacher.name}")
    for candidate in candidates:
        if not candidate.is_teacher:
            candidate.pictures = _draw_worst(candidate, labels, sample, teacher, options)
    _measure_speeds(candidates, options, say, measure)
    remarks = _remarks(candidates, labels, teacher, common)
    _print(candidates, labels, teacher, remarks, options)
    if options.report is not None:
        write_report(_report(candidates, labels, teacher, sample, remarks, options), options.report)


def verdict(rows: Sequence[Row]) -> str:
    """Which to take, in a sentence made of the numbers alone.

    The nearest to the teacher stays, or the teacher itself, unless another is faster: by 5 % or more, and in every
    repeat. Of those that cost at most 2 AP points the fastest is to be taken.
    """
    nearest = max(rows, key=lambda row: (row.is_teacher, row.ap))
    keep, fps = nearest.name, nearest.fps
    what = "is the teacher itself" if nearest.is_teacher else "is nearest to the teacher"
    speeds = {row.name: row.fps for row in rows if row is not nearest and row.fps is not None}
    if fps is None or not speeds:
        return f"take {keep}: it {what}, and nothing was measured that is faster."
    losses = {row.name: 100 * (nearest.ap - row.ap) for row in rows}
    faster = [name for name, other in speeds.items() if _is_faster(other, fps)]
    if not faster:
        rival = max(speeds, key=lambda name: speeds[name].median)
        is_faster = _is_faster(fps, speeds[rival])
        speed = f"{fps.median / speeds[rival].median:.1f}× faster than" if is_faster else "as fast as"
        if nearest.is_teacher:
            return f"take {keep}: it {what} and {speed} {rival}."
        return (
            f"take {keep}: it is {speed} {rival} and nearer to the teacher ({_points(losses[rival])} AP on this video)."
        )
    cheap = [name for name in faster if losses[name] <= _SMALL_LOSS]
    best = max(cheap, key=lambda name: speeds[name].median) if cheap else min(faster, key=lambda name: losses[name])
    ratio = f"{speeds[best].median / fps.median:.1f}×"
    if cheap:
        return f"take {best}: {ratio} faster than {keep}, {_points(-losses[best])} AP on this video."
    against = f"{keep}, which {what}" if nearest.is_teacher else keep
    return (
        f"{best} loses {losses[best]:.1f} AP on this video against {against}: keep {keep} unless {ratio} the speed is "
        "worth that."
    )


def _is_faster(one: Figure, other: Figure) -> bool:
    return one.median >= _FASTER * other.median and one.least > other.most


def no_truth(teacher: str) -> str:
    """What must always be said."""
    return (
        f"The teacher is {teacher}, no truth: what it misses nobody is blamed for missing, what it invents everybody "
        "is asked to find. Look at the worst frames; for accuracy itself, label some and use `streamdet eval`."
    )


def tiles_asked(text: str) -> tuple[int, int]:
    """Rows and columns of ROWSxCOLUMNS. Raises ConfigError for anything else."""
    match = re.fullmatch("([1-9])x([1-9])", text.lower())
    if match is None:
        raise ConfigError(f"--tiles must be ROWSxCOLUMNS of 1 to 9 each, such as 2x2, got {text!r}")
    return int(match[1]), int(match[2])


def progress_lines() -> Say:
    """Says on stderr what is being done, with the seconds since now."""
    progress, began = Console(stderr=True), time.monotonic()

    def say(line: str) -> None:
        took = time.monotonic() - began
        progress.print(f"{took:6.1f} s  {line}", style="dim", markup=False, highlight=False, soft_wrap=True)

    return say


def with_keys(config: RunConfig, changes: Mapping[str, Any]) -> RunConfig:
    """The same configuration with other values of some dotted keys."""
    values = config.model_dump()
    for key, value in changes.items():
        *sections, last = key.split(".")
        place = values
        for section in sections:
            place = place[section]
        place[last] = value
    return RunConfig.model_validate(values)


def sample_of(config: RunConfig, num_frames: int, *, of_first: int | None = None, refuses_live: bool = False) -> Sample:
    """So many frames of a configuration's one source, within its first so many and its flow.max_frames.

    Raises a StreamdetError for a source that cannot be opened or read twice, that never ends, or is live where that is
    refused.
    """
    (word,) = config.sources
    if word == "-":
        raise ConfigError("the source is read again and again, which a stream on stdin cannot be; save it as a file")
    with ExitStack() as undo:
        (source,) = open_sources(config, undo).values()
        if refuses_live and source.is_live:
            raise ConfigError(f"--on must be a recorded source, {word} is live; record it first, with `run --output`")
        limit = min((each for each in (of_first, config.flow.max_frames) if each is not None), default=None)
        if limit is None and not source.is_live and isinstance(source, KnowsTruth) and source.num_frames is None:
            raise ConfigError(f"{word} must end: give it seconds=20, or --set flow.max_frames=600")
        return take_sample(source, num_frames, of_first=limit)


def found_in_sample(
    config: RunConfig, sample: Sample, *, score_threshold: float
) -> tuple[list[Detections], tuple[str, str]]:
    """What a configuration finds in sampled frames, run through the pipeline; and its device and precision."""
    changes = {
        "flow.mode": "every-frame",
        "flow.rate_fps": None,
        "flow.max_frames": None,
        "detection.score_threshold": score_threshold,
        "output": {"show": False},
    }
    assembly = assemble(with_keys(config, changes), source=sample)
    with ExitStack() as stack:
        stack.callback(assembly.engine.close)
        running = stack.enter_context(Running(assembly.flow, results=True))
        found = [result.detections for result in running]
    return found, (assembly.engine.device, assembly.engine.precision)


def _config(options: CompareOptions, model: str) -> RunConfig:
    return load_config(
        settings=options.settings,
        options={
            "sources": (options.source,),
            "model": model,
            "engine.device": options.device,
            "flow.mode": "every-frame",
            "output.show": False,
        },
    )


def _refuse(options: CompareOptions) -> None:
    """Find out before the work whether it can be done."""
    if len(options.models) < 1 + (options.teacher is None):
        raise ConfigError("compare needs two models or more, or one and another as --teacher")
    if options.report is not None:
        refuse_unwritable(options.report, "the report")
    if options.worst:
        try:
            options.output.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SinkError(f"--output must be a folder that can be made, got {options.output}: {error}") from error


def _teach(
    options: CompareOptions,
    configs: Mapping[str, RunConfig],
    sample: Sample,
    tiles: tuple[int, int],
    say: Say,
) -> Teacher:
    """Let the teacher label the sampled frames, in fp32."""
    if options.teacher is not None:
        name, why = Path(options.teacher).stem, "as asked for"
        config = _config(options, options.teacher)
    else:
        name, why = _strongest(configs)
        config = configs[name]
    if options.teacher_size is not None:
        config = with_keys(config, {"hints.size": options.teacher_size})
    path, spec = model_of(config)
    engine = OrtEngine(path, spec, device=config.engine.device, intra_op_threads=available_cores(), precision="fp32")
    detector: Detector = WholePath(engine, score_threshold=options.sure_score / 2)
    rows, columns = tiles
    if tiles != (1, 1):
        detector = Tiled(
            detector, rows=rows, columns=columns, iou_threshold=spec.iou_threshold if spec.needs_nms else 0.5
        )
    labels = []
    for number, shot in enumerate(sample.shots, 1):
        (found,) = detector([shot.picture])
        labels.append(Labels.of(found, sure_score=options.sure_score))
        if number == len(sample.shots) or number % 20 == 0:
            say(f"the teacher {name}: {number} of {len(sample.shots)} frames labelled")
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
        count = load("export.flops").count_onnx
        work = {
            name: count(path, None if configs[name].hints.size is None else spec.network_wh).flops
            for name, (path, spec) in paths.items()
        }
        best = max(work, key=lambda name: work[name])
        return best, f"it computes most, {work[best] / 1e9:.2f} GFLOPs a frame"
    except (MissingExtraError, ModelError):
        products = {
            name: spec.network_wh[0] * spec.network_wh[1] * path.stat().st_size for name, (path, spec) in paths.items()
        }
        best = max(products, key=lambda name: products[name])
        return best, "its file size times the pixels of its input is largest; FLOPs could not be counted"


def _common_classes(teacher: Teacher, candidates: Mapping[str, tuple[str, ...]]) -> frozenset[int]:
    """The teacher's classes that every candidate knows. Raises ConfigError if there is none."""
    common = set(range(len(teacher.class_names)))
    for name, class_names in candidates.items():
        common &= set(match_classes(class_names, teacher.class_names).tolist())
        if not common:
            raise ConfigError(
                f"all models must have a class in common, {name} ({_some(class_names)}) has none with {teacher.name} "
                f"({_some(teacher.class_names)}) and the others; give names with --set hints.class_names=FILE"
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
) -> Candidate:
    """Let a candidate look at the sampled frames, and say how near to the teacher it is."""
    score = _shown_score(config, spec)
    every, _ = found_in_sample(config, sample, score_threshold=min(_AP_SCORE, score))
    classes = match_classes(spec.class_names, teacher.class_names)
    found = [_of_classes(in_classes_of_data(each, classes), common) for each in every]
    sizes = [shot.picture.size_wh for shot in sample.shots]
    near = Nearness.of(found, labels, sizes, shown_score=score)
    return Candidate(name, config, spec, model_of(config)[0].samefile(teacher.path), found, near)


def _remarks(
    candidates: Sequence[Candidate], labels: Sequence[Labels], teacher: Teacher, common: frozenset[int]
) -> list[str]:
    """What must be known to read the numbers rightly."""
    remarks = []
    nums = {teacher.name: len(teacher.class_names), **{each.name: len(each.spec.class_names) for each in candidates}}
    if any(num != len(common) for num in nums.values()):
        knows = ", ".join(f"{name} knows {num}" for name, num in nums.items())
        remarks.append(f"only the {len(common)} classes that all know are compared: {knows}")
    num_sure = sum(len(label.sure) for label in labels)
    if num_sure < _FEW_OBJECTS:
        remarks.append(f"the teacher is sure of {num_sure} objects only, which says little; take more --frames")
    for each in candidates:
        if each.is_teacher:
            remarks.append(f"{each.name} is the teacher's own network, so that its row is no fair one")
    return remarks


def _of_classes(found: Detections, class_ids: frozenset[int]) -> Detections:
    return found.select(np.isin(found.class_ids, list(class_ids)))


def _only(label: Labels, class_ids: frozenset[int]) -> Labels:
    return Labels(_of_classes(label.sure, class_ids), _of_classes(label.unsure, class_ids))


def _shown_score(config: RunConfig, spec: DetectorSpec) -> float:
    """From which score on `run` shows detections."""
    asked = config.detection.score_threshold
    return spec.score_threshold if asked is None else asked


def _measure_speeds(candidates: Sequence[Candidate], options: CompareOptions, say: Say, measure: Measure) -> None:
    """Each in turn, so that what disturbs the machine disturbs all alike; what cannot be measured has no summary."""
    repeats: dict[str, list[Mapping[str, Any]]] = {each.name: [] for each in candidates}
    for number, candidate in itertools.product(range(options.repeats), candidates):
        name = candidate.name
        try:
            found = measure(Case.of(candidate.config, seconds=options.seconds, warm_up_seconds=0.5))
        except ConfigError as error:  # the video may be too short, which takes nothing from the rest
            say(f"{name}: its speed cannot be measured: {error}")
            continue
        repeats[name].append(found)
        say(f"{name}: {found['fps']['delivered'] or 0:.1f} frames/s ({number + 1})")
    for each in candidates:
        each.summary = Summary.of(repeats[each.name], None) if repeats[each.name] else None


def _draw_worst(
    candidate: Candidate, labels: Sequence[Labels], sample: Sample, teacher: Teacher, options: CompareOptions
) -> tuple[Path, ...]:
    """Write the frames in which they differ most, the worst first; none in which they agree."""
    frames = candidate.near.frames
    paths = []
    for number, place in enumerate(
        sorted(range(len(frames)), key=lambda each: -frames[each].weight)[: options.worst], 1
    ):
        if not frames[place].weight:
            break
        index = sample.frame_indices[place]
        drawn = side_by_side(
            sample.shots[place].picture.copy_pixels(),
            labels[place],
            shown(candidate.found[place], _shown_score(candidate.config, candidate.spec)),
            frames[place],
            class_names=teacher.class_names,
            teacher=f"{teacher.name}: {teacher.described}",
            candidate=candidate.name,
            where=f"{Path(options.source).name}, frame {index}",
        )
        stem = re.sub(r"[^\w.-]+", "_", candidate.name).strip("_")
        path = options.output / f"{stem}-worst-{number}-frame-{index}.png"
        if not cv2.imwrite(str(path), drawn):
            raise SinkError(f"{path}: the picture cannot be written there")
        paths.append(path)
    return tuple(paths)


def _print(
    candidates: Sequence[Candidate],
    labels: Sequence[Labels],
    teacher: Teacher,
    remarks: Sequence[str],
    options: CompareOptions,
) -> None:
    console = wide_console()

    def tell(line: str, style: str | None = None) -> None:
        console.print(line, style=style, markup=False, highlight=False, soft_wrap=True)

    console.print(_table(candidates), markup=False, highlight=False)
    num_sure, num_unsure = (sum(len(getattr(label, name)) for label in labels) for name in ("sure", "unsure"))
    tell(
        f"{options.source}: {len(labels)} frames, {num_sure} objects that the teacher is sure of (score from "
        f"{options.sure_score:g} on), {num_unsure} that it is unsure of, which count for nothing",
        "dim",
    )
    tell(f"teacher {teacher.name}: {teacher.why}; {teacher.described}", "dim")
    tell(
        f"AP of scores from {_AP_SCORE:g} on; recall at IoU .5 of what `run` shows; small: under {SMALL_PX**0.5:.0f}² "
        "pixels; small here: as large a share of the frame as that is of 640×480",
        "dim",
    )
    tell(
        f"{processor_name()}, {available_cores()} cores; boxes only, {options.repeats} repeats in turn of "
        f"{options.seconds:g} s",
        "dim",
    )
    for line in remarks:
        tell(line, "dim")
    for each in candidates:
        for line in _disturbances(each.summary):
            tell(f"warning: {each.name}: {line}", "yellow")
    tell(verdict([each.row for each in candidates]), "bold")
    tell(no_truth(teacher.name))
    written = [path for each in candidates for path in each.pictures]
    if written:
        tell(f"written  {len(written)} pictures of the worst frames, such as {written[0]}")
    if options.report is not None:
        tell(f"written  {options.report}")


def _table(candidates: Sequence[Candidate]) -> Table:
    columns = ("AP", "AP50", "recall", "small", "small here", "frames/s", "± spread", "detect ms", "CPU ms a frame")
    table = table_of_numbers("model", *columns)
    for each in candidates:
        near, summary = each.near, each.summary
        precisions = [f"{100 * near.ap:.1f}", f"{100 * near.ap50:.1f}"]
        speeds = ["–"] * 4
        if summary is not None:
            detect_ms = _detect_ms(summary)
            speeds = [
                f"{summary.fps.median:.1f}",
                "–" if summary.fps.least == summary.fps.most else f"{summary.fps.spread:.0%}",
                "–" if detect_ms is None else f"{detect_ms:.1f}",
                f"{summary.cpu_ms.median:.1f}",
            ]
        if each.is_teacher:
            precisions[0] = f"teacher {precisions[0]}"
        recalls = [_recall(recall) for recall in (near.all, near.small, near.small_for_frame)]
        table.add_row(each.name, *precisions, *recalls, *speeds)
    return table


def _report(
    candidates: Sequence[Candidate],
    labels: Sequence[Labels],
    teacher: Teacher,
    sample: Sample,
    remarks: Sequence[str],
    options: CompareOptions,
) -> dict[str, Any]:
    return {
        "source": options.source,
        "frames": list(sample.frame_indices),
        "machine": {"processor": processor_name(), "cores": available_cores(), "versions": versions()},
        "teacher": {
            "name": teacher.name,
            "model": str(teacher.path),
            "why": teacher.why,
            "described": teacher.described,
            "sure_score": options.sure_score,
            "num_sure": sum(len(label.sure) for label in labels),
            "num_unsure": sum(len(label.unsure) for label in labels),
        },
        "candidates": [_candidate_report(each) for each in candidates],
        "remarks": list(remarks),
        "verdict": verdict([each.row for each in candidates]),
        "no_truth": no_truth(teacher.name),
    }


def _candidate_report(candidate: Candidate) -> dict[str, Any]:
    near, summary = candidate.near, candidate.summary
    recalls = {"all": near.all, "small": near.small, "small_for_frame": near.small_for_frame}
    return {
        "name": candidate.name,
        "model": candidate.config.model,
        "is_teacher": candidate.is_teacher,
        "AP": round(near.ap, 6),
        "AP50": round(near.ap50, 6),
        "recall": {name: {"found": each.num_found, "of": each.num_objects} for name, each in recalls.items()},
        "missed": sum(int(frame.is_missed.sum()) for frame in near.frames),
        "extra": sum(int(frame.is_extra.sum()) for frame in near.frames),
        "fps": None if summary is None else summary.fps.as_json(),
        "detect_ms": None if summary is None else _detect_ms(summary),
        "cpu_ms_per_frame": None if summary is None else summary.cpu_ms.as_json(),
        "disturbances": _disturbances(summary),
        "worst_frames": [str(path) for path in candidate.pictures],
    }


def _disturbances(summary: Summary | None) -> list[str]:
    return [] if summary is None else disturbances([summary.typical], summary.fps, cores=available_cores())


def _detect_ms(summary: Summary) -> float | None:
    """The median service time of the network's stage."""
    value: float | None = summary.typical["stages"]["detect"]["service_ms"]["p50"]
    return value


def _recall(recall: Recall) -> str:
    return "–" if recall.share is None else f"{recall.share:.0%} of {recall.num_objects}"


def _points(points: float) -> str:
    """With a sign, and a true minus."""
    return f"{points:+.1f}".replace("-", "−")


def _names(models: Sequence[str]) -> list[str]:
    """The files' stems, or where two are alike, all of the paths."""
    stems = [Path(model).stem for model in models]
    names = stems if len(set(stems)) == len(stems) else list(models)
    if len(set(names)) < len(names):
        raise ConfigError(f"every model must be given once, got {', '.join(models)}")
    return names


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:6]) + (" …" if len(names) > 6 else "")
