"""Panel: snapshots of a run → a live table on a terminal, a line a second in a log."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from pipeline.app.stages import DETECT
from pipeline.app.terminal import tell
from pipeline.flow.running import RunStatistics


class Panel(Protocol):
    """Shows snapshots of a run; a context manager around it."""

    def update(self) -> None:
        """Show how it stands now."""

    def __enter__(self) -> Panel: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...


def panel_for(console: Console, statistics: Callable[[], RunStatistics], *, title: str) -> Panel:
    """A live panel on a terminal, a plain line a second elsewhere."""
    return LivePanel(console, statistics, title=title) if console.is_terminal else PlainLines(console, statistics)


def summary_line(statistics: RunStatistics) -> str:
    """One line that says how a run stands: the rates of the last seconds, latency and drops of all of it."""
    frames = statistics.frames
    detect = statistics.of_role(DETECT.role)
    inferred = None if detect is None else detect.recent_rate
    latency = frames.latency
    return (
        f"{statistics.elapsed_seconds:6.1f} s  FPS captured {_rate(frames.recent_captured_rate)}  "
        f"inferred {_rate(inferred)}  delivered {_rate(frames.recent_delivered_rate)}  "
        f"latency p50 {_milliseconds(latency.p50)}  p95 {_milliseconds(latency.p95)}  "
        f"delivered {frames.delivered}  dropped {frames.dropped}"
    )


class PlainLines:
    """A line a second, for logs and pipes."""

    def __init__(self, console: Console, statistics: Callable[[], RunStatistics]) -> None:
        self._console = console
        self._statistics = statistics
        self._next_seconds = 1.0

    def __enter__(self) -> PlainLines:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

    def update(self) -> None:
        statistics = self._statistics()
        if statistics.elapsed_seconds >= self._next_seconds:
            self._next_seconds = int(statistics.elapsed_seconds) + 1
            tell(self._console, summary_line(statistics))


class LivePanel:
    """A table that renews itself in place, and goes when the run ends."""

    def __init__(self, console: Console, statistics: Callable[[], RunStatistics], *, title: str) -> None:
        self._statistics = statistics
        self._title = title
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
        self._live.update(self._draw(self._statistics()), refresh=True)

    def _draw(self, statistics: RunStatistics) -> Group:
        table = Table(box=None, header_style="dim", pad_edge=False)
        for column in ("stage", "frames/s", "service ms", "wait ms", "waiting", "dropped", "busy", ""):
            left = column in ("stage", "")
            table.add_column(column, justify="left" if left else "right", no_wrap=True)
        for node in statistics.nodes:
            table.add_row(
                Text(node.name),
                _rate(node.recent_rate),
                _milliseconds(node.service.p50, unit=""),
                _milliseconds(node.wait.p50, unit=""),
                str(node.waiting),
                str(node.dropped),
                f"{node.busy:.0%}" if node.service.num else "–",
                Text("█" * round(10 * node.busy), style="green" if node.busy < 0.8 else "yellow"),
            )
        return Group(Text(self._title, style="bold"), Text(summary_line(statistics)), table)


def _rate(rate: float | None) -> str:
    return "–" if rate is None else f"{rate:.1f}"


def _milliseconds(seconds: float | None, *, unit: str = " ms") -> str:
    return "–" if seconds is None else f"{1000 * seconds:.1f}{unit}"
