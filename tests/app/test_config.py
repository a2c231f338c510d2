"""Does configuration merge as said, and does every mistake name file, key and the nearest right one?"""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.app.config.loading import load_config, preset_names
from pipeline.app.config.output import OutputConfig
from pipeline.app.model_branch import checked_detector
from pipeline.errors import ConfigError


def test_later_layers_win(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("model: a.onnx\nflow: {mode: live, queue_capacity: 5}\n")
    config = load_config(
        str(file), settings=["flow.mode=every-frame", "detection.classes=[person, car]"], options={"model": "b.onnx"}
    )
    assert config.model == "b.onnx"
    assert (config.flow.mode, config.flow.queue_capacity) == ("every-frame", 5)
    assert config.detection.classes == ("person", "car")


def test_a_section_without_keys_leaves_them_as_they_are(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("output:\nnetwork:\nflow: {every: 2}\n")
    assert load_config(str(file)).model_dump() == load_config(settings=["flow.every=2"]).model_dump()


def test_options_that_were_not_given_change_nothing() -> None:
    assert load_config("webcam", options={"output.show": None, "sources": ()}).output.show is True


@pytest.mark.parametrize("name", ["demo", "file", "gpu", "rtsp", "throughput", "webcam"])
def test_every_preset_loads(name: str) -> None:
    assert name in preset_names()
    load_config(name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "flow: {qeue_capacity: 1}",
            r"mine.yaml: there is no key flow.qeue_capacity; did you mean flow.queue_capacity\?",
        ),
        ("score_threshold: 1", r"there is no key score_threshold; did you mean detection.score_threshold\?"),
        ("flow: {queue_capacity: 0}", "mine.yaml: flow.queue_capacity must be greater than or equal to 1, got 0"),
        ("flow: {mode: lve}", r"flow.mode must be 'auto', 'live' or 'every-frame', got 'lve'; did you mean 'live'\?"),
        ("detection: {score_threshold: high}", "detection.score_threshold must be a valid number.*got 'high'"),
        ("detection: {score_threshold: yes}", "detection.score_threshold must be a number, got True"),
        ("detection: {max_detections: true}", "detection.max_detections must be a number, got True"),
        ("sources: [{url: a.mp4, weight: on}]", "sources.0.weight must be a number, got True"),
        ("- a\n- b", "must hold keys and values, got list"),
        ("flow: {mode: live", r"line \d.*is not YAML"),
    ],
)
def test_a_mistake_in_a_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_config(str(file))


def test_a_mistake_in_a_setting_is_named() -> None:
    with pytest.raises(ConfigError, match=r"--set must be key=value, such as flow.mode=live, got 'live'"):
        load_config(settings=["live"])
    with pytest.raises(ConfigError, match=r"--set: there is no key engine.devise; did you mean engine.device\?"):
        load_config(settings=["engine.devise=cuda"])


@pytest.mark.parametrize(
    ("setting", "key"),
    [
        ("detection.classes=[catt]", "detection.classes"),
        ("detection.class_score_thresholds={catt: 0.5}", "detection.class_score_thresholds"),
    ],
)
def test_a_class_that_the_model_lacks_is_blamed_on_the_key_that_names_it(
    small_detector: Path, setting: str, key: str
) -> None:
    config = load_config(settings=[setting], options={"model": str(small_detector)})
    with pytest.raises(ConfigError, match=rf"^{key}: the model has no class 'catt'; did you mean 'cat'\?$"):
        checked_detector(config)


def test_an_unknown_preset_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"demo, file, gpu.*got 'webcan'; did you mean 'webcam'\?"):
        load_config("webcan")
    with pytest.raises(ConfigError, match=r"there is no file nowhere\.yaml"):
        load_config("nowhere.yaml")


def test_a_configuration_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_config().model = "other.onnx"


def test_a_home_folder_in_an_output_is_written_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    output = OutputConfig(video="~/out/", jsonl="~/a~.jsonl", csv="-", report="x/~y.json")
    assert (output.video, output.jsonl) == (f"{tmp_path}/out/", f"{tmp_path}/a~.jsonl")
    assert (output.csv, output.report) == ("-", "x/~y.json")
    with pytest.raises(ValueError, match="nobody knows which folder ~nouser is on this machine; write the whole path"):
        OutputConfig(jsonl="~nouser/a.jsonl")
