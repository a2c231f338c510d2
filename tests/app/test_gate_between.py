"""The option --gate between: all frames of a run, in order, with boxes in every output, and what is refused."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from pipeline.app.assemble import Assembly, assemble
from pipeline.app.config.loading import load_config
from pipeline.app.config.run import RunConfig
from pipeline.app.run.metrics import gate_metrics
from pipeline.errors import ConfigError
from pipeline.flow.running import Running
from pipeline.picture.boxes import intersection_over_union
from pipeline.picture.detections import Detections, Result
from pipeline.picture.gate.load import Step
from pipeline.stages.gate import GateStatistics
from tests.support.command_line import Streamdet, refused

STREET = "sim:traffic?seed=4&seconds=2.4&fps=10&size=320x192"
ANOTHER = "sim:traffic?seed=5&seconds=1.3&fps=10&size=320x192"


def run(config: RunConfig) -> tuple[list[Result], Assembly]:
    assembly = assemble(config)
    with Running(assembly.flow, results=True) as running:
        return list(running), assembly


def test_a_run_writes_every_frame_with_its_boxes(tmp_path: Path, streamdet: Streamdet) -> None:
    lines, table, video = (tmp_path / name for name in ("o.jsonl", "o.csv", "o.mp4"))
    words = ("--gate", "between", "--gate-every", "4", "--set", "gate.check_share=0")
    done = streamdet("run", STREET, "-m", "demo", *words, "--jsonl", lines, "--csv", table, "-o", video, "--track")
    assert done.returncode == 0, done.stderr
    frames = [json.loads(line) for line in lines.read_text().splitlines()]
    assert [frame["frame"] for frame in frames] == list(range(24))
    carried = ["carried" in frame for frame in frames]
    assert sum(carried) >= 15
    assert [[box.get("carried", False) for box in frame["detections"]] for frame in frames] == [
        [is_carried] * len(frame["detections"]) for frame, is_carried in zip(frames, carried, strict=True)
    ]
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert len(rows) == sum(len(frame["detections"]) for frame in frames)
    assert any(row["carried"] == "True" and int(row["track_id"]) > 0 for row in rows)
    with av.open(str(video)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 24
    assert f"{carried.count(False)} of 24 frames inferred" in done.stdout


@pytest.fixture(scope="module")
def expected() -> dict[tuple[str, int], Detections]:
    """What the network says of every frame."""
    options = {"sources": (STREET, ANOTHER), "model": "demo", "output.show": False, "engine.threads": 1}
    results, _ = run(load_config(options=options))
    return {(result.frame.source_id, result.frame.index): result.detections for result in results}


@pytest.mark.parametrize(
    "keys",
    [{"gate.every": 3}, {"gate.budget": "40%", "engine.inflight": 3}],
    ids=["every third", "budget, several at once"],
)
def test_each_frame_of_two_sources_comes_once_with_the_objects_that_every_frame_has(
    keys: dict[str, Any], expected: dict[tuple[str, int], Detections]
) -> None:
    options = {"sources": (STREET, ANOTHER), "model": "demo", "output.show": False, "engine.threads": 1}
    gate = {"gate.kind": "between", "gate.check_share": 0, "gate.full_scan_s": 99}
    between, assembly = run(load_config(options=options | gate | keys))
    assert len(between) == len(expected)
    num_boxes = num_kept = 0
    for result in between:
        boxes = expected[result.frame.source_id, result.frame.index].boxes_xyxy
        overlap = intersection_over_union(boxes, result.detections.boxes_xyxy).max(axis=1, initial=0)
        num_boxes, num_kept = num_boxes + len(boxes), num_kept + int((overlap >= 0.5).sum())
        if not result.is_carried:
            assert np.array_equal(boxes, result.detections.boxes_xyxy)
    assert num_kept >= 0.9 * num_boxes > 0
    for name in {result.frame.source_id for result in between}:
        indices = [result.frame.index for result in between if result.frame.source_id == name]
        assert indices == list(range(len(indices)))
    total = sum(assembly.gates().values(), GateStatistics())
    assert total.num_carried == sum(result.is_carried for result in between)
    assert total.num_carried > 0.4 * len(between)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--gate", "--gate-every", "3"), ("--gate between", "got --gate frames")),
        (("--gate", "pack", "--budget", "30%"), ("--gate between", "got --gate pack")),
        (("--gate", "between-pack", "--budget", "30%", "--max-miss", "1%"), ("--budget", "--max-miss", "leave one")),
        (("--gate", "between", "--budget", "30%", "--gate-every", "3"), ("--budget", "--gate-every", "leave one")),
        (("--gate", "between", "--budget", "30%", "--max-miss", "1%"), ("--budget", "--max-miss", "leave one")),
        (("--gate", "between", "--budget", "1%"), ("--budget", "0.05")),
        (("--gate", "between", "--budget", "130%"), ("--budget", "1")),
        (("--gate", "between", "--budget", "much"), ("--budget", "much")),
        (("--gate", "between", "--gate-every", "1"), ("--gate-every", "2")),
        (("--gate-every", "3"), ("gate.every is for --gate",)),
        (("--gate", "between", "--max-latency", "100", "--max-miss", "1%"), ("--max-latency", "--max-miss", "leave")),
        (("--gate", "between", "--pixelate", "car"), ("--gate", "--pixelate")),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    streamdet: Streamdet, words: tuple[str, ...], message: tuple[str, ...]
) -> None:
    assert refused(streamdet("run", STREET, "-m", "demo", *words), *message)


def test_a_live_run_says_how_the_load_chose_its_frames(tmp_path: Path, streamdet: Streamdet) -> None:
    report = tmp_path / "report.json"
    words = ("--gate", "between", "--live", "--rate", "1000", "--max-latency", "60000", "--report", report)
    done = streamdet("run", STREET, "-m", "demo", *words)
    assert done.returncode == 0, done.stderr
    assert "; one in 3 at the load, after 0 steps, 0 for late results" in done.stdout
    gate = json.loads(report.read_text())["gate"]
    assert (gate["every"], gate["steps"]) == (3, [])


def test_metrics_and_report_have_the_steps() -> None:
    gate = GateStatistics({"change": 3}, 7, every=5, steps=(Step(1.5, 4, late=True), Step(9.0, 5, late=True)))
    families = {family.name: family for family in gate_metrics({"door": gate, "film": GateStatistics()})}
    (sample,) = families["streamdet_gate_every"].samples
    assert (sample.labels, sample.value) == ({"source": "door"}, 5.0)
    (duty,) = families["streamdet_gate_duty_ratio"].samples
    assert (duty.labels, duty.value) == ({"source": "door"}, 0.3)
    assert "streamdet_gate_every" not in {family.name for family in gate_metrics({"film": GateStatistics()})}


def test_shares_are_typed_as_numbers_and_as_percentages() -> None:
    for word in ("30%", "30 %", "0.3", 0.3):
        assert load_config(options={"gate.kind": "between", "gate.budget": word}).gate.budget == pytest.approx(0.3)
    assert load_config(options={"gate.kind": "frames", "gate.max_miss": "1%"}).gate.max_miss == pytest.approx(0.01)
    with pytest.raises(ConfigError, match="--max-miss must be greater than 0"):
        load_config(options={"gate.kind": "frames", "gate.max_miss": "0%"})
