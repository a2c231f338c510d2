"""Does `auto` take what is faster on this machine, remember it, and say why?"""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from pipeline.detector.choosing import open_best
from pipeline.detector.providers import Device, OpenedSession
from pipeline.errors import DeviceError

PRECISIONS: dict[Device, str] = {"cpu": "fp32", "openvino": "bf16", "cuda": "fp32"}


class Machine:
    """Opens sessions that take so many milliseconds, and notes what was opened and run."""

    def __init__(self, milliseconds: dict[Device, float]) -> None:
        self.milliseconds = milliseconds
        self.opened: list[Device] = []
        self.num_runs = 0

    def open_on(self, device: Device) -> OpenedSession:
        if device not in self.milliseconds:
            raise DeviceError(f"{device} supports no device of this machine")
        self.opened.append(device)
        return OpenedSession(None, device, PRECISIONS[device], ())

    def run_once(self, opened: OpenedSession) -> None:
        self.num_runs += 1
        until = time.perf_counter() + self.milliseconds[opened.device] / 1000
        while time.perf_counter() < until:
            pass


@pytest.fixture(autouse=True)
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file to be run, and a cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "model.onnx"
    path.write_bytes(b"weights")
    return path


def choose(machine: Machine, model: Path, *installed: str, settings: str = "2 threads") -> tuple[Device, str]:
    opened, reason = open_best(machine.open_on, machine.run_once, model=model, settings=settings, installed=installed)
    return opened.device, reason


def test_where_nothing_else_is_installed_the_cpu_runs_it_unmeasured(model: Path) -> None:
    machine = Machine({"cpu": 1})
    assert choose(machine, model) == ("cpu", "cpu: no faster provider is installed")
    assert machine.num_runs == 0


def test_openvino_is_taken_where_it_is_faster_and_its_precision_is_said(model: Path) -> None:
    device, reason = choose(Machine({"cpu": 3, "openvino": 1}), model, "openvino")
    assert device == "openvino"
    assert reason.startswith("openvino: openvino in bf16 takes 0.")


@pytest.mark.parametrize("milliseconds", [1.0, 3.0])
def test_openvino_must_pay_for_its_other_numbers(model: Path, milliseconds: float) -> None:
    device, reason = choose(Machine({"cpu": 1, "openvino": milliseconds}), model, "openvino")
    assert device == "cpu"
    assert "of the time of the own provider in fp32" in reason


def test_what_was_measured_is_remembered_for_the_same_model_and_settings(model: Path) -> None:
    choose(Machine({"cpu": 3, "openvino": 1}), model, "openvino")
    again = Machine({"cpu": 1, "openvino": 3})  # as if it had become slow
    device, reason = choose(again, model, "openvino")
    assert device == "openvino"
    assert reason.endswith("as found before")
    assert (again.opened, again.num_runs) == (["openvino"], 0)
    assert choose(again, model, "openvino", settings="1 thread")[0] == "cpu"  # measured anew
    model.write_bytes(b"other weights")
    assert choose(again, model, "openvino")[0] == "cpu"


def test_a_provider_that_cannot_be_used_is_passed_over_with_its_reason(model: Path) -> None:
    device, reason = choose(Machine({"cpu": 1}), model, "cuda", "openvino")
    assert device == "cpu"
    assert reason == "cuda: cuda supports no device of this machine; cpu: openvino supports no device of this machine"
    again = Machine({"cpu": 1, "openvino": 0.1})
    assert choose(again, model, "openvino")[1].endswith("as found before")  # and not tried at each start


def test_cuda_comes_first(model: Path) -> None:
    assert choose(Machine({"cpu": 1, "openvino": 1, "cuda": 1}), model, "cuda", "openvino")[0] == "cuda"


def test_a_broken_memory_is_measured_again(model: Path, tmp_path: Path) -> None:
    choose(Machine({"cpu": 3, "openvino": 1}), model, "openvino")
    (kept,) = (tmp_path / "cache").rglob("*.json")
    kept.write_text("{")
    machine = Machine({"cpu": 3, "openvino": 1})
    assert choose(machine, model, "openvino")[0] == "openvino"
    assert machine.num_runs > 0
