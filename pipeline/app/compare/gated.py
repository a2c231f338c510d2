"""Comparison with a gate: a model and a video → what the model behind `--gate` gains, and what it misses.

The teacher is the same model that looks at every frame of the video, as a whole. A factor of speed is never printed
without what it costs.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

from pipeline.app.assemble import assemble
from pipeline.app.compare.options import CompareOptions
from pipeline.app.config.loading import with_keys
from pipeline.app.config.run import RunConfig
from pipeline.app.machine import available_cores, processor_name, versions
from pipeline.app.measure_apart import Case, Measure
from pipeline.app.progress import WorkProgress
from pipeline.app.report_file import write_report
from pipeline.app.terminal import print_numbers, table_of_numbers, tell, wide_console
from pipeline.app.thresholds import tracker_options
from pipeline.errors import ConfigError
from pipeline.flow.running import Running
from pipeline.json_values import Json
from pipeline.masking import masked_address
from pipeline.measure.entries import Entries, entries_of
from pipeline.measure.measured import Measured
from pipeline.measure.summary import Summary, disturbances
from pipeline.measure.teacher import Labels, Recall, TeacherAgreement
from pipeline.picture.detections import Detections, Result
from pipeline.picture.gate.gate import REASONS, Reason
from pipeline.picture.suppression import SuppressionOptions
from pipeline.picture.tracking.kinds import new_tracker
from pipeline.picture.tracking.tracker import track_ids_of
from pipeline.stages.gate import GateStatistics

_LEAST_FRAMES = 2


@dataclass(frozen=True, slots=True)
class Watched:
    """What a run showed, frame by frame, and what its gate let through."""

    detections: tuple[Detections, ...]
    times_seconds: tuple[float, ...]
    sizes_wh: tuple[tuple[int, int], ...]
    gate: GateStatistics
    shown: SuppressionOptions
    class_names: tuple[str, ...]
    numbers: tuple[int, ...]  # of the frames, in the source

    def in_every_frame_of(self, teacher: Watched) -> Watched:
        """The same with those frames of a teacher that this run did not decode: what the one before shows stays."""
        if self.numbers == teacher.numbers:
            return self
        shown = dict(zip(self.numbers, self.detections, strict=True))
        detections, last = [], Detections.empty()
        for number in teacher.numbers:
            last = shown.get(number, last)
            detections.append(last)
        return replace(
            self,
            detections=tuple(detections),
            times_seconds=teacher.times_seconds,
            sizes_wh=teacher.sizes_wh,
            numbers=teacher.numbers,
        )


@dataclass(frozen=True, slots=True)
class CommonestClass:
    """The class of which the teacher was sure most often; each class counts alike in AP, those with a few boxes too."""

    name: str
    num_objects: int
    num_classes: int  # of which the teacher was sure
    agreement: TeacherAgreement  # of the gated run
    jitter: TeacherAgreement  # of what the teacher said one frame before


@dataclass(frozen=True, slots=True)
class GatedComparison:
    """A model that looks at every frame, and the same behind a gate."""

    source: str
    model: str
    kind: str
    num_frames: int
    gate: GateStatistics
    agreement: TeacherAgreement  # of the gated run
    jitter: TeacherAgreement | None  # of what the teacher said one frame before; None: there are no labels
    commonest: CommonestClass | None  # None: there are no labels
    entries: Entries
    num_tracks: tuple[int, int]  # of the teacher, and gated
    num_other_counts: int  # frames in which the gated run shows another number of objects
    summaries: tuple[Summary, Summary] | None  # of every frame, and gated; None: not measured

    @property
    def factors(self) -> tuple[float, float] | None:
        """How many times the frames a second, and the share of the processor's time for a frame."""
        if self.summaries is None or not self.summaries[0].fps.median or not self.summaries[0].cpu_ms.median:
            return None
        plain, gated = self.summaries
        return gated.fps.median / plain.fps.median, gated.cpu_ms.median / plain.cpu_ms.median


def run_compare_gated(options: CompareOptions, config: RunConfig, *, measure: Measure) -> int:
    """Watch, judge, measure, print and write; 0. Raises a StreamdetError for what cannot be compared."""
    say = WorkProgress()
    gated = config if config.gate.kind is not None else with_keys(config, {"gate.kind": "frames"})
    comparison = compare_gated(gated, sure_score=options.sure_score, say=say)
    comparison = _with_speeds(comparison, gated, options, say, measure)
    print_gated(comparison, wide_console())
    if options.report is not None:
        write_report(report_of_gated(comparison), options.report)
        tell(wide_console(), f"written  {options.report}")
    return 0


def teacher_of(config: RunConfig) -> RunConfig:
    """The same run that looks at every frame, in the shape of the model's file."""
    config = config.without_gate()
    return with_keys(config, {"engine.shape": "auto"}) if config.engine.shape == "video" else config


def compare_gated(config: RunConfig, *, sure_score: float, say: WorkProgress) -> GatedComparison:
    """Watch the source of a configuration once with its gate and once without. Raises what `watch` raises.

    sure_score: from which on the teacher's detections are labels; those from half of it on count for nothing.
    """
    teacher = watch(teacher_of(config))
    say(f"every frame: {len(teacher.detections)} frames looked at")
    gated = watch(config).in_every_frame_of(teacher)
    say(f"gated: {gated.gate.num_inferred} of {len(gated.detections)} frames looked at")
    labels = [Labels.of(of_frame, sure_score=sure_score) for of_frame in teacher.detections]
    followed, own = _followed(teacher, config), _followed(gated, config)
    sure_ids = {
        track_id
        for of_frame in followed
        for track_id in track_ids_of(of_frame)[of_frame.scores >= np.float32(sure_score)].tolist()
    }
    sure = [of_frame.select(np.isin(track_ids_of(of_frame), list(sure_ids))) for of_frame in followed]
    judged = (labels, teacher.sizes_wh)
    threshold = teacher.shown.score_threshold
    before = [teacher.detections[0], *teacher.detections[:-1]]
    has_labels = any(len(label.sure) for label in labels)
    return GatedComparison(
        masked_address(config.source_words[0]),
        str(config.model or "demo"),
        config.gate.kind or "frames",
        len(teacher.detections),
        gated.gate,
        TeacherAgreement.of(gated.detections, *judged, shown_score=threshold),
        TeacherAgreement.of(before, *judged, shown_score=threshold) if has_labels else None,
        _commonest(labels, teacher, gated, before) if has_labels else None,
        entries_of(sure, gated.detections, teacher.times_seconds),
        (_num_tracks(followed), _num_tracks(own)),
        sum(len(a) != len(b) for a, b in zip(teacher.detections, gated.detections, strict=True)),
        None,
    )


def _commonest(
    labels: Sequence[Labels], teacher: Watched, gated: Watched, before: Sequence[Detections]
) -> CommonestClass:
    class_ids, counts = np.unique(np.concatenate([label.sure.class_ids for label in labels]), return_counts=True)
    class_id = int(class_ids[counts.argmax()])
    own = [Labels(_of_class(label.sure, class_id), _of_class(label.unsure, class_id)) for label in labels]
    agreement, jitter = (
        TeacherAgreement.of(
            [_of_class(of_frame, class_id) for of_frame in detections],
            own,
            teacher.sizes_wh,
            shown_score=teacher.shown.score_threshold,
        )
        for detections in (gated.detections, before)
    )
    return CommonestClass(teacher.class_names[class_id], int(counts.max()), len(class_ids), agreement, jitter)


def _of_class(detections: Detections, class_id: int) -> Detections:
    return detections.select(detections.class_ids == class_id)


def watch(config: RunConfig) -> Watched:
    """Run a configuration over all frames of its source, and keep what it shows.

    Raises a StreamdetError for what cannot run, and ConfigError for a source without an end, or one of single images.
    """
    assembly = assemble(config.without_outputs())
    try:
        (source_id, source), *others = assembly.sources.items()
        if others or source.is_live:
            raise ConfigError(f"{source_id}: --gated needs one recorded video, which can be looked at twice")
        shown = assembly.suppressions[source_id].shown_of(source_id)
        class_names = assembly.suppressions[source_id].spec.class_names
        with Running(assembly.flow, results=True) as running:
            results = [_kept(result) for result in running]
        gate = sum(assembly.gates().values(), GateStatistics())
    finally:
        assembly.close_engines()
    if len(results) < _LEAST_FRAMES or any(kept.is_image for kept in results):
        raise ConfigError(f"{source_id}: --gated needs a video of several frames, which is not one of images")
    detections, times_seconds, sizes_wh, numbers, _ = zip(*results, strict=True)
    return Watched(detections, times_seconds, sizes_wh, gate, shown, class_names, numbers)


def print_gated(comparison: GatedComparison, console: Console) -> None:
    """Tell a person: a table, what it means, and in one sentence what is gained and what it costs."""
    print_numbers(console, _table(comparison))
    for line in _remarks(comparison):
        tell(console, line, "dim")
    for summary in comparison.summaries or ():
        for line in disturbances([summary.typical], summary.fps, cores=available_cores()):
            tell(console, f"warning: {line}", "yellow")
    tell(console, verdict_of(comparison), "bold")


def verdict_of(comparison: GatedComparison) -> str:
    """What is gained, and what it costs, in one sentence."""
    agreement, gate, jitter = comparison.agreement, comparison.gate, comparison.jitter
    never = f", {comparison.entries.num_never} never shown" if comparison.entries.num_never else ""
    if jitter is None:
        cost = "the teacher was sure of nothing in this video, so what is missed is not known"
    else:
        cost = (
            f"AP50 {_points(agreement.ap50)} and AP {_points(agreement.ap)} against every frame, recall "
            f"{_recall(agreement.all)}, entries {_delay(comparison.entries, 95)} late at p95{never}"
        )
    factors = comparison.factors
    gain = "" if factors is None else f", {factors[0]:.2f} times the frames/s at {factors[1]:.2f} of the core time"
    return f"gated: the network looked at {gate.duty or 0:.0%} of the frames{gain}; {cost}."


def report_of_gated(comparison: GatedComparison) -> dict[str, Json]:
    """All numbers, in JSON types."""
    gate, entries, summaries = comparison.gate, comparison.entries, comparison.summaries
    low, high = gate.misses.interval
    return {
        "source": comparison.source,
        "model": comparison.model,
        "gate": comparison.kind,
        "machine": {"processor": processor_name(), "cores": available_cores(), "versions": versions()},
        "frames": comparison.num_frames,
        "inferred": gate.num_inferred,
        "packed": gate.num_packed,
        "undecoded": gate.num_undecoded,
        "duty": gate.duty,
        "reasons": {str(reason): num for reason, num in sorted(gate.num_looks.items())},
        "checks": {"checked": gate.misses.num_checked, "missed": gate.misses.num_missed, "interval_95": [low, high]},
        "gated": _agreement_report(comparison.agreement),
        "frame_before": None if comparison.jitter is None else _agreement_report(comparison.jitter),
        "commonest_class": None
        if comparison.commonest is None
        else {
            "name": comparison.commonest.name,
            "objects": comparison.commonest.num_objects,
            "classes": comparison.commonest.num_classes,
            "gated": _agreement_report(comparison.commonest.agreement),
            "frame_before": _agreement_report(comparison.commonest.jitter),
        },
        "entries": {
            "objects": entries.num_objects,
            "never": entries.num_never,
            "delay_s_p50": entries.percentile_seconds(50),
            "delay_s_p95": entries.percentile_seconds(95),
        },
        "tracks": {"every_frame": comparison.num_tracks[0], "gated": comparison.num_tracks[1]},
        "frames_with_other_counts": comparison.num_other_counts,
        "speed": None
        if summaries is None
        else {
            name: {"fps": summary.fps.as_json(), "cpu_ms_per_frame": summary.cpu_ms.as_json()}
            for name, summary in zip(("every_frame", "gated"), summaries, strict=True)
        },
        "verdict": verdict_of(comparison),
    }


def _with_speeds(
    comparison: GatedComparison, gated: RunConfig, options: CompareOptions, say: WorkProgress, measure: Measure
) -> GatedComparison:
    """With what both cost, in turn, so that what disturbs the machine disturbs both alike."""
    configs = (teacher_of(gated), gated)
    repeats: tuple[list[Measured], list[Measured]] = ([], [])
    with say.phase("measuring", total=2 * options.repeats, has_lines=True) as phase:
        for number, (config, runs) in itertools.product(range(options.repeats), zip(configs, repeats, strict=True)):
            name = "every frame" if config.gate.kind is None else "gated"
            try:
                runs.append(measure(Case.of(config, seconds=options.seconds, warm_up_seconds=1.0)))
            except ConfigError as error:
                say(f"{name}: its speed cannot be measured: {error}")
                return comparison
            phase.advance()
            say(f"{name}: {runs[-1].delivered_fps:.1f} frames/s ({number + 1})")
    plain, with_gate = (Summary.of(runs, None) for runs in repeats)
    return replace(comparison, summaries=(plain, with_gate))


def _kept(result: Result) -> _Kept:
    detections = replace(result.detections, masks=None, keypoints=None)
    frame = result.frame
    return _Kept(detections, frame.pts_seconds, frame.size_wh, frame.index, frame.image is not None)


class _Kept(NamedTuple):
    """What is kept of a result: not its picture, nor masks, because there are thousands."""

    detections: Detections
    pts_seconds: float
    size_wh: tuple[int, int]
    number: int
    is_image: bool


def _followed(watched: Watched, config: RunConfig) -> list[Detections]:
    """The detections with the ids that a tracker gives them."""
    tracker = new_tracker("bytetrack", tracker_options(config.track, watched.shown))
    frames = zip(watched.detections, watched.times_seconds, strict=True)
    return [tracker.update(detections, seconds) for detections, seconds in frames]


def _num_tracks(followed: Sequence[Detections]) -> int:
    return len({track_id for of_frame in followed for track_id in track_ids_of(of_frame).tolist() if track_id >= 0})


def _table(comparison: GatedComparison) -> Table:
    columns = ("AP", "AP50", "recall", "small", "entry p50 / p95", "ids", "inferred", "frames/s", "core ms / frame")
    table = table_of_numbers("", *columns)
    plain, gated = (None, None) if comparison.summaries is None else comparison.summaries
    num_tracks, num_gated_tracks = comparison.num_tracks
    table.add_row("every frame", *["–"] * 5, str(num_tracks), "100 %", *_speeds(plain))
    if comparison.jitter is not None:
        table.add_row("the frame before instead", *_accuracies(comparison.jitter), *["–"] * 5)
    entries = f"{_delay(comparison.entries, 50)} / {_delay(comparison.entries, 95)}"
    duty = f"{comparison.gate.duty or 0:.0%}"
    table.add_row("gated", *_accuracies(comparison.agreement), entries, str(num_gated_tracks), duty, *_speeds(gated))
    return table


def _remarks(comparison: GatedComparison) -> list[str]:
    gate, counts = comparison.gate, comparison.num_other_counts
    reasons: dict[Reason, int] = {reason: gate.num_looks[reason] for reason in REASONS if gate.num_looks.get(reason)}
    looked = ", ".join(f"{num} {REASONS[reason]}" for reason, num in reasons.items())
    low, high = gate.misses.interval
    return [
        f"{comparison.source}: {comparison.num_frames} frames; the teacher is the same model on every one, whole, and "
        "not ground truth",
        f"looked at: {looked or 'nothing'}; {gate.num_packed} frames of them in parts"
        + (f"; {gate.num_undecoded} frames not decoded" if gate.num_undecoded else ""),
        f"its own checks: {gate.misses.num_missed} of {gate.misses.num_checked} missed an object (95 %: {low:.1%} to "
        f"{high:.1%})",
        *_commonest_in_words(comparison.commonest),
        f"another number of objects in {counts} frames; small: under 32² pixels; entry: until an object that the "
        "teacher follows is shown",
        "the frame before instead: what the teacher said one frame earlier, for how much its own boxes move and "
        "flicker",
        f"{processor_name()}, {available_cores()} cores; boxes only",
    ]


def _commonest_in_words(commonest: CommonestClass | None) -> list[str]:
    """What is lost of one class; nothing where there is no other."""
    if commonest is None or commonest.num_classes == 1:
        return []
    own, jitter = commonest.agreement, commonest.jitter
    return [
        f"each of {commonest.num_classes} classes counts alike in AP; of {commonest.name} alone, "
        f"{commonest.num_objects} objects: AP50 {_points(own.ap50)} and AP {_points(own.ap)}; one frame before "
        f"instead {_points(jitter.ap50)} and {_points(jitter.ap)}",
    ]


def _accuracies(agreement: TeacherAgreement) -> list[str]:
    recalls = [_recall(agreement.all), _recall(agreement.small)]
    return [f"{100 * agreement.ap:.1f}", f"{100 * agreement.ap50:.1f}", *recalls]


def _speeds(summary: Summary | None) -> list[str]:
    return ["–", "–"] if summary is None else [f"{summary.fps.median:.1f}", f"{summary.cpu_ms.median:.1f}"]


def _recall(recall: Recall) -> str:
    return "–" if recall.share is None else f"{recall.share:.1%} of {recall.num_objects}"


def _delay(entries: Entries, percent: float) -> str:
    seconds = entries.percentile_seconds(percent)
    return "–" if seconds is None else f"{1000 * seconds:.0f} ms"


def _points(share: float) -> str:
    """What is lacking to all, in points, with a true minus."""
    return f"{100 * (share - 1):+.1f}".replace("-", "−")


def _agreement_report(agreement: TeacherAgreement) -> dict[str, Json]:
    recalls = {"all": agreement.all, "small": agreement.small, "small_for_frame": agreement.small_for_frame}
    return {
        "AP": round(agreement.ap, 6),
        "AP50": round(agreement.ap50, 6),
        "recall": {name: {"found": recall.num_found, "of": recall.num_objects} for name, recall in recalls.items()},
        "missed": sum(int(frame.is_missed.sum()) for frame in agreement.frames),
        "extra": sum(int(frame.is_extra.sum()) for frame in agreement.frames),
    }
