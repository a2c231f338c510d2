"""Reference pages: typer's commands, the configuration's keys, public Python names in; Markdown for the site out.

python -m tools.reference FOLDER
"""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import typer.main
from typer.core import TyperCommand, TyperGroup

import streamdet
from pipeline.app.cli import app
from pipeline.app.config.keys import ConfigKey, sections, yaml_value
from pipeline.app.config.loading import preset_folder, preset_names


def write_reference(folder: Path) -> None:
    """Write commands.md, configuration.md and python.md into a folder, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in {
        "commands.md": commands_page(),
        "configuration.md": configuration_page(),
        "python.md": python_page(),
    }.items():
        (folder / name).write_text(text + "\n", encoding="utf-8")


def commands() -> Mapping[str, TyperCommand]:
    """Name → command, as typer builds it."""
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    built = {name: command for name, command in group.commands.items() if isinstance(command, TyperCommand)}
    assert built.keys() == group.commands.keys()
    return built


def options_of(command: TyperCommand) -> set[str]:
    """Every spelling of every option of a command, -h and --help too."""
    spellings = {spelling for parameter in command.params for spelling in (*parameter.opts, *parameter.secondary_opts)}
    return {spelling for spelling in spellings if spelling.startswith("-")} | {"-h", "--help"}


def commands_page() -> str:
    """Every command with its arguments and options."""
    parts = ["# Commands", "`streamdet COMMAND --help` prints the same in a terminal."]
    for name, command in commands().items():
        parts += [f"## streamdet {name}", command.help or "", _table(("", "", "default"), _parameter_rows(command))]
    return "\n\n".join(parts)


def _parameter_rows(command: TyperCommand) -> Iterator[tuple[str, str, str]]:
    for parameter in command.params:
        spellings = [*parameter.opts, *parameter.secondary_opts]
        is_option = spellings[0].startswith("-")
        metavar = f" {parameter.metavar}" if is_option and parameter.metavar else ""
        name = ", ".join(spellings) if is_option else parameter.metavar or spellings[0].upper()
        has_default = parameter.default not in (None, False, [], ())
        help_text = getattr(parameter, "help", None) or ""  # arguments and options each have their own
        yield f"`{name}{metavar}`", help_text, f"`{parameter.default}`" if has_default else ""


def configuration_page() -> str:
    """Every key of the YAML configuration, and the presets."""
    parts = [
        "# Configuration keys",
        "A YAML file (`--config mine.yaml`) has these keys, each section a mapping; `--set section.key=value` sets "
        "one. Later layers win: file or preset, `--set`, options. Unknown keys are refused.",
    ]
    for section in sections():
        parts += [f"## {section.name}"] * bool(section.name)
        parts += [section.meaning, _table(("key", "values", "default", ""), map(_key_row, section.keys))]
    parts += ["## Presets", "`--config NAME`, or a copy of the file to start from."]
    for name in preset_names():
        text = (preset_folder() / f"{name}.yaml").read_text(encoding="utf-8").strip()
        parts += [f"### {name}", f"```yaml\n{text}\n```"]
    return "\n\n".join(parts)


def _key_row(key: ConfigKey) -> tuple[str, str, str, str]:
    flags = f" ({', '.join(f'`{flag}`' for flag in key.flags)})" if key.flags else ""
    return f"`{key.name}`", key.values, f"`{yaml_value(key.default)}`", f"{key.meaning}{flags}"


def python_page() -> str:
    """Every public name of `streamdet` with its signature, docstring and public methods."""
    parts = ["# Python names", "```python\nimport streamdet\n```"]
    for name in dir(streamdet):
        if not name.startswith("__"):
            parts += [f"## {name}", *_documented(name, getattr(streamdet, name))]
    return "\n\n".join(parts)


def _documented(name: str, value: object) -> Iterator[str]:
    yield f"```python\n{name}{_signature(value)}\n```"
    yield _docstring(value)
    if not inspect.isclass(value):
        return
    for member_name, member in vars(value).items():
        is_method = inspect.isfunction(member) or isinstance(member, classmethod | staticmethod | property)
        if member_name.startswith("_") or not is_method:
            continue
        call = "" if isinstance(member, property) else _signature(getattr(value, member_name))
        yield f"### {name}.{member_name}"
        yield f"```python\n{member_name}{call}\n```"
        yield _docstring(member)


def _signature(value: object) -> str:
    """Parameters with their annotations as they are written, and defaults; "" for what cannot be called."""
    if not callable(value):
        return ""
    try:
        return str(inspect.signature(value)).replace("'", "")
    except (TypeError, ValueError):
        return ""


def _docstring(value: object) -> str:
    """As it is written, in a block: it is for reading in a terminal."""
    text = inspect.cleandoc(value.__doc__ or "")
    return f"```text\n{text}\n```" if text else ""


def _table(heading: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [" | ".join(heading), " | ".join("---" for _ in heading)]
    lines += [" | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) for row in rows]
    return "\n".join(f"| {line} |" for line in lines)


def main() -> None:
    """Write the pages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    write_reference(parser.parse_args().folder)


if __name__ == "__main__":
    main()
