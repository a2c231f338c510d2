"""Class names in metadata: any form in which exporters write them → a tuple by class id."""

from __future__ import annotations

import ast
import functools
import json
import logging
import re
import unicodedata
from collections.abc import Mapping
from typing import Any

logger = logging.getLogger(__name__)

# Where exporters put them, the likeliest first: Ultralytics; transformers; Azure, OpenVINO and home-made ones.
_KEYS = ("names", "classnames", "id2label", "classes", "labels", "labelnames", "classlabels", "labelmap", "categories")
_NAME_KEYS = ("name", "display_name", "label", "class", "class_name")
_ID_KEYS = ("id", "class_id", "index", "category_id")
_NUMBERED_LINE = re.compile(r"""['"]?(\d+)['"]?\s*[:=,;\t ]\s*(.+?),?""")
_ARRAY = re.compile(r"""\[\s*(?:'[^']*'\s*|"[^"]*"\s*)+\]""")  # as numpy prints it, without commas
_WRAPPED = re.compile(
    r"(?:\w+\.)*(?:OrderedDict|dict|list|tuple|array|dict_values)\((.*?)(?:,\s*dtype=[^)]*)?\)", re.DOTALL
)
_PLAIN_WORD = re.compile(r"\w[\w -]{0,99}")
_PBTXT_ITEM = re.compile(r"item\s*\{(.*?)\}", re.DOTALL)


def class_names_of(metadata: Mapping[str, str]) -> tuple[str, ...] | None:
    """The names in a file's metadata, or None; a text that cannot be read is logged once."""
    by_key = {re.sub("[^a-z0-9]", "", key.lower()): text for key, text in metadata.items()}
    for key in _KEYS:
        if by_key.get(key, "").strip():
            names = _names_in(by_key[key], key)
            if names is not None:
                return names
    return None


@functools.cache
def _names_in(text: str, key: str) -> tuple[str, ...] | None:
    """Cached, because every convention asks the same file, and one warning is enough."""
    names = _by_id(_parsed(text.strip().lstrip("\ufeff")))
    if names is None:
        if key == "names" or not text.strip().isdecimal():
            shown = text.strip()[:60]
            logger.warning(
                "the class names in the metadata (%s) cannot be read: %r; give them with --class-names", key, shown
            )
        return None
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        class_ids = ", ".join(str(class_id) for class_id, name in enumerate(names) if name == twice[0])
        logger.warning("%r is the name of the classes %s in the metadata", twice[0], class_ids)
    return names


def _parsed(text: str) -> Any:
    """The value in a text: JSON, a Python literal, a protobuf label map, lines, or words with commas between them."""
    try:
        value = json.loads(text, object_pairs_hook=_without_doubles)
        return _parsed(value) if isinstance(value, str) else value
    except _DoubleKeyError:
        return None
    except (ValueError, RecursionError):
        pass
    if _ARRAY.fullmatch(text):
        return [one or other for one, other in re.findall(r"""'([^']*)'|"([^"]*)\"""", text)]
    wrapped = _WRAPPED.fullmatch(text)
    if wrapped is not None:
        value = _parsed(wrapped[1])
        return _pairs(value) or value
    try:
        _refuse_doubles(text)
        return ast.literal_eval(text)
    except _DoubleKeyError:
        return None
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        pass
    items = _PBTXT_ITEM.findall(text)
    if items:
        return [dict(re.findall(r"""(\w+)\s*:\s*['"]?(.*?)['"]?\s*(?:\n|$)""", item)) for item in items]
    if text.startswith(("{", "[", "(")):
        return _parsed_yaml(text)
    lines = [line.strip().removeprefix("- ").strip() for line in text.splitlines() if line.strip()]
    if len(lines) == 1:
        lines = [word.strip() for word in re.split("[,;|]", lines[0])]
    numbered = [_NUMBERED_LINE.fullmatch(line) for line in lines]
    if all(numbered):
        pairs = [(match[1], match[2]) for match in numbered if match is not None]
        return dict(pairs) if len(dict(pairs)) == len(pairs) else None
    is_plain = _PLAIN_WORD.fullmatch(lines[0]) if len(lines) == 1 else all(map(_looks_like_a_name, lines))
    return [line.strip("'\"") for line in lines] if is_plain else None


def _looks_like_a_name(line: str) -> bool:
    return len(line) <= 100 and any(map(str.isalnum, line))


def _by_id(value: Any) -> tuple[str, ...] | None:
    """Names by class id, of a list, or of a mapping from ids to names, from names to ids, or with one of them in it."""
    if isinstance(value, Mapping):
        inner = next((value[key] for key in _KEYS if isinstance(value.get(key), list | tuple | dict)), None)
        return _by_id(inner) if inner is not None else _by_number(_numbered(value))
    if not isinstance(value, list | tuple) or not value:
        return None
    if all(isinstance(entry, Mapping) for entry in value):
        ids = [next((entry[key] for key in _ID_KEYS if key in entry), None) for entry in value]
        names = [_name_of(entry) for entry in value]
        if None in names:
            return None
        if all(entry is None for entry in ids):
            return _in_order(names)
        return _by_number(_numbered(dict(zip(ids, names, strict=True)))) if len(set(ids)) == len(ids) else None
    pairs = _pairs(value)
    return _by_number(_numbered(pairs)) if pairs else _in_order(value)


def _pairs(value: Any) -> dict[Any, Any] | None:
    """A list of ids with names, [[0, "cat"], [1, "dog"]], as a mapping."""
    if not isinstance(value, list | tuple) or not value:
        return None
    if not all(isinstance(pair, list | tuple) and len(pair) == 2 and _as_number(pair[0]) is not None for pair in value):
        return None
    return {pair[0]: pair[1] for pair in value}


def _numbered(value: Mapping[Any, Any]) -> dict[int, Any] | None:
    """With whole numbers as keys; None where there are others, or two of the same number."""
    keys = [_as_number(key) for key in value]
    if None in keys:  # label2id: from names to numbers
        names, keys = list(value), [_as_number(entry) for entry in value.values()]
        if set(keys) != set(range(len(names))):
            return None
    else:
        names = [_name_of(entry) if isinstance(entry, Mapping) else entry for entry in value.values()]
    by_number = {key: name for key, name in zip(keys, names, strict=True) if key is not None}
    return by_number if by_number and len(by_number) == len(value) else None


def _by_number(names: Mapping[int, Any] | None) -> tuple[str, ...] | None:
    """From 0 on, with what is missing between as numbers; counted from 1 or with COCO's gaps, in their order."""
    if names is None or min(names) < 0:
        return None
    last = max(names)
    if min(names) == 0 and last < 10 * len(names) + 100:
        return _in_order([names.get(number) for number in range(last + 1)])
    return _in_order([names[number] for number in sorted(names)])


def _in_order(names: Any) -> tuple[str, ...] | None:
    if any(isinstance(name, list | tuple | Mapping) for name in names):
        return None
    return tuple(_printable(name) or f"class {class_id}" for class_id, name in enumerate(names))


def _name_of(entry: Mapping[str, Any]) -> Any:
    return next((entry[key] for key in _NAME_KEYS if key in entry), None)


def _as_number(value: Any) -> int | None:
    if isinstance(value, bool):
        return None
    try:
        number = int(value) if isinstance(value, int | str) else None
    except ValueError:
        return None
    return number


def _printable(name: Any) -> str:
    """The name without what no terminal and no font can show: control characters and halves of a character."""
    text = "" if name is None else str(name)
    text = "".join(" " if unicodedata.category(letter) == "Cc" else letter for letter in text)
    return " ".join(text.encode("utf-8", "replace").decode().split())


class _DoubleKeyError(ValueError):
    """A mapping has a key twice, so that nobody knows which name is meant."""


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) < len(pairs):
        raise _DoubleKeyError
    return dict(pairs)


def _refuse_doubles(text: str) -> None:
    for node in ast.walk(ast.parse(text, mode="eval")):
        keys = [key.value for key in node.keys if isinstance(key, ast.Constant)] if isinstance(node, ast.Dict) else []
        if len(set(keys)) < len(keys):
            raise _DoubleKeyError


def _parsed_yaml(text: str) -> Any:
    """YAML in brackets, with every word as it stands: `no` is a name."""
    import yaml

    try:
        value = yaml.load(text, Loader=yaml.BaseLoader)
    except (yaml.YAMLError, ValueError, RecursionError):
        return None
    is_of_pairs = isinstance(value, list) and all(isinstance(entry, dict) and len(entry) == 1 for entry in value)
    return {key: name for entry in value for key, name in entry.items()} if is_of_pairs else value
