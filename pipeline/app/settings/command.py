"""Command `config`: the keys of the configuration → a list to read, a file to begin with, or a schema for editors."""

from __future__ import annotations

import json
import re
import shutil
import textwrap
from collections.abc import Iterator, Sequence

from pipeline.app.config.keys import ConfigKey, Section, config_keys, config_schema, sections, select_keys, yaml_value
from pipeline.app.config.loading import find_preset, preset_folder, preset_names
from pipeline.app.settings.options import ConfigOptions
from pipeline.app.settings.template import template
from pipeline.errors import ConfigError

_WIDEST = 100


def run_config(options: ConfigOptions) -> int:
    """Print what the options mean; 0. Raises ConfigError for a key or preset that does not exist."""
    requests = {
        "KEY": bool(options.keys),
        "--preset": options.preset is not None,
        "--yaml": options.yaml,
        "--schema": options.schema,
    }
    chosen = [name for name, is_chosen in requests.items() if is_chosen]
    if len(chosen) > 1:
        raise ConfigError(f"one of {', '.join(requests)} must be typed at a time, got {' and '.join(chosen)}")
    try:
        print(_text(options), flush=True)
    except BrokenPipeError:  # the reader has seen enough, as `head` does
        return 0
    return 0


def _text(options: ConfigOptions) -> str:
    if options.schema:
        return json.dumps(config_schema(), indent=2, ensure_ascii=False)
    if options.yaml:
        return template()
    if options.preset is not None:
        return find_preset(options.preset).read_text(encoding="utf-8").rstrip()
    width = min(shutil.get_terminal_size().columns, _WIDEST)
    keys = select_keys(options.keys) if options.keys else config_keys()
    blocks = list(listed(keys, width=width))
    if not options.keys:
        blocks.append("\n".join(_listed_presets(width)))
    return "\n\n".join(blocks)


def listed(keys: Sequence[ConfigKey], *, width: int) -> Iterator[str]:
    """Blocks of lines, of at most that width where words allow it: a heading for each section, then its keys."""
    for section in sections():
        chosen = [key for key in section.keys if key in keys]
        if chosen:
            yield "\n".join(_wrapped(_heading(section), width))
        for key in chosen:
            yield "\n".join(_listed_key(key, width))


def _heading(section: Section) -> str:
    return f"{section.name or 'run'}: {section.meaning}"


def _listed_key(key: ConfigKey, width: int) -> Iterator[str]:
    yield from _wrapped(f"{key.name} = {yaml_value(key.default)}", width, indent=2)
    yield from _wrapped(key.meaning, width, indent=6)
    flags = f"; {', '.join(key.flags)}" if key.flags else ""
    yield from _wrapped(f"takes {key.values}{flags}", width, indent=6)


def _listed_presets(width: int) -> Iterator[str]:
    yield "presets: --config NAME; `streamdet config --preset NAME` prints one."
    for name in preset_names():
        text = (preset_folder() / f"{name}.yaml").read_text(encoding="utf-8")
        first = re.split(r"(?<=[.])(?:\s|$)|; ", text.lstrip("# "), maxsplit=1)[0].replace("\n", " ")
        yield from textwrap.wrap(f"  {name:<12}{first.rstrip('.')}.", width, subsequent_indent=14 * " ")


def _wrapped(text: str, width: int, *, indent: int = 0) -> list[str]:
    """Lines that break at blanks alone, so that flags and values can be copied."""
    return textwrap.wrap(
        text,
        width,
        initial_indent=indent * " ",
        subsequent_indent=(indent or 2) * " ",
        break_long_words=False,
        break_on_hyphens=False,
    )
