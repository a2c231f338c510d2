"""Do values and words mean what people who know other tools expect, and is what is ambiguous refused?"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.app.cli import app
from pipeline.app.config.loading import load_config
from pipeline.app.foreign_words import option_hint
from pipeline.app.thresholds import suppression_options
from pipeline.errors import ConfigError
from pipeline.picture.detector_spec import DetectorSpec
from tests.support.command_line import run_streamdet


def spec_of(*class_names: str) -> DetectorSpec:
    return DetectorSpec(head="yolox", input_name="images", network_wh=(64, 64), class_names=class_names)


def kept(class_names: tuple[str, ...], classes: object) -> set[int]:
    config = load_config(options={"detection.classes": classes})
    return set(suppression_options(config.detection, spec_of(*class_names)).keep_class_ids or ())


NAMES = ("person", "traffic light", "Car", "10")


@pytest.mark.parametrize(
    ("classes", "class_ids"),
    [
        (("0",), {0}),
        ([0, 2], {0, 2}),
        ("person,traffic light", {0, 1}),
        ("TRAFFIC LIGHT, car", {1, 2}),
        (1, {1}),
        (("10",), {3}),  # a name that is a number wins over an id
    ],
)
def test_classes_are_names_in_any_case_or_ids(classes: object, class_ids: set[int]) -> None:
    assert kept(NAMES, classes) == class_ids


@pytest.mark.parametrize(
    ("class_names", "name", "message"),
    [
        (NAMES, "4", r"a class id of the model must be at most 3, got 4"),
        (("Car", "car"), "CAR", r"'CAR' must be one of Car, car, which the model tells apart"),
        (NAMES, "persn", r"did you mean 'person'\?"),
    ],
)
def test_a_class_that_is_not_there_or_ambiguous_is_refused(
    class_names: tuple[str, ...], name: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        kept(class_names, (name,))


def test_a_name_that_is_written_exactly_is_not_ambiguous() -> None:
    assert kept(("Car", "car"), ("car",)) == {1}


def test_thresholds_of_single_classes_go_by_id_too(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("detection: {class_score_thresholds: {0: 0.5, CAR: 0.25}}")
    options = suppression_options(load_config(str(file)).detection, spec_of(*NAMES))
    assert options.class_thresholds == {0: 0.5, 2: 0.25}


@pytest.mark.parametrize("size", ["640x384", "640X384", "640×384", "640,384", " 640 x 384 "])
def test_a_size_has_the_width_first(size: str) -> None:
    assert load_config(options={"hints.size": size}).hints.size == "640x384"


@pytest.mark.parametrize("size", ["320", 320, "320x320"])
def test_one_number_is_both_sides(size: object) -> None:
    assert load_config(options={"hints.size": size}).hints.size == "320x320"


@pytest.mark.parametrize("size", ["0", "axb", "640x", "640x384x3", "-3", True, 1.5, ""])
def test_a_size_that_is_none_is_refused(size: object) -> None:
    with pytest.raises(ConfigError, match=r"--set: hints\.size must be"):
        load_config(settings=[f"hints.size={str(size).lower()!r}" if isinstance(size, str) else f"hints.size={size}"])


@pytest.mark.parametrize("device", ["gpu", "GPU", "cuda", "CUDA:0", "cuda:0", "0", 0])
def test_the_first_gpu_has_several_names(device: object) -> None:
    assert load_config(options={"engine.device": device}).engine.device == "cuda"


@pytest.mark.parametrize("device", ["cuda:1", "1", 1, "gpu:1"])
def test_another_gpu_is_chosen_by_the_environment(device: object) -> None:
    with pytest.raises(ConfigError, match=r"--device must be cuda, the first visible GPU.*CUDA_VISIBLE_DEVICES=1"):
        load_config(options={"engine.device": device})


def test_a_device_that_does_not_exist_gets_the_choices() -> None:
    for device in ("mps", "cuda:x", "cpu:1", ""):
        with pytest.raises(ConfigError, match="--device must be 'auto', 'cpu', 'openvino', 'cuda' or 'tensorrt'"):
            load_config(options={"engine.device": device})


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("run --source a.mp4", "there is no option --source; a source is typed without a flag"),
        ("run source=a.mp4", "a source is typed as it is, without source="),
        ("run a.mp4 conf=0.4", "options are typed with dashes, such as --conf 0.4"),
        ("run a.mp4 --imgsz 640,384", "--imgsz must be one number, such as 640, got '640,384'"),
        ("run a.mp4 --imgsz=640x384", "--imgsz must be one number"),
        ("run a.mp4 --half", "there is no option --half; type --precision fp16"),
        ("run a.mp4 --conf-thres 0.4", "there is no option --conf-thres; type --score-threshold X"),
        ("predict a.mp4", "did you mean 'streamdet run'?"),
        ("val", "did you mean 'streamdet eval'?"),
    ],
)
def test_a_word_of_another_tool_is_told_what_it_is_called(words: str, hint: str) -> None:
    done = CliRunner().invoke(app, words.split(), env={"COLUMNS": "400"})
    assert done.exit_code == 2
    assert hint in done.output


def test_a_misspelt_option_gets_the_nearest() -> None:
    assert "--score-threshold" in CliRunner().invoke(app, ["run", "a.mp4", "--treshold", "0.4"]).output


def test_what_only_looks_like_a_word_of_another_tool_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = {"--imgsz", "--conf", "--score-threshold", "--set", "--precision", "-o"}
    monkeypatch.chdir(tmp_path)
    (tmp_path / "conf=0.4").touch()
    for words in (["conf=0.4"], ["--set", "source=x"], ["--", "--source"], ["--imgsz", "640"], ["https://a/?conf=1"]):
        assert option_hint(words, flags) is None, words
    assert option_hint(["--half"], flags | {"--half"}) is None
    assert option_hint(["--half"], {"--score-threshold"}) is None  # the command has no --precision either


def test_the_aliases_do_what_their_options_do(tmp_path: Path, small_video: Path, small_detector: Path) -> None:
    words = ("run", small_video, "-m", small_detector, "--jsonl", "-", "--max-frames", "1", "--device", "cpu")
    named = run_streamdet(*words, "--score-threshold", "0.5", "--iou-threshold", "0.6", "--classes", "cat")
    aliased = run_streamdet(*words, "--conf", ".5", "--iou", ".6", "--classes", "0")
    assert named.returncode == 0, named.stderr
    assert '"class_name": "cat"' in named.stdout
    assert aliased.stdout == named.stdout


def test_the_help_of_run_has_a_heading_for_each_panel_in_80_columns() -> None:
    shown = CliRunner().invoke(app, ["run", "--help"], env={"COLUMNS": "80"}).output
    headings = re.findall(r"^(\w[\w ,]*):$", shown, re.MULTILINE)
    assert headings[:2] == ["Arguments", "Options"]
    assert headings[2:8] == ["Input", "Model", "Counting", "Output", "Events", "Live"]
    assert headings[-2:] == ["Foreign models, where recognition is in doubt", "Advanced"]
    assert max(map(len, shown.splitlines())) <= 80
    first = shown.partition("\nOptions:")[2].partition("\nInput:")[0]
    assert len(re.findall(r"^  -", first, re.MULTILINE)) == 10
    assert "--anchors" in shown.partition("\nForeign")[2].partition("\nAdvanced")[0]
