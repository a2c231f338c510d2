"""Models by name: what a word for a model means in every command, and the list of names."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

import cv2
import pytest

import pipeline
from pipeline.app.model_files import DEMO_MODEL, known_file, model_file
from pipeline.detector.probe import street
from pipeline.errors import ModelError
from tests.support import realistic_outputs as real
from tests.support.command_line import Streamdet, refused
from tests.support.file_server import Reply, serving
from tests.support.foreign_detector import write
from tests.support.published import publish, publish_in_children, row_for

PATH = "/files/yolox_nano.onnx"


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("STREAMDET_MODELS", raising=False)
    (tmp_path / "desk").mkdir()
    monkeypatch.chdir(tmp_path / "desk")


@pytest.fixture
def folder(tmp_path: Path, small_detector: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of models, as STREAMDET_MODELS names it, with yolox-nano in it."""
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "yolox-nano.onnx").write_bytes(small_detector.read_bytes())
    publish(monkeypatch, row_for("yolox-nano", small_detector))
    monkeypatch.setenv("STREAMDET_MODELS", str(folder))
    return folder


def test_a_video_runs_with_a_model_by_name_that_comes_once(
    streamdet: Streamdet, small_video: Path, small_detector: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving({PATH: Reply(small_detector.read_bytes())}) as server:
        publish(monkeypatch, row_for("yolox-nano", small_detector, address=server.address + PATH))
        done = streamdet("run", small_video, "-m", "yolox-nano", "-o", "out.mp4", "--jsonl", "-")
        assert done.returncode == 0, done.stderr
        assert len(server.requests) == 1
    assert len([json.loads(line) for line in done.stdout.splitlines()]) == 30  # nothing else is on stdout
    kept = tmp_path / "cache" / "streamdet" / "models" / "yolox-nano.onnx"
    assert done.stderr.splitlines()[0].startswith("downloading yolox-nano: Apache-2.0, 3.7 MB, from 127.0.0.1:")
    assert f"yolox-nano: kept in {kept}" in done.stderr.splitlines()
    assert "yolox-nano: 100% of" in done.stderr
    again = streamdet("run", small_video, "-m", "yolox-nano", "--jsonl", "again.jsonl")  # the server is gone
    assert again.returncode == 0
    assert "downloading" not in again.stderr


@pytest.mark.parametrize(
    ("reply", "reason"),
    [(None, "answers 404 Not Found"), (Reply(b"other"), "the server has a file of 5")],
    ids=["404", "another file"],
)
def test_what_cannot_be_downloaded_is_one_line_and_exit_code_1(
    reply: Reply | None,
    reason: str,
    streamdet: Streamdet,
    small_video: Path,
    small_detector: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with serving({} if reply is None else {PATH: reply}) as server:
        publish(monkeypatch, row_for("yolox-nano", small_detector, address=server.address + PATH))
        done = streamdet("run", small_video, "-m", "yolox-nano", "-o", "out.mp4")
    assert done.returncode == 1
    assert reason in done.stderr
    assert "Traceback" not in done.stderr
    assert [line for line in done.stderr.splitlines() if line.startswith("streamdet: error: ")] == [
        done.stderr.splitlines()[-1]
    ]
    assert list(Path().iterdir()) == []


STREET = "sim:traffic?seconds=1&fps=4&size=320x180"


@pytest.fixture
def street_detector(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of yolox-nano, which finds something in a drawn street."""
    path = folder / "yolox-nano.onnx"
    path.write_bytes(DEMO_MODEL.read_bytes())
    (folder / "dfine-n.onnx").write_bytes(path.read_bytes())
    rows = row_for("yolox-nano", path), replace(row_for("dfine-n", path), hints=None)
    publish(monkeypatch, *rows)
    publish_in_children(monkeypatch, folder.parent / "site", rows[0])
    return path


@pytest.mark.usefixtures("street_detector")
@pytest.mark.parametrize(
    "words",
    [
        "inspect yolox-nano",
        "inspect demo",
        "verify yolox-nano --against yolox-nano.onnx",
        "verify yolox-nano --against dfine-n",
        "flops yolox-nano",
        f"bench {STREET} -m yolox-nano --seconds .5 --warm-up 0 --repeats 1 --outputs boxes",
        f"eval -m yolox-nano --data {STREET}",
        f"compare yolox-nano --teacher demo --on {STREET} --frames 2 --repeats 1 --seconds .5 --worst 0",
        f"tune {STREET} -m yolox-nano --budget 100ms --seconds .5",
        "quantize yolox-nano --calibrate photos --max-images 2 --max-drop 100",
    ],
    ids=lambda words: words.partition(" -")[0],
)
def test_every_command_on_models_takes_a_name(words: str, streamdet: Streamdet) -> None:
    pytest.importorskip("onnx", reason="verify, flops and quantize read the graph")
    Path("yolox-nano.onnx").write_bytes(DEMO_MODEL.read_bytes())
    Path("photos").mkdir()
    for width in (320, 384):
        assert cv2.imwrite(f"photos/{width}.png", street((width, 192)))
    done = streamdet(*words.split())
    assert "error:" not in done.stderr
    assert done.returncode == 0 or words.startswith("tune"), done.stderr  # a busy machine may keep no setting's limits
    assert Path("yolox-nano-int8.onnx").is_file() == words.startswith("quantize")


def test_what_is_made_of_a_name_lies_here_and_not_where_the_file_is(folder: Path, streamdet: Streamdet) -> None:
    pytest.importorskip("onnx", reason="writes an ONNX file")
    write(folder / "yolox-nano.onnx", real.yolox())
    with pytest.MonkeyPatch.context() as patch:
        publish(patch, row_for("yolox-nano", folder / "yolox-nano.onnx"))
        assert streamdet("adopt", "yolox-nano", "-o", "adopted.onnx").returncode == 0
        done = streamdet("inspect", "adopted.onnx")
    assert "written by adopt" in done.stdout
    assert [path.name for path in folder.iterdir()] == ["yolox-nano.onnx"]


def test_an_output_over_the_file_of_a_name_is_refused(folder: Path, streamdet: Streamdet, small_video: Path) -> None:
    before = (folder / "yolox-nano.onnx").read_bytes()
    done = streamdet("run", small_video, "-m", "yolox-nano", "--jsonl", folder / "yolox-nano.onnx")
    assert refused(done, "--jsonl must not be the model")
    assert (folder / "yolox-nano.onnx").read_bytes() == before


def test_a_name_is_a_name_and_a_path_is_a_path(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    Path("yolox-nano").write_bytes(b"a file of the same name")
    with caplog.at_level(logging.WARNING):
        assert model_file("yolox-nano") == folder / "yolox-nano.onnx"
    assert "for that, write ./yolox-nano" in caplog.text
    assert model_file("./yolox-nano") == Path("yolox-nano")
    assert model_file("models/yolox-nano.onnx") == Path("models/yolox-nano.onnx")
    assert model_file("demo") == model_file(None) == known_file("demo") == DEMO_MODEL
    Path("mine").write_bytes(b"a file without a suffix")
    assert model_file("mine") == Path("mine")


@pytest.mark.parametrize(
    ("word", "answer"),
    [
        ("yolox_nano", "did you mean 'yolox-nano'?"),
        ("YOLOX-Tiny", "did you mean 'yolox-tiny'?"),
        ("rf-detr-small", "did you mean 'rfdetr-small'?"),
        ("yolox_nano.onnx", "--model yolox-nano, without .onnx, downloads it"),
        ("ssd300_vgg16", "make it with: streamdet export ssd300_vgg16"),
        ("PekingU/rtdetr_r18vd", "make it with: streamdet export PekingU/rtdetr_r18vd"),
        ("my best model", "must be an ONNX file or a name of `streamdet models`"),
    ],
)
def test_a_word_that_is_nothing_is_told_the_nearest_that_is(word: str, answer: str) -> None:
    with pytest.raises(ModelError) as error:
        model_file(word)
    assert str(error.value).startswith(f"{word}: no such file")
    assert answer in str(error.value)


def test_a_video_without_a_model_is_told_a_name(streamdet: Streamdet, small_video: Path) -> None:
    done = streamdet("run", small_video)
    assert refused(done, "try --model yolox-nano (Apache-2.0, 3.7 MB download)", "`streamdet models`")


@pytest.mark.usefixtures("folder")
def test_python_and_a_configuration_take_a_name(small_video: Path, streamdet: Streamdet) -> None:
    results = list(pipeline.detect(small_video, model="yolox-nano", settings={"flow.max_frames": 2}))
    assert [len(result.detections) for result in results] == [2, 2]
    Path("run.yaml").write_text(f"model: yolox-nano\nsources: ['{small_video}']\nflow: {{max_frames: 2}}\n")
    assert streamdet("run", "--config", "run.yaml", "--jsonl", "out.jsonl").returncode == 0
    assert len(Path("out.jsonl").read_text().splitlines()) == 2


def test_the_list_fits_a_terminal_and_says_what_is_here(
    folder: Path, streamdet: Streamdet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    done = streamdet("models")
    lines = done.stdout.splitlines()
    rows = {line.split()[0]: line.split() for line in lines if line}
    assert done.returncode == 0
    assert max(map(len, (line for line in lines if str(folder) not in line and "cache" not in line))) <= 80
    assert rows["yolox-nano"] == [
        *("yolox-nano", "Apache-2.0", "3.7", "MB", "416", "×", "416", "25.8", "yes", "Megvii-BaseDetection")
    ]
    assert rows["dfine-n"][8] == "–"
    assert "torchvision" in rows


def test_the_list_is_json_for_programs(folder: Path, streamdet: Streamdet) -> None:
    printed = json.loads(streamdet("models", "--json", "-").stdout)
    nano, tiny, *_ = printed["published"]
    assert (nano["name"], nano["file"]) == ("yolox-nano", str(folder / "yolox-nano.onnx"))
    assert (tiny["name"], tiny["file"], tiny["network_wh"]) == ("yolox-tiny", None, [416, 416])
    assert "ssd300_vgg16" in printed["exported"]["torchvision"]["names"]
    assert streamdet("models", "--json", "models.json").returncode == 0
    assert json.loads(Path("models.json").read_text(encoding="utf-8")) == printed


def test_doctor_says_where_the_cache_is_and_what_is_in_it(folder: Path, streamdet: Streamdet, tmp_path: Path) -> None:
    printed = streamdet("doctor").stdout
    assert f"cache {tmp_path / 'cache' / 'streamdet' / 'models'}" in printed
    assert f"STREAMDET_MODELS {folder}" in printed
    assert "here: yolox-nano (" in printed
