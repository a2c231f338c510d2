"""Benchmarks: they run, and they measure what they say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from benchmarks.bars import bars_of
from benchmarks.competitors.opencv_loop import run_loop
from benchmarks.competitors.rearranged import rearrange
from benchmarks.contender import Contender, measure_in_turns
from benchmarks.drawn_video import write_street
from benchmarks.fixed_detector import write_fixed_detector
from benchmarks.job import ContenderError, Job, Outcome, run_apart
from benchmarks.mapping.simulated import Calibration, SimulatedRun, amdahl, segments_of_files, store_bytes_a_frame
from benchmarks.memory import over_frames, over_sources
from benchmarks.ours import run_pipeline
from benchmarks.tracking_cost import cost
from benchmarks.tracking_truth import without_bursts
from pipeline.app.model_files import DEMO_MODEL
from tests.support.assets import ASSETS, MODELS, needs_assets
from tests.support.tiny_detector import write_detector

ROOT = Path(__file__).parents[2]
SCRIPTS = (
    *("competitors.rearranged", "end_to_end", "gpu", "live_age", "memory", "network_camera", "python_share", "scaling"),
    *("export_table", "gated", "start_up", "scale", "tracking_cost", "tracking_truth", "what_pays"),
)


@pytest.fixture(scope="session")
def street(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 frames of the size of the demo detector's input, of which 6 are drawn."""
    path = tmp_path_factory.mktemp("street") / "street.mp4"
    return write_street(path, size_wh=(512, 288), num_frames=40, num_drawn=6)


def measured(name: str, cpu_ms: float, fps: float) -> Contender:
    """A contender that has been measured once, over 100 frames."""
    return Contender(name, "", Job("", "", "", 100), outcomes=[Outcome(100, 100 / fps, cpu_ms / 10)])


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_script_says_what_it_takes(script: str) -> None:
    command = [sys.executable, "-m", f"benchmarks.{script}", "--help"]
    assert "usage" in subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout


def test_a_rearranged_detector_gives_the_same_boxes_and_the_product_of_its_scores(tmp_path: Path) -> None:
    rows = np.random.default_rng(3).random((7, 85)).astype(np.float32)
    original = write_detector(tmp_path / "rows.onnx", {"rows": rows}, input_shape=(1, 3, 32, 64), adds_mean=False)
    session = onnxruntime.InferenceSession(str(rearrange(original, tmp_path / "columns.onnx")))
    (columns,) = session.run(None, {"images": np.ones((1, 3, 32, 64), np.float32)})
    assert columns.shape == (1, 84, 7)
    np.testing.assert_array_equal(columns[0, :4].T, rows[:, :4])
    np.testing.assert_array_equal(columns[0, 4:].T, rows[:, 4:5] * rows[:, 5:])
    about = session.get_modelmeta().custom_metadata_map
    assert about["imgsz"] == "[32, 64]"
    assert about["names"].startswith("{0: 'person', 1: 'bicycle'")


def test_amdahls_law_is_fitted_to_the_times_that_it_gives() -> None:
    runs = [SimulatedRun(num, 64, wall_seconds=0.5 + 40 / num, sleep_seconds=40) for num in (1, 2, 4, 8, 16)]
    assert amdahl(runs) == pytest.approx((0.5, 40))
    assert runs[-1].efficiency == pytest.approx(40 / 16 / 3)
    assert runs[-1].overhead_ms == pytest.approx(1000 * 16 * 0.5 / 64)


def test_simulated_segments_are_of_a_minute_and_their_rows_of_the_measured_size() -> None:
    calibration = Calibration(bytes(600), num_frames=100, seconds_a_frame=0.01, frames_per_second=30)
    segments = segments_of_files(10, calibration)
    assert [segment.seconds for segment in segments[:4]] == [60] * 4
    assert 30 <= segments[4].seconds <= 90
    assert len({segment.name for segment in segments}) == 10
    assert 6 <= store_bytes_a_frame(calibration) < 6.5  # the row, and a few hundred bytes for 1800 frames


@needs_assets
def test_streamdet_finds_the_same_in_a_rearranged_yolov5(tmp_path: Path) -> None:
    import pipeline

    model, video = MODELS / "yolov5n_coco_320.onnx", ASSETS / "videos" / "sk_bikes.mp4"
    copy = rearrange(model, tmp_path / "copy.onnx")
    settings = {"flow.max_frames": 3, "detection.score_threshold": 0.25, "detection.iou_threshold": 0.5}
    # YOLOv8 has one box a cell, and this file three, so that it needs a hint.
    originals, copies = (
        [result.detections for result in pipeline.detect(str(video), model=str(path), settings=settings | head)]
        for path, head in ((model, {}), (copy, {"hints.head": "yolov8"}))
    )
    assert sum(len(detections) for detections in originals) > 0
    for original, rearranged in zip(originals, copies, strict=True):
        np.testing.assert_allclose(rearranged.boxes_xyxy, original.boxes_xyxy, atol=1e-3)
        np.testing.assert_allclose(rearranged.scores, original.scores, atol=1e-5)
        np.testing.assert_array_equal(rearranged.class_ids, original.class_ids)


def test_a_street_repeats_what_was_drawn(street: Path) -> None:
    import av

    with av.open(str(street)) as container:
        frames = [frame.to_ndarray(format="gray") for frame in container.decode(video=0)]
    assert len(frames) == 40
    np.testing.assert_array_equal(frames[6 + 2], frames[2])
    assert (frames[0] != frames[3]).any()


def test_a_fixed_detector_finds_its_number_of_boxes(tmp_path: Path, street: Path) -> None:
    for num_boxes in (0, 1, 1000):
        model = write_fixed_detector(tmp_path / f"{num_boxes}.onnx", num_boxes)
        outcome = run_pipeline(Job("", str(street), str(model), 2))
        assert (outcome.num_frames, outcome.num_detections) == (2, 2 * num_boxes)


def test_the_loop_and_streamdet_find_the_same_in_drawn_traffic(street: Path) -> None:
    job = Job("", str(street), str(DEMO_MODEL), 6, settings=("engine.device=cpu",))
    loop = run_loop(job)
    assert loop.num_detections
    assert run_pipeline(job).num_detections == loop.num_detections  # in a picture that nobody has to resize


def test_the_loop_records_its_frames(tmp_path: Path, street: Path) -> None:
    outcome = run_loop(Job("", str(street), str(DEMO_MODEL), 3, folder=str(tmp_path)))
    assert outcome.num_frames == 3
    assert (tmp_path / "loop.mp4").stat().st_size > 0


def test_a_contender_runs_apart_and_says_what_it_needs(tmp_path: Path, street: Path) -> None:
    job = Job("decode", str(street), "", 12)
    assert run_apart(job, module="benchmarks.floors", environment={}).num_frames == 12
    (tmp_path / "competitor.py").write_text(
        "from benchmarks.job import do_job\ndef work(job):\n    import a_package_that_is_not_installed\ndo_job(work)\n"
    )
    with pytest.raises(ContenderError, match="not installed: No module named 'a_package_that_is_not_installed'"):
        run_apart(job, module="competitor", environment={"PYTHONPATH": str(tmp_path)})


def test_a_missing_competitor_is_a_row_and_no_failure(tmp_path: Path, street: Path) -> None:
    job = Job("", str(street), "", 1)
    competitor = Contender("competitor", "no.such.module", job, may_fail=True)
    measure_in_turns([competitor], 2, tmp_path)
    assert "No module named 'no'" in competitor.failure
    with pytest.raises(ContenderError):
        measure_in_turns([Contender("ours", "no.such.module", job)], 1, tmp_path)


def test_bars_are_ratios_and_differences_of_medians() -> None:
    floors = [measured("bare", 57, 34), measured("bare-1", 50, 20), measured("bare-1-pair", 52, 38)]
    floors += [measured("decode", 6, 180), measured("convert", 1, 900), measured("encode", 9, 110)]
    others = [measured("loop", 80, 24), measured("loop-recording", 105, 18.5)]
    ours = [measured("ours", 60, 30), measured("ours-recording", 90, 20), measured("ultralytics", 85, 20)]
    bars = {bar.name: bar for bar in bars_of([*floors, *others, *ours], 0.7, [])}
    above = bars["CPU ms / frame above bare, boxes only"]
    assert above.value == pytest.approx(3.0)
    assert above.is_met
    above = bars["CPU ms / frame above bare, with a recording"]
    assert above.value == pytest.approx(33.0)
    assert not above.is_met
    assert bars["frames/s of Ultralytics, boxes only"].value == pytest.approx(1.5)
    assert bars["frames/s of Ultralytics, with a recording"].is_met is None
    assert bars["AP lost by our best setting, points"].is_met is False
    assert bars["efficiency, boxes only"].value == pytest.approx((50 + 6 + 1) / 60)
    assert bars["efficiency, with a recording"].value == pytest.approx((50 + 6 + 1 + 9) / 90)


def test_memory_is_read_over_frames_and_over_sources(tmp_path: Path) -> None:
    pytest.importorskip("psutil", reason="memory is read by psutil")
    over = over_frames(tmp_path, 60, suffix=".mkv")
    assert over.frames == 60
    sources = over_sources(tmp_path, 2).sources
    assert len(sources) == 2
    assert sources[0].python_threads == sources[1].python_threads
    assert sources[0].open_files == sources[1].open_files


def test_charts_are_drawn_of_points(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="draws charts")
    from benchmarks.scaling import Point, draw_charts

    points = [Point("detections", "boxes only", x, 100.0, None if x else 3.0, 200.0, 0) for x in (0, 1, 1000)]
    (written,) = draw_charts(points, tmp_path, title="a machine")
    assert written.name == "scaling-detections.png"
    assert written.read_bytes().startswith(b"\x89PNG")


def test_bursts_drop_the_share_that_they_say_and_several_frames_at_once() -> None:
    pytest.importorskip("trackers")
    kept = without_bursts(100_000, 0.3, seed=1)
    assert len(kept) == pytest.approx(70_000, rel=0.03)
    gaps = np.diff(kept) - 1
    assert gaps[gaps > 0].mean() == pytest.approx(5, rel=0.1)
    assert len(without_bursts(100, 0.0, seed=1)) == 100


def test_the_cost_of_tracking_is_that_of_both_on_the_same_walk() -> None:
    pytest.importorskip("trackers")
    ours_ms, library_ms = cost(5, 6)
    assert ours_ms > 0
    assert library_ms > 0
