"""Terminal: tables and lines → the console, whole in a log as well; names and texts → short ones."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table


def wide_console(log_width: int = 160, *, stderr: bool = False) -> Console:
    """The console on stdout or stderr; in a log, which has no edge, `log_width` wide: rich would cut tables at 80."""
    console = Console(stderr=stderr)
    if not console.is_terminal:
        console.width = log_width
    return console


def table_of_numbers(first: str, *others: str) -> Table:
    """An empty table: names that break where the terminal is narrow, then numbers that do not."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column(first, overflow="fold", min_width=8)
    for column in others:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def short_name(name: str, role: str = "") -> str:
    """A source, or a node of a role, without the folders of the file in its name; an address stays as it is."""
    verb = f"{role} " if role and name.startswith(f"{role} ") else ""
    rest = name.removeprefix(verb)
    return verb + (rest if "://" in rest else rest.rstrip("/").rpartition("/")[2] or rest)


def shortened(text: str, most: int) -> str:
    """At most `most` characters of a text; the end, which tells files apart, is kept as well as the beginning."""
    if len(text) <= most:
        return text
    head = max(0, (most - 1) // 2)
    return f"{text[:head]}…{text[len(text) - max(0, most - 1 - head) :]}"[: max(0, most)]


def tell(console: Console, line: str, style: str | None = None) -> None:
    """Print a line as it stands: nothing in it is markup, and nothing breaks it."""
    console.print(line, style=style, markup=False, highlight=False, soft_wrap=True)
