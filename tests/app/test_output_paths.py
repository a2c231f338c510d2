"""Outputs: no input is ever overwritten, no other output, and no file that exists unless --overwrite says so."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from pipeline.app.config.loading import load_config
from pipeline.app.config.run import RunConfig
from pipeline.app.output_paths import inputs_of, refuse_output_over_input, refuse_overwriting
from pipeline.errors import SinkError
from pipeline.sources.kinds import files_of
from tests.support.command_line import Streamdet, refused
from tests.support.tiny_detector import write_detector


def test_a_file_is_known_by_every_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model = tmp_path / "m.onnx"
    model.write_bytes(b"x")
    os.link(model, tmp_path / "hard")
    (tmp_path / "soft").symlink_to(model)
    for name in ("m.onnx", "./m.onnx", str(model), "hard", "soft"):
        with pytest.raises(SinkError, match=r"--report must not be the model, got .*; it would be overwritten"):
            refuse_output_over_input([("--report", name)], {"the model": [model]})
    refuse_output_over_input([("--report", "new"), ("--jsonl", "-"), ("--html", None)], {"the model": [model]})


@pytest.mark.parametrize("other", ["o.mp4", "./o.mp4", "folder/../o.mp4", "link.mp4"])
def test_two_outputs_are_two_files_though_neither_is_there_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    Path("link.mp4").symlink_to("o.mp4")
    with pytest.raises(SinkError, match=r"--output and --jsonl must be two files, got .* for both"):
        refuse_output_over_input([("--output", "o.mp4"), ("--jsonl", other)], {})


def test_a_device_may_be_written_to_by_several() -> None:
    refuse_output_over_input([("--report", os.devnull), ("--jsonl", os.devnull)], {})


def test_all_that_a_run_reads_is_an_input(tmp_path: Path) -> None:
    names, anchors, config = tmp_path / "names.txt", tmp_path / "anchors.npy", tmp_path / "run.yaml"
    config.write_text(
        f"sources: ['file://{tmp_path}/a%20b.mp4']\nhints: {{class_names: {names}, anchors: {anchors}}}\n"
    )
    (tmp_path / "a b.mp4").write_bytes(b"x")
    found = inputs_of(load_config(str(config), options={"model": str(tmp_path / "m.onnx")}))
    everything = {path.name for paths in found.values() for path in paths}
    assert everything == {"a b.mp4", "m.onnx", "run.yaml", "names.txt", "anchors.npy"}


def test_weights_beside_a_model_are_inputs_under_any_name(tmp_path: Path) -> None:
    onnx: Any = pytest.importorskip("onnx", reason="writes them")
    path = write_detector(tmp_path / "m.onnx", {"a": np.ones((50, 60), np.float32)})
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    assert [each.name for each in inputs_of(RunConfig(model=str(path)))["the model"]] == ["m.onnx", "weights.bin"]


def test_the_files_of_a_source_are_those_that_it_reads(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.png", "notes.txt"):
        (tmp_path / name).write_bytes(b"x")
    assert [path.name for path in files_of(str(tmp_path))] == ["a.jpg", "b.png"]
    assert [path.name for path in files_of(f"{tmp_path}/*.jpg")] == ["a.jpg"]
    assert files_of("rtsp://h/a.jpg") == files_of("sim:traffic") == files_of("-") == files_of("nowhere") == ()


COMMANDS = [
    ("run {video} -m {model} --jsonl {model}", "--jsonl must not be the model"),
    ("run {video} -m {model} --report {names} --class-names {names}", "--report must not be the file of class names"),
    ("run {photos} -m {model} --crops {photos}", "--crops must be another folder than that of the source itself"),
    ("run {photos}/*.jpg -m {model} --crops {photos}/..", "--crops must be another folder than that of the source"),
    ("run {photos} -m {model} --jsonl {photos}/a.jpg", "--jsonl must not be the source itself"),
    ("run {photos}/*.jpg -m {model} --report {photos}/a.jpg", "--report must not be the source itself"),
    ("run file://{video} -m {model} -o {video}", "--output must not be the source itself"),
    ("run {video} -m {model} --config {config} --report {config}", "--report must not be the configuration"),
    ("run {video} -m {model} --csv {config} --config {config}", "--csv must not be the configuration"),
    ("run {photos} -m {model} --csv {photos}/a.jpg", "--csv must not be the source itself"),
    ("run {video} -m {model} --csv new --parquet ./new", "--csv and --parquet must be two files"),
    ("run {photos} -m {model} --labels coco={photos}/a.jpg", "--labels coco must not be the source itself"),
    ("run {photos} -m {model} --labels yolo=new --labels voc=./new", "--labels yolo and --labels voc must be two"),
    ("run {photos} -m {model} --labels coco=new --csv new", "--csv and --labels coco must be two files"),
    ("run {video} -m {model} --jsonl new --report new", "--report and --jsonl must be two files"),
    ("bench {video} -m {model} --report {model}", "--report must not be the model"),
    ("bench {video} -m {model} --report new --html new", "--report and --html must be two files"),
    ("compare {model} --teacher {other} --on {video} --report {other}", "--report must not be the model"),
    ("compare {model} {other} --on {photos} -o {photos}", "--output must not be the folder of the images"),
    ("tune {video} -m {model} -o {config} --config {config}", "--output must not be the configuration"),
    ("tune {video} -m {model} -o new.yaml --report new.yaml", "--output and --report must be two files"),
    ("adopt {model} -o {names} --class-names {names}", "must not be the file of class names"),
    ("flops {model} --json {model}", "--json must not be the model"),
    ("quantize {model} --calibrate {photos} -o {photos}/a.jpg", "--output must not be an image of --calibrate"),
]


@pytest.mark.parametrize(("words", "message"), COMMANDS, ids=[words for words, _ in COMMANDS])
def test_no_command_overwrites_what_it_reads(
    tmp_path: Path,
    small_video: Path,
    small_detector: Path,
    monkeypatch: pytest.MonkeyPatch,
    streamdet: Streamdet,
    words: str,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    files = {
        "video": tmp_path / "v.mp4",
        "model": tmp_path / "m.onnx",
        "other": tmp_path / "n.onnx",
        "names": tmp_path / "names.txt",
        "config": tmp_path / "run.yaml",
    }
    files["video"].write_bytes(small_video.read_bytes())
    for name in ("model", "other"):
        files[name].write_bytes(small_detector.read_bytes())
    files["names"].write_text("cat\ndog\n")
    files["config"].write_text("flow: {max_frames: 3}\n")
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("a.jpg", "b.jpg"):
        cv2.imwrite(str(photos / name), np.zeros((64, 64, 3), np.uint8))
    before = {path: path.read_bytes() for path in (*files.values(), *photos.iterdir())}
    done = streamdet(*(word.format(photos=photos, **files) for word in words.split()))
    assert done.returncode == 1
    assert message in done.stderr
    assert {path: path.read_bytes() for path in before} == before
    assert not (tmp_path / "new").exists()


def test_an_output_beside_the_images_may_be_written_again(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"x")
    (tmp_path / "o.jsonl").write_text("of the last run")
    refuse_output_over_input([("--jsonl", tmp_path / "o.jsonl")], inputs_of(RunConfig(sources=(str(tmp_path),))))


def test_what_exists_is_replaced_only_if_that_is_said(tmp_path: Path) -> None:
    old, new = tmp_path / "50% ü.mp4", tmp_path / "new.jsonl"
    old.write_bytes(b"precious")
    outputs = [("--output", old), ("--jsonl", new)]
    message = r"50% ü\.mp4 \(--output\) exists already; replace it with --overwrite, or name another file$"
    with pytest.raises(SinkError, match=message):
        refuse_overwriting(outputs, {}, overwrite=False)
    refuse_overwriting(outputs, {}, overwrite=True)
    with pytest.raises(SinkError, match="--output must not be the source"):
        refuse_overwriting(outputs, {"the source": [old]}, overwrite=True)
    new.touch()
    with pytest.raises(SinkError, match=r"mp4 \(--output\) and .*jsonl \(--jsonl\) exist already; replace them"):
        refuse_overwriting(outputs, {}, overwrite=False)


def test_devices_and_pipes_and_links_to_nothing_may_be_written(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("nothing")
    paths = (os.devnull, "-", None, tmp_path / "pipe", tmp_path / "link", "a\0b", "x" * 300)
    refuse_overwriting([("--jsonl", path) for path in paths], {}, overwrite=False)


def test_a_folder_to_fill_may_exist_but_not_hold_files(tmp_path: Path) -> None:
    folders = [("--charts", tmp_path), ("--output", tmp_path / "new"), ("--output", None)]
    refuse_overwriting([], {}, overwrite=False, folders=folders)
    (tmp_path / "a.png").touch()
    with pytest.raises(SinkError, match=r"\(--charts\) exists already; replace it with --overwrite"):
        refuse_overwriting([], {}, overwrite=False, folders=folders)


REPEATED = [
    "run {video} -m {model} --max-frames 2 -o old",
    "run {video} {video} -m {model} --max-frames 2 -o {old2}",
    "run {video} -m {model} --max-frames 2 --jsonl old --report new",
    "run {video} -m {model} --max-frames 2 --report old",
    "run {video} -m {model} --max-frames 2 --csv old",
    "run {video} -m {model} --max-frames 2 --parquet old",
    "run {video} -m {model} --max-frames 2 --labels coco=old",
    "bench {video} -m {model} --report old",
    "bench {video} -m {model} --html old",
    "compare {model} {other} --on {video} --report old",
    "tune {video} -m {model} -o old",
    "eval --data {labels} -m {model} --report old",
    "eval --data {labels} -m {model} --save-detections old",
    "adopt {model} -o old",
    "export retinanet_resnet50_fpn -o old",
    "quantize {model} --calibrate {video} -o old",
    "flops {model} --json old",
    "models --json old",
]


@pytest.mark.parametrize("words", REPEATED, ids=[words.split(" {")[0] + words[-12:] for words in REPEATED])
def test_no_command_replaces_a_file_unless_it_is_told_to(
    tmp_path: Path,
    small_video: Path,
    small_detector: Path,
    monkeypatch: pytest.MonkeyPatch,
    streamdet: Streamdet,
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    old = tmp_path / ("o-black-1.mp4" if "{old2}" in words else "o.yaml" if words.startswith("tune") else "o.mp4")
    old.write_bytes(b"precious")
    other = tmp_path / "n.onnx"
    other.write_bytes(small_detector.read_bytes())
    cv2.imwrite("a.png", np.zeros((64, 96, 3), np.uint8))
    labels = {
        "images": [{"id": 1, "file_name": "a.png", "width": 96, "height": 64}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [8, 16, 16, 16], "area": 256, "iscrowd": 0}],
        "categories": [{"id": 1, "name": "cat"}],
    }
    Path("labels.json").write_text(json.dumps(labels))
    files = {"video": small_video, "model": small_detector, "other": other, "labels": "labels.json", "old2": "o.mp4"}
    done = streamdet(
        *(
            word.replace("old", old.name) if word.split("=")[-1] == "old" else word.format(**files)
            for word in words.split()
        )
    )
    assert refused(done, f"{old.name} (--", "exists already; replace it with --overwrite, or name another file")
    assert old.read_bytes() == b"precious"
    assert not (tmp_path / "new").exists()


def test_a_run_that_is_told_to_replaces_its_outputs(
    tmp_path: Path, small_video: Path, small_detector: Path, streamdet: Streamdet
) -> None:
    paths = [tmp_path / "new folder" / name for name in ("o.mp4", "o.jsonl", "r.json", "o.csv")]
    words = ["run", small_video, "-m", small_detector, "--max-frames", 2]
    words += [word for pair in zip(("-o", "--jsonl", "--report", "--csv"), paths, strict=True) for word in pair]
    assert streamdet(*words).returncode == 0
    assert refused(streamdet(*words), "o.mp4 (--output)", "o.jsonl (--jsonl)", "r.json (--report)", "--overwrite")
    for path in paths:
        path.write_bytes(b"old")
    assert streamdet(*words, "--dry-run").returncode == 0
    assert [path.read_bytes() for path in paths] == [b"old"] * 4
    assert streamdet(*words, "--overwrite").returncode == 0
    assert b"old" not in [path.read_bytes() for path in paths]


def test_a_run_that_is_told_to_adds_to_its_lines_and_replaces_nothing_else(
    tmp_path: Path, small_video: Path, small_detector: Path, streamdet: Streamdet
) -> None:
    lines, table = tmp_path / "o.jsonl", tmp_path / "o.csv"
    words = ["run", small_video, "-m", small_detector, "--max-frames", 2, "--append"]
    assert refused(streamdet(*words, "--jsonl", "-"), "--append adds to the file of --jsonl or --csv", "there is none")
    words += ["--jsonl", lines, "--csv", table]
    assert streamdet(*words).returncode == 0
    num_rows = len(table.read_text().splitlines())
    with lines.open("a") as file:
        file.write('{"source": "torn')
    done = streamdet(*words)
    assert done.returncode == 0
    assert "its last line was torn, 16 bytes were cut off" in done.stderr
    assert [json.loads(line)["frame"] for line in lines.read_text().splitlines()] == [0, 1, 0, 1]
    assert len(table.read_text().splitlines()) == 2 * num_rows - 1
    report = tmp_path / "r.json"
    report.write_text("old")
    assert refused(streamdet(*words, "--report", report), "r.json (--report) exists already")
    assert refused(streamdet(*words, "--jsonl", small_detector), "--jsonl must not be the model")


def test_labels_in_a_folder_are_replaced_only_by_a_run_that_is_told_to(
    tmp_path: Path, small_video: Path, small_detector: Path, streamdet: Streamdet
) -> None:
    folder = tmp_path / "new folder" / "voc"
    words = ["run", small_video, "-m", small_detector, "--max-frames", 2, "--labels", f"voc={folder}"]
    assert streamdet(*words).returncode == 0
    (label, *_) = folder.iterdir()
    label.write_bytes(b"corrected")
    assert refused(streamdet(*words), "is there already; replace them with --overwrite, or name another place")
    assert label.read_bytes() == b"corrected"
    assert streamdet(*words, "--dry-run").returncode == 0
    assert label.read_bytes() == b"corrected"
    assert streamdet(*words, "--overwrite").returncode == 0
    assert label.read_bytes() != b"corrected"


def test_pictures_in_folders_are_replaced_only_by_a_run_that_is_told_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_video: Path, small_detector: Path, streamdet: Streamdet
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    cv2.imwrite("in/a.png", np.zeros((64, 96, 3), np.uint8))
    Path("in/b.mp4").write_bytes(small_video.read_bytes())
    words = ["run", "in", "-m", small_detector, "--max-frames", 2, "--score-threshold", 0.01]
    words += ["-o", "new/out/", "--crops", "new/crops"]
    assert streamdet(*words).returncode == 0
    assert any(Path("new/crops").iterdir())
    assert refused(
        streamdet(*words), "new/out/a.png (--output)", "b.mp4 (--output)", "new/crops (--crops)", "replace them"
    )
    Path("new/out/a.png").write_bytes(b"old")
    assert streamdet(*words, "--overwrite").returncode == 0
    assert Path("new/out/a.png").read_bytes() != b"old"
