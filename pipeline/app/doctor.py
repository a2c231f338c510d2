"""Doctor: this machine and this installation → findings: what works, what is missing, what is broken."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from pipeline.app import trial
from pipeline.app.machine import available_cores, versions
from pipeline.app.requirements import declared_requirements, requirement_of, unmet_requirements
from pipeline.app.run.options import DoctorOptions
from pipeline.app.terminal import SafeConsole, tell
from pipeline.detector.model_cache import MIRROR, local_file, mirror, models_folder
from pipeline.detector.published import published_models
from pipeline.errors import DeviceError, MissingExtraError, StreamdetError, first_line
from pipeline.masking import masked_address

Mark = Literal["ok", "no", "wrong"]

_SIGN = {"ok": "✓", "no": "–", "wrong": "✗"}
_STYLE = {"ok": "green", "no": "dim", "wrong": "bold red"}


class Finding(NamedTuple):
    """One line of the diagnosis; `wrong` is a fault of the installation, `no` only something that is not there."""

    part: str
    mark: Mark
    text: str


def run_doctor(_: DoctorOptions) -> int:
    """Print the diagnosis; 1 if something is wrong, else 0."""
    return int(not print_diagnosis())


def print_diagnosis() -> bool:
    """Print all findings; False if something is wrong."""
    console = SafeConsole()
    findings = list(diagnose())
    part = ""
    for finding in findings:
        if finding.part != part:
            part = finding.part
            tell(console, part, "bold")
        tell(console, f"  {_SIGN[finding.mark]} {finding.text}", _STYLE[finding.mark])
    return all(finding.mark != "wrong" for finding in findings)


def diagnose() -> Iterator[Finding]:
    """Look at the installation, the providers, the codecs, what a run does, the cameras and the display."""
    yield Finding("versions", "ok", ", ".join(f"{name} {version}" for name, version in versions().items()))
    yield Finding("versions", "ok", f"{platform.system()} {platform.machine()}, {available_cores()} usable cores")
    yield from _packages()
    yield from _providers()
    yield from _codecs()
    yield from _trial()
    yield from _models()
    yield from _cameras()
    yield from _display()


def _packages() -> Iterator[Finding]:
    from pipeline.detector.installation import opencv_conflict

    conflict = opencv_conflict()
    yield Finding("packages", "wrong" if conflict else "ok", conflict or "one OpenCV")
    declared = declared_requirements()
    if declared is None:
        yield Finding("packages", "no", "streamdet runs without being installed, so their versions are not looked at")
        return
    unmet = list(unmet_requirements(declared))
    for requirement in unmet:
        yield Finding("packages", "wrong" if requirement.is_needed else "no", requirement.cure)
    if not unmet:
        yield Finding("packages", "ok", "all in versions that streamdet knows")


def _providers() -> Iterator[Finding]:
    from pipeline.detector.probe_devices import probe_providers

    try:
        reports = probe_providers()
    except Exception as error:  # a library that cannot even be imported is what the report is about
        yield Finding("devices (each ran a node)", "wrong", _failure("ONNX Runtime", error, "onnxruntime"))
        return
    for report in reports:
        mark: Mark = "ok" if report.works else "wrong" if report.device == "cpu" else "no"
        yield Finding("devices (each ran a node)", mark, f"{report.device}: {report.detail}")


def _codecs() -> Iterator[Finding]:
    try:
        from pipeline.sinks.encoder import CODECS, encoder_failure
        from pipeline.sources.video.opening import decodable

        codecs = ("h264", "hevc", "av1", "vp9", "mjpeg")
        decoded = decodable(codecs)
        failures = {codec: encoder_failure(codec) for codec in CODECS}
    except Exception as error:  # as above
        yield Finding("video", "wrong", _failure("PyAV", error, "av"))
        return
    yield Finding("video", "ok" if decoded == codecs else "no", f"decodes {', '.join(decoded)}")
    for codec, failure in failures.items():
        text = f"does not encode with {codec}: {failure}" if failure else f"encodes with {codec}"
        yield Finding("video", "no" if failure else "ok", text)


def _trial() -> Iterator[Finding]:
    parts = (
        ("reading a video", "av", trial.read_video),
        ("recording a video", "av", trial.record_video),
        ("running the demo network", "onnxruntime", trial.run_demo_network),
    )
    for doing, library, attempt in parts:
        try:
            yield Finding("trial (what `run` does)", "ok", attempt())
        except Exception as error:  # whatever keeps a run from working is what the report is about
            yield Finding("trial (what `run` does)", "wrong", _failure(doing, error, library))


def _failure(doing: str, error: Exception, library: str) -> str:
    """One line: what failed, why, and the cure, which the errors about the installation name themselves."""
    reason = first_line(error) if isinstance(error, StreamdetError) else f"{type(error).__name__}: {first_line(error)}"
    if isinstance(error, MissingExtraError | DeviceError):
        return f"{doing} fails: {reason}"
    return f'{doing} fails: {reason}; pip install --force-reinstall "{requirement_of(library)}"'


def _models() -> Iterator[Finding]:
    yield Finding("models by name", "ok", f"cache {models_folder()}")
    try:
        kept = {model.name: local_file(model) for model in published_models()}
    except StreamdetError as error:
        yield Finding("models by name", "wrong", str(error))
        return
    if mirror():
        yield Finding("models by name", "ok", f"{MIRROR} {masked_address(mirror())}")
    sizes = [f"{name} ({path.stat().st_size / 1e6:.1f} MB)" for name, path in kept.items() if path is not None]
    text = f"here: {', '.join(sizes)}" if sizes else "none is here yet; streamdet models lists the names"
    yield Finding("models by name", "ok" if sizes else "no", text)


def _cameras() -> Iterator[Finding]:
    devices = sorted(Path("/dev").glob("video*"))
    if not devices:
        yield Finding(
            "cameras", "no", "there is no /dev/video*" if platform.system() == "Linux" else "try: streamdet run 0"
        )
    for device in devices:
        readable = os.access(device, os.R_OK | os.W_OK)
        cure = "" if readable else ": not readable; add yourself to the group video and log in again"
        yield Finding("cameras", "ok" if readable else "wrong", f"{device}{cure}")


def _display() -> Iterator[Finding]:
    from pipeline.sinks.window import has_display

    if has_display():
        yield Finding("display", "ok", "windows can be shown")
    else:
        yield Finding("display", "no", "there is no display; record (-o) instead of showing")
