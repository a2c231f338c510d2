"""Adding things: a toy is added to the one table that names its kind, and runs, is advised about and is drawn.

Each test stands for the places that a new thing of its kind changes: the file with its class, and a row.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest

from pipeline.app import outputs, stages
from pipeline.app.assemble import assemble
from pipeline.app.config.loading import load_config
from pipeline.app.config.output import LabelFormat
from pipeline.app.config.run import RunConfig
from pipeline.app.detection_run import average_precision
from pipeline.app.labelled_data import labelled
from pipeline.app.output import Output, SinkRequest
from pipeline.app.outputs import OUTPUTS
from pipeline.app.roles import advice_for, colours
from pipeline.app.run.verdict import judge
from pipeline.app.stages import STAGES, Limit, StageKind
from pipeline.flow.running import Running, RunStatistics
from pipeline.measure.processor import DETECT, RECORD, SOURCE
from pipeline.picture.detections import RenderedFrame, Result
from pipeline.testing import CollectingSink
from tests.support.tiny_classifier import write_classifier

# --- a toy sink: its class, and its row -----------------------------------------------------------------


class Scoreboard:
    """Writes the number of detections of each frame into a file, one a line."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        self._lines: list[str] = []

    def write(self, item: Result) -> None:
        self._lines.append(f"{len(item.detections)}\n")

    def close(self) -> None:
        self._path.write_text("".join(self._lines))


OTHER_VIDEO = ["segments", "annotate", "stream", "mosaic"]  # the roles that -o has where it is no plain recording


def scoreboard_row(path: Path) -> Output:
    return Output(
        role="scoreboard",
        takes="result",
        target=lambda config: None if config.output.show is False else str(path),  # a real one has a key of its own
        open=lambda request: Scoreboard(request.target),
        advice="count on your fingers",
        colour="#123456",
        file_option="--scoreboard",
    )


# --- a toy stage with state for each source: its class, and its row ----------------------------------------


class FrameCounter:
    """Puts the number of frames that a source has given so far in place of the class names."""

    def __init__(self, source_id: str) -> None:
        self._source_id = source_id
        self._num_frames = 0

    def process(self, item: Result) -> list[Result]:
        assert item.frame.source_id == self._source_id
        self._num_frames += 1
        return [replace(item, class_names=(str(self._num_frames),))]

    def drain(self) -> list[Result]:
        return []

    def close(self) -> None:
        """Nothing is held."""


COUNT = StageKind(
    role="count",
    advice="count less",
    colour="#654321",
    add=lambda flow, *_: flow.then_per_source(FrameCounter, name="count"),
)


def config_for(video: Path, detector: Path, **options: object) -> RunConfig:
    chosen = {"sources": (str(video),), "model": str(detector), "engine.device": "cpu", "flow.max_frames": 3}
    return load_config(options={**chosen, **options})


def run(config: RunConfig) -> RunStatistics:
    with Running(assemble(config).flow) as running:
        running.wait()
    return running.statistics()


def test_a_sink_is_its_class_and_a_row(
    small_video: Path, small_detector: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "scores.txt"
    monkeypatch.setattr(outputs, "OUTPUTS", (*OUTPUTS, scoreboard_row(path)))
    assembly = assemble(config_for(small_video, small_detector))
    assert [target.path for target in assembly.targets] == [str(path)]  # the run says that it wrote this file
    assert [node.role for node in assembly.flow.nodes] == ["source", "preprocess", "detect", "nms", "scoreboard"]
    with Running(assembly.flow) as running:
        running.wait()
    assert len(path.read_text().splitlines()) == 3


def test_a_sink_that_is_slow_gets_the_advice_and_the_colour_of_its_row(
    tmp_path: Path, small_video: Path, small_detector: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outputs, "OUTPUTS", (*OUTPUTS, scoreboard_row(tmp_path / "scores.txt")))
    statistics = run(config_for(small_video, small_detector, **{"flow.max_frames": 10}))
    slow = [replace(node, busy=0.99 if node.role == "scoreboard" else 0.1) for node in statistics.nodes]
    verdict = judge(replace(statistics, nodes=tuple(slow)), is_live=False)
    assert (verdict.limited_by, "count on your fingers" in verdict.advice) == ("scoreboard", True)
    assert colours()["scoreboard"] == "#123456"


def test_a_sink_for_each_source_of_rendered_pictures_is_a_row_too(
    small_video: Path, small_detector: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sinks: dict[str, CollectingSink[RenderedFrame]] = {}

    def open_album(request: SinkRequest) -> CollectingSink[RenderedFrame]:
        assert request.feed is not None
        return sinks.setdefault(request.feed.source_id, CollectingSink())

    album = Output(
        "album", "rendered", lambda _: "pictures", open_album, advice="", colour="#000000", per_source=True
    )  # fmt: skip
    monkeypatch.setattr(outputs, "OUTPUTS", (*OUTPUTS, album))
    run(config_for(small_video, small_detector, sources=(str(small_video), str(small_video))))
    assert {name: len(sink.got) for name, sink in sinks.items()} == {str(small_video): 3, f"{small_video}#2": 3}
    assert {item.result.frame.source_id for item in sinks[str(small_video)].got} == {str(small_video)}


def test_a_stage_with_state_for_each_source_is_its_class_and_a_row(
    small_video: Path, small_detector: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stages, "STAGES", (*STAGES, COUNT))
    config = config_for(small_video, small_detector, sources=(str(small_video), str(small_video)))
    with Running(assemble(config).flow, results=True) as running:
        counted = [(result.frame.source_id, result.class_names) for result in running]
    for source_id in (str(small_video), f"{small_video}#2"):
        assert [names for name, names in counted if name == source_id] == [("1",), ("2",), ("3",)]
    assert advice_for("count", Limit(config)) == "count less"


def test_every_role_has_advice_and_a_colour_of_its_own() -> None:
    kinds: tuple[StageKind | Output, ...] = (*STAGES, *OUTPUTS)
    assert all(kind.advice for kind in kinds)
    assert len({kind.role for kind in kinds}) == len({kind.colour for kind in kinds}) == len(kinds)
    assert {SOURCE, DETECT, RECORD} <= set(colours())  # the roles whose libraries start threads by themselves


def event_outputs(folder: Path) -> dict[str, object]:
    return {
        "events.file": str(folder / "events.jsonl"),
        "events.webhook": "http://127.0.0.1:1/",  # where nobody listens
        "events.mqtt": "mqtt://127.0.0.1:1/events",
        "events.commands": {"crossed gate": "true"},
        "events.snapshots": str(folder / "snapshots"),
        "events.clips": str(folder / "clips"),
    }


def test_every_node_of_a_run_with_all_outputs_has_a_role_of_the_tables(
    small_video: Path, small_detector: Path, tmp_path: Path
) -> None:
    pytest.importorskip("pyarrow", reason="the extra tables is not installed")
    pytest.importorskip("uvicorn", reason="the extra serve is not installed")
    pytest.importorskip("paho.mqtt", reason="the extra mqtt is not installed")
    keys = {"video": "o.mp4", "jsonl": "o.jsonl", "csv": "o.csv", "parquet": "o.parquet", "crops": "crops"}
    keys |= {"frames": "frames"}
    files: dict[str, object] = {f"output.{key}": str(tmp_path / name) for key, name in keys.items()}
    files["output.labels"] = {name: str(tmp_path / name) for name in get_args(LabelFormat)}
    files["output.save_frames"] = "any"
    files["lines"] = {"gate": "0,0.5,1,0.5"}  # which needs a tracker, too
    files |= {"privacy.blur": "cat", "serve": "0", **event_outputs(tmp_path)}
    files["then.model"] = str(write_classifier(tmp_path / "c.onnx"))
    assembly = assemble(config_for(small_video, small_detector, **files))
    assembly.close()
    refused = {"gate", "propose"}  # with privacy, and for networks that judge boxes
    assert {node.role for node in assembly.flow.nodes} == set(colours()) - {"window", *OTHER_VIDEO, *refused}


def test_measuring_accuracy_writes_nothing_for_any_output(
    small_detector: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outputs, "OUTPUTS", (*OUTPUTS, scoreboard_row(tmp_path / "scores.txt")))
    keys = {
        "video": "o.mp4",
        "jsonl": "o.jsonl",
        "csv": "o.csv",
        "parquet": "o.parquet",
        "crops": "crops",
        "frames": "frames",
        "report": "r.json",
    }
    files: dict[str, object] = {f"output.{key}": str(tmp_path / name) for key, name in keys.items()}
    files["output.labels"] = {name: str(tmp_path / name) for name in get_args(LabelFormat)}
    files |= {"output.save_frames": "any", "track.kind": "bytetrack", "serve": "0", **event_outputs(tmp_path)}
    config = load_config(options={**files, "model": str(small_detector), "output.show": True, "engine.device": "cpu"})
    assert [output.role for output in outputs.OUTPUTS if output.target(config) is None] == OTHER_VIDEO
    assert [output.role for output in outputs.OUTPUTS if output.target(config.without_outputs())] == []
    average_precision(config, labelled("sim:traffic?seconds=0.2&fps=10&size=320x192", None))
    assert list(tmp_path.iterdir()) == []
