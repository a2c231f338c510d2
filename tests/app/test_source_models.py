"""Sources with models of their own: each is detected by its model, and sources of one model share its engine."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.etree import ElementTree

import pytest

from pipeline.app.assemble import Assembly, assemble
from pipeline.app.config.loading import load_config
from pipeline.app.config.run import RunConfig
from pipeline.app.config.source import SourceConfig
from pipeline.app.model_branch import default_inflight, default_threads
from pipeline.app.model_groups import ModelChoice
from pipeline.app.run.supervisor import Supervisor
from pipeline.errors import ConfigError, StreamdetError
from pipeline.flow.running import Running
from pipeline.picture.detections import Result
from tests.support.command_line import Streamdet
from tests.support.tiny_detector import write_boxes_detector


@pytest.fixture(scope="module")
def ship_detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Finds a ship, of its second class, in every black picture; its network has another size."""
    rows = [(4.0, 4.0, 20.0, 20.0, 0.7, 1)]
    folder = tmp_path_factory.mktemp("model")
    return write_boxes_detector(folder / "ships.onnx", rows, side=32, class_names=("boat", "ship", "buoy"))


def config_of(sources: Sequence[object], **options: object) -> RunConfig:
    return load_config(
        options={
            "sources": tuple(sources),
            "output.show": False,
            "engine.device": "cpu",
            "flow.max_frames": 5,
            **options,
        }
    )


def objects_of(results: Iterator[Result]) -> dict[str, list[str]]:
    """The classes that were found, frame by frame, of each source."""
    objects: dict[str, list[str]] = {}
    for result in results:
        names = [result.class_name(class_id) for class_id in result.detections.class_ids.tolist()]
        objects.setdefault(result.frame.source_id, []).append(" ".join(names))
    return objects


def run_to_end(assembly: Assembly) -> dict[str, list[str]]:
    with Running(assembly.flow, results=True) as running:
        objects = objects_of(iter(running))
    frames = running.statistics().frames
    assert frames.captured == frames.delivered
    return objects


def test_each_source_is_detected_by_its_model_and_two_of_one_model_share_its_engine(
    small_video: Path, small_detector: Path, ship_detector: Path, tmp_path: Path
) -> None:
    """The same file by another name is the same model."""
    link = tmp_path / "same.onnx"
    link.symlink_to(ship_detector)
    video = str(small_video)
    config = config_of(
        [
            {"url": video, "name": "quay", "model": str(ship_detector)},
            {"url": video, "name": "street"},
            {"url": video, "name": "pier", "model": str(link)},
            video,
        ],
        model=str(small_detector),
    )
    assembly = assemble(config)
    assert [(branch.name, branch.source_ids) for branch in assembly.branches] == [
        ("ships", ("quay", "pier")),
        ("cats", ("street", video)),
    ]
    nodes = [(node.name, node.role) for node in assembly.flow.nodes if node.kind != "source"]
    assert nodes == [(f"{role} {name}", role) for name in ("ships", "cats") for role in ("preprocess", "detect", "nms")]
    assert run_to_end(assembly) == {
        "quay": ["ship"] * 5,
        "pier": ["ship"] * 5,
        "street": ["cat dog"] * 5,
        video: ["cat dog"] * 5,
    }


def test_one_address_under_two_names_is_seen_by_two_models(
    small_video: Path, small_detector: Path, ship_detector: Path
) -> None:
    sources = [
        {"url": str(small_video), "name": "cats", "model": str(small_detector)},
        {"url": str(small_video), "name": "ships", "model": str(ship_detector), "score_threshold": 0.6},
    ]
    assert run_to_end(assemble(config_of(sources))) == {"cats": ["cat dog"] * 5, "ships": ["ship"] * 5}


def test_where_all_sources_name_one_model_the_run_is_as_with_that_model(
    small_video: Path, small_detector: Path
) -> None:
    sources = [{"url": str(small_video), "name": name, "model": str(small_detector)} for name in "ab"]
    assembly = assemble(config_of(sources))
    assert [node.name for node in assembly.flow.nodes] == ["a", "b", "preprocess", "detect", "nms"]
    assert len(assembly.branches) == 1
    assembly.close()


def test_hints_tell_two_readings_of_one_file_apart_and_the_runs_model_keeps_the_runs_hints() -> None:
    config = load_config(options={"model": "m.onnx", "hints.head": "yolox"})
    of_run = ModelChoice.of(config, None)
    assert ModelChoice.of(config, SourceConfig(url="a", model="./m.onnx")) == of_run
    assert ModelChoice.of(config, SourceConfig(url="a", model="other.onnx")).hints.head is None
    own = SourceConfig.model_validate({"url": "a", "model": "m.onnx", "hints": {"head": "detr"}})
    assert ModelChoice.of(config, own) != of_run
    assert ModelChoice.of(config, own).hints.head == "detr"


def test_classes_of_the_run_need_not_be_those_of_a_model_whose_sources_have_their_own(
    small_video: Path, small_detector: Path, ship_detector: Path
) -> None:
    sources = [
        {"url": str(small_video), "name": "quay", "model": str(ship_detector), "classes": ["ship", "buoy"]},
        {"url": str(small_video), "name": "street"},
    ]
    options = {"model": str(small_detector), "detection.classes": ("dog",)}
    assert run_to_end(assemble(config_of(sources, **options))) == {"quay": ["ship"] * 5, "street": ["dog"] * 5}


@pytest.mark.parametrize(
    ("quay", "options", "message"),
    [
        ({}, {"detection.classes": ("dog",)}, r"^ships: detection\.classes: the model has no class 'dog'"),
        ({"classes": "cat"}, {}, r"^quay: detection\.classes: the model has no class 'cat'"),
        ({"model": None, "hints": {"head": "detr"}}, {}, r"^quay: hints of a source are about its own model"),
        ({"model": "nowhere.onnx"}, {}, r"nowhere\.onnx"),
        ({"model": "yolox-nanp"}, {}, r"did you mean 'yolox-nano'"),
        ({}, {"output.labels": {"coco": "OUT/l.json"}}, r"--labels coco has one list .* ships and cats have different"),
        ({}, {"output.labels": {"yolo": "OUT/l"}}, r"--labels yolo has one list .* --labels voc=FOLDER"),
        ({}, {"output.labels": {"cvat": "OUT/l.xml"}}, r"--labels cvat has one list"),
        ({}, {"output.save_frames": "tram>1", "output.frames": "OUT/f"}, r"tram"),
    ],
    ids=["run's class", "own class", "hints", "no file", "name", "coco", "yolo", "cvat", "condition"],
)
def test_a_mistake_is_one_line_that_names_source_or_model(
    quay: dict[str, object],
    options: dict[str, object],
    message: str,
    small_video: Path,
    small_detector: Path,
    ship_detector: Path,
    tmp_path: Path,
) -> None:
    """And nothing is left open or written."""
    own = {"url": str(small_video), "name": "quay", "model": str(ship_detector)} | quay
    sources = [{key: value for key, value in own.items() if value is not None}, {"url": str(small_video), "name": "b"}]
    text = json.dumps(options).replace("OUT", str(tmp_path / "out"))
    config = config_of(sources, model=str(small_detector), **json.loads(text))
    with pytest.raises(StreamdetError, match=message) as caught:
        assemble(config)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_an_output_over_the_model_of_a_source_is_refused(
    small_video: Path, ship_detector: Path, streamdet: Streamdet, tmp_path: Path
) -> None:
    before = ship_detector.read_bytes()
    file = tmp_path / "c.yaml"
    file.write_text(f"sources: [{{url: {small_video}, model: {ship_detector}}}]\n")
    done = streamdet("run", "--config", file, "--jsonl", ship_detector, "--overwrite")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "--jsonl must not be the model" in done.stderr
    assert ship_detector.read_bytes() == before


def test_outputs_name_each_box_by_the_classes_of_its_own_model(
    small_video: Path, small_detector: Path, ship_detector: Path, streamdet: Streamdet, tmp_path: Path
) -> None:
    """Class 1 of one model is a dog, of the other a ship; the report and the table of a dry run name the models."""
    file = tmp_path / "c.yaml"
    quay, street = (
        f"{{url: {small_video}, name: quay, model: {ship_detector}}}",
        f"{{url: {small_video}, name: street}}",
    )
    file.write_text(f"sources: [{quay}, {street}]\n")
    words = ("run", "--config", file, "-m", small_detector, "--device", "cpu", "--max-frames", 3)
    outputs = ("--jsonl", tmp_path / "o.jsonl", "--report", tmp_path / "r.json", "--labels", f"voc={tmp_path / 'voc'}")
    done = streamdet(*words, *outputs, "--save-frames", "ship>=1", "--frames", tmp_path / "frames")
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    names = {line["source"]: {box["class_name"] for box in line["detections"]} for line in lines}
    assert names == {"quay": {"ship"}, "street": {"cat", "dog"}}
    voc = {path.stem: path for path in (tmp_path / "voc").rglob("*.xml")}
    of_quay = [element.text for stem, path in voc.items() if "quay" in stem for element in _names_in(path)]
    assert of_quay == ["ship"] * 3
    assert {path.name.split("-")[0] for path in (tmp_path / "frames").iterdir()} == {"quay"}
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["model"] == "ships, cats"
    assert {name: model["sources"] for name, model in report["models"].items()} == {
        "ships": ["quay"],
        "cats": ["street"],
    }
    assert {name: source["model"] for name, source in report["sources"].items()} == {"quay": "ships", "street": "cats"}
    assert report["sources"]["quay"]["objects"].keys() == {"ship"}
    assert report["sources"]["quay"]["fps"]["inferred"] is not None
    assert report["stages"]["detect ships"]["role"] == report["stages"]["detect cats"]["role"] == "detect"
    dry = streamdet(*words, "--dry-run")
    assert [line.split()[0] for line in dry.stdout.splitlines() if "cpu fp32" in line] == ["ships", "cats"]
    assert "preprocess ships" in dry.stdout
    assert "null" not in next(line for line in dry.stdout.splitlines() if line.startswith("sources"))


def _names_in(path: Path) -> list[ElementTree.Element]:
    return ElementTree.parse(path).findall("object/name")


def test_a_model_of_the_run_that_no_source_has_is_said(
    small_video: Path, small_detector: Path, ship_detector: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sources = [{"url": str(small_video), "model": str(ship_detector)}]
    assembly = assemble(config_of(sources, model=str(small_detector)))
    assembly.close()
    assert f"the model of the run, {small_detector}, is used by no source: each names its own" in caplog.messages
    assert [branch.engine.path for branch in assembly.branches] == [ship_detector]


def test_models_together_have_no_more_threads_than_there_are_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    for cores in (1, 2, 3, 4, 8, 12, 64):
        monkeypatch.setattr("pipeline.app.model_branch.available_cores", lambda cores=cores: cores)
        for num_models in (2, 3, 5):
            for live_sources in (0, 1, 2, 7, 30):
                share = {"live_sources": live_sources, "num_models": num_models}
                threads = default_threads(**share) * default_inflight(device="cpu", **share)
                assert threads >= 1
                assert num_models * threads <= max(cores, num_models)


def run_on(config: RunConfig) -> tuple[Running[Result], Supervisor, dict[str, list[str]], threading.Condition]:
    """A run that stays open, and what it has found so far."""
    objects: dict[str, list[str]] = {}
    changed = threading.Condition()

    def see(result: Result) -> None:
        with changed:
            for name, names in objects_of(iter([result])).items():
                objects.setdefault(name, []).extend(names)
            changed.notify_all()

    assembly = assemble(config, takes_sources=True)
    running = Running(assembly.flow.observe(see), stays_open=True)
    return running, Supervisor(running, assembly), objects, changed


def test_a_source_comes_with_a_model_that_the_run_has_or_with_a_new_one(
    small_video: Path, small_detector: Path, ship_detector: Path, tmp_path: Path
) -> None:
    video = str(small_video)
    options = {"model": str(small_detector), "output.jsonl": str(tmp_path / "o.jsonl")}
    config = config_of([{"url": video, "name": "first"}], **options, **{"output.video": str(tmp_path / "o.mp4")})
    running, supervisor, objects, changed = run_on(config)
    with running:
        supervisor.add(SourceConfig(url=video, name="quay", model=str(ship_detector)))
        supervisor.add(SourceConfig(url=video, name="pier", model=str(ship_detector), classes=("ship",)))
        supervisor.add(SourceConfig(url=video, name="street", model=str(small_detector), classes=("dog",)))
        supervisor.add(SourceConfig(url=video, name="yard"))
        with changed:
            assert changed.wait_for(lambda: sum(map(len, objects.values())) == 25, 30)
        running.stop()
        running.wait()
    assert objects == {
        **{name: ["cat dog"] * 5 for name in ("first", "yard")},
        **{name: ["ship"] * 5 for name in ("quay", "pier")},
        "street": ["dog"] * 5,
    }
    branches = supervisor.assembly.branches
    assert [(branch.name, branch.source_ids) for branch in branches] == [
        (branches[0].name, ("first", "street", "yard")),
        ("ships", ("quay", "pier")),
    ]
    assert {node.name for node in running.statistics().nodes if node.role == "detect"} == {"detect", "detect ships"}
    assert (tmp_path / "o-quay.mp4").stat().st_size > 0
    frames = running.statistics().frames
    assert frames.captured == frames.delivered == 25


def test_a_new_model_that_does_not_fit_is_refused_and_the_run_goes_on(
    small_video: Path, small_detector: Path, ship_detector: Path, tmp_path: Path
) -> None:
    labels = {"output.labels": {"coco": str(tmp_path / "l.json")}}
    running, supervisor, objects, changed = run_on(config_of([str(small_video)], model=str(small_detector), **labels))
    with running:
        for entry, message in (
            (SourceConfig(url=str(small_video), name="a", model=str(ship_detector)), "--labels coco has one list"),
            (SourceConfig(url=str(small_video), name="b", model="nowhere.onnx"), r"nowhere\.onnx"),
        ):
            with pytest.raises(StreamdetError, match=message):
                supervisor.add(entry)
        with changed:
            assert changed.wait_for(lambda: len(objects.get(str(small_video), ())) == 5, 30)
        running.stop()
        running.wait()
    assert len(supervisor.assembly.branches) == 1
    assert list(running.statistics().frames_by_source) == [str(small_video)]
    assert len(json.loads((tmp_path / "l.json").read_text())["categories"]) == 2


def test_a_run_without_a_model_of_its_own_takes_no_film_without_one(small_video: Path, ship_detector: Path) -> None:
    running, supervisor, _, _ = run_on(config_of([{"url": str(small_video), "model": str(ship_detector)}]))
    with running:
        with pytest.raises(ConfigError, match="--model must be given for b: try"):
            supervisor.add(SourceConfig(url=str(small_video), name="b"))
        running.stop()
        running.wait()
