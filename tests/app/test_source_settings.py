"""Sources with settings of their own: names, weights, classes and thresholds in a configuration file."""

from __future__ import annotations

import json
from pathlib import Path

import av
import pytest

from pipeline.app.assemble import assemble
from pipeline.app.config.loading import load_config
from pipeline.app.config.run import RunConfig
from pipeline.errors import ConfigError, StreamdetError
from pipeline.flow.running import Running
from tests.support.command_line import Streamdet
from tests.support.gop_videos import write_gop_video


def config_of(folder: Path, sources: str, **options: object) -> RunConfig:
    file = folder / "cameras.yaml"
    file.write_text(f"sources:\n{sources}", encoding="utf-8")
    return load_config(str(file), options={"output.show": False, "engine.device": "cpu", **options})


def test_words_and_settings_stand_side_by_side(tmp_path: Path) -> None:
    config = config_of(tmp_path, "- 0\n".replace("0", "'0'") + "- {url: 'rtsp://cam/a', name: door, weight: 2}\n")
    assert config.source_words == ("0", "rtsp://cam/a")
    assert [(source.name, source.weight) for source in config.source_configs] == [(None, 1.0), ("door", 2.0)]


def test_a_source_has_its_name_weight_classes_and_threshold(
    tmp_path: Path, small_video: Path, small_detector: Path
) -> None:
    """The detector finds a cat with score 0.9 and a dog with 0.4 in every picture."""
    sources = (
        f"- {{url: {small_video}, name: door, weight: 2, score_threshold: 0.8}}\n"
        f"- {{url: {small_video}, name: yard, classes: dog, score_threshold: 0.3}}\n"
        f"- {small_video}\n"
    )
    options = {"model": str(small_detector), "flow.max_frames": 2, "detection.score_threshold": 0.35}
    assembly = assemble(config_of(tmp_path, sources, **options))
    weights = {node.name: node.part.weight for node in assembly.flow.nodes if node.kind == "source"}
    assert weights == {"door": 2.0, "yard": 1.0, str(small_video): 1.0}
    objects: dict[str, set[str]] = {}
    with Running(assembly.flow, results=True) as running:
        for result in running:
            names = {result.class_names[index] for index in result.detections.class_ids}
            objects.setdefault(result.frame.source_id, set()).update(names)
    assert objects == {"door": {"cat"}, "yard": {"dog"}, str(small_video): {"cat", "dog"}}


def test_a_threshold_below_that_of_the_run_counts_too(tmp_path: Path, small_video: Path, small_detector: Path) -> None:
    sources = f"- {{url: {small_video}, name: low, score_threshold: 0.3}}\n- {small_video}\n"
    options = {"model": str(small_detector), "flow.max_frames": 1, "detection.score_threshold": 0.8}
    with Running(assemble(config_of(tmp_path, sources, **options)).flow, results=True) as running:
        counts = {result.frame.source_id: len(result.detections) for result in running}
    assert counts == {"low": 2, str(small_video): 1}


def test_files_and_records_bear_the_name(
    tmp_path: Path, small_video: Path, small_detector: Path, streamdet: Streamdet
) -> None:
    file = tmp_path / "cameras.yaml"
    file.write_text(f"sources: [{{url: {small_video}, name: front door}}, {{url: {small_video}, name: yard}}]\n")
    outputs = ("-o", tmp_path / "o.mp4", "--jsonl", tmp_path / "o.jsonl", "--report", tmp_path / "r.json")
    done = streamdet("run", "--config", file, "-m", small_detector, "--device", "cpu", "--max-frames", 2, *outputs)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.glob("*.mp4")} == {"o-front_door.mp4", "o-yard.mp4"}
    lines = (tmp_path / "o.jsonl").read_text().splitlines()
    assert {json.loads(line)["source"] for line in lines} == {"front door", "yard"}
    report = json.loads((tmp_path / "r.json").read_text())
    assert {name: source["state"]["name"] for name, source in report["sources"].items()} == {
        "front door": "ended",
        "yard": "ended",
    }


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        (
            "- {url: a, weigth: 2}\n",
            r"cameras\.yaml: there is no key sources\.0\.weigth; did you mean sources.0.weight",
        ),
        ("- a.mp4\n- {url: b, weight: 0}\n", r"cameras\.yaml: sources\.1\.weight must be greater than 0, got 0"),
        ("- {name: door}\n", r"cameras\.yaml: sources\.0\.url Field required"),
        ("- {url: a, score_threshold: 2}\n", r"sources\.0\.score_threshold must be less than or equal to 1, got 2"),
        ("- {url: a, classes: ','}\n", r"sources\.0\.classes"),
        ("- 3\n", r"sources\.0 must be a valid string, got 3"),
    ],
    ids=["key", "weight", "no url", "threshold", "no class", "number"],
)
def test_a_mistake_names_the_source_and_its_key(tmp_path: Path, sources: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        config_of(tmp_path, sources)
    assert "\n" not in str(caught.value)


def test_a_password_in_a_mistaken_source_is_masked(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        config_of(tmp_path, "- {url: 'rtsp://admin:hunter2@cam/a', weight: none}\n- {address: 'rtsp://a:hunter2@b'}\n")
    assert "hunter2" not in str(caught.value)


def test_a_class_that_the_model_does_not_know_names_the_source(
    tmp_path: Path, small_video: Path, small_detector: Path
) -> None:
    config = config_of(tmp_path, f"- {{url: {small_video}, name: door, classes: dogs}}\n", model=str(small_detector))
    with pytest.raises(
        ConfigError, match=r"^door: detection\.classes: the model has no class 'dogs'; did you mean 'dog'"
    ):
        assemble(config)


def test_a_network_looks_at_the_small_stream_and_outputs_show_the_large_one(
    tmp_path: Path, small_video: Path, small_detector: Path, streamdet: Streamdet
) -> None:
    """The detector finds a cat in black pictures, as those of the small stream are, and fails on others."""
    large = write_gop_video(tmp_path / "large.mp4", num_frames=75)  # 64 × 48, and 25 a second for 3 s
    file = tmp_path / "cameras.yaml"
    file.write_text(f"sources: [{{url: {large}, detect_url: {small_video}, name: door}}]\n")
    outputs = ("--jsonl", tmp_path / "o.jsonl", "-o", tmp_path / "o.mp4", "--report", tmp_path / "r.json")
    done = streamdet("run", "--config", file, "-m", small_detector, "--device", "cpu", *outputs)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    assert [line["pts"] for line in lines] == [pytest.approx(index / 10) for index in range(30)]
    (cat,) = (box for box in lines[0]["detections"] if box["class_name"] == "cat")
    assert cat["box"] == pytest.approx([8, 8, 24, 24])  # the network sees 8 rows of padding above
    with av.open(str(tmp_path / "o.mp4")) as recording:
        pictures = [frame.to_ndarray(format="bgr24") for frame in recording.decode(video=0)]
    assert {picture.shape for picture in pictures} == {(48, 64, 3)}
    assert pictures[10][40:, 50:].mean() > 20  # where nothing is drawn, and the small stream is black
    assert json.loads((tmp_path / "r.json").read_text())["sources"]["door"]["damage"] == []


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ("url: VIDEO, detect_url: VIDEO, isolate: true", {}, "is read by the run itself, got isolate"),
        ("url: VIDEO, detect_url: VIDEO", {"decode.device": "cuda"}, "needs decode.device=cpu, got cuda"),
        ("url: VIDEO, detect_url: '-'", {}, "must be two files or addresses, got standard input"),
        ("url: VIDEO, detect_url: absent.mp4", {}, r"^absent.mp4: there is no"),
        ("url: VIDEO, detect_url: ''", {}, "detect_url String should have at least 1 character"),
    ],
)
def test_a_small_stream_that_cannot_be_read_beside_the_large_one_is_refused(
    tmp_path: Path, small_video: Path, small_detector: Path, source: str, options: dict[str, object], message: str
) -> None:
    text = f"- {{{source.replace('VIDEO', str(small_video))}}}\n"
    with pytest.raises(StreamdetError, match=message) as caught:
        assemble(config_of(tmp_path, text, model=str(small_detector), **options))
    assert "\n" not in str(caught.value)


def test_an_output_over_a_small_stream_is_refused(
    tmp_path: Path, small_video: Path, small_detector: Path, streamdet: Streamdet
) -> None:
    small = tmp_path / "small.mp4"
    small.write_bytes(small_video.read_bytes())
    file = tmp_path / "cameras.yaml"
    file.write_text(f"sources: [{{url: {small_video}, detect_url: {small}}}]\n")
    done = streamdet("run", "--config", file, "-m", small_detector, "-o", small, "--overwrite")
    assert (done.returncode, "--output must not be the source itself" in done.stderr) == (1, True)
    assert small.read_bytes() == small_video.read_bytes()


def test_two_sources_of_one_name_are_refused(tmp_path: Path, small_video: Path, small_detector: Path) -> None:
    sources = f"- {{url: {small_video}, name: door}}\n" * 2
    with pytest.raises(ConfigError, match=r"^sources\.1\.name must be another .*'door'$"):
        assemble(config_of(tmp_path, sources, model=str(small_detector)))


def test_an_output_over_a_source_with_settings_is_refused(
    tmp_path: Path, small_video: Path, small_detector: Path, streamdet: Streamdet
) -> None:
    file = tmp_path / "cameras.yaml"
    file.write_text(f"sources: [{{url: {small_video}, name: door}}]\n")
    done = streamdet("run", "--config", file, "-m", small_detector, "-o", small_video, "--overwrite")
    assert (done.returncode, "--output must not be the source itself" in done.stderr) == (1, True)
