"""Mutations: sound documents, as bytes or as values of JSON → broken and adversarial ones, by Hypothesis."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import strategies as st

Draw = Callable[[st.SearchStrategy[Any]], Any]

DEEP: Any = []
for _ in range(400):
    DEEP = [DEEP]

ODD_VALUES: Sequence[Any] = (
    *(None, True, False, 0, -1, 1, 2, 80, 2**31, 2**63, 2**64, -(2**63), 10**30, 10**400),
    *(0.0, -0.0, 0.5, 1e-300, 1e300, 1e308, float("nan"), float("inf"), -float("inf")),
    *("", " ", "0", "-1", "nan", "1e999", "9" * 400, "9" * 5000, "\0", "a\0b", "a\nb", "ünï😀", "\ud800", "x" * 300),
    *("..", ".", "/", "//", "/etc/passwd", "~nouser/x", "a:b", "*", "[", "%s", "{0}", "{name}", "x" * 5000),
    *([], {}, [[]], [None], [1, "a"], {"a": 1}, {"": {}}, DEEP),
)
ODD_BYTES = (
    b"\0",
    b"\xff",
    b"\x80" * 12,
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\x7f\xff\xff\xff",
    b"\xff\xff\xff\xff",
    b"\n",
)
_MOST_BYTES = 200_000


@st.composite
def broken_bytes(draw: Draw, seeds: Sequence[bytes]) -> bytes:
    """One of the seeds with up to eight changes: bytes flipped, cut out, doubled, put in or taken from another seed."""
    content = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(0, 8))):
        at = draw(st.integers(0, len(content)))
        length = draw(st.sampled_from((1, 1, 2, 4, 8, 32, 256)))
        match draw(st.sampled_from(("flip", "flip", "cut", "double", "odd", "splice", "end"))):
            case "flip" if at < len(content):
                content[at] ^= 1 << draw(st.integers(0, 7))
            case "cut":
                del content[at : at + length]
            case "double":
                content[at:at] = content[at : at + length] * draw(st.sampled_from((1, 2, 50)))
            case "odd":
                content[at:at] = draw(st.sampled_from(ODD_BYTES))
            case "splice":
                other = draw(st.sampled_from(seeds))
                start = draw(st.integers(0, len(other)))
                content[at : at + length] = other[start : start + length]
            case "end":
                del content[at:]
    return bytes(content[:_MOST_BYTES])


@st.composite
def broken_value(draw: Draw, seeds: Sequence[Any]) -> Any:
    """One of the seeds with up to five changes: an odd value in a place, a part missing, doubled, or moved."""
    value = copy.deepcopy(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(0, 5))):
        places = list(_places(value))
        if not places:
            return copy.deepcopy(draw(st.sampled_from(ODD_VALUES)))
        holder, key = draw(st.sampled_from(places))
        match draw(st.sampled_from(("odd", "odd", "odd", "drop", "move", "rename"))):
            case "odd":
                holder[key] = copy.deepcopy(draw(st.sampled_from(ODD_VALUES)))
            case "drop":
                del holder[key]
            case "move":
                other, other_key = draw(st.sampled_from(places))
                holder[key] = copy.deepcopy(other[other_key])
            case "rename" if isinstance(holder, dict):
                holder[draw(st.sampled_from(("", "id", "a", "0", "\ud800", "x" * 300)))] = holder.pop(key)
    return value


def words(*samples: str, alphabet: str) -> st.SearchStrategy[str]:
    """Samples, samples put together, and texts over an alphabet."""
    pieces = (
        st.sampled_from(samples) | st.text(alphabet, max_size=12) | st.sampled_from(("9" * 400, "\0", "\ud800", ""))
    )
    return st.lists(pieces, max_size=6).map("".join) | pieces.flatmap(
        lambda piece: st.sampled_from((1, 30, 3000)).map(lambda num: piece * num)
    )


def _places(value: Any, depth: int = 0) -> Any:
    """Every list or dictionary in a value, with each of its indices or keys."""
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in list(entries):
        yield value, key
        if depth < 8:
            yield from _places(part, depth + 1)
