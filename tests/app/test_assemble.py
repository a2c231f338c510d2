"""Assembly: a run is put together as its configuration says."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.app.assemble import Assembly, assemble
from pipeline.app.config.loading import load_config, preset_names
from pipeline.app.model_branch import default_inflight, default_threads
from pipeline.app.output import Feed, recording_paths
from pipeline.app.outputs import WINDOW
from pipeline.errors import ConfigError, SourceError
from pipeline.flow.running import Running
from pipeline.picture.detections import RenderedFrame
from pipeline.picture.i420 import I420
from pipeline.sinks.recording import Recording


def assembled(config: str | None, video: Path, detector: Path, **options: object) -> Assembly:
    chosen = {"sources": (str(video),), "model": str(detector), "output.show": False, "engine.device": "cpu"}
    assembly = assemble(load_config(config, options={**chosen, **options}))
    assembly.close()
    return assembly


@pytest.mark.parametrize("preset", preset_names())
def test_every_preset_can_be_assembled_in_an_empty_folder(
    preset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_video: Path, small_detector: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assembly = assembled(preset, small_video, small_detector)
    assert list(tmp_path.iterdir()) == []
    outputs = {"output.video": str(tmp_path / "o.mp4"), "output.jsonl": str(tmp_path / "o.jsonl")}
    assembly = assembled(preset, small_video, small_detector, **outputs)
    assert [node.name for node in assembly.flow.nodes][1:4] == ["preprocess", "detect", "nms"]
    assert assembly.is_live == (preset in ("webcam", "rtsp"))


def test_nothing_is_rendered_where_nothing_shows_it(small_video: Path, small_detector: Path) -> None:
    assert [node.name for node in assembled(None, small_video, small_detector).flow.nodes] == [
        str(small_video),
        "preprocess",
        "detect",
        "nms",
    ]


def test_a_recorded_source_runs_for_throughput_and_a_live_one_for_latency(
    small_video: Path, small_detector: Path
) -> None:
    file = next(node for node in assembled("file", small_video, small_detector).flow.nodes if node.name == "detect")
    live = next(node for node in assembled("webcam", small_video, small_detector).flow.nodes if node.name == "detect")
    assert file.workers >= live.workers == 1
    assert live.edge.max_age_seconds == 0.5


def test_batches_are_made_where_the_model_allows_them(small_video: Path, small_detector: Path) -> None:
    flow = assembled(None, small_video, small_detector, **{"engine.batch": 4}).flow
    assert next(node for node in flow.nodes if node.name == "detect").max_batch == 4


def test_the_same_source_twice_gets_two_names(small_video: Path, small_detector: Path) -> None:
    words = (str(small_video), str(small_video))
    assembly = assembled(None, small_video, small_detector, sources=words)
    assert list(assembly.sources) == [str(small_video), f"{small_video}#2"]


def test_sources_classes_and_sizes_that_cannot_be_are_refused(small_video: Path, small_detector: Path) -> None:
    with pytest.raises(ConfigError, match="at least one source"):
        assemble(load_config())
    with pytest.raises(SourceError, match="nowhere"):
        assembled(None, small_video, small_detector, sources=(str(small_video), "nowhere.mp4"))
    with pytest.raises(ConfigError, match="did you mean 'dog'"):
        assembled(None, small_video, small_detector, **{"detection.classes": ("dogs",)})
    with pytest.raises(ConfigError, match=r"camera\.width and camera\.height"):
        assembled(None, small_video, small_detector, **{"camera.width": 640})


def test_recordings_of_several_sources_get_names_of_their_own() -> None:
    assert recording_paths("o.mp4", ["a.mp4"]) == {"a.mp4": "o.mp4"}
    assert recording_paths("out/o.mp4", ["x/a.mp4", "y/a.mp4", "rtsp://cam:554/main?x=1"]) == {
        "x/a.mp4": "out/o-a.mp4",
        "y/a.mp4": "out/o-a-1.mp4",
        "rtsp://cam:554/main?x=1": "out/o-main_x_1.mp4",
    }


@pytest.mark.parametrize(
    ("options", "display", "is_shown"),
    [
        ({}, ":0", True),
        ({}, None, False),
        ({"output.jsonl": "o.jsonl"}, ":0", False),
        ({"output.video": "o.mp4", "output.show": True}, None, True),
        ({"output.show": False}, ":0", False),
    ],
)
def test_a_window_is_requested_where_there_is_a_display_and_no_other_output_or_by_the_configuration(
    options: dict[str, object], display: str | None, is_shown: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    if display is not None:
        monkeypatch.setenv("DISPLAY", display)
    feeds = [Feed("a.mp4", 30.0, is_live=False), Feed("0", None, is_live=True)]
    requests = WINDOW.requests(load_config(options=options), feeds)
    assert [WINDOW.node_name(request) for request in requests] == (["window"] if is_shown else [])


def test_a_recording_alone_is_drawn_in_planes(
    small_video: Path, small_detector: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"output.video": str(tmp_path / "o.mp4"), "flow.max_frames": 1}
    chosen = {"sources": (str(small_video),), "model": str(small_detector), "output.show": False}
    seen: list[RenderedFrame] = []
    monkeypatch.setattr(Recording, "write", lambda _, item: seen.append(item))
    with Running(assemble(load_config(options={**chosen, **options})).flow) as running:
        running.wait()
    assert [type(item.canvas) for item in seen] == [I420]


@pytest.mark.parametrize(
    ("cores", "live_sources", "threads", "inflight"),
    [
        (1, 0, 1, 1),
        (2, 0, 1, 2),
        (16, 0, 2, 8),
        (1, 1, 1, 1),
        (2, 1, 2, 1),  # half of two would make a slow network twice as slow
        (8, 1, 7, 1),
        (2, 3, 1, 2),
        (8, 3, 2, 3),
        (8, 32, 1, 8),
    ],
)
def test_inferences_share_the_cores_for_throughput_or_for_latency(
    cores: int, live_sources: int, threads: int, inflight: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.app.model_branch.available_cores", lambda: cores)
    assert default_threads(live_sources=live_sources) == threads
    assert default_inflight(live_sources=live_sources, device="cpu") == inflight
    assert default_inflight(live_sources=live_sources, device="cuda") == (1 if live_sources == 1 else 2)
