"""Bare flags: the words of a command line → the same, with the value of a flag that was typed without its own.

`--track street.mp4` means `--track=bytetrack street.mp4`: the word behind the flag is its value only where it is one of
the choices, or nearly. `--on "crossed gate" ./open.sh` means `--on="crossed gate=./open.sh"`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, get_args, get_origin

from pipeline.app.config.flags import marked_keys
from pipeline.app.options import Flag, TypeForm, flag_names


def _choices(kind: TypeForm) -> tuple[str, ...]:
    """The words of a Literal, which may be one member of a union."""
    if get_origin(kind) is Literal:
        return get_args(kind)
    return tuple(word for member in get_args(kind) for word in _choices(member))


_BARE: Mapping[str, tuple[str, tuple[str, ...]]] = {
    name: (marked.mark.bare, _choices(marked.kind))
    for marked in marked_keys()
    if isinstance(marked.mark, Flag) and marked.mark.bare is not None
    for name in flag_names(marked.mark, marked.key)
}


_COMMANDS_WITH_PAIRS = ("run", "demo")  # `compare --on VIDEO` is another flag
_PAIRS = frozenset(
    name
    for marked in marked_keys()
    if isinstance(marked.mark, Flag) and marked.mark.is_pair
    for name in flag_names(marked.mark, marked.key)
)


def with_bare_values(words: Sequence[str], command: str | None = "run") -> list[str]:
    """The words behind the name of a command, with a value behind each flag that may lack one and does.

    >>> with_bare_values(["a.mp4", "--track", "-o", "b.mp4"]), with_bare_values(["--track", "sort", "a.mp4"])
    (['a.mp4', '--track=bytetrack', '-o', 'b.mp4'], ['--track', 'sort', 'a.mp4'])
    >>> with_bare_values(["--on", "crossed gate", "./open.sh", "a.mp4"])
    ['--on=crossed gate=./open.sh', 'a.mp4']
    """
    end = words.index("--") if "--" in words else len(words)
    own = _paired(words[:end]) if command in _COMMANDS_WITH_PAIRS else words[:end]
    return [*_completed(own), *words[end:]]


def _paired(words: Sequence[str]) -> list[str]:
    """The words, with the two behind a flag that takes a pair put into one with it, unless the first has an =."""
    paired: list[str] = []
    rest = iter(words)
    for word in rest:
        first = next(rest, None) if word in _PAIRS else None
        second = next(rest, None) if first is not None and "=" not in first else None
        pair = first if second is None else f"{first}={second}"
        paired.append(word if pair is None else f"{word}={pair}")
    return paired


def _completed(words: Sequence[str]) -> Iterator[str]:
    for index, word in enumerate(words):
        follower = words[index + 1] if index + 1 < len(words) else ""
        bare, choices = _BARE.get(word, ("", ()))
        is_complete = not bare or difflib.get_close_matches(follower, choices, n=1, cutoff=0.8)
        yield word if is_complete else f"{word}={bare}"
