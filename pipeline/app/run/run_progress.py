"""Run progress: the captures of a run and what became of their frames → how far it is, where it has an end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pipeline.app.progress import Progress
from pipeline.flow.graph import Node
from pipeline.flow.ledger import FrameCounts
from pipeline.stages.capture import Capture


def captures_of(nodes: Iterable[Node]) -> dict[str, Capture]:
    """The captures of a flow by the source_id in it."""
    return {node.name: node.part for node in nodes if isinstance(node.part, Capture)}


def progress_of_run(
    captures: Mapping[str, Capture], frames: Mapping[str, FrameCounts], *, elapsed_seconds: float
) -> Progress | None:
    """How far the frames of all sources are; None where a source goes on until somebody ends it.

    frames: of each source. What a source declares counts until it ends; then what it gave.
    """
    if not captures or any(capture.is_endless for capture in captures.values()):
        return None
    done = sum(counts.captured - counts.in_flight for counts in frames.values())
    totals = [_total(capture, frames[source_id].captured) for source_id, capture in captures.items()]
    if all(capture.has_ended for capture in captures.values()):
        is_over = all(not counts.in_flight for counts in frames.values())
        remark = "finishing the outputs" if is_over else ""
    else:
        remark = _remark(captures, frames)
    total = None if None in totals else sum(total for total in totals if total is not None)
    return Progress(done, total, elapsed_seconds, remark=remark)


def _total(capture: Capture, captured: int) -> int | None:
    """Of one source; None where it does not say, or says less than it gave."""
    if capture.has_ended:
        return captured
    expected = capture.num_expected
    return None if expected is None or captured > expected else expected


def _remark(captures: Mapping[str, Capture], frames: Mapping[str, FrameCounts]) -> str:
    """On the first source that gives more than it declares; without one, ""."""
    for source_id, capture in captures.items():
        expected = capture.num_expected
        if not capture.has_ended and expected is not None and frames[source_id].captured > expected:
            return f"more than the {expected} declared"
    return ""
