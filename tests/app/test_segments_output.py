"""`--segment` and what goes with it: from the command line to files that play, and mistakes in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.app.config.loading import load_config
from tests.support.command_line import Streamdet
from tests.support.sounding_videos import flashes_and_clicks, write_sounding_video


def test_a_run_records_segments_and_names_their_index(
    tmp_path: Path, small_video: Path, small_detector: Path, streamdet: Streamdet
) -> None:
    target = tmp_path / "new folder" / "cam.mp4"
    done = streamdet(
        "run", small_video, small_video, "-m", small_detector, "--device", "cpu", "-o", target, "--segment", "1s"
    )
    assert done.returncode == 0, done.stderr
    index = target.with_name("cam.segments.jsonl")
    assert f"written  {index}" in done.stdout
    lines = {line["file"]: line for line in map(json.loads, index.read_text().splitlines())}
    assert sorted(line["frames"] for line in lines.values()) == [10] * 6  # two sources of 3 s
    assert sorted(line["start_pts"] for line in lines.values()) == [0.0, 0.0, 1.0, 1.0, 2.0, 2.0]
    assert {path.name for path in index.parent.iterdir()} == {*lines, index.name}
    assert {line["source"] for line in lines.values()} == {str(small_video), f"{small_video}#2"}


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["--segment", "10m"], "--segment divides a recording, and there is none: name it with --output"),
        (["--keep", "7d", "-o", "o.mp4"], "--keep deletes segments, and there are none: give --segment 10m as well"),
        (
            ["--segment", "10", "-o", "o.mp4"],
            "--segment must be a duration such as 10m, 2h or 7d, or a size such as 500MB or 50GiB, got '10'",
        ),
        (["--segment", "10ms", "-o", "o.mp4"], "--segment must be a duration such as 10m"),
        (["--segment", "1m", "--keep", "1d", "--keep", "2d", "-o", "o.mp4"], "--keep must be one duration, one size"),
        (
            ["--segment", "1m", "-o", "o.mp4", "--set", "output.segment_name=x%H"],
            "--set: output.segment_name must have {name}, which stands for the source, such as",
        ),
        (
            ["--segment", "1m", "-o", "o.mp4", "--set", "output.min_free=7d"],
            "--set: output.min_free must be a size such as 500MB or 2GiB, or 0, got '7d'",
        ),
        (["--segment", "1m", "-o", "o.txt"], "a recording must end in .mp4"),
        (["--segment", "1m", "-o", "o"], "--output must be a video (.mp4, .mkv, .mov, .webm), an image, or a folder"),
        (
            ["--segment", "1m", "-o", "o.mp4", "--mosaic"],
            "divides recordings of single sources, not --mosaic",
        ),
        (["--segment", "1m", "-o", "udp://127.0.0.1:9999"], "recordings of single sources, not an address"),
    ],
)
def test_a_mistake_is_one_line(
    tmp_path: Path,
    small_video: Path,
    small_detector: Path,
    streamdet: Streamdet,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    error: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    done = streamdet("run", small_video, "-m", small_detector, "--device", "cpu", "--no-show", *words)
    assert done.returncode == 1
    assert error in done.stderr
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_second_run_adds_to_the_segments_of_a_folder_unasked(
    tmp_path: Path, small_video: Path, small_detector: Path, streamdet: Streamdet
) -> None:
    folder = tmp_path / "recordings"
    words = ("run", small_video, "-m", small_detector, "--device", "cpu", "-o", f"{folder}/", "--segment", "2s")
    for num_segments in (2, 4):
        done = streamdet(*words)
        assert done.returncode == 0, done.stderr
        assert f"written  {folder}/" in done.stdout
        assert len(list(folder.glob(f"{small_video.stem}-*.mp4"))) == num_segments
    assert [path.name for path in folder.iterdir() if path.suffix != ".mp4"] == ["segments.jsonl"]


def test_the_index_is_not_to_be_the_file_of_another_output(
    tmp_path: Path, small_video: Path, small_detector: Path, streamdet: Streamdet
) -> None:
    words = ("-o", tmp_path / "o.mp4", "--segment", "2s", "--jsonl", tmp_path / "o.segments.jsonl")
    done = streamdet("run", small_video, "-m", small_detector, *words)
    assert done.returncode == 1
    assert "--jsonl and --output must be two files" in done.stderr


def test_segments_keep_the_sound_of_a_file_in_time(tmp_path: Path, small_detector: Path, streamdet: Streamdet) -> None:
    video = write_sounding_video(tmp_path / "in.mp4")  # a flash and a click at 1, 2 and 3 s, of 4 s
    words = ("-m", small_detector, "--device", "cpu", "-o", tmp_path / "o.mp4", "--segment", "2.6s")
    done = streamdet("run", video, *words)
    assert done.returncode == 0, done.stderr
    lines = map(json.loads, (tmp_path / "o.segments.jsonl").read_text().splitlines())
    files = {line["start_pts"]: tmp_path / line["file"] for line in lines}
    assert sorted(files) == pytest.approx([0.0, 2.6], abs=0.04)
    for start, path in files.items():
        flashes, clicks, end = flashes_and_clicks(path)
        assert [start + flash for flash in flashes] == pytest.approx([3.0] if start else [1.0, 2.0], abs=0.003)
        assert clicks == pytest.approx(flashes, abs=0.03)
        assert end == pytest.approx(4.0 - start if start else max(files), abs=0.05)


def test_a_dry_run_leaves_nothing_behind(
    tmp_path: Path, small_video: Path, small_detector: Path, streamdet: Streamdet
) -> None:
    target = tmp_path / "cam.mp4"
    done = streamdet("run", small_video, "-m", small_detector, "-o", target, "--segment", "10m", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_file_says_them_as_one_would_write_them() -> None:
    config = load_config(settings=["output.keep=7d", "output.min_free=0"])
    assert (config.output.keep, config.output.min_free) == (("7d",), "0")
    assert load_config(settings=["output.keep=[7d, 50GB]"]).output.keep == ("7d", "50GB")
