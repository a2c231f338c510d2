"""Are found, missed and false objects counted as one would by hand?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.app.config.loading import load_config
from pipeline.app.run.command import run_and_report
from pipeline.app.run.truth_tally import ClassTally, TruthTally
from pipeline.picture.detections import Detections, Result
from pipeline.picture.frame import Frame
from pipeline.sources.words import DEMO_CLIP

NAMES = ("car", "person")


def detections(*rows: tuple[float, float, float, float, float, int]) -> Detections:
    table = np.array(rows, np.float32).reshape(-1, 6)
    return Detections(table[:, :4], table[:, 4].copy(), table[:, 5].astype(np.int64))


class Scene:
    """One frame whose truth is given."""

    class_names = NAMES

    def __init__(self, truth: Detections, ignored: Detections | None = None) -> None:
        self._truth = truth
        self._ignored = ignored or Detections.empty()

    def truth(self, frame_index: int) -> Detections:
        return self._truth

    def ignored(self, frame_index: int) -> Detections:
        return self._ignored


def tally_of(truth: Detections, found: Detections, ignored: Detections | None = None) -> tuple[ClassTally, ...]:
    sink = TruthTally(Scene(truth, ignored))
    sink.write(Result(Frame.from_pixels(np.zeros((8, 8, 3), np.uint8)), found, NAMES))
    return sink.tally()


def test_found_missed_and_false_are_told_apart() -> None:
    truth = detections((0, 0, 10, 10, 1, 0), (20, 20, 30, 30, 1, 0), (50, 50, 60, 60, 1, 1))
    found = detections((1, 0, 10, 10, 0.9, 0), (40, 0, 50, 9, 0.8, 0), (50, 50, 60, 60, 0.7, 0))
    assert tally_of(truth, found) == (ClassTally("car", 2, 1, 2), ClassTally("person", 1, 0, 0))


def test_an_object_is_found_once() -> None:
    truth = detections((0, 0, 10, 10, 1, 0))
    found = detections((0, 0, 10, 10, 0.9, 0), (0, 0, 10, 10, 0.8, 0))
    assert tally_of(truth, found) == (ClassTally("car", 1, 1, 1),)


def test_in_a_clip_every_frame_is_examined_and_in_a_street_drawn_on_the_way_each_fifth(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for source, num in ((DEMO_CLIP, 12), ("sim:traffic?size=64x64", 3)):
        options = {"sources": (source,), "flow.max_frames": 12, "output.jsonl": str(tmp_path / f"{num}.jsonl")}
        assert run_and_report(load_config(options={**options, "engine.device": "cpu"})) == 0
        assert f" found in {num} frames, " in capsys.readouterr().out


def test_nothing_there_and_nothing_found_are_ordinary() -> None:
    assert tally_of(Detections.empty(), Detections.empty()) == ()
    assert tally_of(Detections.empty(), detections((0, 0, 1, 1, 0.5, 1))) == (ClassTally("person", 0, 0, 1),)
    assert tally_of(detections((0, 0, 1, 1, 1, 1)), Detections.empty()) == (ClassTally("person", 1, 0, 0),)


def test_what_is_there_but_not_wanted_is_forgiven() -> None:
    small = detections((0, 0, 4, 4, 1, 1))
    assert tally_of(Detections.empty(), detections((0, 0, 4, 4, 0.5, 1)), small) == ()


def test_only_every_so_manieth_frame_is_examined() -> None:
    sink = TruthTally(Scene(detections((0, 0, 10, 10, 1, 0))), every=5)
    for index in range(11):
        frame = Frame.from_pixels(np.zeros((8, 8, 3), np.uint8), index=index)
        sink.write(Result(frame, Detections.empty(), NAMES))
    assert sink.num_frames == 3
    assert sink.tally() == (ClassTally("car", 3, 0, 0),)
