"""Progress: what is done of what is expected → a share, the time that remains, and words that are true of both."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from pipeline.flow.graph import Node
from pipeline.flow.ledger import FrameCounts
from pipeline.stages.capture import Capture


@dataclass(frozen=True, slots=True)
class Progress:
    """How far something is.

    total: None where it is not known. unit: of both. remark: why there is no share, or what it waits for.
    """

    done: int
    total: int | None
    elapsed_seconds: float
    unit: str = "frames"
    remark: str = ""

    @property
    def share(self) -> float | None:
        """0 to 1; None where the total is not known, or too small to be true."""
        if self.total is None or self.done > self.total:
            return None
        return self.done / self.total if self.total else 1.0

    @property
    def remaining_seconds(self) -> float | None:
        """At the average pace until now; None before the first, and without a total."""
        if self.total is None or self.share is None or not self.done:
            return None
        return self.elapsed_seconds * (self.total - self.done) / self.done

    def words(self) -> str:
        """`12 %  00:41 left`; where the total is not known, what is done; a remark behind either."""
        share, seconds = self.share, self.remaining_seconds
        parts = [f"{self.done} {self.unit}" if share is None else f"{int(100 * share):3d} %"]
        if seconds is not None and not self.remark:
            parts.append(f"{clock_time(seconds)} left")
        return "  ".join([*parts, *([self.remark] if self.remark else [])])


def clock_time(seconds: float) -> str:
    """`00:41`, or `1:02:03` from an hour on."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes:02d}:{rest:02d}"


def bar_of(progress: Progress, *, width: int) -> Table | Text:
    """A bar with the words behind it, `width` characters wide; the words alone where there is no share or room."""
    words = progress.words()
    num_cells = min(40, width - len(words) - 2)
    if progress.share is None or num_cells < 5:
        return Text(words, no_wrap=True, overflow="ellipsis")
    row = Table.grid(padding=(0, 2, 0, 0))
    row.add_row(ProgressBar(total=1.0, completed=progress.share, width=num_cells), Text(words, no_wrap=True))
    return row


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
