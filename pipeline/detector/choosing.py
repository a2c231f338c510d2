"""On which device does `auto` run a network? CUDA where it works, else the CPU by whichever provider is faster here."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import importlib.util
import json
import platform
import statistics
import time
from collections.abc import Callable, Container
from pathlib import Path

from pipeline.cache_folder import cache_folder
from pipeline.detector.providers import Device, OpenedSession, load_runtime
from pipeline.errors import DeviceError

_ROUNDS = 5
# A provider of other numbers must pay for them.
_WORTH_IT = 0.95

OpenOn = Callable[[Device], OpenedSession]
Run = Callable[[OpenedSession], None]


def open_best(
    open_on: OpenOn, run_once: Run, *, model: Path, settings: str, installed: Container[str] | None = None
) -> tuple[OpenedSession, str]:
    """The session that `auto` means, and why.

    run_once: one inference on blank input, to be timed. settings: what besides the model decides about speed; what
    was found is remembered by machine, model, settings and versions. installed: the devices whose provider is there;
    by default as this environment has them. Raises what `open_on` raises for the CPU.
    """
    installed = _installed() if installed is None else installed
    reason = ""
    if "cuda" in installed:
        try:
            return open_on("cuda"), "cuda: it works on this machine"
        except DeviceError as error:
            reason = f"cuda: {error}; "
    if "openvino" not in installed:
        return open_on("cpu"), reason + "cpu: no faster provider is installed"
    place = cache_folder() / "fastest" / f"{_key(model, settings)}.json"
    known = _remembered(place)
    if known is not None and known[0] == "cpu":
        return open_on("cpu"), f"{reason}cpu: {known[1]}, as found before"
    try:
        openvino = open_on("openvino")
    except DeviceError as error:
        _remember(place, "cpu", str(error))  # to load it only to hear so again takes longer than to start
        return open_on("cpu"), f"{reason}cpu: {error}"
    if known is not None:
        return openvino, f"{reason}openvino: {known[1]}, as found before"
    cpu = open_on("cpu")
    ratio = _time_ratio(openvino, cpu, run_once)
    said = f"openvino in {openvino.precision} takes {ratio:.2f} of the time of the own provider in {cpu.precision}"
    chosen: Device = "openvino" if ratio <= _WORTH_IT else "cpu"
    _remember(place, chosen, said)
    return openvino if chosen == "openvino" else cpu, f"{reason}{chosen}: {said}"


def _installed() -> set[str]:
    has_cuda = "CUDAExecutionProvider" in load_runtime().get_available_providers()
    has_openvino = importlib.util.find_spec("onnxruntime_ep_openvino") is not None
    return {name for name, is_there in (("cuda", has_cuda), ("openvino", has_openvino)) if is_there}


def _time_ratio(one: OpenedSession, other: OpenedSession, run_once: Run) -> float:
    """The time of one over that of the other: the median of pairs, in turns."""
    for each in (one, other):
        run_once(each)
    ratios = []
    for _ in range(_ROUNDS):
        seconds = []
        for each in (one, other):
            began = time.perf_counter()
            run_once(each)
            seconds.append(time.perf_counter() - began)
        ratios.append(seconds[0] / max(seconds[1], 1e-9))
    return statistics.median(ratios)


def _key(model: Path, settings: str) -> str:
    with model.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    versions = [platform.node(), load_runtime().__version__]
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        versions.append(importlib.metadata.version("onnxruntime-ep-openvino"))
    return hashlib.sha256(f"{digest} {settings} {versions}".encode()).hexdigest()[:24]


def _remembered(place: Path) -> tuple[str, str] | None:
    try:
        values = json.loads(place.read_text(encoding="utf-8"))
        device, said = str(values["device"]), str(values["said"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return (device, said) if device in ("cpu", "openvino") else None


def _remember(place: Path, device: Device, said: str) -> None:
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(json.dumps({"device": device, "said": said}), encoding="utf-8")
    except OSError:
        return  # a cache that cannot be written is measured again
