"""Does `auto` take what is faster on this machine and finds the same, remember it, and say why?"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.detector.agreement import Agreement
from pipeline.detector.auto_device import Candidate, Choice, open_best
from pipeline.errors import DeviceError

AGREES = Agreement("openvino", "bf16", True, 16, 200, 1.0, 0.99, 0.001, 0.25, 0.98)
CHOSEN_BY_ITSELF = {"cpu": "fp32", "openvino": "bf16", "cuda": "fp32 with tf32 products"}


class Engine:
    def __init__(self, candidate: Candidate, own_precision: str) -> None:
        self.device = candidate.device
        self.precision = candidate.precision or own_precision
        self.is_closed = False

    def close(self) -> None:
        self.is_closed = True


class Machine:
    """Engines that take so many milliseconds by device and precision, some of which find something else."""

    def __init__(self, *wrong: str, precisions: dict[str, str] | None = None, **milliseconds: float) -> None:
        self.wrong, self.milliseconds = wrong, milliseconds
        self.precisions = CHOSEN_BY_ITSELF | (precisions or {})
        self.engines: list[Engine] = []
        self.num_proofs = self.num_runs = 0
        self.now_ms = 0.0

    def open_on(self, candidate: Candidate) -> Any:
        if not any(name.startswith(candidate.device) for name in self.milliseconds):
            raise DeviceError(f"{candidate.device} supports no device of this machine")
        self.engines.append(Engine(candidate, self.precisions[candidate.device]))
        return self.engines[-1]

    def prove(self, engine: Any) -> Agreement:
        self.num_proofs += 1
        name = f"{engine.device}_{engine.precision}"
        return replace(AGREES, passes=name not in self.wrong, matched_share=0.031 if name in self.wrong else 1.0)

    def run_once(self, engine: Any) -> None:
        self.num_runs += 1
        name = f"{engine.device}_{engine.precision}"
        self.now_ms += self.milliseconds.get(name, self.milliseconds.get(engine.device, 0.0))

    def choose(self, *installed: str, key: str = "model") -> Choice:
        return open_best(
            self.open_on,
            self.prove,
            self.run_once,
            key=(key,),
            installed=installed,
            clock=lambda: self.now_ms / 1000,
        )

    def chosen(self, *installed: str, key: str = "model") -> tuple[str, str]:
        engine: Any = self.choose(*installed, key=key).engine
        assert [candidate.is_closed for candidate in self.engines] == [
            candidate is not engine for candidate in self.engines
        ]
        return engine.device, engine.precision


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_where_nothing_else_is_installed_the_cpu_runs_it_unmeasured() -> None:
    machine = Machine(cpu=1)
    assert machine.choose().reason == "cpu: no faster provider is installed"
    assert (machine.num_runs, machine.num_proofs) == (0, 0)


def test_openvino_is_taken_where_it_is_faster_and_finds_the_same() -> None:
    choice = Machine(cpu=3, openvino=1, openvino_fp32=2).choose("openvino")
    assert (choice.engine.device, choice.engine.precision) == ("openvino", "bf16")
    assert choice.reason.startswith("openvino: openvino in bf16 takes 0.33 of the time of the own provider in fp32; ")
    assert choice.agreement == AGREES


def test_openvino_is_offered_in_fp32_as_well() -> None:
    assert Machine(cpu=3, openvino_bf16=4, openvino_fp32=2).chosen("openvino") == ("openvino", "fp32")  # no AMX
    assert Machine("openvino_bf16", cpu=3, openvino_bf16=1, openvino_fp32=2).chosen("openvino") == ("openvino", "fp32")
    only_fp32 = Machine(cpu=3, openvino=1, precisions={"openvino": "fp32"})
    assert only_fp32.chosen("openvino", key="other") == ("openvino", "fp32")
    assert len(only_fp32.engines) == 2


def test_what_finds_something_else_is_never_taken_and_that_is_said() -> None:
    machine = Machine("openvino_bf16", "openvino_fp32", cpu=3, openvino=1)
    choice = machine.choose("openvino")
    assert (choice.engine.device, choice.agreement) == ("cpu", None)
    assert (
        "openvino in bf16 is not used, because its detections differ from the CPU's: 3.1% of 200 detections"
        in choice.reason
    )
    assert machine.num_runs == 0
    again = Machine("openvino_bf16", "openvino_fp32", cpu=3, openvino=1)
    assert again.choose("openvino").reason.endswith("as found before")
    assert again.num_proofs == 0


def test_cuda_comes_first_where_it_finds_the_same() -> None:
    assert Machine(cpu=1, openvino=1, cuda=1).chosen("cuda", "openvino")[0] == "cuda"
    wrong = Machine("cuda_fp32 with tf32 products", cpu=1, cuda=1)
    choice = wrong.choose("cuda")
    assert choice.engine.device == "cpu"
    assert "cuda in fp32 with tf32 products is not used" in choice.reason


@pytest.mark.parametrize("milliseconds", [0.97, 3.0])
def test_openvino_must_pay_for_its_other_numbers(milliseconds: float) -> None:
    assert Machine(cpu=1, openvino=milliseconds).chosen("openvino") == ("cpu", "fp32")


def test_one_busy_moment_does_not_decide() -> None:
    """In the first series the CPU seems slow, in the second it is not."""
    machine = Machine(cpu=1, openvino=1)
    series = 5 * 2 + 2

    def run_once(engine: Any) -> None:
        machine.run_once(engine)
        machine.now_ms += 9 * (engine.device == "cpu" and machine.num_runs <= series)

    choice = open_best(
        machine.open_on, machine.prove, run_once, key=("x",), installed=["openvino"], clock=lambda: machine.now_ms
    )
    assert choice.engine.device == "cpu"


def test_what_was_measured_is_remembered_for_the_same_key() -> None:
    assert Machine(cpu=3, openvino_bf16=1, openvino_fp32=2).chosen("openvino") == ("openvino", "bf16")
    again = Machine(cpu=1, openvino_bf16=3, openvino_fp32=3)  # as if it had become slow
    choice = again.choose("openvino")
    assert (choice.engine.device, again.num_runs) == ("openvino", 0)
    assert choice.reason.endswith("as found before")
    assert Machine(cpu=1, openvino_bf16=3, openvino_fp32=3).chosen("openvino", key="other weights") == ("cpu", "fp32")


def test_what_no_longer_agrees_is_no_longer_taken() -> None:
    Machine(cpu=3, openvino_bf16=1, openvino_fp32=2).choose("openvino")
    assert Machine("openvino_bf16", cpu=3, openvino_bf16=1, openvino_fp32=2).chosen("openvino") == ("cpu", "fp32")


def test_a_provider_that_cannot_be_used_is_passed_over_with_its_reason_once() -> None:
    reason = Machine(cpu=1).choose("cuda", "openvino").reason
    assert reason == "cuda supports no device of this machine; cpu: openvino supports no device of this machine"
    again = Machine(cpu=1, openvino=0.1)
    assert again.choose("openvino").reason.endswith("as found before")  # and not tried at each start
