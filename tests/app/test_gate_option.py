"""The option --gate: what a run carries, writes and says of it, and where every frame is looked at all the same."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.app.assemble import Assembly, assemble
from pipeline.app.config.loading import load_config
from pipeline.app.config.run import RunConfig
from pipeline.app.gating import gating_of
from pipeline.app.run.metrics import RunMetrics, RunSnapshot
from pipeline.app.suppression import Suppression
from pipeline.flow.running import Running
from pipeline.picture.detections import Detections, Result
from pipeline.picture.detector_spec import DetectorSpec
from pipeline.picture.drawing import draw_result
from pipeline.picture.frame import Frame
from pipeline.picture.gate.carrying import carried_on
from pipeline.picture.gate.misses import MissRate
from pipeline.picture.letterbox import Letterbox
from pipeline.stages.gate import GatedFrame, GateStatistics
from pipeline.testing import CollectingSink
from tests.support.command_line import Streamdet, refused
from tests.support.gated_films import NAMES, film


def config_of(video: Path, detector: Path, **keys: Any) -> RunConfig:
    options = {"sources": (str(video),), "model": str(detector), "output.show": False, "gate.kind": "frames"}
    return load_config(options=options | {key.replace("__", "."): value for key, value in keys.items()})


def run(config: RunConfig) -> tuple[list[Result], Assembly]:
    sink: CollectingSink[Result] = CollectingSink()
    assembly = assemble(config)
    with Running(assembly.flow.to(sink)) as running:
        running.wait()
    return sink.got, assembly


def test_a_run_marks_what_it_carries_and_says_how_much_and_how_often_it_was_checked(
    tmp_path: Path, streamdet: Streamdet, small_video: Path, small_detector: Path
) -> None:
    lines, table, report = (tmp_path / name for name in ("o.jsonl", "o.csv", "report.json"))
    done = streamdet(
        "run", "--gate", small_video, "-m", small_detector, "--jsonl", lines, "--csv", table, "--report", report,
        "--set", "gate.full_scan_s=1", "--set", "gate.check_share=0",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    frames = [json.loads(line) for line in lines.read_text().splitlines()]
    carried = ["carried" in frame for frame in frames]
    assert carried == [False] * 14 + [True] * 9 + [False] + [True] * 6  # learning to 1.3 s, a full scan at 2.3 s
    assert [[box.get("carried", False) for box in frame["detections"]] for frame in frames] == [
        [c] * 2 for c in carried
    ]
    assert len({json.dumps([box["box"] for box in frame["detections"]]) for frame in frames}) == 1
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert [row["carried"] for row in rows] == [word for c in carried for word in ["True" if c else ""] * 2]
    gate = json.loads(report.read_text())["gate"]
    assert (gate["inferred"], gate["carried"], gate["duty"]) == (15, 15, 0.5)
    assert gate["reasons"] == {"scan": 1, "start": 14}
    assert json.loads(report.read_text())["sources"][str(small_video)]["gate"] == gate
    assert json.loads(report.read_text())["frames"]["delivered"] == 30
    assert "gate     15 of 30 frames inferred (50%), 15 carried; nothing was checked" in done.stdout
    assert "carried" in next(line for line in done.stdout.splitlines() if line.startswith("FPS"))


@pytest.mark.parametrize(
    "keys",
    [
        {"engine__batch": 4},
        {"engine__inflight": 3},
        {"tiles__grid": "1x2"},
        {"track__kind": "bytetrack"},
        {"flow__every": 2, "gate__full_scan_s": 1000},
        {"sources": ({"url": "VIDEO", "score_threshold": 0.5}, "VIDEO")},
    ],
    ids=["batches", "several at once", "tiles", "tracks", "every second frame", "two sources"],
)
def test_a_gate_works_with(keys: dict[str, Any], small_video: Path, small_detector: Path) -> None:
    if "sources" in keys:
        keys = {"sources": ({"url": str(small_video), "score_threshold": 0.5}, str(small_video))}
    ungated, _ = run(config_of(small_video, small_detector, **keys | {"gate__kind": None, "gate__full_scan_s": 5.0}))
    gated, assembly = run(config_of(small_video, small_detector, **keys))
    key = {(r.frame.source_id, r.frame.index): r.detections for r in ungated}
    assert len(key) == len(gated)
    for result in gated:
        expected = key[result.frame.source_id, result.frame.index]
        assert np.array_equal(result.detections.boxes_xyxy, expected.boxes_xyxy)
        if expected.track_ids is not None and result.detections.track_ids is not None:
            assert np.array_equal(result.detections.track_ids, expected.track_ids)
    total = sum(assembly.gates().values(), GateStatistics())
    assert total.num_carried == sum(result.is_carried for result in gated) >= 1
    assert total.num_carried + total.num_inferred == len(gated)
    for name in {result.frame.source_id for result in gated}:
        indices = [result.frame.index for result in gated if result.frame.source_id == name]
        assert indices == sorted(indices)


@pytest.mark.parametrize("command", ["bench", "tune"])
def test_speed_without_what_it_costs_is_not_measured(command: str, streamdet: Streamdet, small_detector: Path) -> None:
    words = ("sim:traffic?seconds=1", "-m", small_detector, "--set", "gate.kind=frames")
    assert refused(streamdet(command, *words), command, "every frame", "gate.kind=frames", "--gated")


def test_what_must_not_be_missed_is_not_gated(streamdet: Streamdet, small_video: Path, small_detector: Path) -> None:
    words = ("run", small_video, "-m", small_detector, "--gate", "--blur", "cat")
    assert refused(streamdet(*words), "--gate", "--blur", "leave one of them out")


def test_settings_of_a_gate_that_is_not_there_are_refused(
    streamdet: Streamdet, small_video: Path, small_detector: Path
) -> None:
    words = ("run", small_video, "-m", small_detector, "--set", "gate.max_miss=0.1")
    assert refused(streamdet(*words), "gate.max_miss", "--gate")
    assert refused(streamdet(*words[:-1], "gate.max_miss=0"), "gate.max_miss", "greater than 0")


def test_what_judges_a_model_looks_at_every_frame() -> None:
    config = load_config(options={"gate.kind": "frames", "gate.max_miss": 0.2})
    assert config.without_gate().gate == RunConfig().gate


def test_metrics_have_what_was_inferred_carried_and_missed(small_video: Path, small_detector: Path) -> None:
    pytest.importorskip("prometheus_client", reason="the extra metrics is not installed")
    assembly = assemble(config_of(small_video, small_detector))
    with Running(assembly.flow.to(CollectingSink())) as running:
        running.wait()
    gate = GateStatistics({"change": 3, "check": 10}, 87, 2, MissRate(10, 1), 1)
    snapshot = RunSnapshot(running.statistics(), {}, {}, [], {}, {"cam": gate})
    lines = RunMetrics(lambda: snapshot).text().decode().splitlines()
    for line in (
        'streamdet_gate_frames_total{kind="inferred",source="cam"} 13.0',
        'streamdet_gate_frames_total{kind="carried",source="cam"} 87.0',
        'streamdet_gate_checks_total{result="missed",source="cam"} 1.0',
        'streamdet_gate_miss_ratio{end="estimate",source="cam"} 0.1',
        'streamdet_gate_open{source="cam"} 1.0',
    ):
        assert line in lines
    (high,) = (line for line in lines if 'end="high"' in line)
    assert float(high.split()[-1]) == pytest.approx(0.4042, abs=1e-4)


def test_what_is_carried_is_drawn_lighter_in_the_same_places() -> None:
    box = np.array([[10, 10, 40, 40]], np.float32)
    detections = Detections(box, np.array([0.9], np.float32), np.array([0]))
    frame = Frame.from_pixels(np.zeros((60, 60, 3), np.uint8))
    pictures = []
    for drawn in (detections, carried_on(detections)):
        pixels = frame.pixels.copy()
        draw_result(pixels, Result(frame, drawn, ("person",)), labels=False)
        pictures.append(pixels.astype(int))
    fresh, carried = pictures
    is_line = fresh.any(axis=2)
    assert np.array_equal(is_line, carried.any(axis=2))
    assert np.array_equal(carried[is_line], (fresh[is_line] + 255) // 2)


def test_parts_are_packed_as_they_lie_in_the_network_that_runs_and_not_in_the_file_that_it_was_made_of() -> None:
    of_file = DetectorSpec("images", (160, 160), head="boxes", class_names=NAMES, resize="letterbox-center")
    shaped = replace(of_file, network_wh=(160, 128))
    config = load_config(options={"gate.kind": "pack"})
    gating = gating_of(
        config, Suppression(config, of_file, {}), shaped, workers=1, recorded=["cam"], canvases_wh=[(96, 96), (160, 96)]
    )
    assert gating is not None
    gate = gating.gate_of("cam")
    items = [item for frame in film(40, lambda index: index) for item in gate.process(frame)]
    packings = [item.packing for item in items if isinstance(item, GatedFrame) and item.packing is not None]
    assert packings
    assert {packing.letterbox for packing in packings} == {Letterbox.fit((64, 48), (160, 128), "letterbox-center")}
