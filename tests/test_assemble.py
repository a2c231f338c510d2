"""Is a run put together as its configuration says?"""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.app.assemble import Assembly, assemble, recording_paths
from pipeline.app.config import load_config, preset_names
from pipeline.errors import ConfigError, SourceError


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
    assert live.max_age_seconds == 0.5


def test_batches_are_made_where_the_model_allows_them(small_video: Path, small_detector: Path) -> None:
    flow = assembled(None, small_video, small_detector, **{"engine.batch": 4}).flow
    assert next(node for node in flow.nodes if node.name == "detect").max_batch == 4


def test_the_same_source_twice_gets_two_names(small_video: Path, small_detector: Path) -> None:
    words = (str(small_video), str(small_video))
    assembly = assembled(None, small_video, small_detector, sources=words)
    assert list(assembly.sources) == [str(small_video), f"{small_video}#2"]


def test_what_cannot_be_opened_is_refused(small_video: Path, small_detector: Path) -> None:
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
