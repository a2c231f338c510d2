"""Panel: snapshots of a run → a live picture of it on a terminal, a line a second in a log."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from pipeline.app.progress import Progress, bar_of, clock_time
from pipeline.app.run.counts_in_words import count_line
from pipeline.app.run.object_tally import ObjectCounts
from pipeline.app.run.objects_in_words import counts_line
from pipeline.app.run.run_progress import captures_of, progress_of_run
from pipeline.app.stages import DETECT, SOURCE
from pipeline.app.terminal import short_name, shortened, tell
from pipeline.flow.graph import Flow
from pipeline.flow.ledger import FrameCounts
from pipeline.flow.meters import StageStatistics
from pipeline.flow.running import RunStatistics
from pipeline.picture.counting.counts import Counts
from pipeline.picture.detections import Result
from pipeline.stages.capture import Capture

_KEYS = "Ctrl-C finishes"
_WINDOW_KEYS = "in the window: q ends, space pauses, s saves, h helps"
_WIDE_NAME = 24  # columns of a name that leave room for the numbers at 80 columns
_WIDEST_COUNTS = 100  # columns, in a log
_NARROW = 75  # columns, below which the waits are left out
_LINES_BESIDE_SOURCES = 10  # of the panel: title, rates, objects, counts, progress, two headers, keys, …


@dataclass(frozen=True, slots=True)
class RunView:
    """A run as a panel looks at it; every function may be called at any time."""

    flow: Flow[Result]
    statistics: Callable[[], RunStatistics]
    objects: Callable[[], ObjectCounts]
    counting: Callable[[], Mapping[str, Counts]] = dict  # by source
    captures_now: Callable[[], Mapping[str, Capture]] | None = None  # where sources come and go

    @property
    def source_names(self) -> list[str]:
        """Its sources, without their folders."""
        return [short_name(name) for name in self.captures]

    @property
    def captures(self) -> Mapping[str, Capture]:
        """Its sources, by their names in it."""
        return captures_of(self.flow.nodes) if self.captures_now is None else self.captures_now()

    @property
    def keys(self) -> str:
        """The keys that do something."""
        has_window = any(node.in_main_thread for node in self.flow.nodes)
        return f"{_KEYS}; {_WINDOW_KEYS}" if has_window else _KEYS

    def progress(self, statistics: RunStatistics) -> Progress | None:
        """How far it is at a snapshot; None where it goes on until somebody ends it."""
        return progress_of_run(self.captures, statistics.frames_by_source, elapsed_seconds=statistics.elapsed_seconds)


class Panel(Protocol):
    """Shows snapshots of a run; a context manager around it."""

    def update(self) -> None:
        """Show how it stands now."""

    def __enter__(self) -> Panel: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...


def panel_for(console: Console, view: RunView) -> Panel:
    """A live panel on a terminal, a plain line a second elsewhere."""
    return LivePanel(console, view) if console.is_terminal else PlainLines(console, view)


def summary_line(statistics: RunStatistics, progress: Progress | None = None) -> str:
    """One line that says how a run stands: the rates of the last seconds, latency and drops of all of it."""
    frames = statistics.frames
    latency = frames.latency
    return "  ".join(
        (
            f"{statistics.elapsed_seconds:6.1f} s",
            *([] if progress is None else [progress.words()]),
            _rates(statistics),
            f"latency p50 {_milliseconds(latency.p50)}  p95 {_milliseconds(latency.p95)}",
            f"delivered {frames.delivered}  dropped {frames.dropped}",
        )
    )


class PlainLines:
    """A line a second, for logs and pipes."""

    def __init__(self, console: Console, view: RunView) -> None:
        self._console = console
        self._view = view
        self._next_seconds = 1.0

    def __enter__(self) -> PlainLines:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

    def update(self) -> None:
        statistics = self._view.statistics()
        if statistics.elapsed_seconds >= self._next_seconds:
            self._next_seconds = int(statistics.elapsed_seconds) + 1
            counting = self._view.counting()
            counted = f"  {count_line(counting, width=_WIDEST_COUNTS)}" if counting else ""
            tell(self._console, summary_line(statistics, self._view.progress(statistics)) + counted)


class LivePanel:
    """A picture that renews itself in place, and goes when the run ends."""

    def __init__(self, console: Console, view: RunView) -> None:
        self._console = console
        self._view = view
        # No thread of its own: whoever waits for the run calls `update`.
        self._live = Live(console=console, auto_refresh=False, transient=True)

    def __enter__(self) -> LivePanel:
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._live.__exit__(kind, error, traceback)

    def update(self) -> None:
        width, height = self._console.size
        self._live.update(draw_panel(self._view, width=width, height=height), refresh=True)


def draw_panel(view: RunView, *, width: int, height: int) -> RenderableType:
    """A run as it stands, in so few lines that they fit `height`, none wider than `width`, in characters."""
    statistics = view.statistics()
    elapsed = clock_time(statistics.elapsed_seconds)
    title = _title(view.source_names, width - len(elapsed) - 2)
    latency = statistics.frames.latency
    latencies = f"latency p50 {_milliseconds(latency.p50)}  p95 {_milliseconds(latency.p95)}"
    dropped = f"delivered {statistics.frames.delivered}  dropped {statistics.frames.dropped}"
    stages = _by_role(statistics.nodes)
    num_source_rows = max(1, height - _LINES_BESIDE_SOURCES - len(stages))
    progress, counting = view.progress(statistics), view.counting()
    parts: list[RenderableType] = [
        Text(f"{title}{' ' * (width - len(elapsed) - len(title))}{elapsed}", style="bold"),
        _line(_rates(statistics)),
        _line(f"{latencies}  {dropped}"),
        _line(f"found  {counts_line(view.objects(), width=width - 7)}"),
        *([_line(f"counted  {count_line(counting, width=width - 9)}")] if counting else []),
        *([] if progress is None else [bar_of(progress, width=width)]),
        *([] if len(view.captures) < 2 else [_source_table(view, statistics, most=num_source_rows)]),
        _stage_table(stages, is_narrow=width < _NARROW),
        Text(view.keys, style="dim", no_wrap=True, overflow="ellipsis"),
    ]
    return Group(*parts)


def _title(names: Sequence[str], width: int) -> str:
    title = ", ".join(names)
    return title if len(title) <= width else shortened(title if len(names) == 1 else f"{len(names)} sources", width)


def _line(words: str) -> Text:
    return Text(words, no_wrap=True, overflow="ellipsis")


def _source_table(view: RunView, statistics: RunStatistics, *, most: int) -> Table:
    """A row a source; where they do not fit, those that have not ended first, and how many are left out."""
    table = _table("source", "state", "frames", "frames/s", "dropped")
    captures = view.captures
    names = sorted(captures, key=lambda name: captures[name].has_ended)  # otherwise in their order
    shown = names if len(names) <= most else names[: most - 1]
    for name in shown:
        counts = statistics.frames_by_source[name]
        state = state_in_words(captures[name], counts)
        rate = None if captures[name].has_ended else counts.recent_captured_rate
        label = shortened(short_name(name), _WIDE_NAME)
        table.add_row(Text(label), state, str(counts.captured), _rate(rate), str(counts.dropped))
    if len(shown) < len(names):
        table.add_row(Text(f"… {len(names) - len(shown)} more", style="dim"))
    return table


def state_in_words(capture: Capture, counts: FrameCounts) -> str:
    """The state of a camera, of what has ended or failed; otherwise `opening`, or the share that has been read."""
    state = capture.states.state.name
    if state not in ("reading", "live"):
        return state
    if not counts.captured:
        return "opening"
    if capture.is_endless:
        return state
    share = Progress(counts.captured, capture.num_expected, 0.0).share
    return "reading" if share is None else f"{int(100 * share)} %"


def _stage_table(stages: Sequence[tuple[str, Sequence[StageStatistics]]], *, is_narrow: bool) -> Table:
    waits = () if is_narrow else ("wait ms", "waiting")
    table = _table("stage", "frames/s", "service ms", *waits, "dropped", "busy", *(() if is_narrow else ("",)))
    for name, nodes in stages:
        slowest = max(nodes, key=lambda node: node.busy)
        rates = [node.recent_rate for node in nodes if node.recent_rate is not None]
        waiting = str(sum(node.waiting for node in nodes))
        bar = Text("█" * round(5 * slowest.busy), style="green" if slowest.busy < 0.8 else "yellow")
        table.add_row(
            Text(shortened(name, _WIDE_NAME)),
            _rate(sum(rates) if rates else None),
            _milliseconds(slowest.service.p50, unit=""),
            *([] if is_narrow else [_milliseconds(slowest.wait.p50, unit=""), waiting]),
            str(sum(node.dropped for node in nodes)),
            f"{slowest.busy:.0%}" if slowest.service.num else "–",
            *([] if is_narrow else [bar]),
        )
    return table


def _by_role(nodes: Sequence[StageStatistics]) -> list[tuple[str, list[StageStatistics]]]:
    """A row a role: of one node its name, of several the role and their number; times are then of the busiest.

    Stages, which have a role in common where there are several models, have a row each.
    """
    by_role: dict[str, list[StageStatistics]] = {}
    for node in nodes:
        role = {"source": SOURCE.role, "sink": node.role}.get(node.kind, node.name)
        by_role.setdefault(role, []).append(node)
    return [
        (short_name(alike[0].name, alike[0].role) if len(alike) == 1 else f"{role} ×{len(alike)}", alike)
        for role, alike in by_role.items()
    ]


def _table(*columns: str) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False)
    for column in columns:
        is_number = column not in ("stage", "source", "state", "")
        table.add_column(column, justify="right" if is_number else "left", no_wrap=True, overflow="ellipsis")
    return table


def _rates(statistics: RunStatistics) -> str:
    frames = statistics.frames
    return (
        f"FPS captured {_rate(frames.recent_captured_rate)}  "
        f"inferred {_rate(statistics.recent_rate_of_role(DETECT.role))}  "
        f"delivered {_rate(frames.recent_delivered_rate)}"
    )


def _rate(rate: float | None) -> str:
    return "–" if rate is None else f"{rate:.1f}"


def _milliseconds(seconds: float | None, *, unit: str = " ms") -> str:
    return "–" if seconds is None else f"{1000 * seconds:.1f}{unit}"
