"""Workers: processes, here or elsewhere, that do one piece of work at a time and may die of it.

    LocalWorkers   processes of this machine                  local_workers.py
    RayWorkers     actors of a Ray cluster                    ray_workers.py

A map hands them a `Task` and gets an `Answer`; the supervisor of cameras has messages of its own.
Each is handed the same picklable function that makes what does the work, once, in the worker: the network is loaded
there, and only pieces of work and their answers travel.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, TypeAlias, TypeVar

from pipeline.fleet.segments import InputFile, Segment

Piece = TypeVar("Piece", contravariant=True)
Outcome = TypeVar("Outcome")

Task: TypeAlias = "InputFile | Segment"
"""A file to be cut into segments, or a segment to be detected in."""


@dataclass(frozen=True, slots=True)
class Indexed:
    """A file was cut into these segments."""

    segments: tuple[Segment, ...]


@dataclass(frozen=True, slots=True)
class Detected:
    """A segment was done; content: its row, a Parquet file."""

    content: bytes
    num_frames: int
    damage: tuple[str, ...]
    seconds: float  # that it took


@dataclass(frozen=True, slots=True)
class Failed:
    """A piece of work cannot be done. must_be_whole: but its file can, in one piece."""

    reason: str
    must_be_whole: bool = False


Answer: TypeAlias = "Indexed | Detected | Failed"

Work: TypeAlias = Callable[[Task], Answer]
"""Raises nothing for a piece of work that cannot be done: it says so."""

OpenWork: TypeAlias = Callable[[], Callable[[Piece], Outcome]]
"""Called in a worker, once. Raises a StreamdetError where nothing could be done at all."""


class Worker(Protocol[Piece, Outcome]):
    """One process, which dies alone."""

    def start(self) -> Future[str | None]:
        """Begin, or begin anew after a death; done when it can take work, or says why it never can."""

    def submit(self, piece: Piece) -> Future[Outcome]:
        """Do a piece of work, one at a time."""


class Workers(Protocol[Piece, Outcome]):
    """Workers that end together."""

    deaths: tuple[type[BaseException], ...]
    """What a future raises where its worker died."""

    def __enter__(self) -> Sequence[Worker[Piece, Outcome]]: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End the workers at once, whatever they are doing."""
