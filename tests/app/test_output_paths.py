"""Is no file that is read, and no file that was just written, ever overwritten, under whatever name?"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from pipeline.app.config import RunConfig, load_config
from pipeline.app.output_paths import inputs_of, refuse_output_over_input
from pipeline.errors import SinkError
from pipeline.sources.opening import files_of
from tests.support.command_line import Streamdet
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
