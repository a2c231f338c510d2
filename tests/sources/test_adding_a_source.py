"""Adding a source: one class and one row of SOURCE_KINDS are enough for a run, for help texts and for errors."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import pipeline
from pipeline.errors import SourceError
from pipeline.flow.stage import Stop
from pipeline.picture.frame import ArrayPicture, TimedPicture
from pipeline.sources import kinds
from pipeline.sources.kind import SourceKind, SourceRequest
from pipeline.sources.kinds import SOURCE_KINDS, kinds_in_words
from pipeline.sources.looping import can_be_read_again
from pipeline.sources.opening import open_source


class BlackSource:
    """As many black pictures as the word says, ten a second."""

    is_live = False
    size_wh: tuple[int, int] | None = (96, 64)
    frames_per_second: float | None = 10.0
    damage: tuple[str, ...] = ()

    def __init__(self, request: SourceRequest) -> None:
        self.source_id = request.word
        self.num_frames: int | None = int(request.word.removeprefix("black:"))

    def pictures(self, stop: Stop, *, every: int = 1) -> Iterator[TimedPicture]:
        assert self.num_frames is not None
        for number in range(0, self.num_frames, every):
            yield TimedPicture(ArrayPicture(np.zeros((64, 96, 3), np.uint8)), number / 10, number)

    def close(self) -> None: ...


@pytest.fixture(autouse=True)
def _black_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    black = SourceKind(
        "black pictures", "black:3", lambda word: word.startswith("black:"), BlackSource, is_repeatable=True
    )
    monkeypatch.setattr(kinds, "SOURCE_KINDS", (black, *SOURCE_KINDS))


def test_a_new_row_is_opened_and_run(small_detector: Path) -> None:
    results = list(pipeline.detect("black:3", model=str(small_detector)))
    assert [(result.frame.source_id, result.frame.index) for result in results] == [("black:3", i) for i in range(3)]
    assert all(len(result.detections) == 2 for result in results)


def test_a_new_row_is_named_in_help_texts_and_errors() -> None:
    assert kinds_in_words().startswith("black pictures (black:3), camera (0 or /dev/video0), ")
    with pytest.raises(SourceError, match=r"black pictures \(black:3\)"):
        open_source("")


def test_a_new_row_says_whether_it_can_be_read_again() -> None:
    source = open_source("black:2")
    assert len(list(source.pictures(threading.Event()))) == 2
    assert can_be_read_again("black:2", source)


def test_the_names_of_the_kinds_differ_and_the_last_takes_any_path(small_video: Path) -> None:
    assert len({kind.name for kind in SOURCE_KINDS}) == len(SOURCE_KINDS)
    assert SOURCE_KINDS[-1].matches(str(small_video))
