"""Child source: a process as `pipeline.sources.isolated` starts it, whose source is drawn and does what a test wants.

Run with what the source does after its third picture, and the two descriptors of every such process.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from pipeline.errors import SourceError
from pipeline.flow.stage import Stop
from pipeline.picture.frame import ArrayPicture, TimedPicture
from pipeline.sources.isolated import child
from pipeline.sources.options import SourceOptions
from pipeline.sources.source import FrameSource
from pipeline.sources.states import SourceStates


def pixels_of(index: int) -> np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]:
    """uint8 [H, W, 3], whose size changes with the third one."""
    side = 40 if index < 2 else 900
    return np.full((side, side + 1, 3), index, np.uint8)


def _segfault() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def _hang() -> None:
    ctypes.PyDLL(None).sleep(600)  # native code that keeps the interpreter's lock


def _break() -> None:
    raise SourceError("cam: broke off: the cable is out")


def _blunder() -> None:
    raise KeyError("a mistake of ours")


DEEDS: Mapping[str, Callable[[], object]] = {
    "segfault": _segfault,
    "abort": os.abort,
    "hang": _hang,
    "break": _break,
    "blunder": _blunder,
    "end": lambda: None,
}


class DrawnCamera:
    """A live source of three pictures; it was lost before the second one."""

    source_id, is_live, size_wh, frames_per_second, num_frames = "cam", True, (41, 40), 25.0, None

    def __init__(self, deed: str) -> None:
        self.states = SourceStates(is_live=True)
        self.damage: tuple[str, ...] = ()
        self.num_skipped = 0
        self._deed = deed

    def keep_states(self, states: SourceStates) -> None:
        self.states = states

    def pictures(self, stop: Stop, *, every: int = 1) -> Iterator[TimedPicture]:
        for index in range(0, 3 * every, every):
            if index == every:
                self.states.lose("the cable is out", retry_in_seconds=2.0)
                self.damage, self.num_skipped = ("one break",), 7
            yield TimedPicture(ArrayPicture(pixels_of(index // every)), index / 25, index)
        DEEDS[self._deed]()

    def close(self) -> None:
        pass


def open_source(word: str, *, options: SourceOptions) -> FrameSource:
    """What the process opens instead of a word."""
    return DrawnCamera(deed)


if __name__ == "__main__":
    deed = sys.argv.pop(1)
    setattr(child, "open_source", open_source)  # noqa: B010 - what the process would open is another's
    child.main()
