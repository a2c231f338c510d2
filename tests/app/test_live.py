"""A live run: its settings change from the next frame on, and its address needs a token where others reach it."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from pipeline.app.assemble import assemble
from pipeline.app.config.loading import load_config
from pipeline.app.run.live import TOKEN_VARIABLE, Live, LiveRun
from pipeline.app.run.service import Service
from pipeline.app.run.supervisor import Supervisor
from pipeline.errors import ConfigError, FlowError
from pipeline.flow.running import Running
from pipeline.masking import masked_text
from pipeline.picture.detections import Result

pytest.importorskip("uvicorn", reason="the extra serve is not installed")


def test_settings_take_effect_and_the_page_shows_the_run(tmp_path: Path) -> None:
    options = {"sources": ("sim:traffic?seed=1&size=320x192",), "serve": "0", "output.show": False}
    config = load_config(options=options)
    results: list[Result] = []
    assembly = assemble(config)
    flow = assembly.flow.observe(results.append)
    with Live.listening("0") as live, Service(config) as service, Running(flow) as running:
        run = LiveRun(running, Supervisor(running, assembly), service)
        with live.serving(run):
            for path in ("", "api/sources", "api/stats", "metrics"):
                assert urllib.request.urlopen(f"{live.url}{path}", timeout=10).read()
            assert run.settings()["classes"] == []
            assert run.change_settings({"score_threshold": 0.01, "classes": ["car"]})["classes"] == ["car"]
            assert assembly.branches[0].suppression.lowest_score_threshold == 0.01
            assert run.change_settings({"classes": [2, "2", "CAR", "car", "person"]})["classes"] == ["car", "person"]
            run.change_settings({"classes": ["car"], "iou_threshold": None})
            bad: tuple[tuple[dict[str, Any], str], ...] = (
                ({"classes": ["cat"]}, "no class 'cat'"),
                ({"iou_threshold": 2}, "iou_threshold"),
                ({"score_threshold": True}, "score_threshold must be a number, or null for the model's own, got true"),
                ({"iou_threshold": "0.5"}, 'iou_threshold must be a number, or null for the model\'s own, got "0.5"'),
                ({"score_threshold": [0.5]}, "score_threshold must be a number"),
                ({"classes": "car"}, 'classes must be a list of names and ids, got "car"'),
                ({"classes": [True]}, "classes must be a list"),
                ({"classes": [None]}, "classes must be a list"),
                ({}, "some of"),
            )
            for values, words in bad:
                with pytest.raises(ConfigError, match=words):
                    run.change_settings(values)
            with pytest.raises(FlowError):
                run.pause("nowhere")
            num = len(results)
            ticks = iter(range(2000))
            running.wait(
                on_tick=lambda: running.stop() if len(results) > num + 8 or next(ticks) > 1000 else None,
                tick_seconds=0.02,
            )
            json.dumps([run.stats(), run.sources(), run.settings()])
    later = results[num + 4 :]
    assert later
    assert {class_id for result in later for class_id in result.detections.class_ids.tolist()} <= {2}
    assert min(result.detections.scores.min(initial=1.0) for result in later) < 0.3  # below the model's own threshold


def test_the_page_is_told_what_a_gate_lets_through_and_misses() -> None:
    street = "sim:traffic?seed=1&size=160x96&seconds=2&fps=10"
    options = {"sources": (street,), "serve": "0", "output.show": False, "gate.kind": "frames"}
    config = load_config(options=options)
    assembly = assemble(config)
    with Service(config) as service, Running(assembly.flow) as running:
        run = LiveRun(running, Supervisor(running, assembly), service)
        running.wait()
        stats, (status,) = run.stats_of(street), run.sources()
    gate = stats["gate"]
    assert isinstance(gate, dict)
    assert set(gate) == {"inferred", "carried", "duty", "checked", "missed", "miss_rate", "miss_rate_95", "open"}
    assert gate["inferred"] + gate["carried"] == status["delivered"] == 20
    assert gate["duty"] == pytest.approx(gate["inferred"] / 20)


def test_the_events_of_a_run_lead_to_their_snapshots_and_clips(tmp_path: Path) -> None:
    options = {
        "sources": ("sim:traffic?seed=1&size=320x192&seconds=2",),
        "serve": "0",
        "output.show": False,
        "zones": {"street": "0,0,1,0,1,1,0,1"},
        "events.snapshots": str(tmp_path / "snapshots"),
        "events.clips": str(tmp_path / "clips"),
    }
    config = load_config(options=options)
    assembly = assemble(config)
    with Live.listening("0") as live, Service(config) as service, Running(assembly.flow) as running:
        run = LiveRun(running, Supervisor(running, assembly), service)
        with live.serving(run):
            running.wait()
            events = json.loads(urllib.request.urlopen(f"{live.url}api/events", timeout=10).read())
            assert {"appeared", "street"} <= {word for event in events for word in (event["kind"], event["name"])}
            for event in events[-3:]:
                picture = urllib.request.urlopen(f"{live.url.rstrip('/')}{event['snapshot']}", timeout=10).read()
                assert picture in [path.read_bytes() for path in (tmp_path / "snapshots").glob(f"*{event['id']}.jpg")]
                clip = urllib.request.urlopen(f"{live.url.rstrip('/')}{event['clip']}", timeout=10).read()
                assert clip in [path.read_bytes() for path in (tmp_path / "clips").glob("*.mp4")]


def test_on_this_machine_there_is_no_token_and_elsewhere_there_is() -> None:
    with Live.listening("127.0.0.1:0") as local, Live.listening("0.0.0.0:0") as remote:
        assert "open" not in local.url
        assert "?open=" in masked_text(f"serving {remote.url}.")
        assert "***" not in masked_text(remote.url)


def test_a_token_of_ones_own_is_not_printed() -> None:
    with Live.listening("0.0.0.0:0", environment={TOKEN_VARIABLE: "x" * 16}) as live:
        assert "x" * 16 not in live.url
    with pytest.raises(ConfigError, match="at least 16 characters, got 3"):
        Live.listening("0.0.0.0:0", environment={TOKEN_VARIABLE: "abc"})


@pytest.mark.parametrize(
    ("word", "reason"), [("door", "--serve must be PORT or HOST:PORT"), ("nowhere.invalid:0", "nobody can listen on")]
)
def test_an_address_that_cannot_be_is_one_line(word: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        Live.listening(word)


def test_an_address_that_is_taken_is_one_line() -> None:
    with Live.listening("0") as live, pytest.raises(ConfigError, match="nobody can listen on"):
        Live.listening(str(live.address.port))
