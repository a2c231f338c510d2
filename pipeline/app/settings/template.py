"""Template: the keys of the configuration → a YAML file that sets each to its default and says what it means."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from pipeline.app.config.keys import ConfigKey, Section, sections, yaml_value

_WIDTH = 100
_HEAD = """\
# Every key of streamdet with its default. Delete what you leave as it is: `tune` turns only what a file leaves open.
#   streamdet run street.mp4 --config mine.yaml
# An editor with YAML's language server, such as VS Code's YAML extension by Red Hat, completes and checks it after
#   streamdet config --schema > streamdet.schema.json
# and with this as the file's first line, without the mark before it:
#   > # yaml-language-server: $schema=streamdet.schema.json"""


def template() -> str:
    """A file that loads as it is, and gives the defaults."""
    return "\n\n".join([_HEAD, *("\n".join(_section(section)) for section in sections())])


def _section(section: Section) -> Iterator[str]:
    indent = "  " if section.name else ""
    yield from _comment(section.meaning, "")
    if section.name:
        yield f"{section.name}:"
    for number, key in enumerate(section.keys):
        if number:
            yield ""
        yield from _key(key, indent)


def _key(key: ConfigKey, indent: str) -> Iterator[str]:
    yield from _comment(key.meaning, indent)
    yield from _comment(f"Takes {key.values}.", indent)
    yield f"{indent}{key.name.rpartition('.')[2]}: {yaml_value(key.default)}"


def _comment(text: str, indent: str) -> list[str]:
    mark = f"{indent}# "
    return textwrap.wrap(
        text, _WIDTH, initial_indent=mark, subsequent_indent=mark, break_on_hyphens=False, break_long_words=False
    )
