"""SourceKind: one row of the table of the kinds of sources, and what its functions are called with."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal

from pipeline.sources.options import SourceOptions

if TYPE_CHECKING:
    from pipeline.sources.source import FrameSource


@dataclass(frozen=True, slots=True)
class SourceRequest:
    """A source to be opened. stdin: what `-` reads; the process's own if None."""

    word: str
    options: SourceOptions
    stdin: BinaryIO | None = None


@dataclass(frozen=True, slots=True)
class SourceLimit:
    """A source that limits a run. every: one of this many of its pictures was read."""

    word: str
    source: FrameSource
    every: int = 1


def _no_files(word: str) -> tuple[Path, ...]:
    return ()


@dataclass(frozen=True, slots=True)
class SourceKind:
    """One row of the table: how a word is recognised as this kind of source, and how it is opened.

    matches and open may raise SourceError; open, a ConfigError for options within the word.
    """

    name: str
    help: str  # how the word is written
    matches: Callable[[str], bool]
    open: Callable[[SourceRequest], FrameSource]
    files: Callable[[str], tuple[Path, ...]] = _no_files  # of this machine that the word means
    advice: Callable[[SourceLimit], str] = lambda _: "give it smaller pictures"  # completes "Limited by …: "
    takes_span: bool = False  # whether it may be a video, of which a part can be read
    may_come_later: bool = False  # whether it may be live, and so away for a while and back
    isolation: Literal["by default", "on request", "never"] = "never"  # whether a process of its own reads it
    refuse: Callable[[str], None] = lambda _: None  # raises SourceError for what is not there, at no cost
    may_idle: bool = False  # whether it may be one video or stream, which can decode key frames alone
    is_repeatable: bool = False  # whether the word gives the same pictures each time, without a file to read them from
    identity: Callable[[str], Hashable] = lambda word: word  # the same for all words that mean one source
