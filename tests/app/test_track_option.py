"""Tracking in a run: the flag, the outputs and the report."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

import pipeline
from pipeline.app.bare_flags import with_bare_values
from pipeline.app.config.loading import load_config
from pipeline.app.config.track import TrackConfig
from pipeline.app.thresholds import tracked_options, tracker_options
from pipeline.picture.suppression import SuppressionOptions
from tests.support.command_line import Streamdet, refused


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        ("run --track a.mp4 -o b.mp4", "run --track=bytetrack a.mp4 -o b.mp4"),
        ("", ""),
        ("run a.mp4 --track", "run a.mp4 --track=bytetrack"),
        ("run --track ocsort a.mp4", "run --track ocsort a.mp4"),
        ("run --track bytetrak a.mp4", "run --track bytetrak a.mp4"),  # an error that names bytetrack
        ("run a.mp4 --track deepsort", "run a.mp4 --track deepsort"),  # an error that names the choices
        ("run --track 0", "run --track=bytetrack 0"),  # a camera
        ("run --track sim:traffic", "run --track=bytetrack sim:traffic"),
        ("run --track nowhere.mp4", "run --track=bytetrack nowhere.mp4"),
        ("run --track=sort -- --track", "run --track=sort -- --track"),
    ],
)
def test_a_bare_flag_means_bytetrack_and_takes_no_source_for_its_value(typed: str, read: str) -> None:
    assert with_bare_values(typed.split()) == read.split()


def test_a_file_without_a_suffix_is_a_source_behind_a_bare_flag(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert with_bare_values(["--track", "film"]) == ["--track", "film"]
    Path("film").touch()
    assert with_bare_values(["--track", "film"]) == ["--track=bytetrack", "film"]
    assert with_bare_values(["--track", "yolox"], "tune") == ["--track=bytetrack", "yolox"]  # there it may be a model


def test_the_thresholds_of_what_is_shown_are_those_of_a_tracker() -> None:
    shown = SuppressionOptions(score_threshold=0.4, class_thresholds={2: 0.05, 3: 0.7})
    assert tracked_options(TrackConfig(), shown) is shown
    kept = tracked_options(TrackConfig(kind="bytetrack"), shown)
    assert (kept.score_threshold, kept.class_thresholds) == (0.1, {2: 0.05, 3: 0.1})
    options = tracker_options(TrackConfig(kind="sort"), shown)
    assert (options.high_score, options.start_score, options.low_score) == (0.4, 0.4, 0.1)
    assert options.class_scores == {2: 0.05, 3: 0.7}
    own = tracker_options(TrackConfig(kind="sort", high_score=0.6), shown)
    assert (own.high_score, own.start_score, own.class_scores) == (0.6, 0.6, {})


def test_a_run_writes_numbers_predictions_and_how_many_there_were(tmp_path: Path, streamdet: Streamdet) -> None:
    lines, table, report = (tmp_path / name for name in ("o.jsonl", "o.csv", "report.json"))
    done = streamdet(
        "run", "--track", "sim:traffic?seed=4&seconds=1.5&size=320x192", "--every", "2",
        "--jsonl", lines, "--csv", table, "--report", report,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    frames = [json.loads(line) for line in lines.read_text().splitlines()]
    numbers = {box["track_id"] for frame in frames for box in frame["detections"] if "track_id" in box}
    assert min(numbers) == 1
    assert any("track_id" not in box for box in frames[0]["detections"])  # not confirmed yet
    predicted = [box for frame in frames for box in frame.get("predicted", ())]
    assert predicted
    assert {box["track_id"] for box in predicted} <= numbers
    of_table = {row["track_id"] for row in csv.DictReader(table.read_text().splitlines())}
    assert of_table - {""} == {str(number) for number in numbers}
    objects = json.loads(report.read_text())["objects"]
    assert sum(count["tracks"] for count in objects.values()) == len(numbers)


def test_python_gives_the_tracks_with_each_result() -> None:
    results = list(pipeline.detect("sim:traffic?seed=4&seconds=0.4&size=320x192", settings={"track.kind": "bytetrack"}))
    last = results[-1]
    assert last.detections.track_ids is not None
    assert last.detections.track_ids.max() > 0
    assert last.tracks is not None
    assert len(last.tracks.trail) == len(results)
    assert len(last.plot()) == 192


def test_a_tracker_that_does_not_exist_is_one_line(streamdet: Streamdet) -> None:
    assert refused(streamdet("run", "sim:traffic", "--track", "bytetrak"), "--track", "'bytetrack'", "'bytetrak'")
    foreign = streamdet("run", "sim:traffic", "--track", "deepsort", "-m", "y.onnx")
    assert refused(foreign, "--track must be 'bytetrack', 'ocsort', 'botsort' or 'sort', got 'deepsort'; did you mean")
    assert load_config(options={"track.kind": "sort"}).track.kind == "sort"
