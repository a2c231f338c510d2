"""Help text: Typer's commands → help whose options stand under headings, and hints for words of other tools."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import typer
from typer.core import TyperCommand, TyperGroup

from pipeline.app.bare_flags import with_bare_values
from pipeline.app.foreign_words import command_hint, option_hint


class Formatter(Protocol):
    """What writes help, as Typer has it."""

    def section(self, name: str) -> AbstractContextManager[None]:
        """A heading, and what is written below it."""

    def write_dl(self, rows: Sequence[tuple[str, str]]) -> None:
        """Two columns."""


class HelpfulGroup(TyperGroup):
    """Commands; one that another tool has is named by the name that it has here."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        """The words that are left for the command. A usage error for a command of another tool."""
        hint = command_hint(args[0]) if args and args[0] not in self.commands else None
        if hint is not None:
            ctx.fail(f"there is no command {args[0]!r}; {hint}")
        return super().parse_args(ctx, args)


class HelpfulCommand(TyperCommand):
    """A command whose help has a heading for each panel of options, in 80 columns and without colour."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        """The words that are left over. A usage error for an option of another tool."""
        flags = {name for parameter in self.params for name in (*parameter.opts, *parameter.secondary_opts)}
        hint = option_hint(args, flags)
        if hint is not None:
            ctx.fail(hint)
        return super().parse_args(ctx, with_bare_values(args, ctx.info_name))

    def format_options(self, ctx: typer.Context, formatter: Formatter) -> None:  # type: ignore[override]
        """Write the arguments, then the options of each panel; those of none come first."""
        panels: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                own = "Arguments" if parameter.param_type_name == "argument" else "Options"
                panels.setdefault(getattr(parameter, "rich_help_panel", None) or own, []).append(record)
        for heading, records in panels.items():
            if records:
                with formatter.section(heading):
                    formatter.write_dl(records)
