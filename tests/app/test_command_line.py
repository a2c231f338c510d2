"""Does the command line do what the README says, and is every mistake one line?"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import av
import pytest
from typer.core import TyperGroup
from typer.main import get_command

from pipeline.app import cli
from pipeline.app.config.flags import FLAGS
from tests.support.command_line import STREAMDET, Streamdet, refused, run_streamdet


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def num_frames(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def test_a_run_writes_video_lines_and_report_that_agree(
    tmp_path: Path, small_video: Path, small_detector: Path
) -> None:
    video, lines, report = tmp_path / "o.mp4", tmp_path / "o.jsonl", tmp_path / "r.json"
    done = run_streamdet(
        "run",
        small_video,
        "--model",
        small_detector,
        "-o",
        video,
        "--jsonl",
        lines,
        "--report",
        report,
        "--device",
        "cpu",
    )
    assert done.returncode == 0, done.stderr
    assert num_frames(video) == 30
    written = lines_of(lines)
    assert [line["frame"] for line in written] == list(range(30))
    assert written[7]["pts"] == pytest.approx(0.7)
    assert written[0]["source"] == str(small_video)
    cat, dog = written[0]["detections"]
    assert (cat["class_name"], cat["class_id"], dog["class_name"]) == ("cat", 0, "dog")
    assert cat["score"] == pytest.approx(0.9, abs=0.01)
    # 96 × 64 in a 64 × 64 network: scale 2/3, 10.5 rows of padding above
    assert cat["box"] == pytest.approx([12, 9, 36, 33], abs=1)
    numbers = json.loads(report.read_text())
    assert numbers["frames"] == {
        "captured": 30,
        "delivered": 30,
        "dropped_stale": 0,
        "dropped_full": 0,
        "filtered": 0,
        "failed": 0,
    }
    assert set(numbers) >= {"fps", "latency_ms", "stages", "limited_by", "advice", "model", "device", "versions"}
    assert numbers["sources"][str(small_video)]["frames"]["delivered"] == 30
    assert set(numbers["stages"]) == {
        str(small_video),
        "preprocess",
        "detect",
        "nms",
        "jsonl",
        "render",
        f"record {video}",
    }
    assert "Limited by" in done.stdout


def test_two_sources_are_recorded_apart_and_share_the_lines(
    streamdet: Streamdet, tmp_path: Path, small_video: Path, small_detector: Path
) -> None:
    other = tmp_path / "other.mp4"
    other.write_bytes(small_video.read_bytes())
    lines = tmp_path / "o.jsonl"
    done = streamdet("run", small_video, other, "-m", small_detector, "-o", tmp_path / "o.mp4", "--jsonl", lines)
    assert done.returncode == 0, done.stderr
    assert num_frames(tmp_path / "o-black.mp4") == num_frames(tmp_path / "o-other.mp4") == 30
    for source in (small_video, other):
        assert [line["frame"] for line in lines_of(lines) if line["source"] == str(source)] == list(range(30))


def test_thresholds_classes_and_max_frames_are_heeded(
    streamdet: Streamdet, tmp_path: Path, small_video: Path, small_detector: Path
) -> None:
    lines = tmp_path / "o.jsonl"
    words: list[str | Path] = [
        "run",
        small_video,
        "-m",
        small_detector,
        "--jsonl",
        lines,
        "--max-frames",
        "3",
        "--overwrite",
    ]
    streamdet(*words, "--score-threshold", "0.5")
    assert [len(line["detections"]) for line in lines_of(lines)] == [1, 1, 1]
    streamdet(*words, "--classes", "dog")
    assert [each["class_name"] for line in lines_of(lines) for each in line["detections"]] == ["dog"] * 3
    streamdet(*words, "--set", "detection.class_score_thresholds={dog: 0.5}")
    assert [each["class_name"] for line in lines_of(lines) for each in line["detections"]] == ["cat"] * 3


def test_every_third_frame_is_detected_in(
    streamdet: Streamdet, tmp_path: Path, small_video: Path, small_detector: Path
) -> None:
    lines, report = tmp_path / "o.jsonl", tmp_path / "r.json"
    done = streamdet(
        *("run", small_video, "-m", small_detector, "--every", "3", "--max-frames", "4"),
        *("-o", tmp_path / "o.mp4", "--jsonl", lines, "--report", report),
    )
    assert done.returncode == 0, done.stderr
    assert [line["frame"] for line in lines_of(lines)] == [0, 3, 6, 9]
    assert num_frames(tmp_path / "o.mp4") == 4
    numbers = json.loads(report.read_text())
    assert (numbers["every"], numbers["frames"]["captured"]) == (3, 4)
    assert "4 captured (1 of every 3) = 4 delivered" in done.stdout
    done = streamdet("run", small_video, "-m", small_detector, "--every", "0")
    assert "error: --every must be greater than or equal to 1, got 0" in done.stderr


def test_lines_go_to_stdout_alone_when_asked(small_video: Path, small_detector: Path) -> None:
    done = run_streamdet("run", small_video, "-m", small_detector, "--jsonl", "-")
    assert done.returncode == 0, done.stderr
    assert len([json.loads(line) for line in done.stdout.splitlines()]) == 30
    assert "Limited by" in done.stderr


def test_a_stream_comes_through_stdin(tmp_path: Path, small_video: Path, small_detector: Path) -> None:
    stream = tmp_path / "black.mkv"
    with av.open(str(small_video)) as source, av.open(str(stream), "w") as target:
        copy = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = copy
                target.mux(packet)
    with stream.open("rb") as pipe:
        done = run_streamdet("run", "-", "-m", small_detector, "--jsonl", "-", stdin=pipe)
    assert len(done.stdout.splitlines()) == 30, done.stderr


def test_a_dry_run_prints_the_graph_and_writes_nothing(
    streamdet: Streamdet, tmp_path: Path, small_video: Path, small_detector: Path
) -> None:
    lines, report = tmp_path / "o.jsonl", tmp_path / "r.json"
    lines.write_text("precious")
    outputs: list[str | Path] = ["--jsonl", lines, "--report", report]
    done = streamdet("run", small_video, "-m", small_detector, *outputs, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert lines.read_text() == "precious"
    assert not report.exists()
    names = [line.split("▶")[-1].split()[0] for line in done.stdout.splitlines() if "▶" in line]
    assert names == ["preprocess", "detect", "nms", "jsonl"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run"], "at least one source must be named"),
        (["run", "nowhere.mp4"], "nowhere.mp4"),
        (["run", "VIDEO", "-m", "nowhere.onnx"], "nowhere.onnx: no such file"),
        (["run", "VIDEO", "-m", "VIDEO"], "must be an ONNX model"),
        (["run", "VIDEO", "-m", "MODEL", "--device", "mps"], "error: --device must be 'auto', 'cpu'"),
        (["run", "VIDEO", "-m", "MODEL", "--score-threshold", "7"], "must be less than or equal to 1, got 7"),
        (["run", "VIDEO", "-m", "MODEL", "--classes", "cet"], "did you mean 'cat'?"),
        (["run", "VIDEO", "-m", "MODEL", "-o", "VIDEO"], "must not be the source itself"),
        (["run", "VIDEO", "-m", "MODEL", "-o", "/dev/null/o.mp4"], "/dev/null/o.mp4: a recording cannot be written"),
        (["run", "VIDEO", "-m", "MODEL", "-o", "o.docx"], ".mp4"),
        (
            ["run", "VIDEO", "-m", "MODEL", "--report", "/dev/null/r.json"],
            "/dev/null/r.json: the report cannot be written",
        ),
        (["run", "VIDEO", "-m", "MODEL", "--jsonl", "VIDEO"], "must not be the source itself"),
        (["run", "VIDEO", "-m", "MODEL", "--config", "webcan"], "did you mean 'webcam'?"),
        (["run", "VIDEO", "-m", "MODEL", "--set", "flow.mod=live"], "did you mean flow.mode?"),
        (["run", "VIDEO", "-m", "MODEL", "--show"], "display"),
        (["run", "VIDEO", "-m", "MODEL", "--set", "engine.batch=0"], "engine.batch must be greater than or equal to 1"),
        (["inspect", "VIDEO"], "must be an ONNX model"),
        (["run", "VIDEO", "-m", "."], ".: is a folder; a model must be an ONNX file"),
        (["run", "VIDEO", "-m", 5000 * "x"], "xxx…: File name too long; a model must be an ONNX file"),
        (["run", "VIDEO", "-m", "MODEL", "--csv", ""], "--csv must not be empty"),
        (["run", "VIDEO", "-m", ""], "--model must not be empty"),
        (["run", "-", "-", "-m", "MODEL"], "- must be named once: standard input can be read by one source only"),
        (["run", "clip [1080p].mp4", "-m", "MODEL"], "clip [1080p].mp4: there is no such file, and as a pattern"),
        (["run", "VIDEO", "-m", "MODEL", "--classes", ","], "--classes must name at least one, with commas"),
        (["run", "VIDEO", "-m", "MODEL", "--classes", ""], "--classes must name at least one, with commas"),
        (["run", "VIDEO", "-m", "MODEL", "--score-threshold", "nan"], "--score-threshold must be a finite number"),
        (
            ["run", "VIDEO", "-m", "MODEL", "--set", "flow.rate_fps=.inf"],
            "--set: flow.rate_fps must be a finite number",
        ),
        (["run", "VIDEO", "-m", "MODEL", "--report", "-"], "the report must have a path, got -; only --jsonl - writes"),
        (["demo", "-o", "MODEL"], "--output must be a folder, got"),
        (["bench", "VIDEO", "-m", "VIDEO"], "must be an ONNX model"),
        (["bench", "VIDEO", "-m", "MODEL", "--outputs", ","], "--outputs must name at least one, with commas"),
        (["eval", "-m", "nowhere.onnx", "--data", "nowhere"], "nowhere.onnx: no such file"),
        (["compare", "MODEL", "--on", "VIDEO", "--teacher", "nowhere.onnx"], "nowhere.onnx: no such file"),
        (["compare", "MODEL", "--on", "VIDEO", "--teacher", "demo", "-o", "MODEL"], "--output must be a folder, got"),
        (
            ["compare", "MODEL", "--on", "VIDEO", "--teacher", "demo", "--teacher-size", "axb"],
            "--teacher-size must be",
        ),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_1(
    streamdet: Streamdet,
    tmp_path: Path,
    small_video: Path,
    small_detector: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    stand_ins = {"VIDEO": str(small_video), "MODEL": str(small_detector)}
    assert refused(streamdet(*(stand_ins.get(word, word) for word in words)), message)


@pytest.mark.parametrize(
    ("words", "message"), [(["nowhere.mp4"], "nowhere.mp4"), (["VIDEO", "-m", "VIDEO"], "must be an ONNX model")]
)
def test_a_mistake_that_native_code_finds_is_one_line_of_the_process(
    tmp_path: Path, small_video: Path, words: list[str], message: str
) -> None:
    """FFmpeg and ONNX Runtime could print for themselves, past `sys.stderr`."""
    done = run_streamdet("run", *(str(small_video) if word == "VIDEO" else word for word in words), cwd=tmp_path)
    assert refused(done, message)


def test_what_the_command_line_calls_a_key_is_an_option_of_it() -> None:
    group = get_command(cli.app)
    assert isinstance(group, TyperGroup)
    options = {word for command in group.commands.values() for each in command.params for word in each.opts}
    assert set(FLAGS.values()) <= options


def test_numbers_without_an_end_are_a_usage_error(streamdet: Streamdet) -> None:
    for words in (("--rate", "inf"), ("--warm-up", "inf")):
        done = streamdet("bench", "sim:traffic", *words)
        assert done.returncode == 2
        assert f"Invalid value for '{words[0]}'" in done.stderr
        assert "is not a finite number" in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
def test_what_cannot_be_written_is_not_told_as_written(
    streamdet: Streamdet, small_video: Path, small_detector: Path
) -> None:
    done = streamdet("run", small_video, "-m", small_detector, "--jsonl", "/dev/full")
    assert done.returncode == 1
    assert "written" not in done.stdout
    assert "/dev/full: JSON lines cannot be written: No space left on device" in done.stderr


def test_an_unknown_option_is_a_usage_error(streamdet: Streamdet) -> None:
    done = streamdet("run", "--modle", "x")
    assert done.returncode == 2
    assert "--model" in done.stderr


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_drains_finishes_the_outputs_and_reports(
    tmp_path: Path, small_video: Path, small_detector: Path, number: signal.Signals, status: int
) -> None:
    """A live run would last 3 s; the signal comes with the first JSON line."""
    lines, video, report = tmp_path / "o.jsonl", tmp_path / "o.mp4", tmp_path / "r.json"
    words = ["run", small_video, "-m", small_detector, "--live", "--jsonl", "-", "-o", video, "--report", report]
    with subprocess.Popen(
        [*STREAMDET, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        lines.write_text(process.stdout.readline())
        os.kill(process.pid, number)
        rest, said = process.communicate(timeout=30)
    assert process.returncode == status, said
    numbers = json.loads(report.read_text())["frames"]
    assert 1 <= numbers["captured"] < 30
    assert numbers["captured"] == numbers["delivered"] + numbers["dropped_full"] + numbers["dropped_stale"]
    assert num_frames(video) == 1 + len(rest.splitlines())
    assert "latency" in said


def test_a_killed_run_leaves_lines_that_parse_and_a_video_that_plays(
    tmp_path: Path, small_video: Path, small_detector: Path
) -> None:
    lines, video = tmp_path / "o.jsonl", tmp_path / "o.mp4"
    words = ["run", small_video, "-m", small_detector, "--live", "--jsonl", lines, "-o", video]
    with subprocess.Popen([*STREAMDET, *map(str, words)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = ""
        while not said.lstrip().startswith(("2.", "3.", "4.")):  # the plain line of the second second, or a late one
            said = process.stdout.readline()
            assert said, "it ended before it could be killed"
        process.kill()
    assert len(lines_of(lines)) >= 10
    assert num_frames(video) >= 5


def test_a_reader_that_goes_away_ends_the_run_quietly(small_video: Path, small_detector: Path) -> None:
    command = f"{' '.join(STREAMDET)} run {small_video} -m {small_detector} --jsonl - | head -n 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
    assert len(done.stdout.splitlines()) == 1
    assert "Traceback" not in done.stderr


def test_inspect_says_what_the_file_expects(streamdet: Streamdet, small_detector: Path) -> None:
    done = streamdet("inspect", small_detector)
    assert done.returncode == 0, done.stderr
    assert "uint8 NHWC, 64 × 64, batch any" in done.stdout
    assert "2: cat, dog" in done.stdout


def test_doctor_names_versions_devices_codecs_and_cameras(streamdet: Streamdet) -> None:
    done = streamdet("doctor")
    for part in ("versions", "packages", "devices", "video", "cameras", "display"):
        assert part in done.stdout, done.stderr
    assert "✓ cpu: fp32" in done.stdout


def test_help_is_quick_because_nothing_heavy_is_imported() -> None:
    program = (
        "import sys; sys.argv = ['streamdet', '--help']\n"
        "from pipeline.app import cli\n"
        "try: cli.main()\n"
        "except SystemExit: pass\n"
        "print(sorted({'cv2', 'numpy', 'av', 'onnxruntime', 'rich', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "[]", done.stdout + done.stderr


def test_running_never_imports_torch(small_video: Path, small_detector: Path) -> None:
    program = (
        "import sys, pipeline\n"
        f"assert len(list(pipeline.detect({str(small_video)!r}, model={str(small_detector)!r}))) == 30\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_the_version_is_said() -> None:
    assert run_streamdet("--version").stdout.startswith("streamdet 0.")
