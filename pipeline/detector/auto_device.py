"""Automatic device: a detector → the provider and precision that `auto` means, CUDA if it works, else the fastest.

A provider whose detections differ from those of ONNX Runtime's own CPU provider in fp32 is never chosen.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from typing import cast, get_args

from pipeline.detector.agreement import Agreement
from pipeline.detector.devices import DEVICES, Device, Precision, is_offered
from pipeline.detector.engine import OrtEngine
from pipeline.errors import DeviceError
from pipeline.remembered import recall, remember

_ROUNDS = 5
_SERIES = 2  # of rounds, each of which must say so: one busy moment does not decide for a month
# A provider that rounds otherwise must be faster by this much.
_WORTH_IT = 0.95


@dataclass(frozen=True, slots=True)
class Candidate:
    """A provider and a precision; None: its own choice."""

    device: Device
    precision: Precision | None = None


CPU = Candidate("cpu")
_ON_CPU = (Candidate("openvino"), Candidate("openvino", "fp32"))

Open = Callable[[Candidate], OrtEngine]
Prove = Callable[[OrtEngine], Agreement]
Run = Callable[[OrtEngine], None]


@dataclass(frozen=True, slots=True)
class Choice:
    """The engine that `auto` means, how it agrees with the reference (None: it is that), and why it was taken."""

    engine: OrtEngine
    agreement: Agreement | None
    reason: str


def open_best(
    open_on: Open,
    prove: Prove,
    run_once: Run,
    *,
    key: tuple[object, ...],
    installed: Container[str] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Choice:
    """Open what `auto` means.

    prove: how an engine agrees with the reference. run_once: one inference on blank input, to be timed. key: what
    decides beside the machine, such as the model's digest; the choice is remembered by it for a month, and is the same
    for recorded and live runs. installed: the devices whose provider is there; by default as this environment has
    them. Raises what `open_on` raises for the CPU.
    """
    installed = _installed() if installed is None else installed
    refused: list[str] = []
    if "cuda" in installed:
        choice = _proved(Candidate("cuda"), "it works on this machine", open_on, prove, refused)
        if choice is not None:
            return choice
    if "openvino" not in installed:
        return Choice(open_on(CPU), None, _reason(refused, "cpu: no faster provider is installed"))
    remembered = recall("fastest", *key, fields={"device": str, "reason": str})
    if remembered is not None and remembered["device"] in DEVICES:
        return _as_remembered(remembered, open_on, prove, refused)
    cpu = open_on(CPU)
    best, reason = _fastest(cpu, open_on, prove, lambda engine: _surest_time_ratio(engine, cpu, run_once, clock))
    precision = None if best.engine is cpu else "fp32" if best.engine.precision == "fp32" else None
    remember("fastest", {"device": best.engine.device, "precision": precision, "reason": reason}, *key)
    if best.engine is not cpu:
        cpu.close()
    return Choice(best.engine, best.agreement, _reason(refused, f"{best.engine.device}: {reason}"))


def _as_remembered(remembered: Mapping[str, str | None], open_on: Open, prove: Prove, refused: list[str]) -> Choice:
    """The choice of an earlier run, proved again; the CPU where it does not agree any longer."""
    candidate = Candidate(cast(Device, remembered["device"]), _precision(remembered.get("precision")))
    why = f"{remembered['reason']}, as found before"
    if candidate.device == "cpu":
        return Choice(open_on(CPU), None, _reason(refused, f"cpu: {why}"))
    choice = _proved(candidate, why, open_on, prove, refused)
    return choice or Choice(open_on(CPU), None, _reason(refused, "cpu: nothing faster agrees with it"))


def _fastest(
    cpu: OrtEngine, open_on: Open, prove: Prove, time_ratio: Callable[[OrtEngine], float]
) -> tuple[Choice, str]:
    """The fastest choice on the CPU that agrees with its own provider, and why; every other engine but that is closed.

    time_ratio: an engine's time over that of `cpu`.
    """
    best, best_ratio, reasons = Choice(cpu, None, ""), _WORTH_IT, list[str]()
    precisions: set[str] = set()
    for candidate in _ON_CPU:
        if candidate.precision in precisions or "int8" in precisions:
            continue  # it chose that by itself
        choice = _proved(candidate, "", open_on, prove, unproved := list[str]())
        reasons += [reason_of_refusal for reason_of_refusal in unproved if reason_of_refusal not in reasons]
        if choice is None:
            continue
        engine = choice.engine
        precisions.add(engine.precision)
        ratio = time_ratio(engine)
        reasons.append(
            f"{engine.device} in {engine.precision} takes {ratio:.2f} of the time of the own provider in fp32"
        )
        loser = engine
        if ratio < best_ratio:
            loser, best, best_ratio = best.engine, choice, ratio
        if loser is not cpu:
            loser.close()
    return best, "; ".join(reasons)


def _proved(candidate: Candidate, why: str, open_on: Open, prove: Prove, refused: list[str]) -> Choice | None:
    """A candidate that works and agrees; else None, and what it was refused for."""
    try:
        engine = open_on(candidate)
    except DeviceError as error:
        refused.append(str(error).removesuffix("; use --device cpu"))
        return None
    agreement = prove(engine)
    if agreement.passes:
        return Choice(engine, agreement, f"{'; '.join([*refused, f'{candidate.device}: {why}'])}")
    refused.append(
        f"{engine.device} in {engine.precision} is not used, because its detections differ from the CPU's: {agreement}"
    )
    engine.close()
    return None


def _reason(refused: list[str], last: str) -> str:
    return "; ".join([*refused, last])


def _precision(word: str | None) -> Precision | None:
    return cast(Precision, word) if word in get_args(Precision) else None


def _installed() -> set[str]:
    return {device for device in DEVICES if is_offered(device)}


def _surest_time_ratio(one: OrtEngine, other: OrtEngine, run_once: Run, clock: Callable[[], float]) -> float:
    """The largest of several ratios of time: the least that one is faster by."""
    return max(_time_ratio(one, other, run_once, clock) for _ in range(_SERIES))


def _time_ratio(one: OrtEngine, other: OrtEngine, run_once: Run, clock: Callable[[], float]) -> float:
    """The time of one over that of the other: the median of pairs, in turns."""
    for engine in (one, other):
        run_once(engine)
    ratios = []
    for _ in range(_ROUNDS):
        seconds = []
        for engine in (one, other):
            began = clock()
            run_once(engine)
            seconds.append(clock() - began)
        ratios.append(seconds[0] / max(seconds[1], 1e-9))
    return statistics.median(ratios)
