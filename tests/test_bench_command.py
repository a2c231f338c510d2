"""Does `streamdet bench` measure what it says, beside its floors, and write it down?"""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from pipeline.app.bench_command import BenchOptions, candidates_of, highest_rate_held, run_bench
from pipeline.app.bench_report import Candidate, print_table, role_in
from pipeline.app.config import load_config
from pipeline.app.one_run import RECORDING, Case, measure_apart
from pipeline.errors import ConfigError

TRAFFIC = "sim:traffic?seconds=600&fps=30&size=320x192&density=0.5"


def bench(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipeline.app.cli", "bench", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_a_bench_puts_figures_beside_floors_and_writes_json_and_a_page(tmp_path: Path, small_detector: Path) -> None:
    report, page = tmp_path / "bench.json", tmp_path / "bench.html"
    done = bench(
        *(TRAFFIC, "--model", small_detector, "--outputs", "boxes,recording", "--rate", "20", "--repeats", "1"),
        *("--seconds", "0.6", "--warm-up", "0.1", "--report", report, "--html", page),
    )
    assert done.returncode == 0, done.stderr
    assert "Limited by" in done.stdout
    assert "floor: bare network" in done.stdout
    written = json.loads(report.read_text())
    (candidate,) = written["candidates"]
    assert set(candidate["runs"]) == {"boxes", "recording", "live at 20/s"}
    assert done.stdout.count("floor: encoder") == 1
    boxes, live = candidate["runs"]["boxes"], candidate["runs"]["live at 20/s"]
    assert boxes["fps"]["median"] > 0
    assert boxes["dropped"] == 0  # every frame of a file is wanted
    assert live["captured_fps"]["median"] == pytest.approx(20, rel=0.05)
    frames = boxes["typical"]["frames"]
    assert frames["captured"] == sum(value for name, value in frames.items() if name != "captured")
    by_role = boxes["typical"]["cpu_ms_by_role"]
    assert {"source", "preprocess", "detect", "nms"} <= set(by_role)
    assert sum(by_role.values()) == pytest.approx(boxes["typical"]["cpu_ms_per_frame"], rel=0.1)
    floors = {part: candidate["floors"][f"{part}_cpu_ms"]["median"] for part in ("sources", "network", "encoder")}
    assert min(floors.values()) > 0
    for kind, parts in (("boxes", ("sources", "network")), ("recording", ("sources", "network", "encoder"))):
        run = candidate["runs"][kind]
        needed_ms = sum(floors[part] for part in parts)
        assert run["cpu_efficiency"] == pytest.approx(needed_ms / run["cpu_ms_per_frame"]["median"], rel=0.01)
    html = page.read_text()
    assert html.count("<svg") == 2
    assert not re.findall(r'(?:src|href)="(?!#)', html)  # nothing is fetched from anywhere


def test_a_recording_is_measured_and_thrown_away(small_detector: Path) -> None:
    config = load_config(
        options={"sources": (TRAFFIC,), "model": str(small_detector), "output.show": False, "output.video": RECORDING}
    )
    found = measure_apart(Case.of(config, seconds=0.5, warm_up_seconds=0.1))
    assert {"render", "record recording.mp4"} <= set(found["stages"])
    assert found["cpu_ms_by_role"]["record"] > 0
    assert len(found["latency_percentiles_ms"]) == 101
    for accuracy, column in ((None, "limited by"), (0.5, "AP")):
        printed = io.StringIO()
        candidate = Candidate("x", config, runs={"recording": [found]}, accuracy=accuracy)
        print_table([candidate], Console(file=printed, width=200))
        header, row = printed.getvalue().splitlines()[:2]
        last = header.index(column) + len(column)  # numbers end where their heading ends
        assert row[:last].endswith(role_in(found) if accuracy is None else "0.500")
        assert len(header.rstrip()) == len(row.rstrip())


def test_a_source_that_ends_before_it_is_warm_says_so(small_video: Path, small_detector: Path) -> None:
    config = load_config(options={"sources": (str(small_video),), "model": str(small_detector), "output.show": False})
    with pytest.raises(ConfigError, match=r"must last longer than the warm-up of 60 s"):
        measure_apart(Case.of(config, warm_up_seconds=60.0))


def test_the_mistake_in_the_process_that_measures_is_told_in_its_own_words(small_video: Path) -> None:
    config = load_config(options={"sources": (str(small_video),), "model": "nowhere.onnx", "output.show": False})
    with pytest.raises(ConfigError, match=r"^nowhere\.onnx"):
        measure_apart(Case.of(config))


def test_models_devices_precisions_and_batches_are_combined() -> None:
    options = BenchOptions(
        ("sim:traffic",), ("a.onnx", "b.onnx"), ("cpu", "cuda"), ("fp32", "fp16"), (None,), (1, 4), settings=()
    )
    names = [candidate.name for candidate in candidates_of(options)]
    assert len(names) == 16
    assert names[0] == "a cpu fp32 batch 1"
    assert names[-1] == "b cuda fp16 batch 4"
    (alone,) = candidates_of(BenchOptions(("sim:traffic",), ("folder/a.onnx",)))
    assert alone.name == "a"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (BenchOptions(()), "at least one SOURCE"),
        (BenchOptions(("sim:traffic",), outputs=("boxes", "picture")), "--outputs must be boxes, recording"),
    ],
)
def test_mistakes_are_one_line(options: BenchOptions, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        run_bench(options)


def test_a_rate_without_a_live_mode_is_refused(small_video: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.app.cli", "run", str(small_video), "--no-show", "--set", "flow.rate_fps=5"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert "flow.mode=live" in done.stderr


def test_the_rate_of_a_camera_counts_the_frames_that_are_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    def measured(case: Case) -> dict[str, Any]:
        rate = case.config["flow"]["rate_fps"]
        return {"frames": {"dropped_stale": 0, "dropped_full": int(rate > 45)}, "fps": {"captured": rate / 3}}

    monkeypatch.setattr("pipeline.app.bench_command.measure_apart", measured)
    candidate = Candidate("", load_config(settings=["flow.every=3"]))
    assert highest_rate_held(candidate, BenchOptions(("a.mp4",)), lambda _: None) == pytest.approx(45, rel=0.05)
