"""Bare flags: the words of a command line → the same, with the value of a flag that was typed without its own.

`--track street.mp4` means `--track=bytetrack street.mp4`: the word behind the flag is its value only where it is one of
the choices, or nearly, or can be no source: `--track deepsort` is an error that names the choices.
`--on "crossed gate" ./open.sh` means `--on="crossed gate=./open.sh"`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, get_args, get_origin

from pipeline.app.config.flags import marked_keys
from pipeline.app.options import Flag, TypeForm, flag_names


def _is_no_source(word: str) -> bool:
    """Whether a word without dots, colons and slashes is not the name of a file, so that it can only be a choice."""
    return re.fullmatch(r"[A-Za-z][\w-]*", word, re.ASCII) is not None and not Path(word).exists()


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
    return [*_completed(own, takes_sources=command in _COMMANDS_WITH_PAIRS), *words[end:]]


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


def _completed(words: Sequence[str], *, takes_sources: bool) -> Iterator[str]:
    """takes_sources: whether a word without a flag is a source, so that one that is none was meant as a value."""
    for index, word in enumerate(words):
        follower = words[index + 1] if index + 1 < len(words) else ""
        bare, choices = _BARE.get(word, ("", ()))
        is_choice = bool(difflib.get_close_matches(follower, choices, n=1, cutoff=0.8))
        is_complete = not bare or is_choice or (takes_sources and _is_no_source(follower))
        yield word if is_complete else f"{word}={bare}"
