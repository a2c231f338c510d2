"""Report of a comparison: teacher and candidates → a table, remarks and JSON."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from pipeline.app.compare.result import Candidate, Comparison
from pipeline.app.machine import available_cores, processor_name, versions
from pipeline.app.terminal import print_numbers, table_of_numbers, tell, wide_console
from pipeline.json_values import Json
from pipeline.measure.teacher import SMALL_PX, Recall

# Fewer objects say little about anybody.
_FEW_OBJECTS = 50


def print_comparison(comparison: Comparison) -> None:
    """Tell a person: a table, what must be known to read it, and which to take."""
    console, teacher = wide_console(), comparison.teacher
    print_numbers(console, table_of_candidates(comparison.candidates))
    for line in (
        f"{comparison.source}: {len(comparison.labels)} frames, {comparison.num_sure} objects that the teacher is sure "
        f"of (score from {comparison.sure_score:g} on), {comparison.num_unsure} that it is unsure of, which are "
        "ignored",
        f"teacher {teacher.name}: {teacher.why}; {teacher.described}",
        f"AP of scores from {comparison.ap_score:g} on; recall at IoU 0.5 of what `run` shows; small: under "
        f"{SMALL_PX**0.5:.0f}² pixels; small here: as large a share of the frame as that is of 640×480",
        f"{processor_name()}, {available_cores()} cores; boxes only, {comparison.repeats} interleaved repeats of "
        f"{comparison.seconds:g} s",
        *_remarks(comparison),
    ):
        tell(console, line, "dim")
    for candidate in comparison.candidates:
        for line in candidate.disturbances:
            tell(console, f"warning: {candidate.name}: {line}", "yellow")
    tell(console, comparison.verdict, "bold")
    tell(console, no_truth(teacher.name))
    written = [path for candidate in comparison.candidates for path in candidate.pictures]
    if written:
        tell(console, f"written  {len(written)} pictures of the worst frames, such as {written[0]}")


def report_of_comparison(comparison: Comparison) -> dict[str, Json]:
    """All numbers, in JSON types."""
    teacher = comparison.teacher
    return {
        "source": comparison.source,
        "frames": list(comparison.frame_indices),
        "machine": {"processor": processor_name(), "cores": available_cores(), "versions": versions()},
        "teacher": {
            "name": teacher.name,
            "model": str(teacher.path),
            "why": teacher.why,
            "described": teacher.described,
            "sure_score": comparison.sure_score,
            "num_sure": comparison.num_sure,
            "num_unsure": comparison.num_unsure,
        },
        "candidates": [_candidate_report(candidate) for candidate in comparison.candidates],
        "remarks": _remarks(comparison),
        "verdict": comparison.verdict,
        "no_truth": no_truth(teacher.name),
    }


def no_truth(teacher: str) -> str:
    """What every comparison must say."""
    return (
        f"The teacher, {teacher}, is not ground truth: candidates are not penalised for objects it misses, but are for "
        "failing to find its false positives. Look at the worst frames; for true accuracy, label some and use "
        "`streamdet eval`."
    )


def _remarks(comparison: Comparison) -> list[str]:
    """What must be known to read the numbers rightly."""
    remarks = []
    teacher, candidates, num_common = comparison.teacher, comparison.candidates, len(comparison.common)
    nums = {teacher.name: len(teacher.class_names)}
    nums |= {candidate.name: len(candidate.spec.class_names) for candidate in candidates}
    if any(num != num_common for num in nums.values()):
        knows = ", ".join(f"{name} knows {num}" for name, num in nums.items())
        remarks.append(f"only the {num_common} classes that all know are compared: {knows}")
    if comparison.num_sure < _FEW_OBJECTS:
        remarks.append(
            f"the teacher is sure of {comparison.num_sure} objects only, which says little; take more --frames"
        )
    for candidate in candidates:
        if candidate.is_teacher:
            remarks.append(f"{candidate.name} is the teacher's own network, so its row is not a fair comparison")
    return remarks


def table_of_candidates(candidates: Sequence[Candidate]) -> Table:
    """A line for each: how near it is to the teacher, and how fast."""
    columns = ("AP", "AP50", "recall", "small", "small here", "frames/s", "± spread", "detect ms", "CPU ms / frame")
    table = table_of_numbers("model", *columns)
    for candidate in candidates:
        agreement, summary, detect_ms = candidate.agreement, candidate.summary, candidate.detect_ms
        precisions = [f"{100 * agreement.ap:.1f}", f"{100 * agreement.ap50:.1f}"]
        speeds = ["–"] * 4
        if summary is not None:
            speeds = [
                f"{summary.fps.median:.1f}",
                "–" if summary.fps.least == summary.fps.most else f"{summary.fps.spread:.0%}",
                "–" if detect_ms is None else f"{detect_ms:.1f}",
                f"{summary.cpu_ms.median:.1f}",
            ]
        if candidate.is_teacher:
            precisions[0] = f"teacher {precisions[0]}"
        recalls = [_recall(recall) for recall in (agreement.all, agreement.small, agreement.small_for_frame)]
        table.add_row(candidate.name, *precisions, *recalls, *speeds)
    return table


def _candidate_report(candidate: Candidate) -> dict[str, Json]:
    agreement, summary = candidate.agreement, candidate.summary
    recalls = {"all": agreement.all, "small": agreement.small, "small_for_frame": agreement.small_for_frame}
    return {
        "name": candidate.name,
        "model": candidate.config.model,
        "is_teacher": candidate.is_teacher,
        "AP": round(agreement.ap, 6),
        "AP50": round(agreement.ap50, 6),
        "recall": {name: {"found": recall.num_found, "of": recall.num_objects} for name, recall in recalls.items()},
        "missed": sum(int(frame.is_missed.sum()) for frame in agreement.frames),
        "extra": sum(int(frame.is_extra.sum()) for frame in agreement.frames),
        "fps": None if summary is None else summary.fps.as_json(),
        "detect_ms": candidate.detect_ms,
        "cpu_ms_per_frame": None if summary is None else summary.cpu_ms.as_json(),
        "disturbances": candidate.disturbances,
        "worst_frames": [str(path) for path in candidate.pictures],
    }


def _recall(recall: Recall) -> str:
    return "–" if recall.share is None else f"{recall.share:.0%} of {recall.num_objects}"
