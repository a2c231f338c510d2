"""YAML: text that anybody may have written → plain values, within limits, or an error with the line.

A few hundred bytes of aliases can stand for gigabytes of values, deep nesting overflows Python's stack, a key that is
there twice loses its first value, and PyYAML raises errors of many kinds. All of them end here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from pipeline.text_file import read_text

_LARGEST_BYTES = 4_000_000
_MOST_VALUES = 200_000  # aliases counted as what they stand for
_DEEPEST = 50
_MERGE = "tag:yaml.org,2002:merge"  # of <<, which may be there twice

_BaseLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # in C, where PyYAML was built with libyaml


class NotYamlError(ValueError):
    """Text is not YAML, or more of it than anybody needs. line: counted from 1, None where it is not known."""

    def __init__(self, reason: str, line: int | None = None) -> None:
        super().__init__(reason)
        self.line = line


def read_yaml(path: Path) -> object:
    """The value in a file. Raises NotYamlError, and what `read_text` raises."""
    if path.is_file() and path.stat().st_size > _LARGEST_BYTES:
        raise NotYamlError(f"it has {path.stat().st_size:,} bytes, and may have {_LARGEST_BYTES:,}")
    return parse_yaml(read_text(path))


def parse_yaml(text: str) -> object:
    """The value that a text is, of dictionaries, lists, strings, numbers, dates, true, false and null.

    Raises NotYamlError.
    """
    try:
        _refuse_bombs(text)
        value: object = yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise NotYamlError(str(getattr(error, "problem", error)), None if mark is None else mark.line + 1) from error
    except NotYamlError:
        raise
    except (ValueError, TypeError, AttributeError, KeyError, OverflowError, RecursionError) as error:
        # Of PyYAML's constructors, for a date such as 2001-99-99, !!int x, or more digits than Python converts.
        raise NotYamlError(f"a value cannot be read: {' '.join(str(error).split())[:200]}") from error
    return value


class _Loader(_BaseLoader):  # type: ignore[misc]
    """Refuses a mapping in which a key is there twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[object, object]:
        names: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != _MERGE:
                if key.value in names:
                    problem = f"the key {key.value[:99]} is there twice"
                    raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
                names.add(key.value)
        mapping: dict[object, object] = super().construct_mapping(node, deep=deep)
        return mapping


def _refuse_bombs(text: str) -> None:
    """Raise NotYamlError for text that stands for too much, without building any of it."""
    sizes: dict[str | None, int] = {}  # the number of values in what an anchor names
    open_collections: list[tuple[str | None, int]] = []  # its anchor, and the number of values before it
    num = 0
    for event in yaml.parse(text, Loader=_BaseLoader):
        if isinstance(event, yaml.AliasEvent):
            if event.anchor in {anchor for anchor, _ in open_collections}:
                raise NotYamlError(f"*{event.anchor} is inside what it stands for", _line_of(event))
            num += sizes.get(event.anchor, 1)
        elif isinstance(event, yaml.ScalarEvent):
            num += 1
            sizes[event.anchor] = 1
        elif isinstance(event, yaml.CollectionStartEvent):
            num += 1
            open_collections.append((event.anchor, num))
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_collections.pop()
            if anchor is not None:
                sizes[anchor] = num - before + 1
        if num > _MOST_VALUES or len(open_collections) > _DEEPEST:
            too_many = f"it stands for more than {_MOST_VALUES:,} values"
            reason = too_many if num > _MOST_VALUES else f"it is nested deeper than {_DEEPEST}"
            raise NotYamlError(reason, _line_of(event))


def _line_of(event: yaml.Event) -> int | None:
    return None if event.start_mark is None else event.start_mark.line + 1
