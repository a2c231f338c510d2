"""Class names in metadata: any form in which exporters write them → a tuple by class id."""

from __future__ import annotations

import ast
import functools
import json
import logging
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

logger = logging.getLogger(__name__)

# Where exporters put them, the likeliest first: Ultralytics; transformers; Azure, OpenVINO and home-made ones.
_KEYS = ("names", "classnames", "id2label", "classes", "labels", "labelnames", "classlabels", "labelmap", "categories")
_NAME_KEYS = ("name", "display_name", "label", "class", "class_name")
_ID_KEYS = ("id", "class_id", "index", "category_id")
_NUMBERED_LINE = re.compile(r"""['"]?(\d+)['"]?\s*[:=,;\t ]\s*(.+?),?""")
_ARRAY = re.compile(r"""\[\s*(?:'[^']*'\s*|"[^"]*"\s*)+\]""")  # as numpy prints it, without commas
_WRAPPED = re.compile(r"(?:\w+\.)*(?:OrderedDict|dict|list|tuple|array|dict_values)\((.*)\)", re.DOTALL)
_PLAIN_WORD = re.compile(r"\w[\w -]{0,99}")
_PBTXT_ITEM = re.compile(r"item\s*\{")
_PBTXT_FIELD = re.compile(r"""\s*(\w+)\s*:\s*['"]?(.*)""")
_MOST_IDS = 8  # in a warning
_LONGEST = 500_000  # characters; the names of ImageNet's 21,841 classes have 400,000


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
    if names is not None:
        _warn_of_doubles(names)
    elif key == "names" or not text.strip().isdecimal():
        shown = text.strip()[:60]
        logger.warning(
            "the class names in the metadata (%s) cannot be read: %r; give them with --class-names", key, shown
        )
    return names


def _warn_of_doubles(names: tuple[str, ...]) -> None:
    twice = sorted(name for name, num in Counter(names).items() if num > 1)
    if twice:
        ids = [str(class_id) for class_id, name in enumerate(names) if name == twice[0]]
        class_ids = ", ".join(ids[:_MOST_IDS]) + (" …" if len(ids) > _MOST_IDS else "")
        logger.warning("%.60r is the name of the classes %s in the metadata", twice[0], class_ids)


def _parsed(text: str) -> object:
    """The value in a text of any form in `_FORMS`; None for another, and where a mapping has a key twice."""
    if len(text) > _LONGEST:
        return None
    for read in _FORMS:
        try:
            return read(text)
        except _DoubleKeyError:
            return None
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            continue
    return None


def _json(text: str) -> object:
    value: object = json.loads(text, object_pairs_hook=_without_doubles)
    return _parsed(value) if isinstance(value, str) else value


def _printed_array(text: str) -> object:
    if not _ARRAY.fullmatch(text):
        raise ValueError
    return [one or other for one, other in re.findall(r"""'([^']*)'|"([^"]*)\"""", text)]


def _wrapped(text: str) -> object:
    """The value in the brackets of a Python constructor: OrderedDict(…), array(…)."""
    wrapped = _WRAPPED.fullmatch(text)
    if wrapped is None:
        raise ValueError
    value = _parsed(_without_dtype(wrapped[1]))
    return _pairs(value) or value


def _literal(text: str) -> object:
    _refuse_doubles(text)
    return ast.literal_eval(text)


def _label_map(text: str) -> object:
    """The items of a protobuf label map, as TensorFlow's detection API has it."""
    _, *items = _PBTXT_ITEM.split(text)
    if not items or not all("}" in item for item in items):
        raise ValueError
    fields = [map(_PBTXT_FIELD.match, item.partition("}")[0].split("\n")) for item in items]
    return [{match[1]: _without_quote(match[2]) for match in matches if match is not None} for matches in fields]


def _without_dtype(text: str) -> str:
    """The arguments of a numpy array in Python without the last one, dtype=…"""
    before, _, dtype = text.rpartition("dtype=")
    return before.rstrip()[:-1] if before.rstrip().endswith(",") and ")" not in dtype else text


def _without_quote(value: str) -> str:
    value = value.rstrip()
    return value[:-1] if value.endswith(("'", '"')) else value


def _yaml(text: str) -> object:
    """YAML in brackets, with every word as it stands: `no` is a name."""
    import yaml

    if not text.startswith(("{", "[", "(")):
        raise ValueError
    try:
        value: object = yaml.load(text, Loader=yaml.BaseLoader)
    except (yaml.YAMLError, ValueError, RecursionError):
        return None
    return _joined(value) or value


def _joined(value: object) -> dict[object, object] | None:
    """A list of mappings of one key each as one mapping; None for anything else."""
    if not isinstance(value, list) or not all(isinstance(entry, dict) and len(entry) == 1 for entry in value):
        return None
    return {key: name for entry in value for key, name in entry.items()}


def _lines(text: str) -> object:
    """A name a line, perhaps numbered; of a single line, its words with commas between them."""
    lines = [line.strip().removeprefix("- ").strip() for line in text.splitlines() if line.strip()]
    if len(lines) == 1:
        lines = [word.strip() for word in re.split("[,;|]", lines[0])]
    numbered = [_NUMBERED_LINE.fullmatch(line) for line in lines]
    if all(numbered):
        pairs = [(match[1], match[2]) for match in numbered if match is not None]
        return _without_doubles(pairs)
    is_plain = _PLAIN_WORD.fullmatch(lines[0]) if len(lines) == 1 else all(map(_looks_like_a_name, lines))
    return [line.strip("'\"") for line in lines] if is_plain else None


_FORMS: tuple[Callable[[str], object], ...] = (_json, _printed_array, _wrapped, _literal, _label_map, _yaml, _lines)
"""Read a text, or raise ValueError or what `ast.literal_eval` raises for another form; tried in this order."""


def _looks_like_a_name(line: str) -> bool:
    return len(line) <= 100 and any(map(str.isalnum, line))


def _by_id(value: object) -> tuple[str, ...] | None:
    """Names by class id, of a list, or of a mapping from ids to names, from names to ids, or with one of them in it."""
    if isinstance(value, Mapping):
        inner = next((value[key] for key in _KEYS if isinstance(value.get(key), list | tuple | dict)), None)
        return _by_id(inner) if inner is not None else _by_number(_numbered(value))
    if not isinstance(value, list | tuple) or not value:
        return None
    if all(isinstance(entry, Mapping) for entry in value):
        return _of_entries(value)
    pairs = _pairs(value)
    return _by_number(_numbered(pairs)) if pairs else _in_order(value)


def _of_entries(entries: Sequence[Mapping[object, object]]) -> tuple[str, ...] | None:
    """Names by class id of a list of classes, each a mapping with its name, and its id or none."""
    ids = [_first_of(entry, _ID_KEYS) for entry in entries]
    names = [_first_of(entry, _NAME_KEYS) for entry in entries]
    if None in names:
        return None
    if all(class_id is None for class_id in ids):
        return _in_order(names)
    return _by_number(_numbered(dict(zip(ids, names, strict=True)))) if len(set(ids)) == len(ids) else None


def _pairs(value: object) -> dict[object, object] | None:
    """A list of ids with names, [[0, "cat"], [1, "dog"]], as a mapping."""
    if not isinstance(value, list | tuple) or not value or not all(map(_is_numbered_pair, value)):
        return None
    return {pair[0]: pair[1] for pair in value}


def _is_numbered_pair(value: object) -> bool:
    return isinstance(value, list | tuple) and len(value) == 2 and _as_number(value[0]) is not None


def _numbered(value: Mapping[object, object]) -> dict[int, object] | None:
    """With whole numbers as keys; None where there are others, or two of the same number."""
    keys = [_as_number(key) for key in value]
    if None in keys:
        return _turned(value)
    names = [_first_of(name, _NAME_KEYS) if isinstance(name, Mapping) else name for name in value.values()]
    by_number = {key: name for key, name in zip(keys, names, strict=True) if key is not None}
    return by_number if by_number and len(by_number) == len(value) else None


def _turned(numbers: Mapping[object, object]) -> dict[int, object] | None:
    """From names to numbers, as label2id, turned around; None where the numbers are not 0, 1, 2 … each once."""
    ids = [_as_number(number) for number in numbers.values()]
    if set(ids) != set(range(len(ids))):
        return None
    return {class_id: name for class_id, name in zip(ids, numbers, strict=True) if class_id is not None}


def _by_number(names: Mapping[int, object] | None) -> tuple[str, ...] | None:
    """From 0 on, with what is missing between as numbers; counted from 1 or with COCO's gaps, in their order."""
    if names is None or min(names) < 0:
        return None
    last = max(names)
    if min(names) == 0 and last < 10 * len(names) + 100:
        return _in_order([names.get(number) for number in range(last + 1)])
    return _in_order([names[number] for number in sorted(names)])


def _in_order(names: Iterable[object]) -> tuple[str, ...] | None:
    if any(isinstance(name, list | tuple | Mapping) for name in names):
        return None
    return tuple(_printable(name) or f"class {class_id}" for class_id, name in enumerate(names))


def _first_of(entry: Mapping[object, object], keys: Iterable[str]) -> object:
    """The value of the first of the keys that a mapping has, or None."""
    return next((entry[key] for key in keys if key in entry), None)


def _as_number(value: object) -> int | None:
    if isinstance(value, bool):
        return None
    try:
        number = int(value) if isinstance(value, int | str) else None
    except ValueError:
        return None
    return number


def _printable(name: object) -> str:
    """The name without what no terminal and no font can show: control characters and halves of a character."""
    text = "" if name is None else str(name)
    text = "".join(" " if unicodedata.category(letter) == "Cc" else letter for letter in text)
    return " ".join(text.encode("utf-8", "replace").decode().split())


class _DoubleKeyError(ValueError):
    """A mapping has a key twice, so that nobody knows which name is meant."""


def _without_doubles(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    if len({key for key, _ in pairs}) < len(pairs):
        raise _DoubleKeyError
    return dict(pairs)


def _refuse_doubles(text: str) -> None:
    for node in ast.walk(ast.parse(text, mode="eval")):
        keys = [key.value for key in node.keys if isinstance(key, ast.Constant)] if isinstance(node, ast.Dict) else []
        if len(set(keys)) < len(keys):
            raise _DoubleKeyError
