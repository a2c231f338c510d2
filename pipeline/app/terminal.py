"""Terminal: tables and lines → the console, whole in a log as well; names and texts → short ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table

from pipeline.errors import without_controls

_LEAST_NAME = 8
_BETWEEN_COLUMNS = 2


class SafeConsole(Console):
    """A console that is steered by rich alone: what stands in the name of a file or a source reaches it as text."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """The segments, without control characters in those that are text; their widths stay, which rich takes as 0."""
        for segment in super().render(renderable, options):
            is_safe = segment.control or segment.text == "\n" or segment.text.isprintable()
            yield segment if is_safe else segment._replace(text=_lines_without_controls(segment.text))


def _lines_without_controls(text: str) -> str:
    return "\n".join(map(without_controls, text.split("\n")))


def wide_console(log_width: int = 160, *, stderr: bool = False) -> Console:
    """The console on stdout or stderr; in a log, which has no edge, `log_width` wide: rich would cut tables at 80."""
    console = SafeConsole(stderr=stderr)
    if not console.is_terminal:
        console.width = log_width
    return console


def table_of_numbers(first: str, *others: str) -> Table:
    """An empty table: names that break where the terminal is narrow, then numbers that do not."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column(first, overflow="fold", min_width=_LEAST_NAME)
    for column in others:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def print_numbers(console: Console, table: Table) -> None:
    """A table of numbers; one wider than the console as several, one below the other, each with the names of its rows.

    No number is cut then, and a row that has nothing in a part is left out of it.
    """
    widths = [max(map(cell_len, cells)) for cells in _texts(table)]
    if sum(widths) + _BETWEEN_COLUMNS * (len(widths) - 1) <= console.width:
        console.print(table, markup=False, highlight=False)
        return
    most_of_name = max(_LEAST_NAME, console.width - _BETWEEN_COLUMNS - max(widths[1:]))
    room = console.width - max(_LEAST_NAME, min(widths[0], most_of_name))
    for i, columns in enumerate(_columns_by_room(widths, room)):
        if i > 0:
            console.print()
        console.print(_part(table, columns, most_of_name), markup=False, highlight=False)


def _texts(table: Table) -> list[list[str]]:
    """By column: heading and cells."""
    return [[str(column.header), *map(str, column.cells)] for column in table.columns]


def _columns_by_room(widths: Sequence[int], room: int) -> list[list[int]]:
    """The columns after the first, in order, in as few parts as have room beside the names."""
    parts: list[list[int]] = []
    left = 0
    for column, width in list(enumerate(widths))[1:]:
        needed = width + _BETWEEN_COLUMNS
        if not parts or needed > left:
            parts.append([])
            left = room
        parts[-1].append(column)
        left -= needed
    return parts


def _part(table: Table, columns: Sequence[int], most_of_name: int) -> Table:
    """Some columns of a table, beside its names."""
    names, *_ = texts = _texts(table)
    part = table_of_numbers(names[0], *(texts[column][0] for column in columns))
    for i, row in enumerate(table.rows, start=1):
        numbers = [texts[column][i] for column in columns]
        if any(numbers):
            part.add_row(shortened(names[i], most_of_name), *numbers, style=row.style)
    return part


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
