"""Does a dry run say which settings it would have, and where each comes from?"""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.app.config.keys import config_keys
from pipeline.app.config.loading import ConfigRequest
from pipeline.app.config.origins import lines_of_keys, origin_of, origins_of
from pipeline.app.run.dry_run import Setting, settings_of
from tests.support.command_line import run_streamdet

MINE = """\
# a comment
flow:
  mode: live

  queue_capacity: 5
detection: {classes: [cat], class_score_thresholds: {cat: 0.5}}
output:
"""


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    file = tmp_path / "mine 100% é.yaml"
    file.write_text(MINE, encoding="utf-8")
    return file


def test_a_key_of_a_file_has_its_line(mine: Path) -> None:
    assert lines_of_keys(mine) == {
        "flow.mode": 3,
        "flow.queue_capacity": 5,
        "detection.classes": 6,
        "detection.class_score_thresholds.cat": 6,
        "output": 7,
    }


def test_an_empty_file_has_no_lines(tmp_path: Path) -> None:
    (tmp_path / "empty.yaml").touch()
    assert lines_of_keys(tmp_path / "empty.yaml") == {}


def test_the_layer_that_wins_is_the_origin(mine: Path) -> None:
    request = ConfigRequest(
        str(mine),
        ("flow.queue_capacity=3", "render={labels: false}", "detection.class_score_thresholds={dog: 0.25}"),
        {"flow.mode": "every-frame", "flow.every": None, "sources": ("0",)},
    )
    origins = origins_of(request)
    assert {name: origin_of(name, origins) for name in ("flow.mode", "flow.queue_capacity", "render.labels")} == {
        "flow.mode": "--live",
        "flow.queue_capacity": "--set",
        "render.labels": "--set",
    }
    assert origin_of("detection.classes", origins) == "mine 100% é.yaml, line 6"
    assert origin_of("detection.class_score_thresholds", origins) == "--set"
    assert origin_of("sources", origins) == "the command line"
    assert origin_of("flow.every", origins) == "default"
    assert origin_of("network.reconnect_s", origins_of(ConfigRequest("rtsp"))).startswith("preset rtsp, line ")


def test_every_key_is_there_and_secrets_are_masked(mine: Path) -> None:
    request = ConfigRequest(str(mine), (), {"sources": ("rtsp://me:secret@camera/1",)})
    settings = {setting.key: setting for setting in settings_of(request, request.load(), {})}
    assert list(settings) == [key.name for key in config_keys()]
    assert "secret" not in settings["sources"].value
    assert "camera/1" in settings["sources"].value
    assert settings["flow.mode"] == Setting("flow.mode", "live", "mine 100% é.yaml, line 3")
    assert settings["engine.device"].origin == "default"


def test_what_was_chosen_stands_where_the_key_was_left_open_only() -> None:
    chosen = {name: Setting(name, "chosen one", "chosen: why") for name in ("flow.mode", "engine.device")}
    request = ConfigRequest(flags={"flow.mode": "live"})
    settings = {setting.key: setting for setting in settings_of(request, request.load(), chosen)}
    assert settings["flow.mode"] == Setting("flow.mode", "live", "--live")
    assert settings["engine.device"] == chosen["engine.device"]


def test_a_dry_run_prints_what_differs_and_verbosely_all(mine: Path, small_video: Path, small_detector: Path) -> None:
    words = ("run", small_video, "-m", small_detector, "--config", mine, "--device", "cpu", "--dry-run")
    done = run_streamdet(*words)
    assert done.returncode == 0, done.stderr
    rows = {line.split()[0]: line for line in done.stdout.partition("setting ")[2].splitlines() if line.strip()}
    assert "--device" in rows["engine.device"]
    assert "line 5" in rows["flow.queue_capacity"]
    assert "the model's own" in rows["detection.score_threshold"]
    assert "chosen: " in rows["engine.inflight"]
    assert "network.reconnect_s" not in done.stdout
    everything = run_streamdet(*words, "-v").stdout
    assert [key.name for key in config_keys() if f"\n{key.name} " not in everything] == []
