"""YAML edit: a text, keys and a value → the text with that value there, and all else as somebody wrote it.

Comments, order and spelling of the rest stay. What comes out is read again before it is given out, so an edit changes
one value or fails; where a value cannot be exchanged alone, as within braces, what is around it is written anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

from pipeline.yaml_file import NotYamlError, parse_yaml

Keys = Sequence[str | int]
"""Keys of mappings and indexes of lists, from the outside in."""

_WIDTH = 100_000  # of a line: a value is not broken
_ABSENT: Any = object()


def with_value(text: str, keys: Keys, value: object) -> str:
    """The text with a value of plain types at a keys, whose mappings are made where they are missing.

    Raises NotYamlError for a text that is not YAML, and for keys below a value that is neither a mapping nor a list.

    >>> print(with_value("model: a.onnx  # ours\\nlines:\\n  gate: 0,0,1,1\\n", ("lines", "door"), [0, 1]), end="")
    model: a.onnx  # ours
    lines:
      gate: 0,0,1,1
      door:
      - 0
      - 1
    """
    return _edited(text, tuple(keys), value)


def without_value(text: str, keys: Keys) -> str:
    """The text without what is at a keys, and without mappings that hold nothing then. Raises as `with_value`.

    >>> without_value("a: 1\\nlines:\\n  gate: 0,0,1,1\\n", ("lines", "gate"))
    'a: 1\\n'
    """
    return _edited(text, tuple(keys), _ABSENT)


def _edited(text: str, keys: tuple[str | int, ...], value: object) -> str:
    before = parse_yaml(text)
    expected = _changed({} if before is None else _unshared(before), keys, value)
    if before is None and _reads_as(behind := _behind(text, expected), expected):  # nothing but comments
        return behind
    for depth in range(len(keys), 0, -1):
        candidate = _spliced(text, keys[:depth], _at(expected, keys[:depth]))
        if candidate is not None and _reads_as(candidate, expected):
            return candidate
    return _dumped(expected) + "\n"


def _behind(text: str, value: object) -> str:
    return text + ("\n" if text and not text.endswith("\n") else "") + _dumped(value) + "\n"


def _unshared(values: Any) -> Any:
    """A copy in which what an alias stands for is another object, so that it can change alone."""
    if isinstance(values, dict):
        return {key: _unshared(value) for key, value in values.items()}
    return [_unshared(value) for value in values] if isinstance(values, list) else values


def _changed(values: Any, keys: Sequence[str | int], value: object) -> Any:
    """The values with one exchanged, or taken out."""
    key, *below = keys
    is_list = isinstance(values, list) and isinstance(key, int) and 0 <= key < len(values)
    if not (is_list or isinstance(values, dict)):
        raise NotYamlError(f"{key} must be below a mapping or within a list, got {type(values).__name__}")
    inner = values[key] if is_list else values.get(key)
    if below:
        if inner is None and value is _ABSENT:
            return values
        had_some = bool(inner)
        value = _changed({} if inner is None else inner, below, value)
        value = _ABSENT if value == {} and had_some else value  # it has become empty
    if value is _ABSENT:
        values.pop(key) if is_list else values.pop(key, None)
    else:
        values[key] = value
    return values


def _at(values: Any, keys: Sequence[str | int]) -> Any:
    for key in keys:
        is_there = key in values if isinstance(values, dict) else isinstance(key, int) and key < len(values)
        if not is_there:
            return _ABSENT
        values = values[key]
    return values


def _reads_as(text: str, expected: object) -> bool:
    try:
        return (parse_yaml(text) or {}) == expected
    except NotYamlError:
        return False


def _spliced(text: str, keys: Sequence[str | int], value: object) -> str | None:
    """The text with the value exchanged in the lines where it stands; None where that cannot be."""
    node: yaml.Node | None = yaml.compose(text, yaml.SafeLoader)
    for key in keys[:-1]:
        node = _child(node, key)
    if node is None or (isinstance(node, yaml.CollectionNode) and node.flow_style) or not node.value:
        return None
    last = keys[-1]
    if isinstance(node, yaml.SequenceNode):
        child = _child(node, last)
        if child is None or value is _ABSENT:
            return None
        return text[: child.start_mark.index] + _indented(value, child.start_mark.column) + text[_end(child) :]
    if isinstance(node, yaml.MappingNode):
        pair = next((pair for pair in node.value if pair[0].value == last), None)
        return _without_pair(text, pair) if value is _ABSENT else _with_pair(text, node, pair, {last: value})
    return None


def _with_pair(
    text: str, mapping: yaml.MappingNode, pair: tuple[yaml.Node, yaml.Node] | None, content: dict[str | int, object]
) -> str:
    """The text with a key and its value instead of a pair, or behind the last one."""
    column = mapping.value[0][0].start_mark.column
    new = _indented(content, column)
    if pair is not None:
        return text[: pair[0].start_mark.index] + new + text[_end(pair[1]) :]
    end = _end(mapping)
    end = end - 1 if text[end - 1] == "\n" else _end_of_line(text, end)
    return f"{text[:end]}\n{' ' * column}{new}{text[end:] or chr(10)}"


def _without_pair(text: str, pair: tuple[yaml.Node, yaml.Node] | None) -> str | None:
    """The text without the lines of a pair; None where something else stands in them."""
    if pair is None:
        return text
    start = text.rfind("\n", 0, pair[0].start_mark.index) + 1
    if text[start : pair[0].start_mark.index].strip():  # the dash of a list
        return None
    return text[:start] + text[_end_of_line(text, _end(pair[1])) + 1 :]


def _child(node: yaml.Node | None, key: str | int) -> yaml.Node | None:
    if isinstance(node, yaml.SequenceNode) and isinstance(key, int) and not node.flow_style:
        return node.value[key] if key < len(node.value) else None
    if isinstance(node, yaml.MappingNode) and not node.flow_style:
        return next((value for name, value in node.value if name.value == key), None)
    return None


def _end(node: yaml.Node) -> int:
    """Where the text of a node ends; PyYAML has a block end where the next thing begins, behind comments."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(last[1] if isinstance(last, tuple) else last)
    return int(node.end_mark.index)


def _end_of_line(text: str, index: int) -> int:
    end = text.find("\n", index)
    return len(text) if end < 0 else end


def _indented(value: object, column: int) -> str:
    return _dumped(value).replace("\n", "\n" + " " * column)


def _dumped(value: object) -> str:
    text: str = yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=_WIDTH, default_flow_style=False)
    return text.removesuffix("\n...\n").removesuffix("\n")
