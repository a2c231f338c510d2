"""A run from Python: one loop reads the results of sources that come and go."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest

import streamdet
from pipeline.errors import FlowError


def test_a_source_that_is_added_has_results_in_the_same_loop(small_video: Path, small_detector: Path) -> None:
    """The detector finds a cat with score 0.9 and a dog with 0.4; the loop ends with the last source."""
    counts: dict[str, list[int]] = {}
    with streamdet.Run(small_video, model=small_detector, device="cpu", score_threshold=0.3) as run:
        assert run.add(small_video, name="dogs", classes="dog", weight=2) == "dogs"
        for result in run:
            counts.setdefault(result.frame.source_id, []).append(len(result.detections))
    assert counts == {str(small_video): [2] * 30, "dogs": [1] * 30}
    assert [(source.name, source.state.name, source.num_delivered) for source in run.sources()] == [
        (str(small_video), "ended", 30),
        ("dogs", "ended", 30),
    ]
    with pytest.raises(FlowError, match="has ended"):
        run.add(small_video, name="late")


def test_a_source_can_be_added_and_removed_in_the_loop(small_video: Path, small_detector: Path) -> None:
    """Also where no other is left: the last result of one brings the next."""
    names: list[str] = []
    settings = {"flow.max_frames": 3}
    with streamdet.Run(small_video, model=small_detector, device="cpu", settings=settings) as run:
        for result in run:
            names.append(result.frame.source_id)
            if len(names) in (3, 6):
                run.add(small_video, name=f"after {len(names)}")
    assert names == [str(small_video)] * 3 + ["after 3"] * 3 + ["after 6"] * 3


def test_one_that_stays_open_ends_when_it_is_stopped(small_video: Path, small_detector: Path) -> None:
    settings = {"flow.max_frames": 1}
    with streamdet.Run(small_video, model=small_detector, device="cpu", settings=settings, stays_open=True) as run:
        assert gc.get_freeze_count() > 0  # as in `streamdet run`, cycles are collected
        results = iter(run)
        next(results)
        run.add("sim:traffic?size=64x48&seed=1&fps=100", name="street", model="demo")
        assert next(results).frame.source_id == "street"
        run.stop()
        assert list(results) == []


def test_a_paused_source_says_so_and_goes_on(small_detector: Path) -> None:
    street = "sim:traffic?size=64x48&seed=1&fps=100&seconds=2"
    with streamdet.Run(street, model=small_detector, device="cpu") as run:
        run.pause(street)
        (status,) = run.sources()
        assert (status.is_paused, status.state.name) == (True, "paused")
        run.resume(street)
        assert sum(1 for _ in run) == 200
    assert run.sources()[0].state.name == "ended"


def test_a_mistake_is_one_line(small_video: Path, small_detector: Path) -> None:
    with pytest.raises(streamdet.StreamdetError, match=r"^nowhere\.mp4: there is no such file"):
        streamdet.Run("nowhere.mp4", model=small_detector)
    with pytest.raises(
        streamdet.StreamdetError, match="a source of a run must be a number, a string or a path, got list"
    ):
        streamdet.Run([small_video], model=small_detector)  # type: ignore[arg-type]
    with streamdet.Run(small_video, model=small_detector, device="cpu") as run:
        with pytest.raises(streamdet.StreamdetError, match=r"add\(\): source\.weight must be greater than 0, got 0"):
            run.add(small_video, weight=0)
        with pytest.raises(streamdet.StreamdetError, match="no class 'dogs'; did you mean 'dog'"):
            run.add(small_video, name="b", classes=["dogs"])
        with pytest.raises(FlowError, match="the run has no source 'yard'"):
            run.remove("yard")
