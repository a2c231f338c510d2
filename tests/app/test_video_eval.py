"""Does `streamdet eval` price latency in, and judge who is who, on a video?"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pycocotools", reason="AP needs pycocotools")
pytest.importorskip("trackers", reason="tracking metrics need trackers")

from pipeline.accuracy.coco import coco_accuracy
from pipeline.accuracy.truth import LabelledData, LabelledImage, Truth
from pipeline.app.evaluate.streaming import frame_times, latency_of, pretended, tracked
from pipeline.app.labelled_data import drawn_data
from pipeline.errors import ConfigError
from pipeline.picture.detections import Detections
from tests.support.command_line import run_streamdet

TRAFFIC = "sim:traffic?seconds=1.5&fps=10&seed=2&size=320x192"


def moving(num_frames: int, *, speed: float, width: float) -> tuple[list[Detections], LabelledData]:
    """One box that moves to the right, found in every frame exactly where it is."""
    found, images = [], []
    for index in range(num_frames):
        box = np.array([[speed * index, 10, speed * index + width, 50]], np.float32)
        one = Detections(box, np.ones(1, np.float32), np.zeros(1, np.int64), track_ids=np.array([7], np.int64))
        found.append(replace(one, scores=np.full(1, 0.9, np.float32), track_ids=None))
        images.append(LabelledImage(f"frame {index}", index, Truth.of(one), (1000, 100), pts_seconds=index / 10))
    return found, LabelledData("a box", ("box",), (0,), tuple(images))


def test_without_latency_streaming_ap_is_ap() -> None:
    data = drawn_data(TRAFFIC)
    found = [replace(image.truth.objects, track_ids=None) for image in data.images]
    now = pretended(found, data, frame_times(data, None), 0.0, "0 ms")
    assert now.coco.numbers == coco_accuracy(found, [image.truth for image in data.images]).numbers
    assert (now.num_answered, now.mean_lag_frames) == (len(found), 0.0)


def test_a_constant_delay_on_known_motion_costs_what_was_computed_by_hand() -> None:
    found, data = moving(101, speed=2.0, width=18.0)
    late = pretended(found, data, frame_times(data, None), 0.1, "100 ms")
    # One frame behind: IoU (18 - 2) / (18 + 2) = .8, which passes .50 to .80 of the ten thresholds. The first frame
    # shows nothing, so recall ends at 100 of 101: of the 101 points of recall, 0 to .99 have precision 1.
    assert late.coco.numbers["AP"] == pytest.approx(0.7 * 100 / 101, abs=1e-6)
    assert late.coco.numbers["AP50"] == pytest.approx(100 / 101, abs=1e-6)
    assert late.mean_lag_frames == 1.0


def test_what_a_slow_detector_shows_is_further_and_further_behind() -> None:
    found, data = moving(60, speed=1.0, width=40.0)
    lags = [pretended(found, data, frame_times(data, None), each, "").mean_lag_frames for each in (0.0, 0.1, 0.35, 1.0)]
    assert lags == sorted(lags)
    assert lags[-1] > 10


def test_who_is_found_everywhere_and_followed_scores_full_marks_but_for_the_first_frame() -> None:
    found, data = moving(50, speed=1.0, width=40.0)
    judged = tracked(found, data, frame_times(data, None), score_threshold=0.5)
    assert judged.overall is not None
    assert judged.overall.mota == pytest.approx(49 / 50)  # ByteTrack is sure of a track from its second frame on
    assert judged.overall.num_id_switches == 0
    assert judged.overall.idf1 == pytest.approx(2 * 49 / (2 * 49 + 1))


@pytest.mark.parametrize(("word", "seconds"), [("80ms", 0.08), ("0ms", 0.0), ("0.5s", 0.5), ("measured", None)])
def test_latencies_are_read_with_their_unit(word: str, seconds: float | None) -> None:
    assert latency_of(word) == seconds


def test_a_latency_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError, match="--pretend-latency must be a duration with its unit, such as 80ms"):
        latency_of("soon")


def test_images_without_times_need_a_rate() -> None:
    _, data = moving(3, speed=1.0, width=4.0)
    still = replace(data, images=tuple(replace(image, pts_seconds=None) for image in data.images))
    assert frame_times(still, 25.0) == [0.0, 0.04, 0.08]
    with pytest.raises(ConfigError, match="--fps"):
        frame_times(still, None)


def test_the_command_prints_and_writes_streaming_ap_and_tracking(tmp_path: Path) -> None:
    report = tmp_path / "eval.json"
    words = ["eval", "--data", TRAFFIC, "--pretend-latency", "0ms", "--pretend-latency", "250ms", "--streaming"]
    done = run_streamdet(*words, "--tracking", "--report", report)
    assert done.returncode == 0, done.stderr
    (result,) = json.loads(report.read_text())["results"]
    none, late, live = result["streaming"]
    assert none["coco"] == result["coco"]
    assert late["coco"]["AP"] < none["coco"]["AP"]
    assert 0 < live["num_answered"] <= 15
    assert 0 < result["tracking"]["all"]["hota"] <= 1
    assert "sAP50" in done.stdout
    assert "HOTA" in done.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--data", TRAFFIC, "--pretend-latency", "soon"], "--pretend-latency must be a duration"),
        (["--data", TRAFFIC, "--detections", "nowhere.json", "--streaming"], "need a model that runs"),
    ],
)
def test_mistakes_are_said_before_anything_runs(words: list[str], said: str) -> None:
    done = run_streamdet("eval", *words)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr
