"""Gated films: a block that moves over a grey picture, a network that sees it, and NMS that changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from pipeline.errors import OutputError
from pipeline.picture.detections import Detections, Result
from pipeline.picture.frame import Frame, PixelArray
from pipeline.picture.suppression import SuppressionOptions
from pipeline.testing import FunctionStage

FPS = 25
NAMES = ("block",)
SHOWN = SuppressionOptions(score_threshold=0.3)


def drawn(left: int | None, *, level: int = 90) -> PixelArray:
    """A grey picture, with a white block where `left` says."""
    pixels = np.full((48, 64, 3), level, np.uint8)
    if left is not None:
        pixels[20:30, left : left + 10] = 255
    return pixels


def film(num: int, left_of: Callable[[int], int | None], *, source_id: str = "cam") -> list[Frame]:
    return [
        Frame.from_pixels(drawn(left_of(index)), source_id=source_id, index=index, pts_seconds=index / FPS)
        for index in range(num)
    ]


def bright_block(frame: Frame) -> Detections:
    """What a network would detect: the bounds of all that is white."""
    rows, columns = np.nonzero(frame.pixels[:, :, 0] == 255)
    if not len(rows):
        return Detections.empty()
    box = np.array([[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]], np.float32)
    return Detections(box, np.array([0.9], np.float32), np.array([0]))


class Network:
    """Stands for all between the halves of a gate; keeps the numbers of the frames that it saw."""

    def __init__(self, *, fails_on: Iterable[int] = (), detect: Callable[[Frame], Detections] = bright_block) -> None:
        self.seen: list[int] = []
        self._fails_on, self._detect = set(fails_on), detect

    def process(self, frame: Frame) -> Iterable[Result]:
        self.seen.append(frame.index)
        if frame.index in self._fails_on:
            raise OutputError("scores must be numbers, got NaN")
        return (Result(frame, self._detect(frame), NAMES),)

    def drain(self) -> Iterable[Result]:
        return ()

    def close(self) -> None: ...


def nms() -> FunctionStage[Result, Result]:
    return FunctionStage(lambda result: [result])


def walk(index: int) -> int | None:
    """Comes at frame 30, walks to the middle, stands, and goes at frame 90."""
    return min(index - 30, 27) if 30 <= index < 90 else None
