"""Are the settings taken with which frames go through fastest, for no more memory and latency than that is worth?"""

from __future__ import annotations

import itertools
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack

import pytest

from pipeline.app.gpu_settings import FixedSettings, GpuSettings, best_settings, blank_rate
from pipeline.detector.engine import OrtEngine
from pipeline.detector.recognise import recognise
from pipeline.errors import DeviceError
from pipeline.remembered import recall, remember
from tests.support.tiny_detector import write_boxes_detector


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


class Gpu:
    """A GPU whose rates are told: `base` by batch, times a factor for each option that is taken."""

    def __init__(self, base: dict[int, float], *, cannot: tuple[str, ...] = (), **factors: float) -> None:
        self.base, self.factors, self.cannot = base, factors, cannot
        self.opened: list[GpuSettings] = []
        self.num_closed = 0

    def open(self, settings: GpuSettings) -> Any:
        for name in self.cannot:
            if getattr(settings, name):
                raise DeviceError(f"no {name}")
        self.opened.append(settings)
        return self

    def rate(self, engine: Any, settings: GpuSettings) -> float:
        rate = self.base[settings.batch]
        for name in ("cuda_graph", "channels_last"):
            rate *= self.factors.get(name, 1.0) if getattr(settings, name) else 1.0
        return rate * {1: self.factors.get("alone", 0.5), 2: 1.0, 3: self.factors.get("three", 1.0)}[settings.inflight]

    def close(self) -> None:
        self.num_closed += 1

    def best(self, *, most_batch: int = 16, key: str | None = None, **fixed: Unpack[FixedSettings]) -> GpuSettings:
        key = key or f"GPU {next(NUMBERS)}"
        return best_settings(self.open, fixed=fixed, most_batch=most_batch, rate=self.rate, key=(key,))[0]


def recorded(settings: GpuSettings) -> GpuSettings:
    """The same without its recordings, which these tests are not about."""
    assert settings.cuda_graph
    return replace(settings, cuda_graph=False)


NUMBERS = itertools.count()
GROWING = {1: 100.0, 2: 190.0, 4: 350.0, 8: 600.0, 16: 650.0}


def test_the_fastest_batch_is_taken_but_for_a_tenth_half_of_it() -> None:
    assert recorded(Gpu(GROWING).best()) == GpuSettings(batch=8, inflight=2)  # 600 is more than nine tenths of 650
    assert recorded(Gpu({**GROWING, 16: 900.0}).best()) == GpuSettings(batch=16)
    assert recorded(Gpu(dict.fromkeys(GROWING, 100.0)).best()) == GpuSettings(batch=1)


def test_no_more_frames_are_run_at_once_than_there_are_cameras() -> None:
    gpu = Gpu(GROWING)
    assert gpu.best(most_batch=4).batch == 4
    assert max(settings.batch for settings in gpu.opened) == 4


def test_runs_are_recorded_where_they_can_be() -> None:
    assert Gpu(GROWING).best().cuda_graph
    assert Gpu(GROWING, cannot=("cuda_graph",)).best() == GpuSettings(batch=8)


def test_the_layout_is_changed_where_that_gains_and_can_be_had() -> None:
    assert Gpu(GROWING, channels_last=1.2).best().channels_last
    assert not Gpu(GROWING, channels_last=1.02).best().channels_last
    assert not Gpu(GROWING, channels_last=1.2, cannot=("channels_last",)).best().channels_last


def test_one_engine_serves_for_every_number_of_inferences_at_once() -> None:
    gpu = Gpu({1: 100.0})
    gpu.best(most_batch=1)
    assert [settings.channels_last for settings in gpu.opened] == [False, True, False]
    assert gpu.num_closed == 3


def test_as_few_inferences_at_once_are_taken_as_serve() -> None:
    assert Gpu(GROWING, alone=0.98).best().inflight == 1
    assert Gpu(GROWING, three=1.2).best().inflight == 3


def test_what_is_said_is_not_tried() -> None:
    gpu = Gpu(GROWING, cuda_graph=1.5)
    assert gpu.best(batch=2, cuda_graph=False) == GpuSettings(batch=2)
    assert {settings.batch for settings in gpu.opened} == {2}
    assert not any(settings.cuda_graph for settings in gpu.opened)


def test_what_was_found_is_remembered_and_found_anew_where_something_differs() -> None:
    assert Gpu(GROWING).best(key="a").batch == 8
    other = Gpu({**GROWING, 16: 900.0})
    settings, reason = best_settings(other.open, fixed={}, most_batch=16, rate=other.rate, key=("a",))
    assert (settings.batch, other.opened) == (8, [])
    assert reason == "batch 8, 2 at once, CUDA graph: 600 frames/s of blank frames, as found before"
    assert other.best(key="b").batch == 16


def test_findings_are_forgotten_after_a_month_and_a_broken_file_is_none(tmp_path: Path) -> None:
    remember("kind", {"x": 1}, "key", now=lambda: 1000.0)
    month = 30 * 24 * 3600
    assert recall("kind", "key", now=lambda: 1000.0 + month - 1) == {"x": 1}
    assert recall("kind", "key", now=lambda: 1000.0 + month) is None
    assert recall("kind", "other") is None
    (file,) = (tmp_path / "cache").rglob("*.json")
    file.write_text("{")
    assert recall("kind", "key", now=lambda: 1001.0) is None


def test_a_rate_is_that_of_a_flow_on_blank_frames(tmp_path: Path) -> None:
    path = write_boxes_detector(tmp_path / "pets.onnx", [(1.0, 2.0, 30.0, 40.0, 0.5, 1)])
    engine = OrtEngine(path, recognise(path), device="cpu", max_batch=4)
    for inflight in (1, 2):  # with one engine
        assert blank_rate(engine, GpuSettings(batch=4, inflight=inflight), frame_wh=(64, 64), on_device=False) > 0


@pytest.mark.parametrize("finding", [{}, {"device": 5}, {"device": "cpu", "reason": None}, [], "x"])
def test_a_finding_of_another_form_is_none(finding: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    remember("kind", {"device": "cpu", "reason": "fast"}, "key")
    fields = {"device": str, "reason": str}
    assert recall("kind", "key", fields=fields) == {"device": "cpu", "reason": "fast"}
    (path,) = tmp_path.rglob("*.json")
    path.write_text(json.dumps({"at": time.time(), "finding": finding}))
    assert recall("kind", "key", fields=fields) is None


@pytest.mark.parametrize("text", ["[" * 100_000, '{"at": 1' + "0" * 400 + ', "finding": {}}', "\x00", '{"at": null}'])
def test_a_broken_finding_is_none(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    remember("kind", {}, "key")
    (path,) = tmp_path.rglob("*.json")
    path.write_text(text)
    assert recall("kind", "key") is None
