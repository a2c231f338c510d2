"""Does `streamdet bench` measure what it says, beside its floors, and write it down?"""

from __future__ import annotations

import io
import json
import os
import re
import select
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from rich.console import Console

from pipeline.app.bench.command import candidates_of, highest_rate_held, run_bench
from pipeline.app.bench.options import BenchOptions
from pipeline.app.bench.report import Bench, Candidate, Machine, print_bench, print_table, report_of_bench
from pipeline.app.config.loading import load_config
from pipeline.app.config.run import RunConfig
from pipeline.app.measure_apart import RECORDING, Case, CaseOptions, measure_apart, measure_floor_apart
from pipeline.app.roles import colours
from pipeline.errors import ConfigError
from pipeline.measure.charts import time_chart
from pipeline.measure.html import html_of
from pipeline.measure.measured import Measured
from pipeline.measure.summary import loop_lines, most_loops
from tests.support.command_line import run_streamdet
from tests.support.measured import a_floor, a_run

TRAFFIC = "sim:traffic?seconds=600&fps=30&size=320x192&density=0.5"


def test_a_bench_puts_figures_beside_floors_and_writes_json_and_a_page(tmp_path: Path, small_detector: Path) -> None:
    report, page = tmp_path / "bench.json", tmp_path / "bench.html"
    done = run_streamdet(
        *("bench", TRAFFIC, "--model", small_detector, "--outputs", "boxes,recording", "--rate", "20"),
        *("--repeats", "1", "--seconds", "0.6", "--warm-up", "0.1", "--report", report, "--html", page),
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
    assert round(sum(by_role.values()), 3) == boxes["typical"]["cpu_ms_per_frame"]
    for run in candidate["runs"].values():
        assert round(sum(run["cpu_ms_by_role"].values()), 3) == run["cpu_ms_per_frame"]["median"]
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
    run = measure_apart(Case.of(config, seconds=0.5, warm_up_seconds=0.1))
    assert {"render", "record recording.mp4"} <= set(run.stages)
    assert run.cpu_ms_by_role["record"] > 0
    assert len(run.latency_percentiles_ms) == 101
    for accuracy, column in ((None, "limited by"), (0.5, "AP")):
        printed = io.StringIO()
        candidate = Candidate("x", config, runs={"recording": [run]}, accuracy=accuracy)
        print_table([candidate], Console(file=printed, width=200))
        header, row = printed.getvalue().splitlines()[:2]
        last = header.index(column) + len(column)  # numbers end where their heading ends
        assert row[:last].endswith(run.limiting_role if accuracy is None else "0.500")
        assert len(header.rstrip()) == len(row.rstrip())


def test_a_source_that_ends_before_it_is_warm_says_so(small_video: Path, small_detector: Path) -> None:
    options = {"sources": (str(small_video),), "model": str(small_detector), "flow.max_frames": 3, "output.show": False}
    with pytest.raises(ConfigError, match=r"must last longer than the warm-up of 60 s"):
        measure_apart(Case.of(load_config(options=options), warm_up_seconds=60.0))


def test_a_pipe_cannot_be_read_again_so_it_must_last_longer_than_the_warm_up(
    small_video: Path, small_detector: Path, tmp_path: Path
) -> None:
    if not hasattr(os, "mkfifo"):
        pytest.skip("no named pipes on this system")
    import av

    stream, pipe = tmp_path / "black.mkv", tmp_path / "pipe"
    with av.open(str(small_video)) as source, av.open(str(stream), "w") as copy:
        video = copy.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = video
                copy.mux(packet)
    os.mkfifo(pipe)
    options = {"sources": (str(pipe),), "model": str(small_detector), "output.show": False}
    with subprocess.Popen(["cp", str(stream), str(pipe)]), pytest.raises(ConfigError, match="must last longer"):
        measure_apart(Case.of(load_config(options=options), warm_up_seconds=60.0))


def test_a_source_that_ends_before_it_has_been_measured_is_read_again(
    small_video: Path, small_detector: Path, tmp_path: Path
) -> None:
    image = tmp_path / "black.png"
    cv2.imwrite(str(image), np.zeros((64, 96, 3), np.uint8))
    sources = (str(small_video), str(image), "sim:traffic?seconds=0.2&size=64x48")
    config = load_config(options={"sources": sources, "model": str(small_detector), "output.show": False})
    lengths: CaseOptions = {"seconds": 0.3, "warm_up_seconds": 0.1, "warm_up_frames": 200}
    of_sources: CaseOptions = {**lengths, "kind": "sources"}
    run = measure_apart(Case.of(config, **lengths))
    for loops in (run.loops, measure_floor_apart(Case.of(config, **of_sources)).loops):
        assert set(loops) == set(sources)
        assert min(loops.values()) > 0
    assert run.frames.captured > 0
    assert all(source.frames.failed == 0 for source in run.sources.values())
    assert run.cpu_ms_by_role["source"] > run.cpu_ms_by_role["other"]  # decoders that have ended are the source's


def test_the_report_says_what_was_read_again_and_only_that() -> None:
    repeats = [a_run(10.0, loops=loops) for loops in ({}, {"a.mp4": 1}, {"a.mp4": 3, "b.png": 1})]
    assert most_loops(repeats) == {"a.mp4": 3, "b.png": 1}
    assert loop_lines(most_loops(repeats)) == [
        "a.mp4 is shorter than the measurement and was read again 3 times",
        "b.png is shorter than the measurement and was read again 1 time",
    ]
    assert loop_lines(most_loops(repeats[:1])) == []


def test_the_mistake_in_the_process_that_measures_is_told_in_its_own_words(small_video: Path) -> None:
    config = load_config(options={"sources": (str(small_video),), "model": "nowhere.onnx", "output.show": False})
    with pytest.raises(ConfigError, match=r"^nowhere\.onnx"):
        measure_apart(Case.of(config))


def test_models_devices_precisions_and_batches_are_combined() -> None:
    options = BenchOptions(("sim:traffic",), ("a.onnx", "b.onnx"), ("cpu", "cuda"), ("fp32", "fp16"), (None,), (1, 4))
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
        (BenchOptions(("-",)), "which stdin does not allow"),
        (BenchOptions(("sim:traffic",), outputs=("boxes", "picture")), "--outputs must be boxes, recording"),
    ],
)
def test_mistakes_are_one_line(options: BenchOptions, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        run_bench(options)


def test_a_rate_without_a_live_mode_is_refused(small_video: Path) -> None:
    done = run_streamdet("run", small_video, "--model", "demo", "--no-show", "--set", "flow.rate_fps=5")
    assert done.returncode == 1
    assert "flow.mode=live" in done.stderr


def test_the_rate_of_a_camera_counts_the_frames_that_are_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    def measured(case: Case) -> Measured:
        rate = RunConfig.model_validate(case.config).flow.rate_fps or 0.0
        return a_run(rate / 3, num_full=int(rate > 45))

    monkeypatch.setattr("pipeline.app.bench.command.measure_apart", measured)
    candidate = Candidate("", load_config(settings=["flow.every=3"]))
    assert highest_rate_held(candidate, BenchOptions(("a.mp4",)), lambda _: None) == pytest.approx(45, rel=0.05)


@pytest.mark.parametrize("num_repeats", [1, 2, 3])
def test_the_bars_of_the_page_and_the_printed_stages_add_up_to_the_tables_processor_time(
    monkeypatch: pytest.MonkeyPatch, num_repeats: int
) -> None:
    drawn: list[dict[str, float]] = []

    def chart_and_note(
        rows: dict[str, dict[str, float]], floors: dict[str, dict[str, float]], colours: dict[str, str]
    ) -> str:
        drawn.extend(rows.values())
        return time_chart(rows, floors, colours)

    monkeypatch.setattr("pipeline.measure.html.time_chart", chart_and_note)
    costs = [
        (20.049, {"source": 6.683, "detect": 6.683, "a stage of one's own": 6.683}),
        (11.352, {"source": 1.004, "detect": 10.004, "other": 0.344}),  # the middle one by speed
        (14.949, {"source": 4.983, "detect": 4.983, "other": 4.983}),  # the middle one by cost
    ]
    repeats = [
        a_run(fps, stages={}, cpu_ms_per_frame=cost, cpu_ms_by_role=by_role)
        for fps, (cost, by_role) in zip((30.0, 20.0, 10.0), costs, strict=True)
    ][:num_repeats]
    candidate = Candidate("x", load_config(), runs={"boxes": repeats})
    bench = Bench(("a.mp4",), None, num_repeats, 1.0, 0.0, Machine("", 2, None, 0.0, {}), (), [candidate])
    page = html_of(report_of_bench(bench), colours())
    _, _, _, cpu_ms, *_ = re.findall(r"<td>([^<]*)</td>", page)
    (bars,) = drawn
    assert f"{round(sum(bars.values()), 3):.1f}" == cpu_ms
    assert f"<!--  {cpu_ms} -->" in page  # matplotlib notes the text that it draws
    printed = io.StringIO()
    print_bench(bench, Console(file=printed, width=200))
    parts = dict(re.findall(r"^(source|detect|other|a stage of one's own|in all) +([\d.]+)$", printed.getvalue(), re.M))
    total = parts.pop("in all")
    assert f"{sum(map(float, parts.values())):.2f}" == total


@pytest.mark.skipif(not hasattr(select, "poll"), reason="this system has no named pipes to poll")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_what_measures_ends_with_who_asked(tmp_path: Path, small_detector: Path, number: signal.Signals) -> None:
    """The source is a named pipe, which the process that measures opens, and whose end says that it is gone."""
    pipe = tmp_path / "source.ts"
    os.mkfifo(pipe)
    config = load_config(options={"sources": (str(pipe),), "model": str(small_detector), "output.show": False})
    case = f"Case({config.model_dump(mode='json')!r})"
    program = f"from pipeline.app.measure_apart import Case, measure_apart; measure_apart({case})"
    with subprocess.Popen([sys.executable, "-c", program]) as asking:
        source = os.open(pipe, os.O_WRONLY)  # waits until it is opened there
        asking.send_signal(number)
        asking.wait(timeout=30)
        left = select.poll()
        left.register(source, select.POLLERR)
        assert left.poll(30_000), "it goes on measuring"
        os.close(source)


def test_a_bench_tells_how_a_device_agrees_and_that_a_rate_was_not_reached() -> None:
    candidate = Candidate("x", load_config(), 1e6)
    candidate.runs["live at 1e+06/s"] = [a_run(30.0, agreement="99.9% of 10 detections")]
    screen = io.StringIO()
    bench = Bench(("a.mp4",), None, 1, 1.0, 0.0, Machine("", 1, None, 0.0, {}), (), [candidate])
    print_bench(bench, Console(file=screen, width=200))
    assert "agreement: 99.9% of 10 detections" in screen.getvalue()
    assert "less than --rate 1e+06 asks for" in screen.getvalue()


def test_what_measures_runs_no_module_of_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "numpy.py").write_text("raise SystemExit('a module of the working folder was run')")
    monkeypatch.chdir(tmp_path)
    config = load_config(options={"sources": ("nowhere.mp4",), "output.show": False})
    with pytest.raises(ConfigError, match="there is no such file"):
        measure_apart(Case(config.model_dump(mode="json")))


def test_a_bench_on_a_terminal_of_80_columns_has_every_name_and_number_whole() -> None:
    floor = [a_floor(1234.5, 1.25)]
    candidates = [
        Candidate(
            f"yolox_small_coco_640 cpu {precision}",
            load_config(),
            floors=dict.fromkeys(("sources", "network", "network, 1 thread"), floor),
            runs={"recording": [a_run(1234.5, cpu_ms_by_role={"detect": 9.0, "preprocess": 1.0})] * 2},
            highest_rate=1200.0,
            accuracy=0.456,
        )
        for precision in ("fp32", "fp16")
    ]
    bench = Bench(("a.mp4",), None, 2, 1.0, 0.0, Machine("", 2, None, 0.0, {}), (), candidates)
    wide, narrow = io.StringIO(), io.StringIO()
    print_bench(bench, Console(file=wide, width=200))
    print_bench(bench, Console(file=narrow, width=80))
    assert set(wide.getvalue().split()) == set(narrow.getvalue().split())
    rows = re.findall(r"^yolox_small_coco_640 cpu fp16, highest rate held +(.*)$", narrow.getvalue(), re.M)
    assert [row.strip() for row in rows] == ["1200.0"]
    assert "…" not in narrow.getvalue()
