"""Progress: what is done of what is expected → a share, the time that remains, words, and a bar or lines on stderr."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from pipeline.app.terminal import SafeConsole, shortened, tell


@dataclass(frozen=True, slots=True)
class Progress:
    """How far something is.

    total: None where it is not known. unit: of both. remark: why there is no share, or what it waits for.
    is_at_most: it may end before.
    """

    done: int
    total: int | None
    elapsed_seconds: float
    unit: str = "frames"
    remark: str = ""
    is_at_most: bool = False

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
            parts.append(f"{'at most ' if self.is_at_most else ''}{clock_time(seconds)} left")
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
        return Text(shortened(words, width), no_wrap=True)
    row = Table.grid(padding=(0, 2, 0, 0))
    row.add_row(ProgressBar(total=1.0, completed=progress.share, width=num_cells), Text(words, no_wrap=True))
    return row


Say = Callable[[str], None]
"""Prints a line."""

_LINE_SECONDS = 5.0  # between two lines of progress where there is no terminal


class Phase:
    """A part of some work, from its beginning on; used from the thread that began it."""

    def __init__(
        self,
        name: str,
        clock: Callable[[], float],
        *,
        total: int | None = None,
        budget_seconds: float | None = None,
        is_at_most: bool = False,
        on_step: Callable[[Phase], None] = lambda _: None,
    ) -> None:
        self.name = name
        self._clock, self._on_step = clock, on_step
        self._budget_seconds, self._is_at_most = budget_seconds, is_at_most
        self._began_at_seconds = self._last_line_at_seconds = clock()
        self._done, self._total = 0, total

    def advance(self) -> None:
        """One more step is done."""
        self.at(self._done + 1, self._total)

    def at(self, done: int, total: int | None) -> None:
        """As many steps are done, of as many."""
        self._done, self._total = done, total
        self._on_step(self)

    @property
    def progress(self) -> Progress:
        """How far it is now."""
        elapsed = self._clock() - self._began_at_seconds
        if self._budget_seconds is None:
            return Progress(self._done, self._total, elapsed, "steps", is_at_most=self._is_at_most)
        budget = round(self._budget_seconds)
        remark = f"more than the {budget} s of the budget" if elapsed > budget else ""
        return Progress(int(elapsed), budget, elapsed, "s", remark, is_at_most=True)

    def wants_line(self) -> bool:
        """Whether the last line is long ago; from now on it is not."""
        now = self._clock()
        if now < self._last_line_at_seconds + _LINE_SECONDS:
            return False
        self._last_line_at_seconds = now
        return True

    def drawn(self, width: int) -> RenderableType:
        """Its name with a bar, or with the time that it has taken where its end is not known."""
        progress = self.progress
        if progress.total is None:
            name = shortened(self.name, width - 10)
            return Text(f"{name}  {clock_time(progress.elapsed_seconds)}", style="dim", no_wrap=True)
        name = shortened(self.name, max(0, min(width // 2, width - len(progress.words()) - 4)))
        row = Table.grid(padding=(0, 2, 0, 0))
        row.add_row(Text(name, style="dim", no_wrap=True), bar_of(progress, width=width - len(name) - 4))
        return row


class WorkProgress:
    """Says on stderr how far a command is: call it with a line; within a `phase` a bar stands below the lines.

    Where there is no terminal, the lines carry the share and the time that remains, and a phase without lines gets one
    every 5 seconds. clock: monotonic seconds.
    """

    def __init__(self, console: Console | None = None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = SafeConsole(stderr=True) if console is None else console
        self._clock = clock
        self._began_at_seconds = clock()
        self._phase: Phase | None = None

    def __call__(self, line: str) -> None:
        """Print a line with the seconds since the beginning."""
        share = ""
        if self._phase is not None and not self._console.is_terminal:
            progress = self._phase.progress
            share = f"{progress.words()}  " if progress.share is not None else ""
        tell(self._console, f"{self._clock() - self._began_at_seconds:6.1f} s  {share}{line}", "dim")

    @contextmanager
    def phase(
        self,
        name: str,
        *,
        total: int | None = None,
        budget_seconds: float | None = None,
        is_at_most: bool = False,
        has_lines: bool = False,
    ) -> Iterator[Phase]:
        """A part of the work; whoever does it says when a step is done, by `advance` or `at`.

        total: steps. budget_seconds: how long it may take, where its progress is that of time.
        is_at_most: it may end before all steps are done. has_lines: every step prints a line, so that none is added.
        """
        phase = self._phase = Phase(
            name,
            self._clock,
            total=total,
            budget_seconds=budget_seconds,
            is_at_most=is_at_most,
            on_step=self._now_and_then if not has_lines else lambda _: None,
        )
        try:
            with self._bar(phase):
                yield phase
        finally:
            self._phase = None

    def _bar(self, phase: Phase) -> AbstractContextManager[object]:
        if not self._console.is_terminal:
            return nullcontext()
        return Live(
            console=self._console,
            get_renderable=lambda: phase.drawn(self._console.width),
            refresh_per_second=4,
            transient=True,
        )

    def _now_and_then(self, phase: Phase) -> None:
        """A line where there is no bar, unless one has just been printed or the phase is over."""
        if not self._console.is_terminal and phase.progress.share != 1.0 and phase.wants_line():
            self(phase.name)
